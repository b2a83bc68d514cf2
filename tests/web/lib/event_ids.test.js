// The ids of events, noted as their stream passes.

import assert from "node:assert/strict";
import { test } from "node:test";

import { EventIds } from "../../../src/peerfetch_fast/web/lib/event_ids.js";

/** What is noted of a stream that comes in pieces of `size`; the stream itself comes through unchanged. */
async function noted(text, { size = 1000, ids = new EventIds(), mark = "#1" } = {}) {
  const bytes = new TextEncoder().encode(text);
  const body = new ReadableStream({
    start(controller) {
      for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
      controller.close();
    },
  });
  const passed = new Uint8Array(await new Response(ids.noted(body, mark)).arrayBuffer());
  assert.deepEqual(passed, bytes);
  return Buffer.from(ids.of(mark), "latin1").toString();
}

test("the id of the last event that was whole", async () => {
  for (const size of [1, 3, 1000]) {
    assert.equal(await noted("id: 7\ndata: x\n\nid: 8\ndata: y\n", { size }), "7");
    assert.equal(await noted("\ufeffid:ü\r\ndata: x\r\n\r\ndata: y\r\n\r\n", { size }), "ü");
    assert.equal(await noted("data: x\rid: 9\r\rid: 10\r", { size }), "9");
    assert.equal(await noted("id: 7\n\nid\n\n", { size }), "");
    assert.equal(await noted("id: 7\n\nid: a\0b\n\nidea: 3\n\nid : 4\n\n", { size }), "7");
    assert.equal(await noted(`id: 7\n\nid: ${"x".repeat(5000)}\n\n`, { size }), "7");
  }
});

test("it goes on from what was told before the connection broke", async () => {
  const ids = new EventIds();
  assert.equal(ids.of("#1"), "");
  await noted("id: 7\n\n", { ids });
  assert.equal(await noted("data: nothing new\n\n", { ids }), "7");
  assert.equal(await noted("id: 3\n\n", { ids, mark: "#2" }), "3");
  assert.equal(ids.of("#1"), "7");
  for (let other = 0; other < 300; other++) await noted("id: 1\n\n", { ids, mark: `#of ${other}` });
  assert.equal(ids.of("#1"), "");
});
