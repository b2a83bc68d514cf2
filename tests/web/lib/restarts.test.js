// Restarts of ICE, ours and the other side's, with a connection, a session and a clock that a test plays.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { Relays } from "../../../src/peerfetch_fast/web/lib/relays.js";
import { Restarts } from "../../../src/peerfetch_fast/web/lib/restarts.js";
import { Clock } from "../clock.js";

const described = (byte, more = "") =>
  `v=0\r\na=fingerprint:sha-256 ${Array(32).fill(byte).join(":")}\r\n${more}`;
const THEIRS = described("AB");

class FakeConnection {
  signalingState = "stable";
  renewed = [];
  remoteDescription = { type: "answer", sdp: THEIRS };
  localDescription = { type: "offer", sdp: "ours 0" };
  restarts = 0;
  candidates = [];
  stopped = 0;
  reports = [];
  #isNew = false;

  restartIce() {
    this.#isNew = true;
  }
  async setLocalDescription() {
    if (this.#isNew) this.localDescription = { sdp: `ours ${++this.restarts}` };
    this.#isNew = false;
    this.signalingState = this.signalingState === "have-remote-offer" ? "stable" : "have-local-offer";
  }
  async setRemoteDescription(description) {
    if (description.sdp.includes("unreadable")) throw new TypeError("unreadable");
    this.signalingState = description.type === "offer" ? "have-remote-offer" : "stable";
    this.remoteDescription = description;
  }
  getTransceivers() {
    return [{ stop: () => this.stopped++ }];
  }
  async addIceCandidate(candidate) {
    if (candidate.candidate === "unreadable") throw new TypeError("unreadable");
    this.candidates.push([candidate, this.remoteDescription.sdp]);
  }
  async getStats() {
    return new Map(this.reports.map((report, i) => [i, report]));
  }
}

class FakeSession {
  error = null;
  asked = 0;
  known = 0;
  #listeners = [];
  closed = new Promise((resolve) => (this.close = resolve));

