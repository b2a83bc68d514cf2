/** A node's connections: one session for each other node, and the ports that are open here. */

import { ConnectError } from "../errors.js";
import { parsePin } from "../identity.js";
import { channelPair } from "../memory_channel.js";
import { Peer } from "../peer.js";
import { serve } from "../serve.js";
import { Session } from "../session.js";
import { Channel, PORT, REFUSED } from "./channel.js";
import { HubService } from "./hub_signaling.js";
import { Segments } from "./old/segments.js";
import { Tracks } from "./tracks.js";

/** Other nodes that may be connected to this one at once. */
const MAX_PEERS = 256;
/** Milliseconds for which a lost node is tried again by itself; after that, when it is asked for. */
const PATIENCE = 60_000;
const RETRY = 2000;
/** Milliseconds for which one of smoke-node that is calling us is waited for: it has one connection alone. */
const ARRIVAL_TIME = 5000;
const LOCALHOST = "localhost";
/** Bytes of a message within this page. */
const LOCAL_MESSAGE = 256 << 10;
const ADDRESS = /^\d{1,3}(?:\.\d{1,3}){3}$/;

export class PortInUseError extends Error {
  constructor(port) {
    super(`The port '${port}' is already in use.`);
    this.name = "PortInUseError";
    this.port = port;
  }
}

export class Network {
  #hub;
  #service;
  #options;
  #ports = new Map();
  /** The peers that we call, as promises, and the peers that have called us, by address. */
  #called = new Map();
  #callers = new Map();
  /** Tells those who wait for a node that is calling us. */
  #arrivals = new EventTarget();
  /** The channels that are open. */
  #channels = new Set();
  #server = null;
  _isDisposed = false;
  /** Of sockets. */
  _tracks = new Tracks(this);

  /** @param options `accessToken`, `identity` and `RTCPeerConnection`, as connect() takes them */
  constructor(hub, options = {}) {
    this.#hub = hub;
    this.#service = new HubService(hub);
    this.#options = options;
    this.#start();
  }

