// What was written to a stream and has not left yet.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Outgoing } from "../../../src/peerfetch_fast/web/lib/outgoing.js";

const bytes = (...values) => Uint8Array.from(values);

test("pieces leave in order, wherever they are cut, at the place that is asked for", () => {
  const outgoing = new Outgoing();
  for (const piece of [bytes(1, 2, 3), bytes(4), bytes(5, 6)]) outgoing.push(piece);
  assert.equal(outgoing.length, 6);
  const target = new Uint8Array(8);
  outgoing.copy(target, 1, 2);
  assert.deepEqual([...target, outgoing.length], [0, 1, 2, 0, 0, 0, 0, 0, 4]);
  outgoing.copy(target, 3, 3);
  assert.deepEqual([...target, outgoing.length], [0, 1, 2, 3, 4, 5, 0, 0, 1]);
  outgoing.push(bytes(7));
  outgoing.copy(target, 6, 2);
  assert.deepEqual([...target, outgoing.length], [0, 1, 2, 3, 4, 5, 6, 7, 0]);
  outgoing.copy(target, 0, 0);
  assert.equal(target[0], 0);
});

test("nothing of what is thrown away leaves later", () => {
  const outgoing = new Outgoing();
  outgoing.push(bytes(1, 2, 3));
  const target = new Uint8Array(2);
  outgoing.copy(target, 0, 1);
  outgoing.clear();
  assert.equal(outgoing.length, 0);
  outgoing.push(bytes(8, 9));
  outgoing.copy(target, 0, 2);
  assert.deepEqual([...target], [8, 9]);
});
