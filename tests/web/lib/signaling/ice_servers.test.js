// What a signaling server may say of ICE servers.

import assert from "node:assert/strict";
import { test } from "node:test";

import { iceServersOf } from "../../../../src/peerfetch_fast/web/lib/signaling/ice_servers.js";

const serversOf = (...iceServers) => iceServersOf({ iceServers }).iceServers;

test("what every browser takes", () => {
  assert.deepEqual(serversOf({ urls: "stun:a.example" }), [{ urls: ["stun:a.example"] }]);
  const turn = { urls: ["turn:[::1]:3478?transport=tcp", "turns:a.example"], username: "u", credential: "p" };
  assert.deepEqual(serversOf({ ...turn, more: 1 }), [turn]);
});

test("what a browser would throw at is left out", () => {
  for (const bad of [null, 7, {}, { urls: "http://a" }, { urls: 7 }, { urls: "turn:a" }, { urls: "stun:a b" }]) {
    assert.deepEqual(serversOf(bad, { urls: "stun:a" }), [{ urls: ["stun:a"] }]);
  }
  assert.deepEqual(serversOf({ urls: ["turn:a"], username: "u", credential: "x".repeat(513) }), []);
  assert.deepEqual(serversOf({ urls: ["mailto:a", "stun:a"] }), [{ urls: ["stun:a"] }]);
  for (const payload of [undefined, null, 7, {}, { iceServers: "stun:a" }]) {
    assert.deepEqual(iceServersOf(payload), { iceServers: [], ttl: null });
  }
  assert.equal(serversOf(...Array(100).fill({ urls: "stun:a" })).length, 16);
});

test("a time that is neither a moment nor for ever", () => {
  const ttl = (value, iceServers = [{ urls: "stun:a" }]) => iceServersOf({ iceServers, ttl: value }).ttl;
  assert.deepEqual([600, 1, 1e12, 0, -1, "600", undefined].map((one) => ttl(one)), [600, 60, 604_800, null, null, null, null]);
  assert.equal(ttl(600, []), null);
});
