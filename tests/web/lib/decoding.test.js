// Bodies of answers as they were before their Content-Encoding.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from "node:zlib";

import { ACCEPT_ENCODING, decoded, isEncoded, undecodable } from "../../../src/peerfetch_fast/web/lib/decoding.js";

const TEXT = "the same line again and again\n".repeat(5000);
const settled = () => new Promise((resolve) => setTimeout(resolve, 20));
const headers = (coding) => new Headers({ "content-encoding": coding });

/** What comes of `bytes` that come in pieces of `size`, and whether their stream was cancelled. */
function undone(bytes, coding, size = 1000) {
  const given = { at: 0, cancelled: null };
  const body = new ReadableStream(
    {
      pull(controller) {
        if (given.at >= bytes.length) return controller.close();
        controller.enqueue(new Uint8Array(bytes.subarray(given.at, given.at + size)));
        given.at += size;
      },
      cancel: (reason) => (given.cancelled = reason),
    },
    { highWaterMark: 0 },
  );
  assert.ok(isEncoded(headers(coding)));
  return Object.assign(given, { stream: decoded(body, headers(coding)) });
}

const text = (...arguments_) => new Response(undone(...arguments_).stream).text();

test("each coding that is announced is undone, whatever pieces it comes in", async () => {
  for (const size of [1, 1000, 1 << 20]) {
    assert.equal(await text(gzipSync(TEXT), "gzip", size), TEXT);
    assert.equal(await text(gzipSync(TEXT), "X-GZIP", size), TEXT);
    assert.equal(await text(deflateSync(TEXT), "deflate", size), TEXT);
    // As some servers send it.
    assert.equal(await text(deflateRawSync(TEXT), "deflate", size), TEXT);
  }
  const kinds = { gzip: gzipSync, deflate: deflateSync, br: brotliCompressSync };
  for (const coding of ACCEPT_ENCODING.split(", ")) assert.equal(await text(kinds[coding](TEXT), coding), TEXT);
});

test("the last coding is undone first", async () => {
  assert.equal(await text(gzipSync(deflateSync(TEXT)), "deflate, identity, gzip"), TEXT);
});

test("nothing at all is nothing, in any coding", async () => {
  assert.equal(await text(Buffer.alloc(0), "gzip"), "");
});

test("what is cut short or no gzip at all is an error, and nobody asks for more of it", async () => {
  const whole = gzipSync(TEXT);
  await assert.rejects(text(whole.subarray(0, -9), "gzip"), TypeError);
  const broken = undone(Buffer.alloc(10_000_000, "x"), "gzip");
  await assert.rejects(new Response(broken.stream).text(), TypeError);
  await settled();
  assert.ok(broken.cancelled);
});

test("an error of the connection stays what it is", async () => {
  const [failure, bytes] = [new TypeError("the connection broke"), gzipSync(TEXT)];
  const body = new ReadableStream({
    pull(controller) {
      if (this.sent) throw failure;
      controller.enqueue(new Uint8Array(bytes.subarray(0, 20)));
      this.sent = true;
    },
  });
  await assert.rejects(new Response(decoded(body, headers("gzip"))).text(), failure);
});

test("whoever has enough lets go of what comes", async () => {
  const given = undone(gzipSync(randomBytes(1_000_000)), "gzip");
  const reader = given.stream.getReader();
  assert.ok((await reader.read()).value.length > 0);
  await reader.cancel("enough");
  await settled();
  assert.equal(given.cancelled, "enough");
});

test("codings that cannot be undone are told from those that are nobody's", () => {
  assert.equal(isEncoded(headers("identity")), false);
  assert.equal(isEncoded(new Headers()), false);
  assert.equal(isEncoded(headers("mine")), false);
  assert.equal(undecodable(headers("mine")), null);
  const unknown = ["br", "zstd"].filter((coding) => !ACCEPT_ENCODING.includes(coding));
  for (const coding of unknown) {
    assert.equal(isEncoded(headers(`gzip, ${coding}`)), false);
    assert.equal(undecodable(headers(`gzip, ${coding}`)), coding);
  }
  const many = headers("gzip, ".repeat(6));
  assert.deepEqual([isEncoded(many), undecodable(many)], [false, "6 codings"]);
});
