import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { ConnectError } from "../../../src/peerfetch_fast/web/lib/errors.js";
import {
  accessProofs,
  checkPin,
  fingerprintOf,
  parsePin,
  withOneFingerprint,
} from "../../../src/peerfetch_fast/web/lib/identity.js";
import { hmacSha256, sha256 } from "../../../src/peerfetch_fast/web/lib/sha256.js";

const VECTORS = JSON.parse(
  readFileSync(new URL("../../vectors/peerfetch2.json", import.meta.url), "utf8"),
);
const hex = (data) => Buffer.from(data).toString("hex");
const colons = (digits) => digits.toUpperCase().match(/../g).join(":");
const ONE = "0a".repeat(32);
const OTHER = "0b".repeat(32);
const sdp = (...prints) =>
  ["v=0", ...prints.map(([hash, digits]) => `a=fingerprint:${hash} ${colons(digits)}`), ""].join("\r\n");

test("SHA-256 and HMAC as node computes them, at every length around a block", () => {
  for (let length = 0; length < 200; length++) {
    const data = Uint8Array.from({ length }, (_, i) => (i * 7 + length) & 0xff);
    assert.equal(hex(sha256(data)), createHash("sha256").update(data).digest("hex"));
    const key = data.slice(0, length % 150);
    const expected = createHmac("sha256", key).update(data).digest("hex");
    assert.equal(hex(hmacSha256(key, data.subarray(0, 9), data.subarray(9))), expected);
  }
});

test("pins in both forms", () => {
  assert.equal(parsePin(`sha256:${ONE}`), `sha256:${ONE}`);
  assert.equal(parsePin(` SHA-256 ${colons(ONE)} `), `sha256:${ONE}`);
  assert.equal(parsePin(`sha256:${colons(ONE)}`), `sha256:${ONE}`);
  for (const text of ["", "sha256:", `sha1:${ONE}`, `sha256:${ONE}00`, "sha256:xy"]) {
    assert.throws(() => parsePin(text), ConnectError);
  }
});

test("a description shows one certificate, and no other hash of another one", () => {
  const both = sdp(["sha-256", ONE], ["sha-512", OTHER + OTHER]);
  assert.equal(hex(fingerprintOf(both)), ONE);
  assert.equal(withOneFingerprint(both), sdp(["sha-256", ONE]));
  assert.throws(() => fingerprintOf(sdp(["sha-256", ONE], ["SHA-256", OTHER])), ConnectError);
  assert.throws(() => fingerprintOf(sdp(["sha-512", ONE + ONE])), ConnectError);
  checkPin(both, `sha256:${ONE}`);
  assert.throws(() => checkPin(both, `sha256:${OTHER}`), (error) => error.reason === "pin");
});

for (const vector of VECTORS.access) {
  test(`access: ${vector.name}`, () => {
    const ends = [vector.opener, vector.responder].map((digits) => sdp(["sha-256", digits]));
    const proofs = [vector.opener_proof, vector.responder_proof];
    const opener = accessProofs(vector.token, ...ends, true);
    assert.deepEqual([hex(opener.proof), hex(opener.expected)], proofs);
    const responder = accessProofs(vector.token, ...ends.reverse(), false);
    assert.deepEqual([hex(responder.expected), hex(responder.proof)], proofs);
  });
}

test("an access token has 1 to 1,024 bytes", () => {
  for (const token of ["", "ü".repeat(513)]) {
    assert.throws(() => accessProofs(token, "", ""), (error) => error.reason === "access");
  }
});
