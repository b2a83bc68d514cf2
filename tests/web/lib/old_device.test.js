// Old devices, one that a test plays by hand, asked with today's fetch; the clock is the test's.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { fetchPrepared, prepare } from "../../../src/peerfetch_fast/web/lib/client.js";
import { openOldSession } from "../../../src/peerfetch_fast/web/lib/old_device.js";
import { openTunnel } from "../../../src/peerfetch_fast/web/lib/tunnel.js";
import { only } from "../channels.js";

let time = 0;
let device = null;

/** Let everything happen that does not wait for the clock. */
async function settled() {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Let so many milliseconds pass. */
async function pass(milliseconds, step = 250) {
  for (let passed = 0; passed < milliseconds; passed += step) {
    time += step;
    mock.timers.tick(step);
    await settled();
  }
}

beforeEach(() => {
  time = 0;
  mock.timers.enable({ apis: ["setTimeout"] });
  mock.method(performance, "now", () => time);
});

afterEach(async () => {
  device?.session.abort();
  await settled();
  assert.equal(device?.readyState ?? "closed", "closed");
  device = null;
  mock.timers.reset();
  mock.restoreAll();
});

/** The channel to a device that answers as old ones do: `answer(device, request)`, with `say`. */
class OldDevice {
  readyState = "open";
  requests = [];
  pings = 0;
  received = 0;
  isDeaf = false;

  constructor(answer, maxMessageSize = 65536) {
    this.answer = answer;
    const bytesReceived = async () => this.received;
    this.session = openOldSession(this, { maxMessageSize, bytesReceived });
  }

  send(message) {
    assert.equal(typeof message, "string");
    if (this.isDeaf) return;
    const request = JSON.parse(message);
    if (request.url.startsWith("ping")) {
      this.pings++;
      return void this.say({ status: 200 }, "pong");
    }
    this.requests.push(request);
    this.answer(this, request);
  }

  say(...messages) {
    for (const message of messages) {
      const isText = typeof message === "string" || message instanceof ArrayBuffer;
      const data = isText ? message : JSON.stringify(message);
      queueMicrotask(() => this.onmessage?.({ data }));
    }
  }

  close() {
    if (this.readyState === "closed") return;
    this.readyState = "closed";
    queueMicrotask(() => this.onclose?.());
  }
}

async function asking(answer, ...options) {
  device = new OldDevice(answer, ...options);
  await pass(250); // the first pong
  return async (input, init = {}) =>
    fetchPrepared(only(device.session), await prepare(input, init, "dev1"), "dev1");
}

const bytes = (text) => new TextEncoder().encode(text).buffer;

function echo(there, request) {
  const body = JSON.stringify(request);
  const head = { status: 200, "content-type": "application/json", "content-length": body.length };
  there.say({ status: 202 }, head, bytes(body));
}

test("requests and their answers", async () => {
  const fetch = await asking(echo);
  const response = await fetch("/http://localhost:8778/api?a=1");
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "application/json");
  const url = "http://localhost:8778/api?a=1";
  assert.deepEqual(await response.json(), { url, method: "GET" });
  const json = { method: "POST", body: '{"a":1}', headers: { "content-type": "application/json" } };
  assert.deepEqual(await (await fetch("/x", json)).json(), { url: "/x", method: "POST", json: { a: 1 } });
  const put = await fetch("/x", { method: "PUT", body: "grüße" });
  assert.deepEqual(await put.json(), { url: "/x", method: "PUT", data: "grüße" });
});

test("answers without a body, as text, and that are an upstream's own 202", async () => {
  const answers = [
    [{ status: 204, "content-type": "None", "content-length": 0 }],
    [{ status: 304, "content-type": "None", "content-length": 0 }, new ArrayBuffer(0)],
    [{ status: 200, "content-type": "text/plain" }, "grüße"],
    [{ status: 202 }, { status: 202, "content-type": "text/plain", "content-length": 5 }, bytes("later")],
    [{ status: 200, "content-type": "text/plain" }, bytes("pong")],
  ];
  const fetch = await asking((there) => there.say(...answers.shift()));
  const told = [];
  while (answers.length) {
    const response = await fetch("/");
    told.push([response.status, await response.text()]);
  }
  assert.deepEqual(told, [[204, ""], [304, ""], [200, "grüße"], [202, "later"], [200, "pong"]]);
});

test("answers of three megabytes in one message, and one byte more", async () => {
  const sizes = [3_000_000, 3_000_001, 1];
  const fetch = await asking((there) =>
    there.say({ status: 200, "content-type": "image/png" }, new ArrayBuffer(sizes.shift())),
  );
  assert.equal((await (await fetch("/")).arrayBuffer()).byteLength, 3_000_000);
  const refused = await fetch("/");
  assert.equal(refused.status, 502);
  assert.match(await refused.text(), /at most 3000000 bytes are taken/);
  assert.equal((await (await fetch("/")).arrayBuffer()).byteLength, 1);
});

test("one request at a time, in line", async () => {
  const fetch = await asking(() => {});
  const answers = [1, 2, 3].map((n) => fetch(`/${n}`));
  for (const n of [1, 2, 3]) {
    await settled();
    assert.deepEqual(device.requests.map(({ url }) => url), ["/1", "/2", "/3"].slice(0, n));
    echo(device, device.requests.at(-1));
  }
  const urls = await Promise.all(answers.map(async (one) => (await (await one).json()).url));
  assert.deepEqual(urls, ["/1", "/2", "/3"]);
});

