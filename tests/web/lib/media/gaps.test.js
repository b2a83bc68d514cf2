// Pictures that a device has left out are noticed, and what is only irregular is not.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Gaps } from "../../../../src/peerfetch_fast/web/lib/media/gaps.js";

/** A picture each 33 ms, of which every tenth is a key frame, but for those that `isLeftOut`. */
function watched(isLeftOut) {
  const gaps = new Gaps();
  let told = 0;
  for (let number = 0; number < 90; number++) {
    const now = number * 33;
    if (!isLeftOut(number)) gaps.take(now * 1000, number % 10 === 0, now);
    if (gaps.areThere(now)) told++;
  }
  return { gaps, told };
}

test("nothing is told of a camera whose pictures all come", () => {
  assert.equal(watched(() => false).told, 0);
});

test("a few pictures fewer are no slow network", () => {
  assert.equal(watched((number) => number % 10 === 9).told, 0);
});

test("it is told when the pictures before a key frame were left out, and for five seconds", () => {
  const { gaps, told } = watched((number) => number > 41 && number < 50);
  assert.equal(told, 40);
  assert.ok(gaps.areThere(50 * 33 + 4999));
  assert.ok(!gaps.areThere(50 * 33 + 5000));
});

test("it is told of a device that sends key frames alone", () => {
  const { told } = watched((number) => number % 10 !== 0);
  assert.equal(told, 80);
});

test("a camera of one picture a second is not slow", () => {
  const gaps = new Gaps();
  for (let second = 0; second < 20; second++) gaps.take(second * 1e6, second % 5 === 0, second * 1000);
  assert.ok(!gaps.areThere(19_000));
});

test("how long a camera was away says nothing of the network", () => {
  const { gaps } = watched(() => false);
  gaps.begin();
  gaps.take(60e6, true, 60_000);
  assert.ok(!gaps.areThere(60_000));
});
