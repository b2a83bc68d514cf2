// Blobs of what a device has, where there is no service worker, with a device and a document that a test plays.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { openUrls } from "../../../src/peerfetch_fast/web/page/urls.js";

let saved;

beforeEach(() => {
  saved = [];
  Object.defineProperty(globalThis, "navigator", { value: {}, configurable: true });
  const link = { click: () => saved.push(link.download) };
  globalThis.document = { createElement: () => link };
  mock.method(globalThis, "setTimeout", () => null); // lets go of a blob later
});

afterEach(() => {
  mock.restoreAll();
  delete globalThis.navigator;
  delete globalThis.document;
});

/** What saving `/a.txt` asks a device for that answers with these headers, and the transfer that is told of. */
async function save(headers) {
  const asked = [];
  const transfers = [];
  const fetch = async (path, init) => {
    asked.push([path, Object.fromEntries(new Headers(init.headers))]);
    return new Response("hello, hello", { headers });
  };
  const urls = await openUrls((transfer) => transfers.push(transfer));
  await urls.save({ id: "dev", fetch }, "/a.txt");
  const [{ size, done, ended, whole }] = transfers;
  return { asked, transfer: { size, done, ended, whole } };
}

test("what is saved is asked for uncoded, so that it can go on at a byte", async () => {
  const { asked, transfer } = await save({ "content-length": "12" });
  assert.deepEqual(asked, [["/a.txt", { "accept-encoding": "identity" }]]);
  assert.deepEqual(transfer, { size: 12, done: 12, ended: true, whole: true });
  assert.deepEqual(saved, ["a.txt"]);
});

test("of what comes coded nevertheless, the length of the code is not the size", async () => {
  const { transfer } = await save({ "content-encoding": "gzip", "content-length": "7" });
  assert.deepEqual(transfer, { size: null, done: 12, ended: true, whole: true });
});

test("what its sender's digests show to be damaged is neither saved nor called whole", async () => {
  const damaged = { read: () => Promise.reject(new TypeError("it came damaged")), cancel: () => {} };
  const peer = { id: "dev", fetch: async () => new Response("abc"), checked: async () => damaged };
  const transfers = [];
  const urls = await openUrls((transfer) => transfers.push(transfer));
  await urls.save(peer, "/a.txt");
  const [{ ended, whole, cancelled }] = transfers;
  assert.deepEqual({ ended, whole, cancelled }, { ended: true, whole: false, cancelled: false });
  assert.deepEqual(saved, []);
});
