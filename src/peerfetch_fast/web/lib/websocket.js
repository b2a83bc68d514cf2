/** WebSocket's interface over a stream (docs/protocol.md, "WebSocket"). */

import { Block, blockHeader, jsonBlock } from "./blocks.js";
import { joined } from "./bytes.js";
import { StreamCode } from "./errors.js";
import { Gathering } from "./gathering.js";
import { MessageReader } from "./message.js";
import { readVarint } from "./wire.js";

const CONTINUATION = 0x00;
export const TEXT = 0x01;
export const BINARY = 0x02;
export const CLOSE = 0x08;
export const PING = 0x09;
export const PONG = 0x0a;
/** Added to a type where more of the message follows. */
const MORE = 0x10;

/** Bytes of the largest message that is taken, and of a fragment that is sent. */
const MAX_MESSAGE = 4 << 20;
const FRAGMENT = 64 << 10;
const MAX_CONTROL = 125;
/** Milliseconds that the other side may take to answer a CLOSE. */
const CLOSE_TIMEOUT = 5000;

/** RFC 9110 §5.6.2. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

const encoder = new TextEncoder();

/** The other side broke a rule: what it is told. */
class Violation extends Error {
  constructor(code, reason) {
    super(reason);
    this.code = code;
  }
}

const isCode = (code) =>
  (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) ||
  (code >= 3000 && code <= 4999);

const isControl = (type) => type === CLOSE || type === PING || type === PONG;
const isData = (type) => type < 2 * MORE && [CONTINUATION, TEXT, BINARY].includes(type & ~MORE);

/** Cuts bytes into frames and joins their fragments. Throws Violation. */
export class FrameReader {
  /** The received part of a frame's type and length. */
  #header = new Uint8Array(16);
  #headerSize = 0;
  #type = CONTINUATION;
  /** Bytes of the current frame's payload that have not come yet; null between frames. */
  #left = null;
  #control = new Gathering();
  /** Of the message whose fragments come in; null between messages. */
  #kind = null;
  #message = new Gathering();

