// Bodies whose connection breaks, taken up again from a device that is played here.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { SessionCode, SessionError } from "../../../src/peerfetch_fast/web/lib/errors.js";
import { resumingReader } from "../../../src/peerfetch_fast/web/lib/resume.js";

const FILE = Uint8Array.from({ length: 1000 }, (_, i) => i & 255);
const lost = () => new TypeError("lost", { cause: new SessionError(SessionCode.INTERNAL_ERROR, "lost") });

/** A body of `bytes` that breaks with `error` after them; the end if there is none. */
function body(bytes, error = null) {
  const pieces = [bytes.subarray(0, 10), bytes.subarray(10)].filter((piece) => piece.length);
  return new ReadableStream({
    pull(controller) {
      if (pieces.length) return controller.enqueue(pieces.shift());
      return error ? controller.error(error) : controller.close();
    },
  });
}

function whole(until, { error = lost(), ...more } = {}) {
  const headers = { "content-length": "1000", etag: '"one"', ...more };
  for (const [name, value] of Object.entries(headers)) if (value === null) delete headers[name];
  return new Response(body(FILE.subarray(0, until), error), { headers });
}

/** A device that answers by each of `answers` in turn, from the Range that was asked for. */
function device(...answers) {
  const asked = [];
  const peer = {
    state: "connected",
    async fetch(target, { headers }) {
      asked.push([headers.get("range"), headers.get("if-range"), headers.get("x-kept")]);
      return answers.shift()(...headers.get("range").match(/\d+/g).map(Number));
    },
  };
  return { peer, asked };
}

const part = (until = 1000, error = null) => (first, last) =>
  new Response(body(FILE.subarray(first, Math.min(until, last + 1)), error), {
    status: 206,
    headers: { "content-range": `bytes ${first}-${last}/1000` },
  });

async function readAll(reader) {
  const pieces = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(pieces).arrayBuffer());
    pieces.push(value);
  }
}

const init = { headers: [["x-kept", "yes"]] };

test("what breaks goes on at the byte where it was, as often as it takes", async () => {
  const { peer, asked } = device(part(700, lost()), part());
  assert.deepEqual(await readAll(resumingReader(peer, "/file", init, whole(300))), FILE);
  assert.deepEqual(asked, [["bytes=300-999", '"one"', "yes"], ["bytes=700-999", '"one"', "yes"]]);
});

test("a part goes on within itself", async () => {
  const { peer, asked } = device(part());
  const headers = { "content-range": "bytes 100-499/1000", etag: '"one"' };
  const first = new Response(body(FILE.subarray(100, 200), lost()), { status: 206, headers });
  assert.deepEqual(await readAll(resumingReader(peer, "/file", init, first)), FILE.subarray(100, 500));
  assert.equal(asked[0][0], "bytes=200-499");
});

test("a file that has changed is not sewn together", async () => {
  const answers = [
    () => whole(1000, { error: null, etag: '"two"' }),
    (first, last) => new Response(body(FILE), { status: 206, headers: { "content-range": `bytes 0-${last}/1000` } }),
    (first, last) => new Response(body(FILE), { status: 206, headers: { "content-range": `bytes ${first}-${last}/2000` } }),
    () => new Response(null, { status: 404 }),
  ];
  for (const answer of answers) {
    const { peer } = device(answer);
    await assert.rejects(readAll(resumingReader(peer, "/file", init, whole(300))), /not there any more/);
  }
});

test("what cannot be told to be the same breaks off", async () => {
  const date = new Date().toUTCString();
  for (const more of [
    { etag: null },
    { etag: 'W/"one"' },
    { etag: null, "last-modified": date, date },
    { "content-length": null },
    { "content-encoding": "gzip" },
  ]) {
    const { peer, asked } = device();
    await assert.rejects(readAll(resumingReader(peer, "/file", init, whole(300, more))), /lost/);
    assert.deepEqual(asked, []);
  }
  const { peer } = device();
  await assert.rejects(readAll(resumingReader(peer, "/file", { method: "POST" }, whole(300))), /lost/);
});

test("a date that lies behind will do", async () => {
  const { peer, asked } = device(part());
  const dates = { date: "Sat, 28 Nov 2026 10:00:00 GMT", "last-modified": "Sat, 28 Nov 2026 09:00:00 GMT" };
  const first = whole(300, { etag: null, ...dates });
  assert.deepEqual(await readAll(resumingReader(peer, "/file", init, first)), FILE);
  assert.equal(asked[0][1], dates["last-modified"]);
});

test("an answer that the device cuts short is cut short", async () => {
  const { peer, asked } = device();
  const error = new TypeError("the device gave up");
  await assert.rejects(readAll(resumingReader(peer, "/file", init, whole(300, { error }))), /gave up/);
  assert.deepEqual(asked, []);
});

test("all bytes were there when it broke", async () => {
  const { peer, asked } = device();
  assert.deepEqual(await readAll(resumingReader(peer, "/file", init, whole(1000))), FILE);
  assert.deepEqual(asked, []);
});

test("it waits for a connection, until the peer is closed", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const attempts = [];
    const peer = { state: "reconnecting", fetch: async () => Promise.reject(attempts.push("no") && lost()) };
    const reading = readAll(resumingReader(peer, "/file", init, whole(300)));
    reading.catch(() => {});
    while (attempts.length < 3) {
      await new Promise((resolve) => setImmediate(resolve));
      mock.timers.tick(1000);
    }
    peer.state = "closed";
    const failed = assert.rejects(reading, /lost/);
    for (let i = 0; i < 20; i++) {
      await new Promise((resolve) => setImmediate(resolve));
      mock.timers.tick(1000);
    }
    await failed;
  } finally {
    mock.timers.reset();
  }
});

test("who gives up is asked no more", async () => {
  const controller = new AbortController();
  const { peer, asked } = device();
  const reader = resumingReader(peer, "/file", { ...init, signal: controller.signal }, whole(300));
  await reader.read();
  controller.abort();
  await assert.rejects(readAll(reader), /lost/);
  assert.deepEqual(asked, []);
});
