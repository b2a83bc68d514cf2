/** Messages to and from one port of a node: RTCDataChannel's interface, over a stream in WebSocket's frames. */

import { Block, jsonBlock } from "../blocks.js";
import { StreamCode } from "../errors.js";
import { MessageReader } from "../message.js";
import { BINARY, CLOSE, FrameReader, PING, PONG, TEXT, decode, frameBlock, payloadOf, writeMessage } from "../websocket.js";

/** Milliseconds that the other side may take to answer CLOSE. */
const CLOSE_TIMEOUT = 5000;

/** The header fields that are about nodes. */
export const PORT = "peerfetch-port";
export const REFUSED = "peerfetch-refused";

const HANDLED = ["open", "message", "error", "close"];

/** Begins to read once somebody listens for messages. */
export class Channel extends EventTarget {
  #stream;
  #reader;
  #handlers = {};
  #sending = Promise.resolve();
  #closeSent = false;
  #late = null;
  #isReading = false;
  #isTold = false;
  #wakeClosing;
  #closing = new Promise((resolve) => (this.#wakeClosing = resolve));
  readyState = "open";
  ordered = true;
  protocol = "";
  bufferedAmount = 0;
  bufferedAmountLowThreshold = 0;
  binaryType = "arraybuffer";

  /** @param label the port */
  constructor(stream, reader, label) {
    super();
    this.#stream = stream;
    this.#reader = reader;
    this.label = label;
    stream.onaborted = () => this.#fail(new Error("the other side broke it off"));
  }

  /** Open one to `target` (a path) at a port of the other side of `peer`. Throws Error. */
  static async open(peer, port, target = "/") {
    const stream = await peer._open();
    try {
      const head = { method: "GET", target, protocol: "websocket", headers: [[PORT, port]] };
      stream.queue(jsonBlock(Block.HEAD, head));
      const reader = new MessageReader(stream);
      const { status } = await reader.finalHead();
      if (status > 299) throw new Error(`'${peer.id}' forcefully closed this connection.`);
      return new Channel(stream, reader, port);
    } catch (error) {
      stream.cancel(StreamCode.REQUEST_CANCELLED);
      throw error;
    }
  }

  /** The other end of one that was asked for, on what answer() of server.js gave. */
  static accept(stream, reader, port) {
    stream.queue(jsonBlock(Block.HEAD, { status: 200, headers: [] }));
    return new Channel(stream, reader, port);
  }

  /** Refuse one: nobody listens there. */
  static refuse(stream) {
    stream.queue(jsonBlock(Block.HEAD, { status: 503, headers: [[REFUSED, "port"]] }));
    stream.end();
    stream.stop(StreamCode.NO_ERROR);
  }

  addEventListener(type, ...rest) {
    super.addEventListener(type, ...rest);
    if (type === "message") this._read((data) => this.#dispatch(data));
  }

  /** The property descriptor of an `on…` handler. */
  static _handler(type) {
    return {
      configurable: true,
      enumerable: true,
      get() {
        return this.#handlers[type] ?? null;
      },
      set(handler) {
        if (!(type in this.#handlers)) this.addEventListener(type, (event) => this.#handlers[type]?.call(this, event));
        this.#handlers[type] = typeof handler === "function" ? handler : null;
      },
    };
  }

  /** Give each message to `deliver`, a string or bytes; the next one only when what that returns has settled. */
  _read(deliver) {
    if (this.#isReading) return;
    this.#isReading = true;
    this.#run(deliver).catch((error) => this.#fail(error));
  }

  async #run(deliver) {
    const frames = new FrameReader();
    for (let data; (data = await this.#reader.read()); ) {
      for (const [type, payload] of frames.feed(data)) {
        if (type === CLOSE) return this.#closed();
        if (type === PING) await this.#stream.write(frameBlock(PONG, payload));
        if ((type === TEXT || type === BINARY) && this.readyState === "open") {
          await Promise.race([deliver(type === TEXT ? decode(payload) : payload), this.#closing]);
        }
      }
    }
    throw new Error("the other side ended without a word");
  }

  #dispatch(data) {
    const shown = typeof data === "string" ? data : data.slice().buffer;
    const value = this.binaryType === "blob" && typeof data !== "string" ? new Blob([data]) : shown;
    this.dispatchEvent(new MessageEvent("message", { data: value }));
  }

  send(data) {
    if (this.readyState !== "open") throw new DOMException("The channel is not open.", "InvalidStateError");
    const [type, payload] = payloadOf(data);
    const size = payload.size ?? payload.length;
    this.bufferedAmount += size;
    this.#sending = this.#sending.then(() => this.#send(type, payload, size)).catch((error) => this.#fail(error));
  }

  async #send(type, payload, size) {
    if (this.readyState === "closed") return;
    await writeMessage(this.#stream, type, payload);
    const before = this.bufferedAmount;
    this.bufferedAmount -= size;
    const low = this.bufferedAmountLowThreshold;
    if (before > low && this.bufferedAmount <= low) this.dispatchEvent(new Event("bufferedamountlow"));
  }

  /** Resolves once all that was sent is on its way. */
  _drained() {
    return this.#sending;
  }

  close() {
    if (this.readyState !== "open") return;
    this.readyState = "closing";
    this.#wakeClosing();
    this._read(() => {});
    this.#sending = this.#sending.then(() => this.#sendClose()).catch(() => {});
    this.#late = setTimeout(() => this.#end(), CLOSE_TIMEOUT);
  }

  #sendClose() {
    if (this.#closeSent || this.readyState === "closed") return;
    this.#closeSent = true;
    this.#stream.queue(frameBlock(CLOSE, Uint8Array.of(1000 >> 8, 1000 & 0xff)));
    this.#stream.end();
  }

  async #closed() {
    this.#wakeClosing();
    if (this.readyState === "open") this.readyState = "closing";
    await this.#sending;
    this.#sendClose();
    this.#end();
  }

  #fail(error) {
    if (this.readyState === "closed") return;
    const wasOpen = this.readyState === "open";
    this.#end();
    if (wasOpen) this.dispatchEvent(Object.assign(new Event("error"), { error }));
    this.#tellClosed();
  }

  /** Both directions are over. */
  #end() {
    if (this.readyState === "closed") return;
    this.readyState = "closed";
    this.#wakeClosing();
    clearTimeout(this.#late);
    this.#stream.onaborted = null;
    if (this.#closeSent) this.#stream.stop(StreamCode.NO_ERROR);
    else this.#stream.cancel(StreamCode.REQUEST_CANCELLED);
    queueMicrotask(() => this.#tellClosed());
  }

  #tellClosed() {
    if (this.#isTold) return;
    this.#isTold = true;
    this.dispatchEvent(new Event("close"));
  }
}

for (const type of HANDLED) Object.defineProperty(Channel.prototype, `on${type}`, Channel._handler(type));
