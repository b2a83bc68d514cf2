/**
 * CPace, a balanced password-authenticated key exchange: CPACE-X25519-SHA512 of draft-irtf-cfrg-cpace-21,
 * initiator-responder. In BigInt, as a page without a secure context has no crypto.subtle and not every browser's has
 * X25519. It does not run in constant time, which is harmless for codes that live for minutes and have three guesses,
 * and for scalars that are used once.
 */

import { SessionCode, SessionError } from "./errors.js";
import { sha512 } from "./sha512.js";

export const SHARE_LENGTH = 32;

const HASH_BLOCK = 128;
const encoder = new TextEncoder();
const DSI = encoder.encode("CPace255");
const DSI_ISK = encoder.encode("CPace255_ISK");

// The field of Curve25519, and its curve v² = u³ + A u² + u (RFC 7748 §4.1).
const P = (1n << 255n) - 19n;
const A = 486662n;
const A24 = 121665n;
const TOP_BIT = (1n << 255n) - 1n;

const modulo = (x) => ((x % P) + P) % P;

function power(base, exponent) {
  let result = 1n;
  for (let square = modulo(base); exponent > 0n; exponent >>= 1n, square = (square * square) % P) {
    if (exponent & 1n) result = (result * square) % P;
  }
  return result;
}

function fromBytes(bytes) {
  let number = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) number = (number << 8n) | BigInt(bytes[i]);
  return number;
}

function toBytes(number) {
  const bytes = new Uint8Array(SHARE_LENGTH);
  for (let i = 0; i < SHARE_LENGTH; i++, number >>= 8n) bytes[i] = Number(number & 0xffn);
  return bytes;
}

/** X25519 (RFC 7748 §5): 32 bytes of two times 32. */
export function x25519(scalar, point) {
  const clamped = Uint8Array.from(scalar);
  clamped[0] &= 248;
  clamped[31] = (clamped[31] & 127) | 64;
  const k = fromBytes(clamped);
  const u = modulo(fromBytes(point) & TOP_BIT);
  let [x2, z2, x3, z3, swapped] = [1n, 0n, u, 1n, 0n];
  for (let bit = 254n; bit >= 0n; bit--) {
    const wanted = (k >> bit) & 1n;
    if (swapped !== wanted) [x2, x3, z2, z3] = [x3, x2, z3, z2];
    swapped = wanted;
    const [a, b, c, d] = [x2 + z2, x2 - z2, x3 + z3, x3 - z3];
    const [da, cb] = [modulo(d * a), modulo(c * b)];
    const [aa, bb] = [modulo(a * a), modulo(b * b)];
    const e = aa - bb;
    x3 = modulo((da + cb) ** 2n);
    z3 = modulo(u * (da - cb) ** 2n);
    x2 = modulo(aa * bb);
    z2 = modulo(e * (aa + A24 * e));
  }
  if (swapped) [x2, z2] = [x3, z3];
  return toBytes(modulo(x2 * power(z2, P - 2n)));
}

/** X25519, and the check that the draft asks for (scalar_mult_vfy). Throws SessionError. */
function multiply(scalar, point) {
  const product = point.length === SHARE_LENGTH ? x25519(scalar, point) : new Uint8Array(SHARE_LENGTH);
  if (product.every((byte) => byte === 0)) {
    const reason = "the other side sent a share that is no part of an exchange";
    throw new SessionError(SessionCode.ACCESS_DENIED, reason);
  }
  return product;
}

/** All parts, each behind its length in LEB128 (lv_cat). */
function joined(...parts) {
  const bytes = [];
  for (const part of parts) {
    let { length } = part;
    for (; length > 0x7f; length >>= 7) bytes.push((length & 0x7f) | 0x80);
    bytes.push(length, ...part);
  }
  return Uint8Array.from(bytes);
}

/** The point that stands for the password on this channel (calculate_generator). */
export function generator(password, channel, session = new Uint8Array()) {
  const before = joined(DSI).length + joined(password).length;
  const padding = new Uint8Array(Math.max(0, HASH_BLOCK - 1 - before));
  const digest = sha512(joined(DSI, password, padding, channel, session)).subarray(0, SHARE_LENGTH);
  // RFC 7748 §5: the highest bit is no part of a coordinate.
  return toBytes(elligator2(modulo(fromBytes(digest) & TOP_BIT)));
}

/** The map of a number to the curve (RFC 9380 §6.7.1, with Z = 2), its u-coordinate alone. */
function elligator2(r) {
  const v = modulo(-A * power(1n + 2n * r * r, P - 2n));
  const square = power(v * (v * (v + A) + 1n), (P - 1n) / 2n);
  // 1 where there is a point with this coordinate, otherwise P - 1 (or 0 for the number 0).
  return modulo(square * v - (1n - square) * A * ((P + 1n) / 2n));
}

/** One side of one exchange; `scalar` is 32 random bytes, used for it alone. */
export class Exchange {
  #scalar;
  #session;

  constructor(password, channel, scalar, session = new Uint8Array()) {
    this.#scalar = scalar;
    this.#session = session;
    /** The share for the other side: 32 bytes. */
    this.share = multiply(scalar, generator(password, channel, session));
  }

  /** The key that both sides have where both know the password: 64 bytes. Throws SessionError for a bad share. */
  key(share, { initiator, localData = new Uint8Array(), remoteData = new Uint8Array() }) {
    const secret = multiply(this.#scalar, share);
    const ours = joined(this.share, localData);
    const theirs = joined(share, remoteData);
    const [first, second] = initiator ? [ours, theirs] : [theirs, ours];
    return sha512(Uint8Array.from([...joined(DSI_ISK, this.#session, secret), ...first, ...second]));
  }
}
