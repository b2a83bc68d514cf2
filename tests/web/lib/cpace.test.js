// CPace and SHA-512 in BigInt: the draft's vectors, Node's own implementations, and those of both languages.

import assert from "node:assert/strict";
import { createHash, createPrivateKey, createPublicKey, diffieHellman, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Exchange, x25519 } from "../../../src/peerfetch_fast/web/lib/cpace.js";
import { CodeAccess } from "../../../src/peerfetch_fast/web/lib/identity.js";
import { sha512 } from "../../../src/peerfetch_fast/web/lib/sha512.js";

const VECTORS = JSON.parse(readFileSync(new URL("../../vectors/peerfetch2.json", import.meta.url), "utf8"));
const bytes = (digits) => Uint8Array.from(Buffer.from(digits, "hex"));
const hex = (data) => Buffer.from(data).toString("hex");
const text = (value) => new TextEncoder().encode(value);

// draft-irtf-cfrg-cpace-21, "Test vector for CPace using group X25519 and hash SHA-512".
const CHANNEL = bytes("6f630b425f726573706f6e6465720b415f696e69746961746f72");
const SESSION = bytes("7e4b4791d6a8ef019b936c79fb7f2c57");
const SCALARS = [
  bytes("21b4f4bd9e64ed355c3eb676a28ebedaf6d8f17bdc365995b319097153044080"),
  bytes("848b0779ff415f0af4ea14df9dd1d3c29ac41d836c7808896c4eba19c51ac40a"),
];
const KEY =
  "a051ee5ee2499d16da3f69f430218b8ea94a18a45b67f9e86495b382c33d14a5" +
  "c38cecc0cc834f960e39e0d1bf7d76b9ef5d54eecc5e0f386c97ad12da8c3d5f";
const LOW_ORDER = [
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
  "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];
const ofTheDraft = (scalar) => new Exchange(text("Password"), CHANNEL, scalar, SESSION);

test("the draft's vector", () => {
  const [one, other] = SCALARS.map(ofTheDraft);
  assert.equal(hex(one.share), "1b02dad6dbd29a07b6d28c9e04cb2f184f0734350e32bb7e62ff9dbcfdb63d15");
  assert.equal(hex(other.share), "20cda5955f82c4931545bcbf40758ce1010d7db4db2a907013d79c7a8fcf957f");
  const [a, b] = [text("ADa"), text("ADb")];
  assert.equal(hex(one.key(other.share, { initiator: true, localData: a, remoteData: b })), KEY);
  assert.equal(hex(other.key(one.share, { initiator: false, localData: b, remoteData: a })), KEY);
});

test("points of low order, and shares of another length, are refused", () => {
  const one = ofTheDraft(SCALARS[0]);
  for (const share of [...LOW_ORDER.map(bytes), new Uint8Array(31).fill(9), new Uint8Array(33).fill(9)]) {
    assert.throws(() => one.key(share, { initiator: true }), { name: "SessionError" });
  }
});

test("SHA-512 is Node's, whatever the length", () => {
  for (const length of [0, 1, 110, 111, 112, 113, 127, 128, 129, 239, 240, 1000]) {
    const data = randomBytes(length);
    assert.equal(hex(sha512(data)), createHash("sha512").update(data).digest("hex"));
  }
});

test("X25519 is Node's", () => {
  const pkcs8 = bytes("302e020100300506032b656e04220420");
  const spki = bytes("302a300506032b656e032100");
  for (let i = 0; i < 20; i++) {
    const [scalar, point] = [randomBytes(32), randomBytes(32)];
    const privateKey = createPrivateKey({ key: Buffer.concat([pkcs8, scalar]), format: "der", type: "pkcs8" });
    const publicKey = createPublicKey({ key: Buffer.concat([spki, point]), format: "der", type: "spki" });
    assert.equal(hex(x25519(scalar, point)), hex(diffieHellman({ privateKey, publicKey })));
  }
});

for (const vector of VECTORS.codes) {
  test(`codes: ${vector.name}`, () => {
    const ends = [bytes(vector.opener), bytes(vector.responder)];
    const opener = new CodeAccess(vector.code, ends, true, bytes(vector.opener_scalar));
    const responder = new CodeAccess(vector.code, ends, false, bytes(vector.responder_scalar));
    assert.equal(hex(opener.share), vector.opener_share);
    assert.equal(hex(responder.share), vector.responder_share);
    opener.takeShare(responder.share);
    responder.takeShare(opener.share);
    for (const [access, ours, theirs] of [
      [opener, vector.opener_proof, vector.responder_proof],
      [responder, vector.responder_proof, vector.opener_proof],
    ]) {
      assert.equal(hex(access.proof), ours);
      assert.equal(hex(access.expected), theirs);
    }
  });
}