  async #start() {
    const { accessToken = null, identity = null } = this.#options;
    const options = { signaling: this.#service.accepting, accessToken, identity, maxPeers: MAX_PEERS };
    const onpeer = (peer) => this.#admit(peer);
    if (!globalThis.RTCPeerConnection) return; // nobody can call: in Node, say
    try {
      this.#server = await serve(null, { ...options, onpeer });
      if (this._isDisposed) this.#server.close();
    } catch (error) {
      if (this._isDisposed) return;
      console.warn("peerfetch: this node cannot be called yet:", error);
      setTimeout(() => this._isDisposed || this.#start(), RETRY);
    }
  }

  /** This node's address. */
  address() {
    return this.#hub.address();
  }

  /** The connections that there are, by address: `{connection, loopback, local, remote, peer}`. */
  getPeers() {
    const found = new Map([...this.#callers.values()].map((peer) => [peer.id, this.#shown(peer)]));
    for (const { peer } of this.#called.values()) if (peer) found.set(peer.id, this.#shown(peer));
    return found;
  }

  /** Open a channel to a port of another node: `[peer, channel]`. Throws Error. */
  async connect(remote, port) {
    const peer = await this._peer(remote);
    const old = peer._foreign;
    const channel = old ? this.#keep(await old.openChannel(`${port}`)) : await this._open(peer, port);
    return [this.#shown(peer), channel];
  }

  /** Open a channel to a port of `peer`, which is closed with this node. Throws Error. */
  async _open(peer, port, target = "/") {
    const whole = (channel) => this._whole(peer, channel);
    const opening = peer._foreign?.openChannel(`${port}`, whole) ?? Channel.open(peer, `${port}`, target);
    return this.#keep(await opening);
  }

  /** A channel as sockets use it, whose messages are whole, of one that a port was given. */
  _whole(peer, channel) {
    return peer._foreign ? new Segments(channel, peer._foreign.budget) : channel;
  }

  #keep(channel) {
    this.#channels.add(channel);
    channel.addEventListener("close", () => this.#channels.delete(channel));
    return channel;
  }

  /** Call `callback` with `[peer, channel]` for each channel to a port. Throws PortInUseError. */
  bindPort(port, callback) {
    this._bind(port, { channel: (peer, channel) => callback([this.#shown(peer), channel]) });
  }

  /** Take no more channels there; those that are open stay. */
  unbindPort(port) {
    this.#ports.delete(`${port}`);
  }

  #shown(peer) {
    const loopback = peer.id === LOCALHOST ? 1 : 0;
    return { connection: peer._connection, loopback, local: peer._local ?? null, remote: peer.id, peer };
  }

  /**
   * Serve a port: `channel(peer, channel, target)`, `request(request, peer)`, and `old(peer, channel)` in the
   * place of both for nodes of smoke-node; each may be missing. Throws PortInUseError.
   */
  _bind(port, handlers) {
    if (this.#ports.has(`${port}`)) throw new PortInUseError(`${port}`);
    this.#ports.set(`${port}`, handlers);
  }

  /** End all of it: the channels in order, then the connections. */
  dispose() {
    this._isDisposed = true;
    this.#ports.clear();
    this.#server?.close();
    const closing = [...this.#channels].map((channel) => {
      channel.close();
      return new Promise((resolve) => channel.addEventListener("close", resolve));
    });
    Promise.all(closing).then(() => {
      for (const { peer } of this.getPeers().values()) peer._abort();
    });
  }

  /** ICE servers for connections beside the sessions. */
  async _configuration() {
    return this.#hub.configuration();
  }

  /**
   * The Peer at an address, a host name or `localhost`. Throws Error.
   * @param pin the fingerprint that its certificate must have
   */
  async _peer(remote, pin = null) {
    if (this._isDisposed) throw new Error("this node was disposed of");
    const address = await this.#resolve(`${remote}`);
    const caller = this.#callers.get(address) ?? (await this.#arrival(address));
    const peer = caller?.state === "connected" ? caller : await this.#call(address, pin);
    if (pin && peer.fingerprint !== parsePin(pin)) {
      throw new ConnectError("pin", `${remote} shows another certificate than the pinned one.`);
    }
    return peer;
  }

  async #resolve(remote) {
    // Whom we are connected to is reached without the hub.
    if (remote === LOCALHOST || this.#called.has(remote) || this.#callers.has(remote)) return remote;
    if ((await this.address()) === remote) return LOCALHOST;
    if (ADDRESS.test(remote) || !this.#hub.lookup) return remote;
    const [address] = await this.#hub.lookup(remote);
    if (!address) throw new Error(`no node has the host name '${remote}'`);
    return address === (await this.address()) ? LOCALHOST : address;
  }

  /** One of smoke-node that is calling us, once it is connected. */
  async #arrival(address) {
    if (!this.#service.isCalledBy(address)) return undefined;
    await new Promise((resolve) => {
      this.#arrivals.addEventListener(address, resolve, { once: true });
      setTimeout(resolve, ARRIVAL_TIME);
    });
    return this.#callers.get(address);
  }

  async #call(address, pin) {
    const known = this.#called.get(address);
    if (known && known.peer?.state !== "closed") return known.promise;
    const called = { peer: null, promise: null };
    called.promise = address === LOCALHOST ? this.#loop() : this.#dial(address, pin);
    this.#called.set(address, called);
    try {
      called.peer = await called.promise;
      if (this._isDisposed) called.peer._abort();
      return called.peer;
    } catch (error) {
      if (this.#called.get(address) === called) this.#called.delete(address);
      throw error;
    }
  }

  async #dial(address, pin) {
    const { accessToken = null, identity = null, RTCPeerConnection } = this.#options;
    const about = { service: this.#service.calling, iceServers: [], accessToken, identity, RTCPeerConnection };
    const peer = new Peer(address, { ...about, pin: pin ? parsePin(pin) : null });
    await this.#prepare(peer);
    let timer = null;
    peer.addEventListener("statechange", () => {
      clearTimeout(timer);
      if (peer.state === "reconnecting") timer = setTimeout(() => peer.close(), PATIENCE);
      if (peer.state === "closed" && this.#called.get(address)?.peer === peer) this.#called.delete(address);
    });
    await peer._connect(null);
    return peer;
  }

  /** A session of this node with itself. */
  async #loop() {
    const [near, far] = channelPair();
    const options = { maxMessageSize: LOCAL_MESSAGE, onstream: null };
    const [peer, other] = [new Peer(LOCALHOST, null), new Peer(LOCALHOST, null)];
    await Promise.all([this.#prepare(peer), this.#prepare(other)]);
    other._use(new Session(far, { ...options, opener: false }));
    peer._use(new Session(near, { ...options, opener: true }));
    return peer;
  }

  /** Somebody has called us. */
  #admit(peer) {
    this.#prepare(peer);
    this.#callers.set(peer.id, peer);
    peer.addEventListener("statechange", () => {
      if (peer.state === "connected") this.#arrivals.dispatchEvent(new Event(peer.id));
      if (peer.state === "connected" && this._isDisposed) peer._abort();
      if (peer.state === "closed" && this.#callers.get(peer.id) === peer) this.#callers.delete(peer.id);
    });
  }

  /** Have a Peer's requests answered by the ports here. */
  async #prepare(peer) {
    peer.serve((request) => this.#answer(request, peer));
    peer._onupgrade = (head, stream, reader) => this.#upgrade(head, stream, reader, peer);
    peer.addEventListener("statechange", () => {
      const old = peer._foreign;
      if (old) old.onchannel = (channel) => this.#accept(channel, peer);
    });
    peer._local = LOCALHOST;
    if (peer.id !== LOCALHOST) peer._local = await this.address();
  }

  /** What takes a channel of a node of smoke-node; null if nobody does. */
  #accept(channel, peer) {
    const serves = this.#ports.get(channel.label);
    const take = serves?.old ?? serves?.channel;
    return take ? () => take(peer, this.#keep(channel)) : null;
  }

  #answer(request, peer) {
    const serves = this.#ports.get(request.headers.get(PORT) ?? "80")?.request;
    if (serves) return serves(request, peer);
    const headers = { "content-type": "text/plain; charset=utf-8", [REFUSED]: "port" };
    return new Response("Nobody listens on that port.\n", { status: 503, headers });
  }

  #upgrade({ protocol, headers, target }, stream, reader, peer) {
    if (protocol !== "websocket") return false;
    const port = headers.find(([name]) => name === PORT)?.[1] ?? "80";
    const serves = this.#ports.get(port)?.channel;
    if (serves) serves(peer, this.#keep(Channel.accept(stream, reader, port)), target);
    else Channel.refuse(stream);
    return true;
  }
}
