// A client of a signaling server that comes back, with sockets and a clock that a test plays.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { SignalingClient } from "../../../src/peerfetch_fast/web/lib/signaling.js";
import { Clock } from "../clock.js";

let clock;
let sockets;

class FakeSocket {
  static OPEN = 1;
  readyState = 0;
  sent = [];
  closed = false;

  constructor(url) {
    this.query = Object.fromEntries(new URL(url).searchParams);
    sockets.push(this);
  }
  opens(...messages) {
    this.readyState = 1;
    this.onopen?.();
    for (const message of messages) this.onmessage({ data: JSON.stringify(message) });
  }
  send(message) {
    this.sent.push(JSON.parse(message));
  }
  close() {
    this.closed = true;
  }
}

beforeEach(() => {
  clock = new Clock();
  sockets = [];
  globalThis.WebSocket = FakeSocket;
});

afterEach(() => clock.restore());

const pass = (milliseconds) => clock.pass(milliseconds);
const OPEN = { type: "OPEN" };

function made() {
  const client = new SignalingClient("ws://signaling.example", "me");
  const heard = [];
  let lost = 0;
  client.onmessage = (...message) => heard.push(message);
  client.onclose = () => lost++;
  return { client, heard, lost: () => lost };
}

async function open(client, ...messages) {
  const opening = client.open();
  sockets.at(-1).opens(...messages);
  await opening;
}

test("it comes back as the same, and one that is new is not opened again", async () => {
  const { client, lost } = made();
  await open(client, OPEN);
  client.send("OFFER", "you", {});
  await client.open();
  assert.equal(sockets.length, 1);
  await pass(3000);
  const [first] = sockets;
  const both = [client.open(), client.open()];
  assert.equal(sockets.length, 2);
  assert.equal(first.closed, false);
  sockets[1].opens(OPEN);
  await Promise.all(both);
  assert.equal(first.closed, true);
  client.close();
  client.send("OFFER", "you", {}); // to nobody
  await open(client, OPEN);
  assert.equal(new Set(sockets.map(({ query }) => `${query.id} ${query.token}`)).size, 1);
  assert.deepEqual(sockets.map(({ sent }) => sent.length), [1, 0, 0]);
  assert.equal(lost(), 0);
  client.close();
});

test("a server that takes us up again without a word is open", async () => {
  const { client, heard } = made();
  await open(client, OPEN);
  await pass(3000);
  const silent = client.open();
  sockets[1].opens();
  await pass(1000);
  await silent;
  await pass(3000);
  // What waited for us there may come first.
  await open(client, { type: "OFFER", src: "you", payload: { a: 1 } });
  assert.deepEqual(heard, [["OFFER", "you", { a: 1 }]]);
  client.close();
});

test("one that has another client by our id, or none of us, is not", async () => {
  const { client, lost } = made();
  await open(client, OPEN);
  for (const type of ["ID-TAKEN", "ERROR"]) {
    await pass(3000);
    await assert.rejects(open(client, { type }), { name: "ConnectError", reason: "signaling" });
  }
  await pass(3000);
  const unreachable = assert.rejects(client.open(), { reason: "signaling" });
  await pass(5000);
  await unreachable;
  // The connection of before is as good as it was.
  client.send("OFFER", "you", {});
  assert.equal(sockets[0].sent.filter(({ type }) => type === "OFFER").length, 1);
  assert.equal(lost(), 0);
  client.close();
});

test("that the server is lost is told once", async () => {
  const { client, lost } = made();
  await open(client, OPEN);
  sockets[0].onclose();
  assert.equal(lost(), 1);
  await open(client, OPEN);
  await pass(3000);
  // The server closes the connection that another takes the place of.
  const opening = client.open();
  sockets[1].onclose();
  sockets[2].opens(OPEN);
  await opening;
  assert.equal(lost(), 1);
  await pass(3000);
  const failing = client.open();
  sockets[2].onclose();
  sockets[3].onclose();
  await assert.rejects(failing);
  assert.equal(lost(), 2);
});

test("one that was closed while it opened stays closed", async () => {
  const { client, heard } = made();
  const opening = client.open();
  client.close();
  sockets[0].opens(OPEN);
  await opening;
  await clock.settle();
  assert.equal(sockets[0].closed, true);
  assert.deepEqual(heard, []);
});
