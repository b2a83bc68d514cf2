// What is shared, checked while it is read, in whatever pieces it comes.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";

import { CheckedReader, PIECE } from "../../../src/peerfetch_fast/web/lib/checked.js";
import {
  centralHeader, descriptor, endOf, lengthOf, localHeader, zipLayout,
} from "../../../src/peerfetch_fast/web/lib/zip_parts.js";

const readerOf = (data, size) => {
  let at = 0;
  return {
    read: async () => (at >= data.length ? { done: true } : { done: false, value: data.subarray(at, (at += size)) }),
    cancel: async () => {},
  };
};

/** A ZIP and the digests of what is in it; times and checksums are whatever they are. */
function zipped(files) {
  const [parts, places, digests] = [[], [], []];
  const entries = files.map(({ path, data }) => ({ path, size: data?.length, modified: 1_700_000_000_000 }));
  for (const [i, { data = Buffer.alloc(0) }] of files.entries()) {
    places.push(lengthOf(parts));
    parts.push(...localHeader(entries[i]), data, ...descriptor(entries[i], 0x12345678));
    for (let at = 0; at < data.length; at += PIECE) {
      digests.push(`${createHash("sha256").update(data.subarray(at, at + PIECE)).digest("hex")}\n`);
    }
  }
  const at = lengthOf(parts);
  for (const [i, entry] of entries.entries()) parts.push(...centralHeader(entry, 0x12345678, places[i]));
  parts.push(...endOf(entries.length, lengthOf(parts) - at, at));
  return { octets: Buffer.concat(parts), digests: Buffer.from(digests.join("")), at };
}

const FILES = [
  { path: "src/" },
  { path: "src/empty", data: Buffer.alloc(0) },
  { path: "src/größe", data: randomBytes(1000) },
  { path: "src/large", data: randomBytes(PIECE + 5) },
  { path: "src/exact", data: randomBytes(PIECE) },
  { path: "src/nothing/", data: undefined },
  { path: "src/last", data: Buffer.alloc(0) },
];
const ENTRIES = FILES.map(({ path, data }) => ({ path, ...(data && { size: data.length }) }));

async function readAll(octets, digests, size, layout = zipLayout(ENTRIES)) {
  const reader = new CheckedReader(readerOf(octets, size), layout, readerOf(digests, 7));
  const found = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return Buffer.concat(found);
    found.push(value);
  }
}

for (const size of [777, 65_536, 100_000_000]) {
  test(`a ZIP in pieces of ${size}`, async () => {
    const { octets, digests } = zipped(FILES);
    assert.deepEqual(await readAll(octets, digests, size), octets);
  });
}

test("one file", async () => {
  const data = randomBytes(PIECE + 9);
  const { digests } = zipped([{ path: "x", data }]);
  assert.deepEqual(await readAll(data, digests, 100_000, [{ skip: 0, size: data.length }]), data);
  assert.deepEqual(await readAll(Buffer.alloc(0), Buffer.alloc(0), 9, [{ skip: 0, size: 0 }]), Buffer.alloc(0));
});

test("one octet that is another one is found", async () => {
  const { octets, digests } = zipped(FILES);
  octets[octets.length - PIECE] ^= 1; // within the exact one: headers are much smaller
  await assert.rejects(readAll(octets, digests, 65_536), /damaged/);
});

test("digests without an end are not kept", async () => {
  const { octets } = zipped(FILES);
  const endless = { read: async () => ({ done: false, value: new Uint8Array(1000).fill(48) }), cancel: async () => {} };
  const reader = new CheckedReader(readerOf(octets, 100_000_000), zipLayout(ENTRIES), endless);
  await assert.rejects(reader.read(), /a line is too long/);
});

test("what is cut short is found", async () => {
  const { octets, digests } = zipped(FILES);
  await assert.rejects(readAll(octets.subarray(0, octets.length - PIECE), digests, 65_536), /cut short/);
  await assert.rejects(readAll(octets, digests.subarray(0, 70), 65_536), /cut short/);
  await assert.rejects(readAll(octets.subarray(0, -1), digests, 65_536), /cut short/);
});

test("names and sizes are those that were offered, everywhere", async () => {
  const { octets, digests, at } = zipped(FILES);
  const [NAME, CENTRAL] = [30, at + 46];
  const lies = {
    "a name that leads out": [NAME, "../"],
    "such a name in the directory at the end": [CENTRAL, "../"],
    "something packed": [8, "\x08"],
    "a size": [octets.indexOf("src/empty") - 30 + 22, "\x01"],
    "a link": [at + 41, "\xa1"],
    "a file that others run as us": [at + 41, "\x4d"],
    "another place": [at + 42, "\x01"],
    "more entries": [octets.length - 12, "\xff"],
    "another directory": [octets.length - 6, "\x01"],
    "a comment": [octets.length - 2, "\x01"],
  };
  for (const [lie, [place, text]] of Object.entries(lies)) {
    const changed = Buffer.from(octets);
    changed.write(text, place, "latin1");
    await assert.rejects(readAll(changed, digests, 65_536), /names or sizes/, lie);
  }
  await assert.rejects(readAll(Buffer.concat([octets, Buffer.alloc(1)]), digests, 65_536), /more of it/);
});

test("a ZIP of more than 4 GiB and 65,535 entries is laid out as it is made", () => {
  const entries = Array.from({ length: 70_000 }, (_, i) => ({ path: `${i}`, size: i === 0 ? 5e9 : 0 }));
  const parts = [...zipLayout(entries)];
  const total = parts.reduce((sum, { octets, size }) => sum + (octets?.length ?? size), 0);
  assert.equal(total, 5_007_957_914, "as sharing/zipping.py makes it");
  assert.equal(parts.at(-1).octets.length, 22 + 56 + 20);
});
