// What comes in pieces is cut where its parts end.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Cutter } from "../../../../src/peerfetch_fast/web/lib/media/cutting.js";

const boxes = () => new Cutter(8, (header) => header.getUint32(0));
const box = (size, filling) => {
  const made = new Uint8Array(size).fill(filling);
  new DataView(made.buffer).setUint32(0, size);
  return made;
};

test("parts are the same however they come", () => {
  const parts = [box(8, 1), box(300, 2), box(9, 3)];
  const whole = new Uint8Array(parts.flatMap((part) => [...part]));
  for (const size of [1, 3, 8, 100, whole.length]) {
    const cutter = boxes();
    const found = [];
    for (let at = 0; at < whole.length; at += size) found.push(...cutter.feed(whole.subarray(at, at + size)));
    assert.deepEqual(found, parts);
  }
});

test("what is shorter than its header, or too large, is refused before there is memory for it", () => {
  for (const size of [0, 7, 0xffffffff]) {
    const header = new Uint8Array(8);
    new DataView(header.buffer).setUint32(0, size);
    assert.throws(() => boxes().feed(header), RangeError);
  }
});
