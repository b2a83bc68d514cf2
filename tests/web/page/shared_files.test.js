// What a page answers to those who receive, and to those who ask for what they should not.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { ROOT, targetOf } from "../../../src/peerfetch_fast/web/page/manifest.js";
import { SharedFiles } from "../../../src/peerfetch_fast/web/page/shared_files.js";

const file = (text) => Object.assign(new Blob([text]), { lastModified: 1_700_000_000_000 });
const shared = () => new SharedFiles([{ path: "a/ü.txt", file: file("hello") }], { title: "t", by: "b" });
const ask = (sharing, target, init) => sharing.answer(new Request(`http://x.invalid${target}`, init), { id: "p" });

test("a file and its digest", async () => {
  const sharing = shared();
  assert.equal(await (await ask(sharing, targetOf("a/ü.txt"))).text(), "hello");
  const digests = await (await ask(sharing, `${ROOT}/digests`)).text();
  assert.equal(digests, `${createHash("sha256").update("hello").digest("hex")}\n`);
});

test("who asks for the end of the ZIP and goes does not have all of it read", async () => {
  let read = 0;
  const large = file("");
  const slice = (start, end) => {
    read += 1;
    return new Blob([new Uint8Array(Math.min(end, large.size) - start)]);
  };
  Object.defineProperties(large, { size: { value: 1 << 30 }, slice: { value: slice } });
  const sharing = new SharedFiles([{ path: "a", file: large }], { title: "t", by: "b" });
  const size = Number((await ask(sharing, `${ROOT}/zip`, { method: "HEAD" })).headers.get("content-length"));
  const { body, status } = await ask(sharing, `${ROOT}/zip`, { headers: { range: `bytes=${size - 1}-` } });
  assert.equal(status, 206);
  await body.cancel();
  assert.ok(read < 10, String(read));
});

test("what is not shared is not there", async () => {
  for (const target of [targetOf("b"), `${ROOT}/files/%`, `${ROOT}/digests/%ff`, `${ROOT}/files`, "/"]) {
    assert.equal((await ask(shared(), target)).status, 404, target);
  }
});

for (const name of ["stream", "events"]) {
  test(`a body without an end is not read to ${name}`, async () => {
    let pulled = 0;
    const body = new ReadableStream({
      pull: (controller) => {
        pulled += 65_536;
        if (pulled > 1 << 26) controller.error(new Error("it reads on"));
        else controller.enqueue(new Uint8Array(65_536).fill(32));
      },
    });
    const response = await ask(shared(), `${ROOT}/${name}`, { method: "POST", body, duplex: "half" });
    assert.equal(response.status, 400);
    assert.ok(pulled < 1 << 22, String(pulled));
  });
}

test("what a receiver says is text", async () => {
  const sharing = shared();
  const headers = { "share-name": encodeURIComponent("an\u202ena") };
  const body = JSON.stringify({ event: "failed", why: "a\u202eb\n".repeat(200) });
  assert.equal((await ask(sharing, `${ROOT}/events`, { method: "POST", headers, body })).status, 204);
  const [{ name, state, why }] = sharing.receivers;
  assert.deepEqual([name, state, why], ["anna", "failed", "ab".repeat(100)]);
});
