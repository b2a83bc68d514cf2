// Small pictures that come into sight and leave it, with a device, a document and a decoder that a test plays.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { Thumbnails } from "../../../src/peerfetch_fast/web/page/thumbnails.js";

const context = { translate() {}, rotate() {}, scale() {}, drawImage() {} };
const settled = () => new Promise((resolve) => setTimeout(resolve, 5));

let look;
let decoding;

beforeEach(() => {
  decoding = [];
  globalThis.IntersectionObserver = class {
    constructor(seen) {
      look = (target, isIntersecting) => seen([{ target, isIntersecting }]);
    }
    observe() {}
    disconnect() {}
  };
  globalThis.document = { createElement: () => ({ getContext: () => context }) };
});

const shrink = () =>
  new Promise((resolve) => decoding.push(() => resolve({ width: 1, height: 1, close() {} })));

afterEach(() => {
  for (const name of ["IntersectionObserver", "document"]) delete globalThis[name];
});

/** Places for pictures, each with how often it was filled, and the paths that the device was asked for. */
function folder(count) {
  const asked = [];
  const fetch = async (path, { signal }) => {
    signal.throwIfAborted();
    asked.push(path);
    return new Response("a picture");
  };
  const thumbnails = new Thumbnails(shrink);
  thumbnails.start({ fetch }, { streaming: false });
  const holders = Array.from({ length: count }, (_, i) => {
    const holder = { childNodes: [], filled: 0, replaceChildren: () => holder.filled++ };
    thumbnails.add(holder, `/${i}.png`, 1000);
    return holder;
  });
  return { asked, holders };
}

test("a picture that leaves the sight while it is decoded is made when it comes back", async () => {
  const { asked, holders: [holder] } = folder(1);
  look(holder, true);
  await settled();
  look(holder, false);
  look(holder, true);
  await settled();
  assert.deepEqual([asked.length, decoding.length], [1, 1]);
  decoding.shift()();
  await settled();
  assert.deepEqual([asked.length, holder.filled], [2, 0]);
  decoding.shift()();
  await settled();
  assert.equal(holder.filled, 1);
  look(holder, false);
  look(holder, true);
  await settled();
  assert.deepEqual([asked.length, holder.filled], [2, 1]);
});

test("four are made at once, those given up counted, and none out of sight", async () => {
  const { asked, holders } = folder(10);
  for (const holder of holders) look(holder, true);
  await settled();
  assert.deepEqual(asked, ["/0.png", "/1.png", "/2.png", "/3.png"]);
  for (const holder of holders.slice(0, 5)) look(holder, false);
  look(holders[0], true);
  await settled();
  assert.equal(decoding.length, 4);
  while (decoding.length) {
    assert.ok(decoding.length <= 4);
    decoding.shift()();
    await settled();
  }
  assert.deepEqual(holders.map(({ filled }) => filled), [1, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
});
