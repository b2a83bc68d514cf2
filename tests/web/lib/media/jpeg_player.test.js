// The pictures in a multipart/x-mixed-replace body.

import assert from "node:assert/strict";
import { test } from "node:test";

import { jpegsOf } from "../../../../src/peerfetch_fast/web/lib/media/jpeg_player.js";

const part = (text) => `--edge\r\nContent-Type: image/jpeg\r\nContent-Length: ${text.length}\r\n\r\n${text}\r\n`;

function bodyOf(text, size) {
  const bytes = new TextEncoder().encode(text);
  const pieces = [];
  for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size));
  return ReadableStream.from(pieces);
}

async function read(body) {
  const found = [];
  for await (const picture of jpegsOf(body)) found.push(new TextDecoder().decode(picture));
  return found;
}

test("pictures are found however they come", async () => {
  const pictures = ["one", "a second\r\n\r\none", "x".repeat(500)];
  for (const size of [1, 7, 64, 10_000]) {
    assert.deepEqual(await read(bodyOf(pictures.map(part).join(""), size)), pictures);
  }
});

test("what is no picture is refused", async () => {
  const heads = ["Content-Length: 0", "Content-Length: 99999999999", "Content-Type: image/jpeg", "x".repeat(5000)];
  for (const head of heads) await assert.rejects(read(bodyOf(`--edge\r\n${head}\r\n\r\n`, 100)), RangeError);
});
