/** Sockets: messages of any size below the limit, with events as Smoke has them. */

import { Buffer, bytesOf } from "./buffer.js";
import { Events } from "./events.js";
import { Tracks } from "./tracks.js";

/** Bytes that may wait to be sent before a message more is refused. */
const MAX_WAITING = 64 << 20;

/**
 * One end of a connection to a port. Emits `open` (to the side that connects), `message`, `track` (an
 * RTCTrackEvent), `error` and `close`.
 */
export class Socket extends Events {
  #channel = null;
  #isClosed = false;
  /** Sends tracks; null until it is open. */
  #send = null;
  /** Those that are to be sent together, and what ends those that are. */
  #tracks = [];
  #ends = [];
  local = "";
  remote = "";

  static _connect(network, remote, port, pin) {
    const socket = new Socket();
    socket.remote = `${remote}`;
    socket.#open(network, port, pin);
    return socket;
  }

  static _accepted(network, peer, channel, target = null) {
    const socket = new Socket();
    socket.local = peer._local;
    socket.remote = peer.id;
    socket.#use(network, network._whole(peer, channel));
    socket.#join(network, peer, target);
    return socket;
  }

  /** One to a port of a peer that we are connected to. Throws Error. */
  static async _opened(network, peer, port) {
    const socket = new Socket();
    socket.local = peer._local;
    socket.remote = peer.id;
    socket.#use(network, await network._open(peer, port));
    return socket;
  }

  async #open(network, port, pin) {
    try {
      const peer = await network._peer(this.remote, pin);
      this.local = peer._local;
      const target = Tracks.target();
      const channel = await network._open(peer, port, target);
      if (this.#isClosed) return channel.close();
      this.#use(network, channel);
      this.#join(network, peer, target);
      this.emit("open", new Event("open"));
    } catch (error) {
      if (this.#isClosed) return;
      this.#isClosed = true;
      this.emit("error", error);
      this.emit("close", new Event("close"));
    }
  }

  #use(network, channel) {
    this.#channel = channel;
    // That the node itself is disposed of is no error.
    channel.addEventListener("error", ({ error }) => network._isDisposed || this.emit("error", error));
    channel.addEventListener("close", (event) => {
      this.#isClosed = true;
      this.#endTracks();
      this.emit("close", event);
    });
    channel._read(async (data) => {
      // Not kept here: while nobody listens, the other side is slowed down.
      await this._heard("message");
      this.emit("message", { data: Buffer.from(data) });
    });
  }

  /** Have tracks go both ways. @param target at which the socket was opened */
  #join(network, peer, target) {
    const take = ({ track, streams }) => this.emit("track", { track, streams });
    const old = peer._foreign;
    if (old) {
      old.connection.addEventListener("track", take);
      this.#ends.push(() => old.connection.removeEventListener("track", take));
      this.#send = (tracks) => tracks.map(([track, stream]) => old.addTrack(track, stream));
    } else if (target !== null && target !== "/") {
      this.#ends.push(network._tracks.take(peer, target, take));
      this.#send = (tracks) => [network._tracks.send(peer, target, tracks)];
    }
  }

  /** Send a track of a stream until the socket is closed. Throws Error where that cannot be done. */
  addTrack(track, stream) {
    if (!this.#send) throw new Error("The socket is not open, or its other side takes no tracks.");
    if (this.#tracks.push([track, stream]) > 1) return;
    // Those that are added one after the other share a connection.
    queueMicrotask(() => {
      const tracks = this.#tracks.splice(0);
      if (!this.#isClosed) this.#ends.push(...this.#send(tracks));
    });
  }

  /** Bytes that wait to be sent. */
  get bufferedAmount() {
    return this.#channel?.bufferedAmount ?? 0;
  }

  /** Send a string, a Buffer or an ArrayBuffer. Throws Error while it is not open, or too much waits. */
  send(message) {
    if (!this.#channel) throw new Error("The socket is not open: wait for its event 'open'.");
    const bytes = bytesOf(message);
    if (this.bufferedAmount + bytes.length > MAX_WAITING) {
      throw new RangeError(`More than ${MAX_WAITING} bytes wait to be sent: wait for bufferedAmount to fall.`);
    }
    this.#channel.send(bytes);
  }

  close() {
    this.#isClosed = true;
    this.#endTracks();
    this.#channel?.close();
  }

  #endTracks() {
    for (const end of this.#ends.splice(0)) end();
  }
}

/** Takes the sockets of a port. */
export class SocketServer {
  #network;
  #onsocket;
  #port = null;

  constructor(network, onsocket) {
    this.#network = network;
    this.#onsocket = onsocket;
  }

  /** Throws PortInUseError. */
  listen(port) {
    const accept = (...given) => this.#onsocket(Socket._accepted(this.#network, ...given));
    this.#network._bind(port, { channel: accept });
    this.#port = port;
    return this;
  }

  /** Take no more sockets; those that are open stay. */
  dispose() {
    if (this.#port !== null) this.#network.unbindPort(this.#port);
    this.#port = null;
  }
}

export class Sockets {
  #network;
  #servers = new Set();

  constructor(network) {
    this.#network = network;
  }

  createServer(onsocket) {
    const server = new SocketServer(this.#network, onsocket);
    this.#servers.add(server);
    return server;
  }

  /** A socket to a port of a node, which opens by itself; `{pin}` is the fingerprint that the node must have. */
  connect(remote, port, { pin = null } = {}) {
    return Socket._connect(this.#network, remote, port, pin);
  }

  dispose() {
    for (const server of this.#servers) server.dispose();
  }
}