  heard() {
    this.asked++;
    return new Promise((resolve) => this.#listeners.push(resolve));
  }
  speaks() {
    for (const wake of this.#listeners.splice(0)) wake();
  }
  isHeard() {
    this.known++;
  }
  abort(code, reason) {
    this.error = new Error(reason);
    this.speaks();
    this.close();
  }
}

let clock;
let windows;

beforeEach(() => {
  clock = new Clock();
  windows = new EventTarget();
  globalThis.addEventListener = (...listening) => windows.addEventListener(...listening);
  mock.method(console, "info", () => {});
});

afterEach(() => {
  delete globalThis.addEventListener;
  clock.restore();
});

const turn = () => clock.settle();
const pass = (milliseconds) => clock.pass(milliseconds);

function made({ isOfferer = true } = {}) {
  const connection = new FakeConnection();
  const session = new FakeSession();
  const sent = [];
  const signaling = { opened: 0, isThere: true, released: 0 };
  signaling.open = async () => {
    signaling.opened++;
    if (!signaling.isThere) throw new Error("no network");
  };
  const describe = (type, more) => sent.push([type, more.restart ?? false, connection.localDescription.sdp]);
  const release = () => signaling.released++;
  // Before candidates are gathered, and not after.
  const renew = () => connection.renewed.push(connection.signalingState);
  const relays = new Relays(false);
  const about = { signaling, release, describe, renew, relays, isOfferer, taken: 0 };
  const restarts = new Restarts(connection, session, about);
  return { connection, session, sent, signaling, restarts };
}

const offer = (i) => ["offer", true, `ours ${i}`];
const answer = (i) => ["answer", false, `ours ${i}`];

test("a restart is offered until the other side is heard", async () => {
  const { session, sent, signaling, restarts } = made();
  restarts.begin();
  restarts.begin();
  await pass(100);
  assert.deepEqual(sent, [offer(1)]);
  assert.deepEqual([signaling.opened, session.asked], [1, 1]);
  // One that was not answered is said again, so that an answer to either is one to both.
  await pass(3000);
  assert.deepEqual(sent, [offer(1), offer(1)]);
  restarts.answered(THEIRS);
  await pass(2900);
  assert.equal(sent.length, 2);
  await pass(200);
  assert.deepEqual(sent.at(-1), offer(2));
  restarts.answered(THEIRS);
  session.speaks();
  await turn();
  await pass(9000);
  assert.deepEqual([sent.length, signaling.released], [3, 0]);
  await pass(1000);
  assert.deepEqual([sent.length, signaling.released], [3, 1]);
  // And another time as well.
  restarts.begin();
  await turn();
  assert.deepEqual(sent.at(-1), offer(3));
});

test("an offer without an answer is said again after a second, and then every three", async () => {
  const { sent, restarts } = made();
  restarts.begin();
  for (const [milliseconds, count] of [[900, 1], [200, 2], [2800, 2], [200, 3], [2800, 3], [200, 4]]) {
    await pass(milliseconds);
    assert.deepEqual(sent, Array(count).fill(offer(1)));
  }
  restarts.answered(THEIRS);
  await pass(2900);
  assert.equal(sent.length, 4);
  for (const count of [1, 1, 2, 2]) {
    await pass(500);
    assert.deepEqual(sent.slice(4), Array(count).fill(offer(2)));
  }
});

test("an offer that cannot be made is tried again after three seconds", async () => {
  const { connection, sent, signaling, restarts } = made();
  connection.setLocalDescription = async () => {
    throw new Error("closed");
  };
  restarts.begin();
  await pass(2900);
  assert.deepEqual([signaling.opened, sent], [1, []]);
  await pass(200);
  assert.deepEqual([signaling.opened, sent], [2, []]);
});

test("without signaling nothing is changed, and it is tried again", async () => {
  const { connection, sent, signaling, restarts } = made();
  signaling.isThere = false;
  restarts.begin();
  await pass(2900);
  assert.deepEqual([signaling.opened, connection.signalingState, sent], [3, "stable", []]);
  signaling.isThere = true;
  await pass(200);
  assert.deepEqual(sent, [offer(1)]);
});

test("the end of the session ends it", async () => {
  const { session, sent, signaling, restarts } = made();
  restarts.begin();
  await turn();
  session.abort(0, "over");
  await turn();
  assert.equal(signaling.released, 1);
  restarts.begin();
  restarts.offered(THEIRS);
  windows.dispatchEvent(new Event("online"));
  await pass(20_000);
  assert.deepEqual(sent, [offer(1)]);
});

test("a network that changes has a new restart made at once", async () => {
  const network = Object.assign(new EventTarget(), { type: "wifi" });
  Object.defineProperty(globalThis, "navigator", { value: { connection: network }, configurable: true });
  const { session, sent } = made();
  network.dispatchEvent(new Event("change")); // of its speed, say
  await turn();
  assert.deepEqual(sent, []);
  network.type = "cellular";
  network.dispatchEvent(new Event("change"));
  await turn();
  assert.deepEqual(sent, [offer(1)]);
  windows.dispatchEvent(new Event("online"));
  await turn();
  assert.deepEqual(sent, [offer(1), offer(2)]);
  session.speaks();
  await turn();
  windows.dispatchEvent(new Event("online"));
  await turn();
  assert.deepEqual(sent.at(-1), offer(3));
  delete globalThis.navigator;
});

test("silence of the channel alone, on a path that packets fill, is none", async () => {
  const { connection, session, sent } = made();
  const pair = { type: "candidate-pair", timestamp: 9000 };
  connection.reports = [pair, { ...pair, lastPacketReceivedTimestamp: 8500 }];
  session.onquiet();
  await turn();
  assert.deepEqual([session.known, sent], [1, []]);
  connection.reports = [pair, { ...pair, lastPacketReceivedTimestamp: 7000 }];
  session.onquiet();
  await turn();
  assert.deepEqual([session.known, sent], [1, [offer(1)]]);
});

test("servers are named anew before candidates are gathered, for an offer and for an answer", async () => {
  const [one, other] = [made(), made()];
  one.restarts.offered(THEIRS);
  other.restarts.begin();
  await turn();
  await turn();
  assert.deepEqual(one.connection.renewed, ["have-remote-offer"]);
  assert.deepEqual(other.connection.renewed, ["stable"]);
});

test("restarts of the other side are answered: five at once, then one in two seconds", async () => {
  const { connection, sent, restarts } = made();
  for (let i = 0; i < 50; i++) restarts.offered(described("AB", `a=ice-ufrag:${i}\r\n`));
  await turn();
  await turn();
  assert.deepEqual(sent, Array(5).fill(answer(0)));
  assert.equal(connection.stopped, 5);
  assert.match(connection.remoteDescription.sdp, /ufrag:4/);
  await pass(1900);
  restarts.offered(THEIRS);
  await pass(200);
  restarts.offered(THEIRS);
  await turn();
  assert.equal(sent.length, 6);
});

test("one that names another certificate, or cannot be read, changes nothing", async () => {
  const { connection, sent, restarts } = made();
  const before = connection.remoteDescription;
  for (const sdp of [described("CD"), "v=0\r\n", described("AB", "unreadable"), `${THEIRS}${described("CD")}`]) {
    restarts.offered(sdp);
    await turn();
  }
  restarts.answered(described("AB", "to nothing"));
  await turn();
  assert.deepEqual([connection.remoteDescription, sent], [before, []]);
  restarts.begin();
  await turn();
  restarts.answered(described("CD"));
  await turn();
  assert.deepEqual([connection.remoteDescription, connection.signalingState], [before, "have-local-offer"]);
});

test("of offers that cross, the first offerer's counts", async () => {
  for (const isOfferer of [true, false]) {
    const { connection, sent, restarts } = made({ isOfferer });
    windows.dispatchEvent(new Event("online"));
    await turn();
    restarts.offered(described("AB", "a=ice-ufrag:new\r\n"));
    await turn();
    const after = isOfferer ? [[offer(1)], "have-local-offer"] : [[offer(1), answer(1)], "stable"];
    assert.deepEqual([sent, connection.signalingState], after);
    assert.equal(connection.remoteDescription.sdp.includes("new"), !isOfferer);
  }
});

test("an offer of ours that nobody answered is in nobody's way later", async () => {
  const { session, sent, restarts } = made();
  restarts.begin();
  await turn();
  session.speaks();
  await turn();
  restarts.offered(THEIRS);
  await turn();
  assert.deepEqual(sent, [offer(1), answer(1)]);
});

test("whose offer would not count lets the other side offer first", async () => {
  const { sent, restarts } = made({ isOfferer: false });
  restarts.begin();
  await pass(900);
  restarts.offered(THEIRS);
  await pass(2900);
  assert.deepEqual(sent, [answer(0)]);
  // It has brought nothing.
  await pass(1000);
  assert.deepEqual(sent, [answer(0), offer(1)]);
});

test("candidates are for the description before them, and so many", async () => {
  const { connection, restarts } = made();
  for (let i = 0; i < 60; i++) restarts.candidate({ candidate: "old" });
  restarts.candidate({ candidate: "unreadable" });
  restarts.offered(described("AB", "a=ice-ufrag:new\r\n"));
  for (let i = 0; i < 66; i++) restarts.candidate({ candidate: "new" });
  await turn();
  await turn();
  const kinds = connection.candidates.map(([{ candidate }, sdp]) => [candidate, sdp.includes("new")]);
  assert.deepEqual(kinds.slice(0, 60), Array(60).fill(["old", false]));
  assert.deepEqual(kinds.slice(60), Array(64).fill(["new", true]));
});

test("who says that the connection is no more is believed in the silence of a restart", async () => {
  const { session, sent, restarts } = made();
  restarts.gone();
  await pass(5000);
  assert.equal(session.error, null);
  restarts.begin();
  await turn();
  restarts.gone();
  await pass(500);
  session.speaks();
  await pass(5000);
  assert.deepEqual([session.error, sent], [null, [offer(1)]]);
  restarts.begin();
  await turn();
  restarts.gone();
  await pass(1100);
  assert.match(session.error.message, /does not know/);
});

test("a stack that knows no restarts is asked for none", async () => {
  const { connection, session, sent, signaling, restarts } = made();
  connection.restartIce = undefined;
  await restarts.begin();
  await pass(10_000);
  assert.deepEqual([sent, signaling.opened, session.asked], [[], 0, 0]);
});

for (const [how, getStats] of [
  ["refuses", () => Promise.reject(new Error("closed"))],
  ["throws", () => {
    throw new TypeError("not implemented");
  }],
  ["has none", undefined],
]) {
  test(`silence is believed of a connection whose statistics it ${how}`, async () => {
    const { connection, session, sent } = made();
    connection.getStats = getStats;
    session.onquiet();
    await pass(100);
    assert.deepEqual([sent, session.known], [[offer(1)], 0]);
  });
}
