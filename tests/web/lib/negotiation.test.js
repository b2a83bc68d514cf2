// What a hostile peer may do while a connection comes about, with a connection that a test plays.

import assert from "node:assert/strict";
import { test } from "node:test";

import { listen } from "../../../src/peerfetch_fast/web/lib/listener.js";
import { answerOffer, dial } from "../../../src/peerfetch_fast/web/lib/negotiation.js";
import { descriptionOf } from "../../../src/peerfetch_fast/web/lib/signals.js";
import { Clock } from "../clock.js";

const SDP = `v=0\r\na=fingerprint:sha-256 ${Array(32).fill("AB").join(":")}\r\n`;
const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

class FakeConnection {
  static made = [];
  connectionState = "new";
  signalingState = "stable";
  sctp = { maxMessageSize: 262144, transport: { state: "connected" } };
  closed = false;
  transceivers = [];
  candidates = [];
  static certificate = null;
  static generateCertificate() {
    return FakeConnection.certificate;
  }
  async createOffer() {
    return { type: "offer", sdp: SDP };
  }
  async addIceCandidate(candidate) {
    assert.ok(this.remoteDescription);
    this.candidates.push(candidate);
  }
  constructor() {
    FakeConnection.made.push(this);
  }
  async setRemoteDescription({ type, sdp }) {
    this.remoteDescription = { type, sdp };
  }
  async setLocalDescription() {
    this.localDescription = { type: "answer", sdp: SDP };
  }
  created = [];
  createDataChannel(label, { protocol = "", ordered = true } = {}) {
    const channel = Object.assign(new FakeChannel(label, protocol), { ordered });
    this.created.push(channel);
    return channel;
  }
  async getStats() {
    return new Map();
  }
  getTransceivers() {
    return this.transceivers;
  }
  restartIce() {}
  becomes(state) {
    this.connectionState = state;
    this.onconnectionstatechange?.();
  }
  close() {
    this.closed = true;
  }
  offers(channel) {
    this.ondatachannel?.({ channel });
    return channel;
  }
}

class FakeChannel {
  readyState = "connecting";
  bufferedAmount = 0;
  closed = false;
  constructor(label, protocol) {
    Object.assign(this, { label, protocol });
  }
  send() {}
  close() {
    this.closed = true;
    this.readyState = "closed";
  }
  open() {
    this.readyState = "open";
    this.onopen();
  }
}

globalThis.RTCPeerConnection = FakeConnection;

function answering() {
  const sent = [];
  const signaling = { send: (...message) => sent.push(message) };
  const release = () => {};
  const options = { configuration: {}, accessToken: null, signal: null, onstream: null, release };
  const { session, message } = answerOffer(signaling, "eve", "c1", SDP, options);
  session.catch(() => {});
  return { session, connection: FakeConnection.made.at(-1), sent, message };
}

const ours = () => new FakeChannel("peerfetch", "peerfetch.2");

test("one channel is used, and all others are closed", async () => {
  const { session, connection } = answering();
  await turn();
  const other = connection.offers(new FakeChannel("chat", ""));
  const channel = connection.offers(ours());
  const second = connection.offers(ours());
  assert.deepEqual([other, channel, second].map(({ closed }) => closed), [true, false, true]);
  channel.open();
  const made = await session;
  const late = connection.offers(ours());
  assert.equal(late.closed, true);
  assert.equal(second.onmessage, undefined);
  made.abort();
});

test("more channels than sixteen end the connection, before a session and in it", async () => {
  const { session, connection } = answering();
  await turn();
  for (let i = 0; i < 17; i++) connection.offers(new FakeChannel("x".repeat(1000), ""));
  await assert.rejects(session, { name: "ConnectError", reason: "protocol" });
  assert.equal(connection.closed, true);

  const later = answering();
  await turn();
  const channel = later.connection.offers(ours());
  channel.open();
  const made = await later.session;
  for (let i = 0; i < 16; i++) later.connection.offers(ours());
  assert.match(made.error.message, /too many channels/);
});

