// A client of a signaling server that comes back, with sockets and a clock that a test plays.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { PeerJsSignaling } from "../../../../src/peerfetch_fast/web/lib/signaling/peerjs.js";
import { Clock } from "../../clock.js";

let clock;
let sockets;

class FakeSocket {
  static OPEN = 1;
  readyState = 0;
  sent = [];
  closed = false;

  constructor(url) {
    this.url = new URL(url);
    this.query = Object.fromEntries(this.url.searchParams);
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

const { fetch } = globalThis;

afterEach(() => {
  clock.restore();
  globalThis.fetch = fetch;
});

const pass = (milliseconds) => clock.pass(milliseconds);
const OPEN = { type: "OPEN" };
const OFFER = { type: "offer", peer: "you", connectionId: "c1", sdp: "v=0", protocol: "peerfetch.2", label: "peerfetch" };
const PAYLOAD = { connectionId: "c1", sdp: { type: "offer", sdp: "v=0" }, metadata: { protocol: "peerfetch.2" } };

function made() {
  const client = new PeerJsSignaling("ws://signaling.example", "me");
  const heard = [];
  let lost = 0;
  client.onsignal = (signal) => heard.push(signal);
  client.onclose = () => lost++;
  return { client, heard, lost: () => lost };
}

async function open(client, ...messages) {
  const opening = client.open();
  sockets.at(-1).opens(...messages);
  await opening;
}

test("a client comes back as the same, and a socket that is new is not opened again", async () => {
  const { client, lost } = made();
  await open(client, OPEN);
  client.send(OFFER);
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
  client.send(OFFER); // to nobody
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
  await open(client, { type: "OFFER", src: "you", payload: { ...PAYLOAD, label: "peerfetch" } });
  assert.deepEqual(heard, [{ ...OFFER, restart: false }]);
  client.close();
});

test("a server that has another client by our id, or refuses us, is not open", async () => {
  const { client, lost } = made();
  await open(client, OPEN);
  for (const [type, reason] of [["ID-TAKEN", "taken"], ["ERROR", "signaling"]]) {
    await pass(3000);
    await assert.rejects(open(client, { type }), { name: "ConnectError", reason });
  }
  await pass(3000);
  const unreachable = assert.rejects(client.open(), { reason: "signaling" });
  await pass(5000);
  await unreachable;
  // The connection of before is as good as it was.
  client.send(OFFER);
  assert.equal(sockets[0].sent.filter(({ type }) => type === "OFFER").length, 1);
  assert.equal(lost(), 0);
  client.close();
});

test("the loss of the server is told once", async () => {
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

test("a client that was closed while it opened stays closed", async () => {
  const { client, heard } = made();
  const opening = client.open();
  client.close();
  sockets[0].opens(OPEN);
  await opening;
  await clock.settle();
  assert.equal(sockets[0].closed, true);
  assert.deepEqual(heard, []);
});

const CANDIDATE = { candidate: "candidate:1 1 udp 1 127.0.0.1 9 typ host", sdpMid: "0", sdpMLineIndex: 0 };

test("signals go out as PeerJS's messages", async () => {
  const { client } = made();
  await open(client, OPEN);
  const about = { peer: "you", connectionId: "c1" };
  const answer = { ...about, type: "answer", sdp: "v=0", protocol: "peerfetch.2" };
  client.send(OFFER);
  client.send({ ...OFFER, label: undefined, restart: true });
  client.send(answer);
  client.send({ ...about, type: "candidate", candidate: CANDIDATE });
  client.send({ ...about, type: "gone" });
  const data = { type: "data", connectionId: "c1" };
  const metadata = { protocol: "peerfetch.2" };
  const offer = { ...data, metadata, sdp: { type: "offer", sdp: "v=0" } };
  assert.deepEqual(sockets[0].sent, [
    { type: "OFFER", dst: "you", payload: { ...offer, label: "peerfetch", reliable: true, serialization: "raw" } },
    { type: "OFFER", dst: "you", payload: { ...offer, restart: true } },
    { type: "ANSWER", dst: "you", payload: { ...data, metadata, sdp: { type: "answer", sdp: "v=0" } } },
    { type: "CANDIDATE", dst: "you", payload: { ...data, candidate: CANDIDATE } },
    { type: "ANSWER", dst: "you", payload: { ...data, gone: true } },
  ]);
  client.close();
});

test("messages come in as signals, and what is none is left out", async () => {
  const { client, heard } = made();
  await open(client, OPEN);
  const receive = (message) => sockets[0].onmessage({ data: JSON.stringify({ src: "you", ...message }) });
  const about = { peer: "you", connectionId: "c1" };
  receive({ type: "LEAVE" });
  receive({ type: "EXPIRE", payload: PAYLOAD });
  receive({ type: "ANSWER", payload: { connectionId: "c1", gone: true } });
  receive({ type: "ANSWER", payload: { ...PAYLOAD, metadata: null } });
  receive({ type: "OFFER", payload: { ...PAYLOAD, restart: true } });
  receive({ type: "CANDIDATE", payload: { connectionId: "c1", candidate: CANDIDATE } });
  assert.deepEqual(heard.splice(0), [
    { type: "left", peer: "you" },
    { type: "absent", peer: "you" },
    { ...about, type: "gone" },
    { ...about, type: "answer", sdp: null, protocol: null }, // its description is of an offer
    { ...about, type: "offer", sdp: "v=0", protocol: "peerfetch.2", label: null, restart: true },
    { ...about, type: "candidate", candidate: CANDIDATE },
  ]);
  const nothing = [
    { type: "OFFER", src: 5, payload: PAYLOAD },
    { type: "OFFER", payload: null },
    { type: "OFFER", payload: { ...PAYLOAD, connectionId: 9 } },
    { type: "OFFER", payload: { ...PAYLOAD, connectionId: "c".repeat(129) } },
    { type: "OFFER", payload: { ...PAYLOAD, sdp: { type: "answer", sdp: "v=0" } } },
    { type: "toString", payload: PAYLOAD },
    { type: ["OFFER"], payload: PAYLOAD },
  ];
  for (const message of nothing) receive(message);
  for (const data of ["[", "null", "5", `"${"x".repeat(300_000)}"`, new ArrayBuffer(8)]) sockets[0].onmessage({ data });
  assert.deepEqual(heard, []);
  client.close();
});

test("the server's path and key are in its addresses", async () => {
  const client = new PeerJsSignaling("https://signaling.example/some/path/?key=ours#x", "a b");
  const { signal } = new AbortController();
  client.open(signal).catch(() => {});
  const { protocol, pathname } = sockets[0].url;
  assert.deepEqual([protocol, pathname, sockets[0].query.key], ["wss:", "/some/path/peerjs", "ours"]);
  const { token } = sockets[0].query;
  const asked = [];
  globalThis.fetch = async (url) => {
    asked.push(url.href);
    return Response.json(url.href.endsWith("/id") ? { roomId: "r1" } : ["x", "a b", 5]);
  };
  assert.deepEqual(await client.peers(), ["x"]);
  const room = `https://signaling.example/some/path/ours/a%20b/${token}/room`;
  assert.deepEqual(asked, [`${room}/id`, `${room}/r1/members`]);
});

test("a server that knows no rooms, or answers nonsense, is told from one that is not there", async () => {
  const client = new PeerJsSignaling("ws://signaling.example", "me");
  const answers = [
    [async () => new Response("", { status: 404 }), /does not tell who is there/],
    [async () => new Response("<html>"), /does not tell/],
    [async () => Response.json({ roomId: 5 }), /does not tell/],
    [async () => new Response("[".repeat(300_000)), /does not tell/],
    [async () => Promise.reject(new TypeError("failed to fetch")), /cannot be reached/],
  ];
  for (const [answer, message] of answers) {
    globalThis.fetch = answer;
    await assert.rejects(client.peers(), { name: "ConnectError", reason: "signaling", message });
  }
});

test("ICE servers come with OPEN, and anew before their logins expire", async () => {
  const { client } = made();
  const servers = (credential) => [{ urls: ["turn:relay.example:3478?transport=tcp"], username: "1700:me", credential }];
  assert.deepEqual(client.iceServers, []);
  await open(client, { ...OPEN, payload: { iceServers: servers("a"), ttl: 600 } });
  assert.deepEqual(client.iceServers, servers("a"));
  await pass(479_000);
  assert.equal(sockets.length, 1);
  await pass(1000);
  sockets[1].opens({ ...OPEN, payload: { iceServers: servers("b"), ttl: 600 } });
  await pass(0);
  assert.deepEqual(client.iceServers, servers("b"));
  client.close();
  await pass(600_000);
  assert.equal(sockets.length, 2);
});

test("a renewal that fails is tried again, until one succeeds or the client is closed", async () => {
  const { client, lost } = made();
  const payload = { iceServers: [{ urls: ["turn:relay.example"], username: "1700:me", credential: "a" }], ttl: 600 };
  await open(client, { ...OPEN, payload });
  await pass(480_000);
  for (let attempt = 1; attempt < 4; attempt++) {
    assert.equal(sockets.length, 1 + attempt);
    sockets.at(-1).onclose();
    await pass(14_999);
    assert.equal(sockets.length, 1 + attempt);
    await pass(1);
  }
  sockets.at(-1).opens({ ...OPEN, payload });
  await pass(479_000);
  assert.equal(sockets.length, 5);
  assert.equal(lost(), 0);
  await pass(1000);
  assert.equal(sockets.length, 6);
  client.close();
  sockets.at(-1).onclose();
  await pass(600_000);
  assert.equal(sockets.length, 6);
});
