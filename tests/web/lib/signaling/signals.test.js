// What signaling messages may hold.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Inbox, checkedSignal } from "../../../../src/peerfetch_fast/web/lib/signaling/signals.js";

const offer = { type: "offer", peer: "eve", connectionId: "c1", sdp: "v=0" };
const LINE = "candidate:1 1 udp 1 127.0.0.1 9 typ host";
const candidate = (fields) => ({
  ...offer,
  type: "candidate",
  candidate: { candidate: LINE, sdpMid: "0", sdpMLineIndex: 0, ...fields },
});

test("a description longer than 65536 characters is none", () => {
  const long = "x".repeat(65536);
  assert.equal(checkedSignal({ ...offer, sdp: long }).sdp, long);
  assert.equal(checkedSignal({ ...offer, sdp: `${long}x` }), null);
  assert.equal(checkedSignal({ ...offer, type: "answer", sdp: `${long}x` }).sdp, null);
});

test("a type that is no text makes no signal", () => {
  for (const type of [7, null, ["offer"], { toString: 1 }]) assert.equal(checkedSignal({ ...offer, type }), null);
});

test("names are at most 128 characters long", () => {
  const long = "n".repeat(128);
  const names = { connectionId: long, protocol: long, label: long };
  const expected = { ...offer, ...names, restart: false };
  assert.deepEqual(checkedSignal({ ...offer, ...names }), expected);
  const signal = checkedSignal({ ...offer, protocol: `${long}n`, label: 5, restart: 1 });
  assert.deepEqual([signal.protocol, signal.label, signal.restart], [null, null, false]);
  assert.equal(checkedSignal({ ...offer, connectionId: `${long}n` }), null);
  assert.equal(checkedSignal({ ...offer, connectionId: "" }), null);
});

test("of a candidate no more is kept than what a browser takes", () => {
  const [signal, kept] = [checkedSignal(candidate({ more: "x".repeat(100_000) })), candidate({}).candidate];
  assert.deepEqual(signal.candidate, kept);
  assert.deepEqual(checkedSignal({ ...candidate({}), candidate: null }).candidate, {});
  assert.equal(checkedSignal(candidate({ sdpMLineIndex: "0" })).candidate.sdpMLineIndex, null);
  for (const fields of [{ candidate: "x".repeat(1025) }, { candidate: 5 }, { sdpMid: "x".repeat(1025) }, { sdpMid: 5 }]) {
    assert.equal(checkedSignal(candidate(fields)), null);
  }
  const longest = "x".repeat(1024);
  const { candidate: text } = checkedSignal(candidate({ candidate: longest, sdpMid: longest }));
  assert.deepEqual([text.candidate, text.sdpMid], [longest, longest]);
});

test("what has no known type, or no sender, is no signal", () => {
  for (const type of ["constructor", "hello", undefined, null, 5]) assert.equal(checkedSignal({ ...offer, type }), null);
  assert.equal(checkedSignal({ ...offer, peer: undefined }), null);
  assert.deepEqual(checkedSignal({ type: "left", peer: "eve", connectionId: "c1" }), { type: "left", peer: "eve" });
});

test("an inbox keeps 64 signals of its peer alone, in order", () => {
  const inbox = new Inbox("eve");
  inbox.take({ ...offer, peer: "mallory" });
  for (let i = 0; i < 100; i++) inbox.take({ ...offer, connectionId: i });
  const taken = [];
  inbox.emptyInto({ take: ({ connectionId }) => taken.push(connectionId) });
  assert.deepEqual(taken, [...Array(64).keys()]);
  inbox.emptyInto({ take: () => assert.fail() });
});