test("what comes before the session begins is bounded", async () => {
  for (const size of [65536, 0]) {
    const { session, connection } = answering();
    await turn();
    const channel = connection.offers(ours());
    let taken = 0;
    for (; taken < 10_000 && channel.onmessage; taken++) channel.onmessage({ data: new ArrayBuffer(size) });
    assert.ok(taken <= (1 << 20) / (size + 256) + 1, `${taken} messages were taken`);
    await assert.rejects(session, { name: "ConnectError", reason: "protocol" });
    assert.equal(connection.closed, true);
  }
});

test("what a peer sends between the opening and the session is kept", async () => {
  const { session, connection } = answering();
  await turn();
  const channel = connection.offers(ours());
  channel.onmessage({ data: Uint8Array.of(3, 0).buffer }); // SETTINGS
  channel.onmessage({ data: Uint8Array.of(3, 0).buffer });
  channel.open();
  const made = await session;
  assert.match(made.error.message, /SETTINGS twice/);
});

test("media that is offered is not received", async () => {
  const { connection, sent } = answering();
  const stopped = [];
  connection.transceivers = ["audio", "video"].map((kind) => ({ stop: () => stopped.push(kind) }));
  await turn();
  assert.deepEqual(stopped, ["audio", "video"]);
  assert.equal(sent[0][0], "ANSWER");
});

test("who is called has no channels to open", async () => {
  const abort = new AbortController();
  const signaling = { send: () => {}, close() {} };
  const dialling = dial(signaling, "eve", { iceServers: [], signal: abort.signal });
  dialling.catch(() => {});
  await turn();
  const connection = FakeConnection.made.at(-1);
  assert.equal(connection.offers(ours()).closed, true);
  for (let i = 0; i < 16; i++) connection.offers(ours());
  await assert.rejects(dialling, { name: "ConnectError", reason: "protocol" });
});

/** A call to "bob", and what he answers with. */
async function calling(options, answer) {
  let sent = null;
  const offers = [];
  const send = (type, _, payload) => type === "OFFER" && offers.push((sent = payload));
  const signaling = { send, close() {}, open: async () => {} };
  const dialling = dial(signaling, "bob", { iceServers: [], ...options });
  dialling.catch(() => {});
  await turn();
  const { connectionId } = sent;
  const payload = { connectionId, sdp: { type: "answer", sdp: SDP }, ...answer };
  signaling.onmessage("ANSWER", "bob", payload);
  await turn();
  return { dialling, connection: FakeConnection.made.at(-1), signaling, payload, offers };
}

test("who answers without naming the protocol runs an old proxy, and gets a channel as it knows it", async () => {
  for (const answer of [{}, { browser: "aiortc" }, { metadata: null }, { metadata: { protocol: "peerfetch.1" } }]) {
    const { dialling, connection, signaling, payload } = await calling({}, answer);
    const [first, second] = connection.created;
    assert.deepEqual([first.label, first.closed], ["peerfetch", true]);
    const { label, protocol, ordered } = second;
    assert.deepEqual([label, protocol, ordered], ["http-proxy", "", true]);
    signaling.onmessage("ANSWER", "bob", payload);
    assert.equal(connection.created.length, 2);
    second.open();
    const session = await dialling;
    assert.equal(session.isOld, true);
    session.abort();
    await session.closed;
    assert.deepEqual([second.closed, connection.closed], [true, true]);
  }
});

test("who names the protocol gets the channel that was offered", async () => {
  const { dialling, connection } = await calling({}, { metadata: { protocol: "peerfetch.2" } });
  assert.equal(connection.created.length, 1);
  connection.created[0].open();
  const session = await dialling;
  assert.equal(session.isOld, false);
  session.abort();
});

