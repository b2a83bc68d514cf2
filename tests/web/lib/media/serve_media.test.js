// A page that shows its camera, to whoever asks for it; the browser's connections are played.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { mediaHandler } from "../../../../src/peerfetch_fast/web/lib/media/serve_media.js";

const track = { kind: "video" };
const stream = { getTracks: () => [track] };
const LONG = "a=x\r\n".repeat(20_000);

/** As much of a connection as is asked of one. */
class Connection extends EventTarget {
  static made = [];
  connectionState = "new";
  iceGatheringState = "complete";
  candidates = 0;
  #transceiver = { receiver: { track }, sender: { replaceTrack: async () => {} }, direction: "recvonly" };

  constructor() {
    super();
    Connection.made.push(this);
  }

  setRemoteDescription = async () => {};
  setLocalDescription = async () => (this.localDescription = { sdp: "answer" });
  getTransceivers = () => [this.#transceiver];
  addIceCandidate = async () => this.candidates++;
  close = () => (this.connectionState = "closed");
}

beforeEach(() => {
  globalThis.RTCPeerConnection = Connection;
  Connection.made = [];
});
afterEach(() => delete globalThis.RTCPeerConnection);

const ask = (handler, method, path, body) => handler(new Request(`http://peer.invalid${path}`, { method, body }));

test("who watches and never connects is left", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const handler = mediaHandler(stream);
  const watching = await Promise.all(Array.from({ length: 20 }, () => ask(handler, "POST", "/live", "offer")));
  assert.deepEqual([...new Set(watching.map(({ status }) => status))], [201, 429]);
  assert.equal(watching.filter(({ status }) => status === 201).length, 16);
  Connection.made[0].connectionState = "connected";
  t.mock.timers.tick(30_000);
  const left = Connection.made.filter(({ connectionState }) => connectionState === "closed");
  assert.equal(left.length, 15);
  assert.equal((await ask(handler, "POST", "/live", "offer")).status, 201);
});

test("what is sent is read to its bounds", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const handler = mediaHandler(stream);
  assert.equal((await ask(handler, "POST", "/live", LONG)).status, 413);
  assert.equal(Connection.made.length, 0);
  const place = `/${(await ask(handler, "POST", "/live", "offer")).headers.get("location")}`;
  assert.equal((await ask(handler, "PATCH", place, LONG)).status, 413);
  for (let times = 0; times < 3; times++) {
    assert.equal((await ask(handler, "PATCH", place, "a=candidate:1\r\na=mid:0\r\n".repeat(50))).status, 204);
  }
  assert.equal(Connection.made[0].candidates, 64);
});
