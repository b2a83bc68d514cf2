/** Signaling (../signaling/seam.js) by a hub: one address for all connections of a node. */

import { abortable } from "../client.js";
import { iceServersOf } from "../signaling/ice_servers.js";
import { checkedSignal } from "../signaling/signals.js";
import { OldNode } from "./old/old_node.js";

/** Connections that we have offered of which it is kept who takes what is said about them. */
const MAX_OFFERED = 1024;

/** The Smoke message for a Signal; nodes of the old package understand those parts that they know. */
function toData({ type, connectionId, sdp, candidate, protocol, label, restart }) {
  const about = { type, loopback: 0, connectionId };
  if (type === "candidate") return { ...about, candidate };
  if (type === "gone") return about;
  return { ...about, protocol, label, restart, sdp: { type, sdp } };
}

/** The Signal in what was forwarded, null if it is none. */
function signalOf(peer, data) {
  const { type, sdp, ...about } = data ?? {};
  const text = sdp && sdp.type === type ? sdp.sdp : null;
  return checkedSignal({ ...about, type, peer, sdp: text });
}

/** The connection with a node of smoke-node that has called us is named so, and by its address. */
const OLD = "old-";

/** Keep an entry as the newest; the oldest is forgotten. */
function remember(map, key, value) {
  map.delete(key);
  map.set(key, value);
  if (map.size > MAX_OFFERED) map.delete(map.keys().next().value);
}

/** Shares one hub between those who answer and those who call. */
export class HubService {
  #hub;
  #acceptor = null;
  /** By connection id, weakly: what lasts is kept by its session. */
  #offered = new Map();
  /** The latest connection with each address, by which nodes of smoke-node are understood. */
  #latest = new Map();
  /** Addresses of those that there is a connection with. */
  #old = new Set();

  constructor(hub) {
    this.#hub = hub;
    hub.on("forward", (message) => this.#came(message));
    hub.on("absent", ({ address }) => this._absent(address));
  }

  /** As a service whose members are called by others. */
  get accepting() {
    return { join: () => (this.#acceptor = new HubSignaling(this, this.#hub)) };
  }

  /** As a service whose members call others. */
  get calling() {
    return { join: () => new HubSignaling(this, this.#hub) };
  }

  #came(message) {
    const signal = signalOf(message.from, this.#named(message));
    if (!signal) return;
    // Those that are closed, too, get what is said about their connection: the hub is there all the same.
    const caller = this.#offered.get(signal.connectionId)?.deref();
    (caller ?? this.#acceptor)?.onsignal(signal);
  }

  /** What was forwarded, with the name of its connection: nodes of smoke-node name none, and have but one. */
  #named({ from, data }) {
    if (data?.connectionId !== undefined) return data;
    const isOffer = data?.type === "offer";
    const known = this.#latest.get(from);
    if (!known && isOffer) remember(this.#latest, from, OLD + from);
    return { ...data, connectionId: known ?? OLD + from, restart: isOffer && this.#old.has(from) };
  }

  /** Whether a node of smoke-node at an address is calling us, or has. */
  isCalledBy(address) {
    return this.#latest.get(address) === OLD + address;
  }

  _foreign(connection, address, send) {
    const node = new OldNode(connection, address, send);
    this.#old.add(address);
    node.closed.then(() => {
      this.#old.delete(address);
      this.#latest.delete(address);
    });
    return node;
  }

  /** Nobody is at an address that something was sent to. */
  _absent(peer) {
    const callers = [...this.#offered.values()].map((one) => one.deref());
    for (const caller of new Set(callers)) caller?.onsignal({ type: "absent", peer });
    this.#acceptor?.onsignal({ type: "absent", peer });
  }

  _offers({ connectionId, peer, restart }, caller) {
    remember(this.#offered, connectionId, new WeakRef(caller));
    if (!restart) remember(this.#latest, peer, connectionId);
  }
}

class HubSignaling {
  #service;
  #hub;
  id = null;
  iceServers = [];
  onsignal = () => {};
  /** Never called: hubs connect again by themselves. */
  onclose = () => {};

  constructor(service, hub) {
    this.#service = service;
    this.#hub = hub;
  }

  async open(signal = null) {
    const told = Promise.all([this.#hub.address(), this.#hub.configuration()]);
    const [address, configuration] = await abortable(told, signal);
    this.id = address;
    this.iceServers = iceServersOf(configuration).iceServers;
  }

  send(signal) {
    if (signal.type === "offer") this.#service._offers(signal, this);
    this.#hub.forward(signal.peer, toData(signal)).catch(() => this.#service._absent(signal.peer));
  }

  foreign(connection, address, send) {
    return this.#service._foreign(connection, address, send);
  }

  async peers() {
    return [];
  }

  /** Without effect: the hub is there for the node's other connections, and stays. */
  close() {}
}