test("a connection without a path is offered another, if it can have one", async () => {
  const metadata = { protocol: "peerfetch.2" };
  for (const state of ["disconnected", "failed"]) {
    const { dialling, connection, offers } = await calling({}, { metadata });
    connection.created[0].open();
    const session = await dialling;
    connection.becomes(state);
    await turn();
    const [{ connectionId }, again] = offers;
    assert.equal(again.restart, true);
    assert.deepEqual([again.connectionId, again.type, again.metadata], [connectionId, "data", metadata]);
    assert.equal(session.error, null);
    // What DTLS has given up is not brought back by another path.
    connection.sctp.transport.state = "failed";
    connection.becomes("failed");
    assert.ok(session.error);
  }
  const { dialling, connection, offers } = await calling({}, {});
  connection.created[1].open();
  const old = await dialling;
  connection.becomes("disconnected");
  await turn();
  assert.deepEqual([offers.length, old.error], [1, null]);
  connection.becomes("failed");
  await turn();
  assert.equal(offers.length, 1);
  assert.ok(old.error);
});

test("restarts of the other side are answered once there is a session, and nobody else's", async () => {
  const { session, connection, sent, message } = answering();
  await turn();
  const restart = { connectionId: "c1", restart: true, sdp: { type: "offer", sdp: SDP } };
  message("OFFER", "eve", restart);
  connection.offers(ours()).open();
  const made = await session;
  message("OFFER", "mallory", restart);
  message("OFFER", "eve", { ...restart, connectionId: "c2" });
  message("OFFER", "eve", { ...restart, restart: 1 });
  message("OFFER", "eve", { ...restart, sdp: { type: "answer", sdp: SDP } });
  message("LEAVE", "eve", {});
  message("EXPIRE", "eve", {});
  await turn();
  assert.equal(sent.length, 1);
  message("OFFER", "eve", restart);
  message("CANDIDATE", "eve", candidate());
  await turn();
  const [type, to, payload] = sent[1];
  assert.deepEqual([type, to, payload.connectionId, payload.type], ["ANSWER", "eve", "c1", "data"]);
  assert.deepEqual(connection.candidates, [candidate().candidate]);
  assert.equal(made.error, null);
  made.abort();
});

test("an access token and a pin are not forgotten before an old proxy", async () => {
  const { dialling, connection } = await calling({ accessToken: "a token" }, {});
  connection.created[1].open();
  await assert.rejects(dialling, { name: "ConnectError", reason: "access", message: /old proxy/ });
  assert.equal(connection.closed, true);
  const other = await calling({ pin: `sha256:${"0".repeat(64)}` }, {});
  await assert.rejects(other.dialling, { name: "ConnectError", reason: "pin" });
  assert.equal(other.connection.created.length, 1);
});

const LINE = "candidate:1 1 udp 1 127.0.0.1 9 typ host";
const candidate = (fields = {}) => ({
  connectionId: "c1",
  candidate: { candidate: LINE, sdpMid: "0", sdpMLineIndex: 0, ...fields },
});

test("candidates right behind the offer are tried, so many and so long", async () => {
  const { connection, message } = answering();
  message("CANDIDATE", "eve", candidate({ more: "x".repeat(100_000) }));
  message("CANDIDATE", "eve", candidate({ candidate: "x".repeat(2000) }));
  message("CANDIDATE", "eve", candidate({ sdpMid: "x".repeat(2000) }));
  message("CANDIDATE", "eve", { connectionId: "c1", candidate: 5 });
  await turn();
  assert.deepEqual(connection.candidates, [candidate().candidate, {}]);
  for (let i = 0; i < 200; i++) message("CANDIDATE", "eve", candidate());
  assert.equal(connection.candidates.length, 62);
});

test("a description of any length is none", () => {
  const sdp = (length) => ({ sdp: { type: "offer", sdp: "x".repeat(length) } });
  assert.equal(descriptionOf(sdp(65536), "offer").length, 65536);
  assert.equal(descriptionOf(sdp(65537), "offer"), null);
});

/** The sockets to come, of a server that lets everybody in. */
function fakeSockets() {
  const sockets = [];
  globalThis.WebSocket = class {
    static OPEN = 1;
    readyState = 1;
    sent = [];
    constructor() {
      sockets.push(this);
      setTimeout(() => this.receive({ type: "OPEN" }), 0);
    }
    receive(message) {
      this.onmessage({ data: JSON.stringify(message) });
    }
    send(message) {
      this.sent.push(JSON.parse(message));
    }
    close() {}
  };
  return sockets;
}

