/** A ZIP that is made while it is sent, and whose length is known before (docs/sharing.md). */

import { centralHeader, descriptor, endOf, lengthOf, localHeader } from "../lib/zip_parts.js";

/** Bytes that are read at a time. */
const CHUNK = 1 << 20;

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let crc = n;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

/** The CRC-32 of `data` behind what has the CRC-32 `crc`. */
export function crc32(data, crc = 0) {
  let sum = ~crc;
  for (const octet of data) sum = TABLE[(sum ^ octet) & 255] ^ (sum >>> 8);
  return ~sum >>> 0;
}

/**
 * `{size, from}`: bytes of the ZIP of `files`, `{path, file}`, and an async generator of them from a place on. An empty
 * part stands for what was read for a CRC-32 alone: of that there can be as much as the files have.
 */
export function zipOf(files) {
  const entries = files.map(({ path, file }) => ({ path, size: file.size, modified: file.lastModified }));
  const places = [0];
  for (const entry of entries) {
    places.push(places.at(-1) + lengthOf(localHeader(entry)) + entry.size + lengthOf(descriptor(entry, 0)));
  }
  const at = places.at(-1);
  const directory = entries.reduce((sum, entry, i) => sum + lengthOf(centralHeader(entry, 0, places[i])), 0);
  const crcs = new Map();

  /** A file's octets from `skip` on; what is before is read for the CRC-32, unless that is known, and is nothing. */
  async function* contents({ file }, i, skip) {
    let [crc, start] = crcs.has(i) ? [crcs.get(i), skip] : [0, 0];
    for (; start < file.size; start += CHUNK) {
      const data = new Uint8Array(await file.slice(start, start + CHUNK).arrayBuffer());
      if (!crcs.has(i)) crc = crc32(data, crc);
      yield data.subarray(Math.min(Math.max(skip - start, 0), data.length));
    }
    crcs.set(i, crc);
  }

  async function* all(start) {
    for (const [i, entry] of entries.entries()) {
      if (start >= places[i + 1]) continue;
      const head = localHeader(entry);
      yield* head;
      const skip = Math.min(Math.max(start - places[i] - lengthOf(head), 0), entry.size);
      yield skip; // octets that are not made
      yield* contents(files[i], i, skip);
      yield* descriptor(entry, crcs.get(i));
    }
    for (const [i, entry] of entries.entries()) {
      if (!crcs.has(i)) yield* contents(files[i], i, entry.size);
      yield* centralHeader(entry, crcs.get(i), places[i]);
    }
    yield* endOf(entries.length, directory, at);
  }

  async function* from(start) {
    let made = places.findLast((place) => place <= start && place < at) ?? 0;
    if (start >= at) made = at;
    for await (const part of all(start)) {
      const size = typeof part === "number" ? part : part.length;
      if (typeof part !== "number" && (size === 0 || made + size > start)) yield part.subarray(Math.max(start - made, 0));
      made += size;
    }
  }

  return { size: at + directory + lengthOf(endOf(entries.length, directory, at)), from };
}
