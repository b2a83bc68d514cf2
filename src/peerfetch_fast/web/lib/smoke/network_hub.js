/** A hub that is a server: `peerfetch signal --smoke` (docs/smoke.md, "The hub"). */

import { randomHex } from "../random.js";
import { Events } from "./events.js";

/** Milliseconds between attempts to connect: doubled each time, in part random. */
const BACKOFF = { least: 250, most: 15_000 };
/** Milliseconds that the hub may take to answer a request. */
const ANSWER_TIMEOUT = 10_000;
/** Characters of the longest message that is read. */
const MAX_MESSAGE = (256 << 10) + 1024;
const MAX_ADDRESS = 128;

const refusal = (reason) => new Error(typeof reason === "string" ? reason : "the hub refuses");
const isShort = (text) => typeof text === "string" && text.length > 0 && text.length <= MAX_ADDRESS;

/** Connects again when the hub is lost, by the same address if the hub still has it. */
export class NetworkHub extends Events {
  #endpoint;
  /** Proves to the hub that the address is ours. */
  #token = randomHex(16);
  #socket = null;
  #binding = null;
  #last = null;
  #waiting = [];
  #requests = new Map();
  #number = 0;
  #hostname = null;
  #wait = BACKOFF.least;
  #timer = null;
  #over = new AbortController();

  /** @param endpoint `ws://HOST:PORT/smoke`. Throws SyntaxError for what is no such URL. */
  constructor(endpoint) {
    super();
    this.#endpoint = new URL(endpoint, globalThis.location?.href);
    this.#connect();
    const { signal } = this.#over;
    globalThis.addEventListener?.("online", () => this.#again(), { signal });
  }

  async configuration() {
    return (await this.#bound()).configuration;
  }

  async address() {
    return (await this.#bound()).address;
  }

  async forward(to, data) {
    const { address } = await this.#bound();
    // By its number, a hub of ours tells that nobody is there; others pass it on and say nothing.
    this.#put({ type: "forward", to, from: address, data, request_id: String(++this.#number) });
  }

  /** Be found by a host name, instead of the one before. Throws Error if it is another's. */
  async register(hostname) {
    await this.#ask("register", hostname);
    this.#hostname = hostname;
  }

  /** The addresses of a host name: one or none. */
  async lookup(hostname) {
    const { addresses } = await this.#ask("lookup", hostname);
    return Array.isArray(addresses) ? addresses.filter(isShort) : [];
  }

  dispose() {
    this.#over.abort();
    clearTimeout(this.#timer);
    this.#lose(new Error("the hub was disposed of"));
    this.#wake();
    super.dispose();
  }

  #connect() {
    const url = new URL(this.#endpoint);
    url.searchParams.set("token", this.#token);
    if (this.#last) url.searchParams.set("address", this.#last);
    const socket = new WebSocket(url);
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => {
      this.#lose(new Error(`the hub ${this.#endpoint.host} was lost (${code}${reason && `, ${reason}`})`));
      const pause = this.#wait * (0.5 + Math.random() / 2);
      this.#wait = Math.min(2 * this.#wait, BACKOFF.most);
      if (!this.#over.signal.aborted) this.#timer = setTimeout(() => this.#connect(), pause);
    };
  }

  /** Connect anew at once: the socket of before may be dead without knowing. */
  #again() {
    clearTimeout(this.#timer);
    this.#lose(new Error("the network has changed"));
    this.#connect();
  }

  #lose(error) {
    const socket = this.#socket;
    this.#socket = this.#binding = null;
    if (socket) socket.onmessage = socket.onclose = null;
    socket?.close();
    for (const { reject } of this.#requests.values()) reject(error);
    this.#requests.clear();
  }

  /** The hub's answer about us, once it has come. */
  async #bound() {
    while (!this.#binding) {
      if (this.#over.signal.aborted) throw new Error("the hub was disposed of");
      await new Promise((resolve) => this.#waiting.push(resolve));
    }
    return this.#binding;
  }

  #wake() {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async #ask(type, hostname) {
    await this.#bound();
    const id = String(++this.#number);
    let timer;
    try {
      return await new Promise((resolve, reject) => {
        this.#requests.set(id, { resolve, reject });
        timer = setTimeout(reject, ANSWER_TIMEOUT, new Error("the hub does not answer: it may know no host names"));
        this.#put({ type, request_id: id, hostname: `${hostname}` });
      });
    } finally {
      clearTimeout(timer);
      this.#requests.delete(id);
    }
  }

  #put(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #receive(text) {
    let message;
    try {
      message = text.length <= MAX_MESSAGE ? JSON.parse(text) : null;
    } catch {
      message = null;
    }
    const { type, request_id: id, reason } = message ?? {};
    if (type === "binding") this.#bind(message);
    else if (type === "forward") this.#binding && isShort(message.from) && this.emit("forward", message);
    else if (type === "forward-fail") isShort(message.to) && this.emit("absent", { address: message.to });
    else if (type === "register-fail" || type === "lookup-fail") this.#requests.get(id)?.reject(refusal(reason));
    else if (type === "register-ok" || type === "lookup-ok") this.#requests.get(id)?.resolve(message);
  }

  #bind({ address, configuration }) {
    if (!isShort(address)) return;
    this.#wait = BACKOFF.least;
    const known = configuration !== null && typeof configuration === "object" ? configuration : {};
    this.#binding = { address, configuration: known };
    this.#last = address;
    this.#wake();
    // Another node may have taken the name meanwhile.
    if (this.#hostname !== null) this.#registerAgain(this.#hostname);
  }

  async #registerAgain(hostname) {
    try {
      await this.#ask("register", hostname);
    } catch (error) {
      if (this.#binding) this.emit("error", error); // else it is tried again with the next one
    }
  }
}
