// What ends is begun again for as long as it is wanted.

import assert from "node:assert/strict";
import { test } from "node:test";

import { again } from "../../../../src/peerfetch_fast/web/lib/media/waiting.js";

/** Done until its fourth time, in which it is no longer wanted. */
async function tried(work) {
  const controller = new AbortController();
  const said = [];
  let times = 0;
  await again(controller.signal, {
    least: 1,
    most: 4,
    begins: () => said.push("begins"),
    work: async () => {
      if (++times === 4) controller.abort();
      await work(times);
    },
    ended: "It has ended.",
    waits: (message) => said.push(message),
  });
  return said;
}

test("it is said of each time why the next one is waited for, and nothing once it is not wanted", async () => {
  const said = await tried((times) => {
    if (times === 2) throw new Error("nobody is there");
  });
  const [ended, failed] = ["It has ended.", "Nobody is there"];
  assert.deepEqual(said, ["begins", ended, "begins", failed, "begins", ended, "begins"]);
});

test("nothing is begun that is not wanted", async () => {
  const work = () => assert.fail("it was begun");
  await again(AbortSignal.abort(), { least: 1, most: 4, begins: work, work, ended: "", waits: work });
});