  /** The messages and frames that `data` completes: `[type, payload]` of TEXT, BINARY, CLOSE, PING and PONG. */
  feed(data) {
    const found = [];
    for (let at = 0; ; ) {
      if (this.#left === null) {
        at = this.#readHeader(data, at);
        if (this.#left === null) return found;
      }
      const piece = data.subarray(at, at + this.#left);
      at += piece.length;
      this.#left -= piece.length;
      if (isControl(this.#type)) this.#control.append(piece);
      else if (isData(this.#type)) this.#message.append(piece); // of unknown types nothing is kept
      if (this.#left > 0) return found;
      this.#left = null;
      this.#complete(found);
    }
  }

  /** Take in what `data` has of the next frame's type and length; returns the index behind it. */
  #readHeader(data, at) {
    while (at < data.length) {
      this.#header[this.#headerSize++] = data[at++];
      const type = readVarint(this.#header, 0, this.#headerSize);
      const length = type && readVarint(this.#header, type[1], this.#headerSize);
      if (length) {
        this.#headerSize = 0;
        this.#begin(type[0], length[0]);
        break;
      }
    }
    return at;
  }

  /** Refuse what may not come now, or is too long, before any of it is kept. */
  #begin(type, length) {
    if (isControl(type)) {
      if (length > MAX_CONTROL) throw new Violation(1002, "a control frame too long");
    } else if (isData(type)) {
      const kind = type & ~MORE;
      if ((kind === CONTINUATION) !== (this.#kind !== null)) {
        throw new Violation(1002, "fragments out of order");
      }
      if (length > MAX_MESSAGE - this.#message.size) {
        throw new Violation(1009, "a message that is too large");
      }
      this.#kind ??= kind;
    }
    this.#type = type;
    this.#left = Number(length);
  }

  #complete(found) {
    if (isControl(this.#type)) {
      found.push([this.#type, this.#control.take()]);
    } else if (isData(this.#type) && !(this.#type & MORE)) {
      found.push([this.#kind, this.#message.take()]);
      this.#kind = null;
    }
  }
}

/** A frame in a DATA block of its own; what goes before its payload has the form of a block's header. */
export function frameBlock(type, payload) {
  const header = blockHeader(type, payload.length);
  return joined(blockHeader(Block.DATA, header.length + payload.length), header, payload);
}

/** Write one message, in fragments, as fast as `stream` takes it. @param data a Uint8Array or a Blob */
export async function writeMessage(stream, type, data) {
  const payload = isBlob(data) ? new Uint8Array(await data.arrayBuffer()) : data;
  for (let at = 0; at === 0 || at < payload.length; at += FRAGMENT) {
    const more = at + FRAGMENT < payload.length ? MORE : 0;
    const kind = at === 0 ? type : CONTINUATION;
    await stream.write(frameBlock(kind | more, payload.subarray(at, at + FRAGMENT)));
  }
}

const HANDLED = ["open", "message", "error", "close"];
const STATES = ["CONNECTING", "OPEN", "CLOSING", "CLOSED"];

/** The event of a WebSocket that has closed, for Node before 23, which has no class for it. */
class PlainCloseEvent extends Event {
  constructor(type, { wasClean, code, reason }) {
    super(type);
    Object.assign(this, { wasClean, code, reason });
  }
}

/**
 * As WebSocket; made by Peer.websocket(). Its events, and what comes in them, are of the realm that it is made
 * for: a window, whose `instanceof` knows them.
 */
export class PeerWebSocket extends EventTarget {
  #state = 0;
  #stream = null;
  /** The messages that are being sent, in order. */
  #sending = Promise.resolve();
  #pongOwed = null;
  #closeSent = false;
  #late = null;
  #realm;
  #url;
  #protocol = "";
  #binaryType = "blob";
  #bufferedAmount = 0;
  #handlers = {};

  /**
   * @param session a promise of the session
   * @param target path and query on the peer
   * @param about `{url, protocols, headers, realm}`: what it says of itself, and header fields, as pairs, to be
   *   sent with the request. Throws a DOMException of the realm.
   */
  constructor(session, target, { url, protocols, headers = [], realm = globalThis }) {
    super();
    const isDouble = new Set(protocols).size < protocols.length;
    if (isDouble || !protocols.every((one) => TOKEN.test(one))) {
      throw new realm.DOMException("These are no names of protocols.", "SyntaxError");
    }
    this.#url = url;
    this.#realm = realm;
    this.#run(session, target, protocols, headers).catch((error) => this.#fail(error));
  }

  /** Whether a value is one of these, whatever its prototype. */
  static owns(value) {
    return #state in Object(value);
  }

  get url() {
    return this.#url;
  }

  get protocol() {
    return this.#protocol;
  }

  get extensions() {
    return "";
  }

  get bufferedAmount() {
    return this.#bufferedAmount;
  }

  get binaryType() {
    return this.#binaryType;
  }

  set binaryType(value) {
    if (value === "blob" || value === "arraybuffer") this.#binaryType = value;
  }

  /** The getter and setter of `on…`: among the listeners it has the place of the first one (HTML §8.1.8.1). */
  static _handler(type) {
    return {
      configurable: true,
      enumerable: true,
      get() {
        return this.#handlers[type] ?? null;
      },
      set(handler) {
        if (!(type in this.#handlers)) {
          this.addEventListener(type, (event) => this.#handle(type, event));
        }
        this.#handlers[type] = typeof handler === "function" ? handler : null;
      },
    };
  }

  #handle(type, event) {
    try {
      this.#handlers[type]?.call(this, event);
    } catch (error) {
      this.#realm.reportError(error); // to whose it is
    }
  }

  get readyState() {
    return this.#state;
  }

  send(data) {
    if (this.#state === 0) {
      throw new this.#realm.DOMException("The WebSocket is not open yet.", "InvalidStateError");
    }
    const [type, payload] = payloadOf(data);
    const size = payload.size ?? payload.length;
    this.#bufferedAmount += size;
    if (this.#state !== 1) return;
    this.#sending = this.#sending.then(() => this.#send(type, payload, size)).catch(() => {});
  }

  async #send(type, data, size) {
    await writeMessage(this.#stream, type, data);
    this.#bufferedAmount -= size;
  }

  close(code = null, reason = "") {
    if (code !== null) code = Number(code) & 0xffff;
    if (code !== null && code !== 1000 && !(code >= 3000 && code <= 4999)) {
      throw new this.#realm.DOMException(`${code} is no code to close with.`, "InvalidAccessError");
    }
    const text = encoder.encode(`${reason}`);
    if (text.length > MAX_CONTROL - 2) {
      throw new this.#realm.DOMException("The reason is too long.", "SyntaxError");
    }
    if (this.#state >= 2) return;
    if (this.#state === 0) return this.#fail(new Error("closed before it was open"));
    this.#state = 2;
    this.#sending = this.#sending.then(() => this.#sendClose(code, text)).catch(() => {});
    this.#late = setTimeout(() => this.#fail(new Error("no answer to CLOSE")), CLOSE_TIMEOUT);
  }

  #sendClose(code, text = new Uint8Array(0)) {
    if (this.#closeSent) return;
    this.#closeSent = true;
    const payload = code === null ? [] : [code >> 8, code & 0xff, ...text];
    this.#stream.queue(frameBlock(CLOSE, Uint8Array.from(payload)));
    this.#stream.end();
  }

  async #run(session, target, protocols, more) {
    const opened = await session;
    if (this.#state !== 0) return;
    const stream = await opened.open();
    if (this.#state !== 0) return stream.cancel(StreamCode.REQUEST_CANCELLED);
    this.#stream = stream;
    const headers = [...more];
    if (protocols.length) headers.push(["sec-websocket-protocol", protocols.join(", ")]);
    stream.queue(jsonBlock(Block.HEAD, { method: "GET", target, protocol: "websocket", headers }));
    const reader = new MessageReader(stream);
    const head = await reader.finalHead();
    if (this.#state !== 0) return;
    if (head.status > 299) throw new Error(`refused with status ${head.status}`);
    this.#protocol = head.headers.find(([name]) => name === "sec-websocket-protocol")?.[1] ?? "";
    if (this.#protocol && !protocols.includes(this.#protocol)) throw new Error("another protocol");
    this.#state = 1;
    this.dispatchEvent(new this.#realm.Event("open"));
    await this.#read(reader);
  }

  async #read(reader) {
    const frames = new FrameReader();
    try {
      for (let data; (data = await reader.read()); ) {
        for (const [type, payload] of frames.feed(data)) {
          if (this.#state === 3) return;
          if (type === CLOSE) return await this.#closed(payload);
          if (type === PING) this.#pong(payload);
          if (type === TEXT || type === BINARY) this.#message(type, payload);
        }
      }
    } catch (error) {
      if (error instanceof Violation) this.#sendClose(error.code);
      throw error;
    }
    throw new Error("it ended without CLOSE");
  }

  /** Answer a PING once what is before it is sent; of several that wait, the last (RFC 6455 §5.5.3). */
  #pong(payload) {
    const isWaiting = this.#pongOwed !== null;
    this.#pongOwed = payload;
    if (isWaiting) return;
    this.#sending = this.#sending
      .then(() => {
        const owed = this.#pongOwed;
        this.#pongOwed = null;
        return this.#closeSent || this.#stream.write(frameBlock(PONG, owed));
      })
      .catch(() => {});
  }

  #message(type, payload) {
    if (this.#state !== 1) return;
    const { MessageEvent, Blob, Uint8Array } = this.#realm;
    const binary = () => (this.#binaryType === "arraybuffer" ? new Uint8Array(payload).buffer : new Blob([payload]));
    const data = type === TEXT ? decode(payload) : binary();
    this.dispatchEvent(new MessageEvent("message", { data, origin: new URL(this.#url).origin }));
  }

  async #closed(payload) {
    const code = payload.length >= 2 ? (payload[0] << 8) | payload[1] : 1005;
    if (payload.length === 1 || (payload.length && !isCode(code))) {
      throw new Violation(1002, "a forbidden code");
    }
    const reason = decode(payload.subarray(2));
    await this.#sending;
    this.#sendClose(payload.length ? code : null);
    this.#stream.stop(StreamCode.NO_ERROR);
    this.#end({ code, reason, wasClean: true });
  }

  #fail(error) {
    if (this.#state === 3) return;
    if (!this.#closeSent) this.#stream?.reset(StreamCode.REQUEST_CANCELLED);
    this.#stream?.stop(StreamCode.REQUEST_CANCELLED);
    this.#state = 2;
    queueMicrotask(() => {
      this.dispatchEvent(new this.#realm.Event("error"));
      const code = error instanceof Violation ? error.code : 1006;
      this.#end({ code, reason: "", wasClean: false });
    });
  }

  #end(details) {
    if (this.#state === 3) return;
    this.#state = 3;
    clearTimeout(this.#late);
    this.dispatchEvent(new (this.#realm.CloseEvent ?? PlainCloseEvent)("close", details));
  }

  /** The page that it is for is left: the other side is told, and nobody here any more. */
  _leave() {
    if (this.#state === 3) return;
    if (this.#state === 1) this.#sendClose(1001);
    else if (!this.#closeSent) this.#stream?.reset(StreamCode.REQUEST_CANCELLED);
    this.#stream?.stop(StreamCode.REQUEST_CANCELLED);
    this.#state = 3;
    clearTimeout(this.#late);
  }
}

for (const type of HANDLED) Object.defineProperty(PeerWebSocket.prototype, `on${type}`, PeerWebSocket._handler(type));
STATES.forEach((name, value) => {
  for (const one of [PeerWebSocket, PeerWebSocket.prototype]) Object.defineProperty(one, name, { enumerable: true, value });
});

/** A text of a message. Throws Violation. */
export function decode(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Violation(1007, "a text that is not UTF-8");
  }
}

/** Whether this is a Blob, of whichever window. */
const isBlob = (data) => Object.prototype.toString.call(data) === "[object Blob]" || data instanceof Blob;

/** Type and content of what is to be sent; a buffer may be written to again as soon as it was taken. */
export function payloadOf(data) {
  if (ArrayBuffer.isView(data)) return [BINARY, new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice()];
  if (Object.prototype.toString.call(data) === "[object ArrayBuffer]") return [BINARY, new Uint8Array(data).slice()];
  return isBlob(data) ? [BINARY, data] : [TEXT, encoder.encode(`${data}`)];
}
