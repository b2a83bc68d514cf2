/** Signaling within one process, without a server: for nodes of one page, and for tests. */

import { ConnectError } from "../errors.js";
import { randomHex } from "../random.js";
import { checkedSignal } from "./signals.js";

/** The members of one place in which peers find each other. */
export class LocalService {
  static #named = new Map();
  #members = new Map();

  /** The service of the URL `local:NAME`: the same one for everybody in this process. */
  static named(name) {
    if (!this.#named.has(name)) this.#named.set(name, new LocalService());
    return this.#named.get(name);
  }

  /** The id of a member that has chosen none; other services may number theirs. */
  newId() {
    return randomHex(16);
  }

  /** The Signaling (seam.js) of `id`, not open yet. */
  join(id = null) {
    return new LocalSignaling(this.#members, id ?? this.newId());
  }
}

/** See Signaling in seam.js. */
class LocalSignaling {
  #members;
  iceServers = [];
  onsignal = () => {};
  onclose = () => {};

  constructor(members, id) {
    this.#members = members;
    this.id = id;
  }

  async open(signal = null) {
    signal?.throwIfAborted();
    const holder = this.#members.get(this.id) ?? this;
    if (holder !== this) throw new ConnectError("taken", `The id ${this.id} is taken.`);
    this.#members.set(this.id, this);
  }

  send({ peer, ...rest }) {
    if (!this.#isOpen) return;
    // A copy, as over a network: what the sender changes later is not the receiver's.
    const sent = structuredClone(rest);
    queueMicrotask(() => {
      const receiver = this.#members.get(peer);
      if (receiver) receiver.#receive({ ...sent, peer: this.id });
      else this.#receive({ type: "absent", peer });
    });
  }

  #receive(came) {
    const signal = this.#isOpen ? checkedSignal(came) : null;
    if (signal) this.onsignal(signal);
  }

  get #isOpen() {
    return this.#members.get(this.id) === this;
  }

  async peers() {
    return [...this.#members.keys()].filter((id) => id !== this.id);
  }

  close() {
    if (this.#isOpen) this.#members.delete(this.id);
  }
}