test("an answer that nobody waits for is not the next one's", async () => {
  const fetch = await asking(() => {});
  const abort = new AbortController();
  const first = fetch("/first", { signal: abort.signal });
  await settled();
  const late = new AbortController();
  const given = fetch("/given-up-before-its-turn", { signal: late.signal });
  const second = fetch("/second");
  await settled();
  abort.abort();
  late.abort();
  await assert.rejects(first, { name: "AbortError" });
  await assert.rejects(given, { name: "AbortError" });
  echo(device, device.requests[0]);
  await settled();
  assert.deepEqual(device.requests.map(({ url }) => url), ["/first", "/second"]);
  echo(device, device.requests[1]);
  assert.equal((await (await second).json()).url, "/second");
});

test("what the old protocol cannot say", async () => {
  const fetch = await asking(echo);
  for (const [init, status] of [
    [{ method: "DELETE" }, 501],
    [{ method: "HEAD" }, 501],
    [{ method: "POST", body: Uint8Array.of(0xff, 0xd8) }, 415],
    [{ method: "POST", body: "x".repeat(70_000) }, 413],
    [{ method: "POST", body: "\n".repeat(40_000) }, 413],
  ]) {
    const response = await fetch("/", init);
    assert.equal(response.status, status);
    await response.text();
  }
  await assert.rejects(openTunnel(device.session, "ssh"), /status 501/);
  assert.equal(device.requests.length, 0);
  assert.equal((await fetch("/")).status, 200);
});

test("a device that does not listen at once loses no request", async () => {
  device = new OldDevice(echo);
  device.isDeaf = true;
  const asked = fetchPrepared(only(device.session), await prepare("/", {}, "dev1"), "dev1");
  await pass(1000);
  assert.equal(device.requests.length, 0);
  device.isDeaf = false;
  await pass(250);
  assert.equal((await asked).status, 200);
  assert.equal(device.requests.length, 1);
});

test("a device that has nothing to say is given up with a reason", async () => {
  const fetch = await asking((there, request) => request.url === "/silent" || echo(there, request));
  const [silent, next] = [fetch("/silent"), fetch("/next")];
  await pass(6000);
  const refused = await silent;
  assert.equal(refused.status, 504);
  assert.match(await refused.text(), /had no answer: its upstream failed, perhaps/);
  assert.equal((await (await next).json()).url, "/next");
});

test("a device that waits for its upstream is waited for", async () => {
  const fetch = await asking(() => {});
  let told = false;
  const asked = fetch("/").finally(() => (told = true));
  for (let second = 0; second < 60; second++) {
    device.say({ status: 202 });
    await pass(1000);
  }
  assert.equal(told, false);
  echo(device, device.requests[0]);
  assert.equal((await asked).status, 200);
});

test("pings in silence, which tell the round trip", async () => {
  await asking(echo);
  const before = device.pings;
  await pass(30_000);
  assert.ok(device.pings - before >= 15);
  const { send } = device;
  device.send = function (message) {
    setTimeout(() => send.call(this, message), 500);
  };
  await pass(4000);
  assert.equal(device.session.statistics.roundTrip, 0.5);
});

test("a device that is dead", async () => {
  const fetch = await asking(() => (device.isDeaf = true));
  const asked = fetch("/");
  asked.catch(() => {});
  await pass(9000);
  assert.equal(device.session.error, null);
  await pass(2500);
  await assert.rejects(asked, { name: "TypeError", message: /nothing was heard of the old device for 1\d/ });
  assert.equal(device.readyState, "closed");
});

test("a device is alive while a long message comes", async () => {
  const fetch = await asking(() => (device.isDeaf = true));
  const asked = fetch("/");
  for (let second = 0; second < 30; second++) {
    device.received += 10_000;
    await pass(1000);
  }
  device.say({ status: 200, "content-type": "image/png" }, bytes("body"));
  assert.equal(await (await asked).text(), "body");
});

test("acknowledgements of its transport are no sign of life", async () => {
  await asking(() => {});
  device.isDeaf = true;
  for (let second = 0; second < 12; second++) {
    device.received += 100;
    await pass(1000);
  }
  assert.match(device.session.error.message, /nothing was heard/);
});

test("a page that stood still asks before it gives up", async () => {
  const fetch = await asking(echo);
  await pass(180_000, 60_000);
  assert.equal(device.session.error, null);
  assert.equal((await fetch("/")).status, 200);
});

test("a device that goes", async () => {
  const fetch = await asking(() => {});
  const asked = [fetch("/"), fetch("/")];
  await settled();
  device.close();
  for (const one of asked) await assert.rejects(one, { name: "TypeError" });
  assert.match(device.session.error.message, /closed the connection/);
});

test("a session that is closed ends the channel, in order", async () => {
  const fetch = await asking(() => {});
  const asked = fetch("/");
  await settled();
  device.session.close();
  await settled();
  assert.equal(device.readyState, "open");
  echo(device, device.requests[0]);
  assert.equal((await asked).status, 200);
  await (await asked).text();
  await settled();
  assert.equal(device.readyState, "closed");
});

test("a device that speaks nonsense", async () => {
  for (const messages of [
    ["nonsense"],
    [bytes("\xff\0")],
    [{ status: 1 }],
    ["x".repeat(1_000_000)],
    [{ status: 200, "content-type": "a" }, "b", { status: 200, "content-type": "a" }, "b"],
  ]) {
    const fetch = await asking((there) => there.say(...messages));
    await fetch("/").catch(() => {});
    await settled();
    assert.match(device.session.error.message, /^the old device sent /);
    assert.equal(device.readyState, "closed");
  }
});
