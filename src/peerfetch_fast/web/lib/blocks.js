/** The blocks of a message, and what stands in its heads (docs/protocol.md, section 7). */

import { joined } from "./bytes.js";
import { MessageError } from "./errors.js";
import { Gathering } from "./gathering.js";
import { putVarint, readVarint, varintSize } from "./wire.js";

export const Block = Object.freeze({ DATA: 0, HEAD: 1, TRAILERS: 2 });

/** Bytes of the largest HEAD or TRAILERS that is taken. */
export const MAX_HEAD = 64 << 10;

// RFC 9110 §5.6.2 and §5.5.
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}$/;
const VALUE = /^[\u0001-\u0009\u000b\u000c\u000e-\u00ff]*$/;
const TARGET = /^[\x21-\x7e]+$/;
// RFC 9110 §7.6.1: fields of one connection.
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** The header of a block with a payload of `length` bytes. */
export function blockHeader(type, length) {
  const header = new Uint8Array(varintSize(type) + varintSize(length));
  putVarint(header, putVarint(header, 0, type), length);
  return header;
}

/** A block with `value` as JSON. */
export function jsonBlock(type, value) {
  const payload = encoder.encode(JSON.stringify(value));
  return joined(blockHeader(type, payload.length), payload);
}

/**
 * Cuts a stream's bytes into blocks: DATA in pieces as it comes, HEAD and TRAILERS when whole; unknown
 * types are skipped.
 */
export class BlockReader {
  #type = Block.DATA;
  /** Bytes of the current payload that have not come yet. */
  #left = 0;
  /** The beginning of a block's header, or of a HEAD or TRAILERS. */
  #held = new Gathering();

  /** Whether the bytes so far end inside a block. */
  get inside() {
    return this.#left > 0 || this.#held.size > 0;
  }

  /** The `[type, payload]` pairs that `data` completes. Throws MessageError for a head too large. */
  feed(data) {
    const found = [];
    if (this.#left === 0 && this.#held.size) {
      this.#held.append(data);
      data = this.#held.take();
    }
    let at = 0;
    while (at < data.length) {
      if (this.#left === 0) {
        const type = readVarint(data, at);
        const length = type && readVarint(data, type[1]);
        if (!length) {
          this.#held.append(data.subarray(at));
          break;
        }
        [[this.#type], [this.#left, at]] = [type, length];
        if (this.#isWhole && this.#left > MAX_HEAD) {
          throw new MessageError(`a head of more than ${MAX_HEAD} bytes`, 431);
        }
        if (this.#isWhole && this.#left === 0) found.push([this.#type, new Uint8Array(0)]);
        this.#left = Number(this.#left);
        continue;
      }
      const piece = data.subarray(at, at + this.#left);
      at += piece.length;
      this.#left -= piece.length;
      if (this.#type === Block.DATA) {
        found.push([Block.DATA, piece]);
      } else if (this.#isWhole) {
        this.#held.append(piece);
        if (!this.#left) found.push([this.#type, this.#held.take()]);
      }
    }
    return found;
  }

  get #isWhole() {
    return this.#type === Block.HEAD || this.#type === Block.TRAILERS;
  }
}

function decode(payload) {
  let head;
  try {
    head = JSON.parse(decoder.decode(payload));
  } catch {
    throw new MessageError("a head that is not JSON");
  }
  if (head === null || typeof head !== "object" || Array.isArray(head)) {
    throw new MessageError("a head that is no JSON object");
  }
  return head;
}

const isBlank = (character) => character === " " || character === "\t";

/** `value` without blanks around it; a regular expression would look at those in it again and again. */
function trimmed(value) {
  let [start, end] = [0, value.length];
  while (start < end && isBlank(value[start])) start++;
  while (end > start && isBlank(value[end - 1])) end--;
  return value.slice(start, end);
}

/** `pairs` with names in lower case and without the fields of a single connection. */
export function endToEnd(pairs) {
  const checked = [];
  for (const pair of pairs) {
    if (!Array.isArray(pair) || pair.length !== 2) {
      throw new MessageError("a head with a header that is no pair");
    }
    const [name, value] = pair;
    if (typeof name !== "string" || !TOKEN.test(name)) {
      throw new MessageError("a head with a name that is no token");
    }
    if (typeof value !== "string" || !VALUE.test(value)) {
      throw new MessageError(`a value of ${name} that HTTP does not allow`);
    }
    checked.push([name.toLowerCase(), trimmed(value)]);
  }
  const named = new Set(
    checked
      .filter(([name]) => name === "connection")
      .flatMap(([, value]) => value.split(",").map((token) => token.trim().toLowerCase())),
  );
  return checked.filter(([name]) => !HOP_BY_HOP.has(name) && !named.has(name));
}

function decodeHeaders({ headers = [] }) {
  if (!Array.isArray(headers)) throw new MessageError("a head whose headers are no list");
  return endToEnd(headers);
}

// RFC 9110 §9 and RFC 5789.
const METHODS = new Set(
  "CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT TRACE".split(" "),
);

/** A request's HEAD. Throws MessageError. */
export function decodeRequest(payload) {
  const head = decode(payload);
  const { method, target, protocol = null } = head;
  if (typeof method !== "string" || !TOKEN.test(method)) {
    throw new MessageError("a request without a method");
  }
  if (typeof target !== "string" || !TARGET.test(target) || target[0] !== "/") {
    throw new MessageError("a request without a target");
  }
  if (protocol !== null && (typeof protocol !== "string" || !TOKEN.test(protocol))) {
    throw new MessageError("a request whose protocol is no token");
  }
  // Methods are case-sensitive, but not every server that decides by them knows.
  const upper = method.toUpperCase();
  const known = METHODS.has(upper) ? upper : method;
  return { method: known, target, protocol, headers: decodeHeaders(head) };
}

/** An answer's HEAD. Throws MessageError. */
export function decodeResponse(payload) {
  const head = decode(payload);
  const { status } = head;
  if (!Number.isInteger(status) || status < 100 || status > 999) {
    throw new MessageError("an answer without a status from 100 to 999");
  }
  return { status, headers: decodeHeaders(head) };
}

/** The value of Content-Length among `headers`, null if there is none. Throws MessageError. */
export function contentLength(headers) {
  const values = new Set(
    headers
      .filter(([name]) => name === "content-length")
      .flatMap(([, value]) => value.split(",").map(trimmed)),
  );
  if (values.size === 0) return null;
  const [value] = values;
  if (values.size > 1 || !/^\d{1,15}$/.test(value)) {
    throw new MessageError("a Content-Length that is no number");
  }
  return Number(value);
}

/** Urgency and incremental of a Priority field (RFC 9218 §5), with this protocol's defaults. */
export function parsePriority(value) {
  const urgency = /(?:^|[,\s])u=([0-7])(?=$|[,;\s])/.exec(value);
  const sequential = /(?:^|[,\s])i=\?0(?=$|[,;\s])/.test(value);
  return { urgency: urgency ? Number(urgency[1]) : 3, incremental: !sequential };
}
