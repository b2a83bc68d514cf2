/** The identity of the other side: pins, the access token and codes (docs/protocol.md, sections 8 and 9). */

import { hex } from "./bytes.js";
import { Exchange } from "./cpace.js";
import { ConnectError } from "./errors.js";
import { hmacSha256 } from "./sha256.js";

/** Bytes of the longest access token. */
const MAX_TOKEN = 1024;
const FINGERPRINT = /^a=fingerprint:(\S+) +(\S+)\s*$/gim;
const encoder = new TextEncoder();

const fromHex = (digits) => Uint8Array.from(digits.match(/../g), (pair) => parseInt(pair, 16));

/** `sha256:` and 64 digits, from that or from SDP's form with colons. Throws ConnectError. */
export function parsePin(text) {
  const [, digits = ""] = /^sha-?256[: ]([0-9a-f:]*)$/.exec(text.trim().toLowerCase()) ?? [];
  const plain = digits.replace(/:/g, "");
  if (plain.length !== 64) {
    throw new ConnectError("pin", "That is no pin: it is sha256: and the 64 digits of the proxy.");
  }
  return `sha256:${plain}`;
}

/** The SHA-256 fingerprint (32 bytes) in a session description. Throws ConnectError. */
export function fingerprintOf(sdp) {
  const found = new Set();
  for (const [, hash, value] of sdp.matchAll(FINGERPRINT)) {
    if (hash.toLowerCase() === "sha-256") found.add(value.toLowerCase().replace(/:/g, ""));
  }
  const [only] = found;
  if (found.size !== 1 || !/^[0-9a-f]{64}$/.test(only)) {
    throw new ConnectError("description", "The description has not one SHA-256 fingerprint.");
  }
  return fromHex(only);
}

/**
 * `sdp` with its SHA-256 fingerprint alone, so that the certificate which the browser verifies is the one
 * that was looked at.
 */
export function withOneFingerprint(sdp) {
  fingerprintOf(sdp);
  return sdp.replace(/^a=fingerprint:(?!sha-256 )[^\r\n]*\r?\n/gim, "");
}

/** The fingerprint in a session description as a pin. Throws ConnectError. */
export const pinOf = (sdp) => `sha256:${hex(fingerprintOf(sdp))}`;

/** Throws ConnectError, with the other one as `fingerprint`, unless the certificate is the one that is expected. */
export function checkPin(sdp, pin) {
  const fingerprint = pinOf(sdp);
  if (parsePin(pin) === fingerprint) return;
  const error = new ConnectError(
    "pin",
    "The device shows another certificate than the link says. Somebody may be in the middle, or " +
      "the device was set up anew: ask its owner for a new link.",
  );
  throw Object.assign(error, { fingerprint });
}

/** The key that an access token stands for. Throws ConnectError. */
export function tokenKey(token) {
  const key = encoder.encode(token);
  if (key.length < 1 || key.length > MAX_TOKEN) {
    throw new ConnectError("access", `An access token has 1 to ${MAX_TOKEN} bytes.`);
  }
  return key;
}

/** The proofs that this side sends and expects: `{proof, expected}`. Throws ConnectError. */
export function accessProofs(token, localSdp, remoteSdp, opener) {
  return proofs(tokenKey(token), endsOf(localSdp, remoteSdp, opener), opener);
}

/** The fingerprints of opener and responder. Throws ConnectError. */
function endsOf(localSdp, remoteSdp, opener) {
  const [local, remote] = [fingerprintOf(localSdp), fingerprintOf(remoteSdp)];
  return opener ? [local, remote] : [remote, local];
}

function proofs(key, ends, opener) {
  const prove = (role) =>
    hmacSha256(key, encoder.encode(`peerfetch.2 access ${role}\0`), ...ends);
  const [ours, theirs] = opener ? ["opener", "responder"] : ["responder", "opener"];
  return { proof: prove(ours), expected: prove(theirs) };
}

/**
 * The same with a code, which is too short for a key: both sides agree on one first. Throws ConnectError.
 * @param code its words; on the side that has made it, the Code
 */
export function codeAccess(code, localSdp, remoteSdp, opener) {
  const scalar = crypto.getRandomValues(new Uint8Array(32));
  return new CodeAccess(code, endsOf(localSdp, remoteSdp, opener), opener, scalar);
}

/** Wrong guesses that burn a code. */
const GUESSES = 3;

/**
 * A code as who has made it keeps it, over all connections by which it is tried. It lets in as many as know it; whoever
 * shows a wrong proof has guessed, and after three of these, from wherever and whenever they came, it is worth nothing.
 */
export class Code {
  #guessesLeft = GUESSES;
  #onover;

  /** @param onover called once it lets nobody in any more */
  constructor(words, onover = () => {}) {
    this.words = words;
    this.#onover = onover;
  }

  /** Somebody has shown a proof; whether that lets them in. */
  tried(isRight) {
    if (this.#guessesLeft === 0) return false;
    if (!isRight && --this.#guessesLeft === 0) this.#onover();
    return isRight;
  }
}

/** Made by `codeAccess`; `scalar` is 32 random bytes, used for this connection alone. */
export class CodeAccess {
  #code;
  #exchange;
  #ends;
  #opener;
  /** As of `accessProofs`; null until the other side's share has come. */
  proof = null;
  expected = null;

  constructor(code, ends, opener, scalar) {
    const label = encoder.encode("peerfetch.2 code ");
    const channel = Uint8Array.from([...label, ...ends[0], ...ends[1]]);
    this.#exchange = new Exchange(encoder.encode(code.words ?? code), channel, scalar);
    this.#code = code;
    this.#ends = ends;
    this.#opener = opener;
  }

  /** The share for the other side: 32 bytes. */
  get share() {
    return this.#exchange.share;
  }

  /** The other side's share has come: from now on there are proofs. Throws SessionError. */
  takeShare(share) {
    const key = this.#exchange.key(share, { initiator: this.#opener });
    Object.assign(this, proofs(key.subarray(0, 32), this.#ends, this.#opener));
  }

  /** Whether the other side's proof, which is right or not, lets it in: a wrong one is a guess. */
  admits(isRight) {
    // A proof before there is a key is one of something else: nobody has guessed.
    return this.#code.tried && this.expected ? this.#code.tried(isRight) : isRight;
  }
}
