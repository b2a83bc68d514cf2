/** A hub without a server: for the nodes of one page, and of the tabs of one origin. */

import { Events } from "./events.js";
import { held, hold, reachesTabs } from "./hold.js";

/** The nodes of this page that share a hub, and how those in other tabs are reached. */
class Switchboard {
  static #ports = new Map();
  #prefix;
  #members = new Map();
  #count = 0;
  #turn = Promise.resolve();
  #channel = null;

  constructor(port) {
    this.#prefix = `peerfetch-smoke:${port}:`;
    if (!reachesTabs()) return;
    this.#channel = new BroadcastChannel(this.#prefix);
    this.#channel.unref?.(); // Node would wait for it
    this.#channel.onmessage = ({ data }) => this.#members.get(data?.to)?._receive(data);
  }

  static of(port) {
    if (!this.#ports.has(port)) this.#ports.set(port, new Switchboard(port));
    return this.#ports.get(port);
  }

  /** A free address for `member`, in the order of the calls: `{address, release}`. */
  join(member) {
    this.#turn = this.#turn.then(async () => {
      for (;;) {
        const address = dotted(++this.#count);
        const release = await hold(this.#prefix + address);
        if (!release) continue;
        this.#members.set(address, member);
        return { address, release: () => (this.#members.delete(address), release()) };
      }
    });
    return this.#turn;
  }

  /** Pass a message on. Throws Error if there is no such node. */
  async forward(message) {
    const copy = structuredClone(message);
    const member = this.#members.get(copy.to);
    if (member) return queueMicrotask(() => member._receive(copy));
    const isThere = (await held()).has(this.#prefix + copy.to);
    if (!isThere || !this.#channel) throw new Error(`there is no node ${copy.to}`);
    this.#channel.postMessage(copy);
  }

  /** Take a host name for an address: what gives it back. Throws Error if it is another's. */
  async register(hostname, address) {
    const name = `${this.#prefix}name:${encodeURIComponent(hostname)}`;
    const release = await hold(name);
    if (!release) throw new Error(`hostname '${hostname}' already registered`);
    const releaseAddress = await hold(`${name}=${address}`);
    return () => (releaseAddress?.(), release());
  }

  async lookup(hostname) {
    const names = await held();
    if (names.has(this.#prefix + hostname)) return [hostname];
    const start = `${this.#prefix}name:${encodeURIComponent(hostname)}=`;
    return [...names].filter((name) => name.startsWith(start)).map((name) => name.slice(start.length));
  }
}

/** `0.0.0.1` for 1. */
const dotted = (number) => [24, 16, 8, 0].map((shift) => (number >>> shift) & 0xff).join(".");

export class PageHub extends Events {
  #board;
  #place;
  #name = null;

  /** @param port nodes meet if they have the same */
  constructor(port = 0) {
    super();
    this.#board = Switchboard.of(port);
    this.#place = this.#board.join(this);
  }

  async configuration() {
    return { iceServers: [] };
  }

  async address() {
    return (await this.#place).address;
  }

  async forward(to, data) {
    const from = await this.address();
    await this.#board.forward({ type: "forward", from, to, data });
  }

  /** Be found by a host name, instead of the one before. Throws Error if it is another's. */
  async register(hostname) {
    const name = { hostname: `${hostname}`, release: null };
    if (this.#name?.hostname === name.hostname) return;
    name.release = await this.#board.register(name.hostname, await this.address());
    this.#name?.release();
    this.#name = name;
  }

  /** The addresses of a host name: one or none. */
  lookup(hostname) {
    return this.#board.lookup(`${hostname}`);
  }

  async dispose() {
    super.dispose();
    this.#name?.release();
    (await this.#place).release();
  }

  _receive(message) {
    this.emit("forward", message);
  }
}
