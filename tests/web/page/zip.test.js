// The ZIP that a page makes while it sends it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { crc32, zipOf } from "../../../src/peerfetch_fast/web/page/zip.js";

const file = (text, lastModified = 1_700_000_000_000) => Object.assign(new Blob([text]), { lastModified });
const FILES = [
  { path: "a/ü.txt", file: file("hello") },
  { path: "empty", file: file("") },
  { path: "large", file: file("x".repeat(3_000_000), 0) },
];

async function octets(zip, start = 0) {
  const parts = [];
  for await (const part of zip.from(start)) parts.push(part);
  return Buffer.concat(parts);
}

test("the checksum is the known one", () => assert.equal(crc32(Buffer.from("123456789")), 0xcbf43926));

test("its length is known, and other programs read it", async () => {
  const zip = zipOf(FILES);
  const whole = await octets(zip);
  assert.equal(whole.length, zip.size);
  const directory = mkdtempSync(join(tmpdir(), "zip-"));
  try {
    writeFileSync(join(directory, "x.zip"), whole);
    const script = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; print(*z.namelist())";
    const env = { ...process.env, PYTHONIOENCODING: "utf-8" };
    const said = execFileSync("python3", ["-c", script, join(directory, "x.zip")], { encoding: "utf8", env });
    assert.equal(said.trim(), "a/ü.txt empty large");
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("from any place on", async () => {
  const whole = await octets(zipOf(FILES));
  const known = zipOf(FILES);
  await octets(known);
  for (const start of [1, 29, 37, 40, 41, 45, 60, 100, 150, 2_000_000, whole.length - 200, whole.length - 30, whole.length - 1]) {
    for (const zip of [known, zipOf(FILES)]) {
      assert.ok(whole.subarray(start).equals(await octets(zip, start)), `from ${start}`);
    }
  }
});
