/** Who the other side is: pins and the access token (docs/protocol.md, section 8). */

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
export function pinOf(sdp) {
  const digits = [...fingerprintOf(sdp)].map((byte) => byte.toString(16).padStart(2, "0"));
  return `sha256:${digits.join("")}`;
}

/** Throws ConnectError unless the description's certificate is the one that is expected. */
export function checkPin(sdp, pin) {
  if (parsePin(pin) !== pinOf(sdp)) {
    throw new ConnectError(
      "pin",
      "The device shows another certificate than the link says. Somebody may be in the middle, or " +
        "the device was set up anew: ask its owner for a new link.",
    );
  }
}

/** The key that an access token stands for. Throws ConnectError. */
export function tokenKey(token) {
  const key = encoder.encode(token);
  if (key.length < 1 || key.length > MAX_TOKEN) {
    throw new ConnectError("access", `An access token has 1 to ${MAX_TOKEN} bytes.`);
  }
  return key;
}

/** What this side sends and expects: `{proof, expected}`. Throws ConnectError. */
export function accessProofs(token, localSdp, remoteSdp, opener) {
  const key = tokenKey(token);
  const [local, remote] = [fingerprintOf(localSdp), fingerprintOf(remoteSdp)];
  const ends = opener ? [local, remote] : [remote, local];
  const prove = (role) =>
    hmacSha256(key, encoder.encode(`peerfetch.2 access ${role}\0`), ...ends);
  const [ours, theirs] = opener ? ["opener", "responder"] : ["responder", "opener"];
  return { proof: prove(ours), expected: prove(theirs) };
}
