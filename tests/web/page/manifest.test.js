// The manifest as the page reads it, and those that lie.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Manifest, isPath } from "../../../src/peerfetch_fast/web/page/manifest.js";

const HEAD = { v: 1, piece: 8 << 20, title: "t", by: "b", entries: 2, files: 1, total: 5 };
const read = (...lines) =>
  Manifest.read(new Blob(lines.map((line) => `${typeof line === "string" ? line : JSON.stringify(line)}\n`)).stream());

test("what is offered", async () => {
  const manifest = await read(HEAD, { path: "a/", modified: 1, mode: 1 }, { path: "a/ü\n", size: 5, modified: 1, mode: 1 });
  assert.deepEqual(manifest.entries, [{ path: "a/", modified: 1 }, { path: "a/ü\n", size: 5, modified: 1 }]);
  assert.equal(manifest.files, 1);
});

test("what is no manifest is refused", async () => {
  const file = { path: "a", size: 5 };
  for (const lines of [
    [],
    ["{"],
    ["null"],
    [{ ...HEAD, v: 2 }],
    [{ ...HEAD, entries: 1e9 }, file],
    [{ ...HEAD, text: {} }, file, file],
    [HEAD, file],
    [HEAD, file, file, file],
    [HEAD, file, null],
    [HEAD, file, { path: "../a", size: 5 }],
    [HEAD, file, { path: "b", size: -1 }],
    [HEAD, file, `{"path": "${"x".repeat(70_000)}`],
  ]) {
    await assert.rejects(read(...lines), JSON.stringify(lines).slice(0, 80));
  }
});

test("who shares is shown as text, and in short", async () => {
  const { title, by } = await read({ ...HEAD, entries: 0, title: "a\u202egpj.exe".repeat(100), by: "x\n\u0007y".repeat(100) });
  assert.deepEqual([title.slice(0, 16), title.length, by.slice(0, 4), by.length], ["agpj.exeagpj.exe", 200, "xyxy", 64]);
});

test("paths take no more memory than so much", async () => {
  let sent = 0;
  const head = JSON.stringify({ ...HEAD, entries: 250_000 });
  const lines = Array.from({ length: 100 }, (_, i) => JSON.stringify({ path: `${i}${"x".repeat(4000)}`, size: 5 })).join("\n");
  const pull = (controller) => {
    controller.enqueue(new TextEncoder().encode(`${sent ? lines : head}\n`));
    sent += lines.length;
  };
  await assert.rejects(Manifest.read(new ReadableStream({ pull })), /share an archive/);
  assert.ok(sent < 1 << 27, String(sent));
});

test("names that lead elsewhere are none", () => {
  for (const path of ["", "/", "/a", "..", "a/../b", "a//b", "./a", "a\0", "x".repeat(4097), 7, null]) assert.ok(!isPath(path), String(path));
  for (const path of ["a", "a/b/", "...", "a\\b", "<b>"]) assert.ok(isPath(path), path);
});
