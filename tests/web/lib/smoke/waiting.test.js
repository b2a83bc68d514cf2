import assert from "node:assert/strict";
import test from "node:test";

import { Barrier, Semaphore, Writable } from "../../../../src/peerfetch_fast/web/smoke.js";

test("work waits at a barrier", async () => {
  const barrier = new Barrier();
  const seen = [];
  const work = barrier.run(() => seen.push("done"));
  await Promise.resolve();
  assert.deepEqual(seen, []);
  barrier.resume();
  assert.equal(await work, 1);
  assert.equal(await barrier.run(() => 7), 7);
});

test("so many works run at once, in order, whatever becomes of those before", async () => {
  const semaphore = new Semaphore(2);
  const ends = [];
  const begun = [];
  const works = [0, 1, 2, 3].map((number) =>
    semaphore.run(() => {
      begun.push(number);
      return new Promise((resolve, reject) => ends.push(number === 0 ? reject : resolve));
    }),
  );
  await Promise.resolve();
  assert.deepEqual(begun, [0, 1]);
  ends[0](new Error("expected"));
  await assert.rejects(works[0], /expected/);
  for (const at of [1, 2, 3]) {
    ends[at](at);
    assert.equal(await works[at], at);
  }
  assert.deepEqual(begun, [0, 1, 2, 3]);
});

test("what is written is taken in order, and an error stays", async () => {
  const seen = [];
  const writable = new Writable({
    start: () => seen.push("start"),
    write: async (value) => {
      if (value === "bad") throw new Error("refused");
      seen.push(value);
    },
    close: () => seen.push("close"),
  });
  await Promise.all([writable.write("a"), writable.write("b")]);
  assert.deepEqual(seen, ["start", "a", "b"]);
  await assert.rejects(writable.write("bad"), /refused/);
  await assert.rejects(writable.write("c"), /refused/);
  await assert.rejects(writable.close(), /refused/);
});
