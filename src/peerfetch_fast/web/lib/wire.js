/** The frames of peerfetch.2 as bytes (docs/protocol.md, section 2). */

import { SessionCode, SessionError } from "./errors.js";

export const Frame = Object.freeze({
  PING: 0x01,
  PONG: 0x02,
  SETTINGS: 0x03,
  RESET_STREAM: 0x04,
  STOP_SENDING: 0x05,
  GOAWAY: 0x07,
  STREAM: 0x08,
  STREAM_FIN: 0x09,
  MAX_DATA: 0x10,
  MAX_STREAM_DATA: 0x11,
  MAX_STREAMS: 0x12,
  ACCESS: 0x20,
  PAKE: 0x21,
});

export const VARINT_MAX = (1n << 62n) - 1n;
/** Bytes of the longest reason in a GOAWAY. */
const MAX_REASON = 1024;
/** Settings that one SETTINGS frame may hold. */
const MAX_SETTINGS = 64;

/** Bytes that `value` (number or BigInt) takes as a varint (RFC 9000 §16). */
export function varintSize(value) {
  return value < 0x40 ? 1 : value < 0x4000 ? 2 : value < 0x40000000 ? 4 : 8;
}

/** Write `value` at `at`; returns the index behind it. */
export function putVarint(bytes, at, value) {
  const size = varintSize(value);
  if (size === 8) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, 8);
    view.setBigUint64(0, BigInt(value) | (3n << 62n));
    return at + 8;
  }
  const prefix = size === 1 ? 0 : size === 2 ? 0x40 : 0x80;
  let rest = Number(value);
  for (let i = at + size - 1; i >= at; i--) {
    bytes[i] = rest & 0xff;
    rest >>>= 8;
  }
  bytes[at] |= prefix;
  return at + size;
}

/** `value` as bytes. */
export function varint(value) {
  const bytes = new Uint8Array(varintSize(value));
  putVarint(bytes, 0, value);
  return bytes;
}

/**
 * The varint at `at` and the index behind it, or null if it is not all there before `end`. A number,
 * or a BigInt above 2^53 - 1.
 */
export function readVarint(bytes, at = 0, end = bytes.length) {
  if (at >= end) return null;
  const size = 1 << (bytes[at] >> 6);
  if (end - at < size) return null;
  let value = bytes[at] & 0x3f;
  if (size < 8) {
    for (let i = at + 1; i < at + size; i++) value = value * 256 + bytes[i];
    return [value, at + size];
  }
  const large = new DataView(bytes.buffer, bytes.byteOffset + at, 8).getBigUint64(0) & VARINT_MAX;
  return [large <= Number.MAX_SAFE_INTEGER ? Number(large) : large, at + 8];
}

/** One frame of varint fields, then `rest` (a Uint8Array). */
export function encodeFrame(type, fields, rest = null) {
  let length = rest ? rest.length : 0;
  for (const field of fields) length += varintSize(field);
  const frame = new Uint8Array(varintSize(type) + varintSize(length) + length);
  let at = putVarint(frame, 0, type);
  at = putVarint(frame, at, length);
  for (const field of fields) at = putVarint(frame, at, field);
  if (rest) frame.set(rest, at);
  return frame;
}

const FIELDS = new Map([
  [Frame.RESET_STREAM, 3],
  [Frame.STOP_SENDING, 2],
  [Frame.MAX_DATA, 1],
  [Frame.MAX_STREAM_DATA, 2],
  [Frame.MAX_STREAMS, 1],
]);

const malformed = (reason) => new SessionError(SessionCode.FRAME_ENCODING_ERROR, reason);

/**
 * The frames of a message, one after the other: `{type, fields, data}`. `data` is a view of `message`.
 * Throws SessionError where the message is malformed, after the frames before.
 */
export function* decodeFrames(message) {
  if (message.length === 0) throw malformed("a message without frames");
  let at = 0;
  while (at < message.length) {
    const type = readVarint(message, at);
    const length = type && readVarint(message, type[1]);
    if (!length || length[0] > message.length - length[1]) {
      throw malformed("a frame runs past the end of its message");
    }
    at = length[1] + length[0];
    yield decodeFrame(type[0], message, length[1], at);
  }
}

function decodeFrame(type, message, start, end) {
  const fields = [];
  let at = start;
  const take = (count) => {
    for (let i = 0; i < count; i++) {
      const field = readVarint(message, at, end);
      if (!field) throw malformed(`a frame of type ${type} that is too short`);
      fields.push(field[0]);
      at = field[1];
    }
  };
  switch (type) {
    case Frame.PING:
    case Frame.PONG:
      if (end - at !== 8) throw malformed("PING and PONG carry 8 bytes");
      break;
    case Frame.ACCESS:
      if (end - at !== 32) throw malformed("ACCESS carries 32 bytes");
      break;
    case Frame.PAKE:
      if (end - at !== 32) throw malformed("PAKE carries 32 bytes");
      break;
    case Frame.SETTINGS:
      while (at < end) {
        take(2);
        if (fields.length > 2 * MAX_SETTINGS) {
          throw new SessionError(SessionCode.EXCESSIVE_LOAD, "SETTINGS of too many settings");
        }
      }
      break;
    case Frame.GOAWAY:
      take(2);
      if (end - at > MAX_REASON) throw malformed("a GOAWAY with too long a reason");
      break;
    case Frame.STREAM:
    case Frame.STREAM_FIN:
      take(2);
      break;
    default: {
      const count = FIELDS.get(type);
      if (count !== undefined) {
        take(count);
        if (at !== end) throw malformed(`a frame of type ${type} that is too long`);
      }
    }
  }
  return { type, fields, data: message.subarray(at, end) };
}
