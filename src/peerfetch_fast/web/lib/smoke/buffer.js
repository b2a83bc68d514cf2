/** Bytes with the methods of Node's Buffer that nodes' programs use of them. */

import { fromOctets, hex, octets } from "../bytes.js";

const encoder = new TextEncoder();

function utf16le(bytes) {
  return new TextDecoder("utf-16le").decode(bytes.subarray(0, bytes.length & ~1));
}

function toUtf16le(text) {
  const bytes = new Uint8Array(text.length * 2);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < text.length; at++) view.setUint16(2 * at, text.charCodeAt(at), true);
  return bytes;
}

const fromHex = (text) => Uint8Array.from(text.match(/[0-9a-f]{2}/gi) ?? [], (pair) => parseInt(pair, 16));
const UTF8 = [(bytes) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes), (text) => encoder.encode(text)];
const LATIN1 = [octets, fromOctets];
const UTF16 = [utf16le, toUtf16le];

/** By name: bytes to text, and text to bytes. */
const ENCODINGS = new Map([
  ["utf8", UTF8],
  ["utf-8", UTF8],
  ["hex", [hex, fromHex]],
  ["ascii", [(bytes) => octets(bytes.map((byte) => byte & 0x7f)), fromOctets]],
  ["latin1", LATIN1],
  ["binary", LATIN1],
  ["base64", [(bytes) => btoa(octets(bytes)), (text) => fromOctets(atob(text))]],
  ...["ucs2", "ucs-2", "utf16le", "utf-16le"].map((name) => [name, UTF16]),
]);

function codec(encoding) {
  const found = ENCODINGS.get(String(encoding).toLowerCase());
  if (!found) throw new TypeError(`${encoding} is no encoding: there are ${[...ENCODINGS.keys()].join(", ")}`);
  return found;
}

export class Buffer extends Uint8Array {
  /** Views and buffers are not copied; text and numbers are. */
  static from(data, encodingOrOffset, length) {
    if (typeof data === "string") return Buffer.#over(codec(encodingOrOffset ?? "utf8")[1](data));
    if (data instanceof ArrayBuffer) return new Buffer(data, encodingOrOffset ?? 0, length ?? data.byteLength);
    if (ArrayBuffer.isView(data)) return new Buffer(data.buffer, data.byteOffset, data.byteLength);
    return Buffer.#over(Uint8Array.from(data));
  }

  static #over(bytes) {
    return new Buffer(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  static alloc(size) {
    return new Buffer(size);
  }

  static concat(list, length = list.reduce((sum, one) => sum + one.length, 0)) {
    const whole = new Buffer(length);
    let at = 0;
    for (const one of list) {
      whole.set(one.subarray(0, length - at), at);
      at += one.length;
      if (at >= length) break;
    }
    return whole;
  }

  static isBuffer(value) {
    return value instanceof Buffer;
  }

  static byteLength(data, encoding = "utf8") {
    return typeof data === "string" ? codec(encoding)[1](data).length : data.byteLength;
  }

  // What Uint8Array's own methods make are plain.
  static get [Symbol.species]() {
    return Uint8Array;
  }

  toString(encoding = "utf8", start = 0, end = this.length) {
    return codec(encoding)[0](new Uint8Array(this.buffer, this.byteOffset, this.length).subarray(start, end));
  }

  equals(other) {
    return this.length === other.length && this.every((byte, at) => byte === other[at]);
  }

  toJSON() {
    return { type: "Buffer", data: [...this] };
  }
}

/** The bytes of a body or a message that is a text, a view or a buffer. Throws TypeError. */
export function bytesOf(data) {
  if (typeof data === "string") return encoder.encode(data);
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  throw new TypeError("give a string, a Buffer or an ArrayBuffer");
}
