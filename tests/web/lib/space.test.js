// The page's end of the service worker, with a worker and a peer that a test plays.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { fetchPrepared, prepare } from "../../../src/peerfetch_fast/web/lib/client.js";
import { Space } from "../../../src/peerfetch_fast/web/lib/space.js";
import { only, sessions } from "../channels.js";

let worker;
let windows;
let ports;

beforeEach(() => {
  worker = Object.assign(new EventTarget(), { started: 0, startMessages: () => worker.started++ });
  windows = new EventTarget();
  ports = [];
  mock.method(globalThis, "setInterval", () => null); // signs of life to the worker
  globalThis.addEventListener = (...listening) => windows.addEventListener(...listening);
  globalThis.location = { origin: "https://page.example" };
});

afterEach(() => {
  for (const port of ports) port.close();
  mock.restoreAll();
  delete globalThis.addEventListener;
  delete globalThis.location;
});

/** What the worker asks a space for, and hears. */
function ask(request) {
  const { port1, port2 } = new MessageChannel();
  ports.push(port1, port2);
  const waiting = [];
  const came = [];
  port1.onmessage = ({ data }) => (waiting.length ? waiting.shift()(data) : came.push(data));
  const next = () => (came.length ? came.shift() : new Promise((resolve) => waiting.push(resolve)));
  const data = { type: "request", peer: "dev", method: "GET", target: "/a?b", headers: [], ...request };
  worker.dispatchEvent(Object.assign(new Event("message"), { data, ports: [port2] }));
  return { next, say: (word) => port1.postMessage(word) };
}

function space(fetch, cookies = null) {
  const made = new Space(worker, cookies);
  made.add({ id: "dev", fetch });
  return made;
}

test("an answer goes to the worker piece by piece, each when it is asked for", async () => {
  const asked = [];
  const made = space(async (target, init) => {
    asked.push([target, init.method, init.headers]);
    return new Response("hello", { status: 201, headers: { "content-length": "5", "content-type": "a/b" } });
  });
  const downloads = [];
  made.addEventListener("download", ({ detail }) => downloads.push(detail));
  const { next, say } = ask({ download: true, headers: [["x", "y"]] });
  assert.deepEqual(await next(), { type: "mine" });
  assert.deepEqual(asked, []);
  say("go");
  const head = await next();
  assert.deepEqual([head.type, head.status, head.empty], ["head", 201, false]);
  assert.deepEqual(head.headers, [["content-length", "5"], ["content-type", "a/b"]]);
  // Nothing is coded on its way, so that it can go on at a byte.
  assert.deepEqual(asked, [["/a?b", "GET", [["x", "y"], ["accept-encoding", "identity"]]]]);
  const [transfer] = downloads;
  assert.deepEqual([transfer.path, transfer.size, transfer.done, made.transfers.size], ["/a?b", 5, 0, 1]);
  say("next");
  const { type, piece } = await next();
  assert.deepEqual([type, new TextDecoder().decode(piece)], ["piece", "hello"]);
  say("next");
  assert.deepEqual(await next(), { type: "end" });
  const { done, ended, whole } = transfer;
  assert.deepEqual([done, ended, whole, made.transfers.size], [5, true, true, 0]);
});

test("a transfer that the worker gives up ends the request, and is not whole", async () => {
  let signal;
  const made = space(async (_, init) => {
    signal = init.signal;
    return new Response(new ReadableStream());
  });
  let transfer;
  made.addEventListener("download", ({ detail }) => (transfer = detail));
  const { next, say } = ask({ download: true });
  await next();
  say("go");
  await next();
  const aborted = new Promise((resolve) => signal.addEventListener("abort", resolve));
  say("cancel");
  await aborted;
  assert.deepEqual([transfer.ended, transfer.whole, made.transfers.size], [true, false, 0]);
});

test("a request that fails, before its answer or in it, is told to the worker", async () => {
  space(async () => Promise.reject(new TypeError("no connection")));
  const first = ask({});
  await first.next();
  first.say("go");
  assert.deepEqual(await first.next(), { type: "failed", message: "no connection" });

  worker = Object.assign(new EventTarget(), { startMessages() {} });
  const broken = new ReadableStream({ pull: (controller) => controller.error(new Error("it broke off")) });
  space(async () => new Response(broken));
  const second = ask({});
  await second.next();
  second.say("go");
  await second.next();
  second.say("next");
  assert.deepEqual(await second.next(), { type: "failed", message: "it broke off" });
});

test("a page that is left says so of what still runs", async () => {
  space(async () => new Response(new ReadableStream()));
  const { next, say } = ask({});
  await next();
  say("go");
  await next();
  windows.dispatchEvent(new Event("pagehide"));
  assert.deepEqual(await next(), { type: "failed", message: "its page was closed" });
  say("cancel");
});

test("cookies of a device go with its requests, and are kept, unless they are omitted", async () => {
  const kept = [];
  const cookies = { header: (path) => `at=${path}`, set: (...what) => kept.push(what) };
  const { client } = sessions((request) => {
    const headers = [["set-cookie", "a=1"], ["x-sent", request.headers.get("cookie") ?? "nothing"]];
    return new Response(null, { status: 204, headers });
  });
  space(async (target, init) => fetchPrepared(only(client), await prepare(target, init, "dev"), "dev"), cookies);
  const sent = [];
  for (const credentials of ["include", "omit"]) {
    const { next, say } = ask({ credentials });
    await next();
    say("go");
    const { empty, headers } = await next();
    assert.equal(empty, true);
    sent.push(Object.fromEntries(headers)["x-sent"]);
  }
  assert.deepEqual(sent, ["at=/a", "nothing"]);
  assert.deepEqual(kept, [[["a=1"], "/a"]]);
  client.abort();
});

test("a space answers for the peers that were added, and for no others", async () => {
  const made = space(async () => new Response("a"));
  assert.equal(worker.started, 1);
  made.remove({ id: "dev" });
  const late = [];
  for (const request of [{}, { peer: "other" }, { type: "hello" }]) void ask(request).next()?.then?.((said) => late.push(said));
  worker.dispatchEvent(Object.assign(new Event("message"), { data: null, ports: [] }));
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.deepEqual(late, []);
});
