// Requests and answers between two sessions in this process, with node's own Request and Response.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { gzipSync } from "node:zlib";

import { Block, blockHeader, jsonBlock } from "../../../src/peerfetch_fast/web/lib/blocks.js";
import { fetchPrepared, prepare } from "../../../src/peerfetch_fast/web/lib/client.js";
import { ACCEPT_ENCODING } from "../../../src/peerfetch_fast/web/lib/decoding.js";
import { only, sessions } from "../channels.js";

let open = null;
afterEach(async () => {
  const { client, server } = open;
  const left = () => client.statistics.openStreams + server.statistics.openStreams;
  for (let turn = 0; turn < 500 && left(); turn++) await settled();
  assert.equal(left(), 0, "streams are left open");
  client.abort();
  await Promise.all([client.closed, server.closed]);
});

/** A fetch whose other side is `handler`. */
function serving(handler) {
  open = sessions(handler);
  return async (input, init = {}) =>
    fetchPrepared(only(open.client), await prepare(input, init, "dev1"), "dev1");
}

/** A fetch whose other side sends these bytes and then ends. */
function raw(...pieces) {
  open = sessions(() => new Response());
  open.server.onstream = (stream) => {
    pieces.forEach((piece) => stream.queue(piece));
    stream.end();
    stream.stop(0x100);
  };
  return async (input, init = {}) =>
    fetchPrepared(only(open.client), await prepare(input, init, "dev1"), "dev1");
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 20));

test("a Response like fetch's", async () => {
  const fetch = serving((request) => {
    const { pathname, search } = new URL(request.url);
    return Response.json({ method: request.method, pathname, search }, { status: 201 });
  });
  const response = await fetch("peer://dev1/a b/../c?x=1#fragment");
  assert.ok(response instanceof Response);
  assert.equal(response.status, 201);
  assert.equal(response.headers.get("content-type"), "application/json");
  assert.equal(response.url, "peer://dev1/c?x=1");
  assert.deepEqual(await response.json(), { method: "GET", pathname: "/c", search: "?x=1" });
});

test("bodies of every kind go up with their type and length", async () => {
  const fetch = serving(async (request) =>
    Response.json([request.headers.get("content-type"), await request.text()]),
  );
  const ask = async (body) => (await fetch("/", { method: "POST", body })).json();
  assert.deepEqual(await ask("grüße"), ["text/plain;charset=UTF-8", "grüße"]);
  assert.deepEqual(await ask(new URLSearchParams({ a: "b c" })), [
    "application/x-www-form-urlencoded;charset=UTF-8",
    "a=b+c",
  ]);
  assert.deepEqual(await ask(new Uint8Array([104, 105])), [null, "hi"]);
  assert.deepEqual(await ask(new Blob(["x"], { type: "text/x" })), ["text/x", "x"]);
  const form = new FormData();
  form.set("name", "value");
  const [type, text] = await ask(form);
  assert.match(type, /^multipart\/form-data; boundary=/);
  assert.match(text, /name="name"\r\n\r\nvalue/);
  const chunks = ["one ", "two"].map((chunk) => new TextEncoder().encode(chunk));
  assert.deepEqual(await ask(ReadableStream.from(chunks)), [null, "one two"]);
  const request = new Request("http://peer.invalid/", { method: "PUT", body: "from a Request" });
  assert.deepEqual(await (await fetch(request)).json(), [
    "text/plain;charset=UTF-8",
    "from a Request",
  ]);
});

