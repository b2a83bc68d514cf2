import assert from "node:assert/strict";
import test from "node:test";

import { Segments } from "../../../../../src/peerfetch_fast/web/lib/smoke/old/segments.js";

/** As much of an RTCDataChannel as is used. */
class Channel {
  label = "7";
  readyState = "open";
  bufferedAmount = 0;
  sent = [];

  send(data) {
    this.sent.push(data);
  }

  close() {
    this.readyState = "closed";
    queueMicrotask(() => this.onclose());
  }

  take(...bytes) {
    this.onmessage({ data: Uint8Array.from(bytes).buffer });
  }
}

function played() {
  const channel = new Channel();
  const budget = { held: 0, add: (bytes) => (budget.held += bytes), take: (bytes) => (budget.held -= bytes) };
  const segments = new Segments(channel, budget);
  const errors = [];
  segments.addEventListener("error", ({ error }) => errors.push(error.message));
  const closed = new Promise((resolve) => segments.addEventListener("close", resolve));
  return { channel, budget, segments, errors, closed };
}

test("empty messages and segments that nobody takes cost something, which is given back", async () => {
  for (const type of [0, 1]) {
    const { channel, budget, segments, closed } = played();
    for (let at = 0; at < 100; at++) channel.take(type);
    assert.ok(budget.held > 100 * 100);
    segments.close();
    await closed;
    assert.equal(budget.held, 0);
  }
});

test("messages that are taken are given back", async () => {
  const { channel, budget, segments } = played();
  const taken = [];
  segments._read(async (message) => taken.push([...message]));
  channel.take(1, 10, 11);
  channel.take(0, 12);
  channel.take(0);
  await new Promise(setImmediate);
  assert.deepEqual(taken, [[10, 11, 12], []]);
  assert.equal(budget.held, 0);
});

test("after what is no segment nothing is taken, whatever waits to be sent", async () => {
  const { channel, budget, segments, errors } = played();
  channel.bufferedAmount = 1 << 30;
  segments.send("it waits");
  for (let at = 0; at < 100; at++) channel.take(7, at);
  channel.take(0, 1);
  assert.deepEqual(errors, ["Received invalid socket message."]);
  assert.equal(budget.held, 0);
  assert.equal(channel.readyState, "open");
  channel.bufferedAmount = 0;
  channel.onbufferedamountlow();
  assert.equal(channel.sent.length, 1);
  assert.equal(channel.readyState, "closed");
});
