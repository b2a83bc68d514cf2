// What a hostile peer may do while a connection comes about, with a connection that a test plays.

import assert from "node:assert/strict";
import { test } from "node:test";

import { answerOffer, dial } from "../../../src/peerfetch_fast/web/lib/negotiation.js";
import { serve } from "../../../src/peerfetch_fast/web/lib/serve.js";
import { checkedSignal } from "../../../src/peerfetch_fast/web/lib/signaling/signals.js";
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
  constructor(configuration) {
    this.configuration = configuration;
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
  getConfiguration() {
    return this.configuration;
  }
  setConfiguration(configuration) {
    this.configuration = configuration;
  }
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
  const signaling = { iceServers: [], send: (signal) => sent.push(signal) };
  const release = () => {};
  const options = { configuration: {}, accessToken: null, signal: null, onstream: null, release };
  const { session, take } = answerOffer(signaling, { peer: "eve", connectionId: "c1", sdp: SDP }, options);
  session.catch(() => {});
  return { session, connection: FakeConnection.made.at(-1), sent, take, signaling };
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
  assert.equal(sent[0].type, "answer");
});

test("who is called has no channels to open", async () => {
  const abort = new AbortController();
  const signaling = { iceServers: [], send: () => {}, close() {} };
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
  const send = (signal) => signal.type === "offer" && offers.push((sent = signal));
  const signaling = { iceServers: [], send, close() {}, open: async () => {} };
  const dialling = dial(signaling, "bob", { iceServers: [], ...options });
  dialling.catch(() => {});
  await turn();
  const { connectionId } = sent;
  const reply = { type: "answer", peer: "bob", connectionId, sdp: SDP, protocol: null, ...answer };
  signaling.onsignal(reply);
  await turn();
  return { dialling, connection: FakeConnection.made.at(-1), signaling, reply, offers };
}

test("who answers without naming the protocol runs an old proxy, and gets a channel as it knows it", async () => {
  for (const answer of [{}, { protocol: "peerfetch.1" }]) {
    const { dialling, connection, signaling, reply } = await calling({}, answer);
    const [first, second] = connection.created;
    assert.deepEqual([first.label, first.closed], ["peerfetch", true]);
    const { label, protocol, ordered } = second;
    assert.deepEqual([label, protocol, ordered], ["http-proxy", "", true]);
    signaling.onsignal(reply);
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
  const { dialling, connection } = await calling({}, { protocol: "peerfetch.2" });
  assert.equal(connection.created.length, 1);
  connection.created[0].open();
  const session = await dialling;
  assert.equal(session.isOld, false);
  session.abort();
});

test("a connection without a path is offered another, if it can have one", async () => {
  const protocol = "peerfetch.2";
  for (const state of ["disconnected", "failed"]) {
    const { dialling, connection, offers } = await calling({}, { protocol });
    connection.created[0].open();
    const session = await dialling;
    connection.becomes(state);
    await turn();
    const [{ connectionId }, again] = offers;
    assert.equal(again.restart, true);
    assert.deepEqual([again.connectionId, again.protocol], [connectionId, protocol]);
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
  const { session, connection, sent, take } = answering();
  await turn();
  const restart = { type: "offer", peer: "eve", connectionId: "c1", restart: true, sdp: SDP };
  take(restart);
  connection.offers(ours()).open();
  const made = await session;
  take({ ...restart, peer: "mallory" });
  take({ ...restart, connectionId: "c2" });
  take({ ...restart, restart: false });
  take({ ...restart, type: "answer", sdp: null });
  take({ type: "left", peer: "eve" });
  take({ type: "absent", peer: "eve" });
  await turn();
  assert.equal(sent.length, 1);
  take(restart);
  take(candidate());
  await turn();
  const { type, peer, connectionId } = sent[1];
  assert.deepEqual([type, peer, connectionId], ["answer", "eve", "c1"]);
  assert.deepEqual(connection.candidates, [CANDIDATE]);
  assert.equal(made.error, null);
  made.abort();
});

test("a restart asks STUN and TURN servers with the logins that signaling hands out by then", async () => {
  const { session, connection, take, signaling } = answering();
  connection.offers(ours()).open();
  const made = await session;
  assert.deepEqual(connection.configuration.iceServers, []);
  const renewed = { urls: ["turn:192.0.2.1"], username: "2:eve", credential: "two" };
  signaling.iceServers = [renewed];
  take({ type: "offer", peer: "eve", connectionId: "c1", restart: true, sdp: SDP });
  await turn();
  assert.deepEqual(connection.configuration.iceServers, [renewed]);
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
const CANDIDATE = { candidate: LINE, sdpMid: "0", sdpMLineIndex: 0 };
const candidate = (fields = {}) =>
  checkedSignal({ type: "candidate", peer: "eve", connectionId: "c1", candidate: { ...CANDIDATE, ...fields } });

test("candidates right behind the offer are tried, and as many as are taken", async () => {
  const { connection, take } = answering();
  take(candidate());
  take(checkedSignal({ ...candidate(), candidate: null }));
  await turn();
  assert.deepEqual(connection.candidates, [CANDIDATE, {}]);
  for (let i = 0; i < 200; i++) take(candidate());
  assert.equal(connection.candidates.length, 64);
});

test("the service's ICE servers are used beside one's own", async () => {
  const [ours, theirs] = [{ urls: "stun:ours.example" }, { urls: "turn:theirs.example" }];
  const signaling = { iceServers: [theirs], send: () => {}, close() {} };
  const { signal } = new AbortController();
  dial(signaling, "bob", { iceServers: [ours], signal }).catch(() => {});
  await turn();
  assert.deepEqual(FakeConnection.made.at(-1).configuration.iceServers, [ours, theirs]);
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
  const server = await serve(null, { ...options, id: "bob" });
  let renew;
  FakeConnection.certificate = new Promise((resolve) => (renew = resolve));
  const [socket] = sockets;
  FakeConnection.made = [];
  const answered = () => FakeConnection.made.filter(({ remoteDescription }) => remoteDescription);
  const offer = { connectionId: "c1", sdp: { type: "offer", sdp: SDP } };
  const more = { connectionId: "c1", candidate: CANDIDATE };
  socket.receive({ type: "OFFER", src: "eve", payload: offer });
  socket.receive({ type: "CANDIDATE", src: "eve", payload: more });
  socket.receive({ type: "CANDIDATE", src: "mallory", payload: more });
  socket.receive({ type: "OFFER", src: "eve", payload: offer });
  await turn();
  assert.equal(answered().length, 0);
  renew({ expires: Infinity });
  await turn();
  assert.equal(answered().length, 1);
  assert.deepEqual(answered()[0].candidates, [CANDIDATE]);
  socket.receive({ type: "LEAVE", src: "eve" });
  await turn();
  assert.equal(answered()[0].closed, true);
  server.close();
});

test("who restarts a connection that is no more is told so, if not too often", async () => {
  const sockets = fakeSockets();
  FakeConnection.certificate = Promise.resolve({ expires: Infinity });
  const options = { signaling: "ws://127.0.0.1:9", identity: null, onpeer() {} };
  const server = await serve(null, { ...options, id: "bob" });
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
  server.close();
});

test("where no place is left, a peer of whom nothing is heard gives way", async () => {
  const clock = new Clock();
  const sockets = fakeSockets();
  FakeConnection.certificate = Promise.resolve({ expires: Infinity });
  const sessions = [];
  const onpeer = () => {};
  const beginning = serve(null, { signaling: "ws://127.0.0.1:9", identity: null, onpeer, id: "bob" });
  await clock.pass(1);
  const server = await beginning;
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
  server.close();
  await clock.pass(60_000);
  assert.equal(sessions.every(({ closed }) => closed), true);
  clock.restore();
});

test("a candidate that a stack throws at is ignored", async () => {
  const { connection, take } = answering();
  connection.addIceCandidate = () => {
    throw new Error("Got a remote candidate without ICE transport");
  };
  take({ type: "candidate", candidate: { candidate: "candidate:1 1 udp 1 192.0.2.1 9 typ host" } });
  await turn();
  assert.equal(connection.closed ?? false, false);
});
