// The messages of peerfetch.1, against the vectors that Python's pass.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { PING, encodeRequest, parseHead } from "../../../src/peerfetch_fast/web/lib/old_messages.js";

const VECTORS = JSON.parse(
  readFileSync(new URL("../../vectors/peerfetch1.json", import.meta.url), "utf8"),
);
const fromVector = (request) => ({ ...request, body: Uint8Array.from(Buffer.from(request.body, "hex")) });

test("requests, as old proxies read them", () => {
  for (const { request, fields } of VECTORS.requests) {
    assert.deepEqual(JSON.parse(encodeRequest(fromVector(request))), fields);
  }
  assert.deepEqual(JSON.parse(PING), { url: "ping", method: "GET" });
});

test("bodies that the protocol has no place for", () => {
  for (const request of VECTORS.noRequests) {
    assert.throws(() => encodeRequest(fromVector(request)), { name: "MessageError", message: /neither/ });
  }
});

test("numbers in JSON stay what they are", () => {
  const body = new TextEncoder().encode('{"id": 12345678901234567890, "x": 1.0}');
  const message = encodeRequest({ url: "/", method: "PUT", contentType: "application/json", body });
  assert.ok(message.includes('"json":{"id": 12345678901234567890, "x": 1.0}'));
});

test("heads", () => {
  for (const { message, head } of VECTORS.heads) {
    assert.deepEqual(parseHead(message), head);
    assert.deepEqual(parseHead(new TextEncoder().encode(message).buffer), head);
  }
});

test("heads that are none", () => {
  for (const message of [...VECTORS.noHeads, " ".repeat(5000), new ArrayBuffer(5000)]) {
    assert.throws(() => parseHead(message), { name: "MessageError" });
  }
});