test("a megabyte each way, while the reader is slow", async () => {
  const fetch = serving((request) => new Response(request.body));
  const body = new Uint8Array(1 << 20).map((_, i) => i * 7 + (i >> 8));
  const response = await fetch("/", { method: "POST", body });
  const pieces = [];
  for await (const piece of response.body) {
    pieces.push(piece);
    if (pieces.length % 16 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.ok(Buffer.concat(pieces).equals(Buffer.from(body)));
});

test("a reader who stops makes the server stop", async () => {
  let sent = 0;
  const cancelled = new Promise((resolve) => {
    const fetch = serving(() => {
      const endless = new ReadableStream({
        pull: (controller) => {
          sent += 65536;
          controller.enqueue(new Uint8Array(65536));
        },
        cancel: resolve,
      });
      return new Response(endless);
    });
    fetch("/").then(async (response) => {
      const reader = response.body.getReader();
      await reader.read();
      await settled();
      await reader.cancel();
    });
  });
  await cancelled;
  assert.ok(sent < 8 << 20, `${sent} bytes were sent to one who did not read`);
});

test("a signal ends the request before the head, and inside the body", async () => {
  const asked = [];
  const ended = [];
  const fetch = serving((request) => {
    asked.push(new URL(request.url).pathname);
    request.signal.addEventListener("abort", () => ended.push(request.url));
    if (request.url.endsWith("/body")) {
      return new Response(new ReadableStream({ start: (c) => c.enqueue(new Uint8Array(1)) }));
    }
    return new Promise((resolve) =>
      request.signal.addEventListener("abort", () => resolve(new Response())),
    );
  });
  const before = AbortSignal.abort();
  await assert.rejects(fetch("/", { signal: before }), { name: "AbortError" });
  for (const path of ["/head", "/body"]) {
    const controller = new AbortController();
    const work = fetch(path, { signal: controller.signal }).then((response) => response.text());
    while (!asked.includes(path)) await settled();
    await settled();
    controller.abort();
    await assert.rejects(work, { name: "AbortError" });
    while (!ended.some((url) => url.endsWith(path))) await settled();
  }
  assert.deepEqual(ended.map((url) => new URL(url).pathname), ["/head", "/body"]);
});

test("redirects are followed as fetch does, and not to anywhere else", async () => {
  const fetch = serving((request) => {
    const { pathname } = new URL(request.url);
    const to = { "/a": "b", "/b": "/c?d", "/away": "http://elsewhere/", "/loop": "/loop" }[pathname];
    if (to) return new Response(null, { status: 302, headers: { location: to } });
    return new Response(`${request.method} ${pathname}`);
  });
  const response = await fetch("/a", { method: "POST", body: "x" });
  assert.equal(await response.text(), "GET /c");
  assert.ok(response.redirected);
  assert.equal((await fetch("/a", { redirect: "manual" })).status, 302);
  await assert.rejects(fetch("/a", { redirect: "error" }), TypeError);
  await assert.rejects(fetch("/away"), TypeError);
  await assert.rejects(fetch("/loop"), TypeError);
});

test("what is not the peer's is a TypeError", async () => {
  const fetch = serving(() => new Response());
  for (const url of ["http://elsewhere/", "peer://other/", "http://user:pw@peer.invalid/"]) {
    await assert.rejects(fetch(url), TypeError, url);
  }
  await assert.rejects(fetch("/", { body: "x" }), TypeError);
  await assert.rejects(fetch("/", { method: "CONNECT" }), TypeError);
});

test("a handler that throws answers 500", async (t) => {
  t.mock.method(console, "error", () => {});
  const fetch = serving(() => {
    throw new Error("broken");
  });
  const response = await fetch("/");
  assert.equal(response.status, 500);
  assert.match(await response.text(), /handler/);
});

test("HEAD, 204 and 304 have no body", async () => {
  const fetch = serving((request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/head") return new Response("four");
    return new Response(null, { status: Number(pathname.slice(1)) });
  });
  const head = await fetch("/head", { method: "HEAD" });
  assert.equal(await head.text(), "");
  for (const status of [204, 304]) {
    const response = await fetch(`/${status}`);
    assert.equal(response.status, status);
    assert.equal(response.body, null);
  }
});

for (const [name, pieces] of [
  ["no head at all", []],
  ["a head of nonsense", [blockHeader(Block.HEAD, 3), new TextEncoder().encode("{{{")]],
  ["a body before the head", [blockHeader(Block.DATA, 1), new Uint8Array(1)]],
  ["a head larger than is taken", [blockHeader(Block.HEAD, 1 << 20)]],
]) {
  test(`${name} is a TypeError`, async () => {
    await assert.rejects(raw(...pieces)("/"), TypeError);
    });
}

const head = (length) =>
  jsonBlock(Block.HEAD, { status: 200, headers: [["content-length", String(length)]] });

for (const [name, pieces] of [
  ["shorter than announced", [head(5), blockHeader(Block.DATA, 4), new Uint8Array(4)]],
  ["longer than announced", [head(5), blockHeader(Block.DATA, 6), new Uint8Array(6)]],
  ["cut inside a block", [head(5), blockHeader(Block.DATA, 5), new Uint8Array(4)]],
  ["followed by another head", [head(0), head(0)]],
]) {
  test(`a body that is ${name} never looks whole`, async () => {
    const response = await raw(...pieces)("/");
    await assert.rejects(response.arrayBuffer(), TypeError);
    });
}

test("sixty-four requests at once", async () => {
  const fetch = serving((request) => new Response(new URL(request.url).search));
  const answers = await Promise.all(
    Array.from({ length: 64 }, async (_, i) => (await fetch(`/?${i}`)).text()),
  );
  assert.deepEqual(answers, Array.from({ length: 64 }, (_, i) => `?${i}`));
});

test("a session that ends fails what is under way with a TypeError", async () => {
  const fetch = serving(() => new Promise(() => {}));
  const waiting = assert.rejects(fetch("/"), TypeError);
  await settled();
  open.server.abort();
  await waiting;
  await open.client.closed;
});

test("informational heads without end are an error", async () => {
  const head = (status) => jsonBlock(Block.HEAD, { status });
  const fetch = raw(...Array(100).fill(head(103)), head(200));
  assert.equal((await fetch("/")).status, 200);
  open.client.abort();
  const endless = raw(...Array(101).fill(head(103)), head(200));
  await assert.rejects(endless("/"), { name: "TypeError", message: /more than 100 informational/ });
});

test("answers are asked for in codings that can be undone, and undone", async () => {
  const asked = [];
  const fetch = serving((request) => {
    asked.push(request.headers.get("accept-encoding"));
    const coding = new URL(request.url).pathname.slice(1);
    const body = coding === "gzip" ? gzipSync("grüße") : "as it is";
    return new Response(body, { headers: { "content-encoding": coding } });
  });
  assert.equal(await (await fetch("/gzip")).text(), "grüße");
  assert.equal(await (await fetch("/mine", { headers: { range: "bytes=1-" } })).text(), "as it is");
  assert.equal(await (await fetch("/mine", { headers: { "accept-encoding": "mine" } })).text(), "as it is");
  assert.deepEqual(asked, [ACCEPT_ENCODING, "identity", "mine"]);
  assert.equal((await fetch("/gzip", { method: "HEAD" })).headers.get("content-encoding"), "gzip");
  await assert.rejects((await fetch("/deflate")).text(), TypeError);
});

test("a redirect may name its place in UTF-8", async () => {
  const fetch = serving(({ url }) => {
    const { pathname, search } = new URL(url);
    if (pathname !== "/") return Response.json(decodeURI(pathname + search));
    const location = Buffer.from("/grüße?ä=1").toString("latin1");
    return new Response(null, { status: 302, headers: { location } });
  });
  assert.equal(await (await fetch("/")).json(), "/grüße?ä=1");
});