test("what comes behind an offer waits for the certificate", async () => {
  const sockets = fakeSockets();
  // The first has expired when the offer comes.
  FakeConnection.certificate = Promise.resolve({ expires: 0 });
  const options = { signaling: "ws://127.0.0.1:9", identity: null, onpeer() {} };
  const listener = await listen({ ...options, id: "bob" });
  let renew;
  FakeConnection.certificate = new Promise((resolve) => (renew = resolve));
  const [socket] = sockets;
  FakeConnection.made = [];
  const answered = () => FakeConnection.made.filter(({ remoteDescription }) => remoteDescription);
  const offer = { ...candidate(), sdp: { type: "offer", sdp: SDP } };
  socket.receive({ type: "OFFER", src: "eve", payload: offer });
  socket.receive({ type: "CANDIDATE", src: "eve", payload: candidate() });
  socket.receive({ type: "CANDIDATE", src: "mallory", payload: candidate() });
  socket.receive({ type: "OFFER", src: "eve", payload: offer });
  await turn();
  assert.equal(answered().length, 0);
  renew({ expires: Infinity });
  await turn();
  assert.equal(answered().length, 1);
  assert.deepEqual(answered()[0].candidates, [candidate().candidate]);
  socket.receive({ type: "LEAVE", src: "eve" });
  await turn();
  assert.equal(answered()[0].closed, true);
  listener.close();
});

test("who restarts a connection that is no more is told so, if not too often", async () => {
  const sockets = fakeSockets();
  FakeConnection.certificate = Promise.resolve({ expires: Infinity });
  const options = { signaling: "ws://127.0.0.1:9", identity: null, onpeer() {} };
  const listener = await listen({ ...options, id: "bob" });
  const [socket] = sockets;
  FakeConnection.made = [];
  const payload = { connectionId: "c9", restart: true, sdp: { type: "offer", sdp: SDP } };
  socket.receive({ type: "OFFER", src: "eve", payload: { ...payload, connectionId: 9 } });
  for (let i = 0; i < 50; i++) socket.receive({ type: "OFFER", src: "eve", payload });
  await turn();
  assert.equal(FakeConnection.made.length, 0);
  assert.equal(socket.sent.length, 16);
  const gone = { type: "data", connectionId: "c9", gone: true };
  assert.deepEqual(socket.sent[0], { type: "ANSWER", dst: "eve", payload: gone });
  listener.close();
});

test("where no place is left, a peer of whom nothing is heard gives way", async () => {
  const clock = new Clock();
  const sockets = fakeSockets();
  FakeConnection.certificate = Promise.resolve({ expires: Infinity });
  const sessions = [];
  const onpeer = () => {};
  const listening = listen({ signaling: "ws://127.0.0.1:9", identity: null, onpeer, id: "bob" });
  await clock.pass(1);
  const listener = await listening;
  FakeConnection.made = [];
  const connect = async (i) => {
    const payload = { connectionId: `c${i}`, sdp: { type: "offer", sdp: SDP } };
    sockets.at(-1).receive({ type: "OFFER", src: `peer${i}`, payload });
    await clock.settle();
    return FakeConnection.made.length;
  };
  for (let i = 0; i < 32; i++) {
    assert.equal(await connect(i), i + 1);
    const channel = FakeConnection.made[i].offers(ours());
    channel.open();
    await clock.settle();
    channel.onmessage({ data: Uint8Array.of(3, 5, 4, 0x80, 0, 0xea, 0x60).buffer }); // kept for a minute
    sessions.push(channel);
  }
  assert.equal(await connect(32), 32);
  await clock.pass(19_000);
  assert.equal(sessions.some(({ closed }) => closed), false);
  assert.equal(await connect(33), 33);
  assert.equal(sessions.filter(({ closed }) => closed).length, 1);
  listener.close();
  await clock.pass(60_000);
  assert.equal(sessions.every(({ closed }) => closed), true);
  clock.restore();
});
