import assert from "node:assert/strict";
import { test } from "node:test";

import { readExif } from "../../../src/peerfetch_fast/web/page/exif.js";

const SMALL = [0xff, 0xd8, 1, 2, 3, 0xff, 0xd9];

/** The head of a JPEG as cameras write it. */
function jpeg({ little = false, orientation = 6, small = SMALL, start = null, before = [] } = {}) {
  const tiff = new DataView(new ArrayBuffer(68 + small.length));
  const put16 = (at, value) => tiff.setUint16(at, value, little);
  const put32 = (at, value) => tiff.setUint32(at, value, little);
  const entry = (at, tag, type, value) => {
    put16(at, tag);
    put16(at + 2, type);
    put32(at + 4, 1);
    if (type === 3) put16(at + 8, value);
    else put32(at + 8, value);
  };
  tiff.setUint16(0, little ? 0x4949 : 0x4d4d);
  put16(2, 42);
  put32(4, 8);
  put16(8, 1);
  entry(10, 0x0112, 3, orientation);
  put32(22, 26);
  put16(26, 2);
  entry(28, 0x0201, 4, start ?? 56);
  entry(40, 0x0202, 4, small.length);
  put32(52, 0);
  new Uint8Array(tiff.buffer).set(small, 56);
  const body = [...new TextEncoder().encode("Exif\0\0"), ...new Uint8Array(tiff.buffer)];
  const size = body.length + 2;
  return new Uint8Array([0xff, 0xd8, ...before, 0xff, 0xe1, size >> 8, size & 255, ...body, 0xff, 0xda, 0, 2]);
}

const found = (bytes) => {
  const { orientation, thumbnail } = readExif(bytes);
  return [orientation, thumbnail && [...thumbnail]];
};

test("the small picture and which way is up", () => {
  for (const little of [false, true]) {
    assert.deepEqual(found(jpeg({ little })), [6, SMALL]);
  }
  const before = [0xff, 0xe0, 0, 4, 1, 2];
  assert.deepEqual(found(jpeg({ before })), [6, SMALL]);
  assert.deepEqual(found(jpeg({ orientation: 9 })), [1, SMALL]);
});

test("pictures that have none, and what is none", () => {
  assert.deepEqual(found(jpeg({ small: [1, 2, 3, 4] })), [6, null]);
  assert.deepEqual(found(new Uint8Array([0xff, 0xd8, 0xff, 0xda, 0, 4])), [1, null]);
  assert.deepEqual(found(new TextEncoder().encode("\x89PNG\r\n\x1a\n")), [1, null]);
  assert.deepEqual(found(new Uint8Array()), [1, null]);
});

test("an offset that leads elsewhere leads nowhere", () => {
  for (const start of [69, 0xffff, 0xffffffff]) {
    assert.equal(readExif(jpeg({ start })).thumbnail, null);
  }
});

test("whatever is cut or changed is read without an error", () => {
  const whole = jpeg();
  for (let size = 0; size <= whole.length; size++) readExif(whole.subarray(0, size));
  for (let at = 0; at < whole.length; at++) {
    for (const value of [0, 1, 0x7f, 0xff]) {
      const changed = whole.slice();
      changed[at] = value;
      const { orientation } = readExif(changed);
      assert.ok(orientation >= 1 && orientation <= 8);
    }
  }
});
