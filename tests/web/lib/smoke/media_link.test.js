import assert from "node:assert/strict";
import test from "node:test";

import { receiveMedia, sendMedia } from "../../../../src/peerfetch_fast/web/lib/smoke/media_link.js";

/** As much of an RTCPeerConnection as is used before anything is described. */
class Connection {
  isClosed = false;

  addTrack() {}

  async setLocalDescription() {}

  close() {
    this.isClosed = true;
  }
}

class Channel extends EventTarget {
  readyState = "connecting";

  _read() {}

  close() {
    if (this.readyState === "closed") return;
    this.readyState = "closed";
    this.dispatchEvent(new Event("close"));
  }
}

class Track {
  readyState = "live";

  stop() {
    this.readyState = "ended";
  }
}

/** Have the links of a test be of connections that it plays: the latest of them, and the timers that run. */
function played(t) {
  const made = { timers: new Set() };
  t.mock.timers.enable({ apis: ["setInterval", "setTimeout"] });
  globalThis.RTCPeerConnection = class extends Connection {
    constructor() {
      super();
      made.connection = this;
    }
  };
  t.after(() => delete globalThis.RTCPeerConnection);
  const { setInterval, clearInterval } = globalThis;
  t.mock.method(globalThis, "setInterval", (...given) => {
    const timer = setInterval(...given);
    made.timers.add(timer);
    return timer;
  });
  t.mock.method(globalThis, "clearInterval", (timer) => {
    made.timers.delete(timer);
    clearInterval(timer);
  });
  return made;
}

test("what is received lasts until the tracks of all its streams are stopped, and leaves no timer", async (t) => {
  const made = played(t);
  const tracks = [new Track(), new Track()];
  const coming = receiveMedia(new Channel(), {});
  for (const track of tracks) made.connection.ontrack({ track, streams: [{ getTracks: () => [track] }] });
  assert.deepEqual((await coming).getTracks(), [tracks[0]]);
  tracks[0].stop();
  t.mock.timers.tick(2000);
  assert.equal(made.connection.isClosed, false);
  tracks[1].stop();
  t.mock.timers.tick(2000);
  assert.equal(made.connection.isClosed, true);
  await null;
  assert.equal(made.timers.size, 0);
});

test("the tracks of all streams are stopped with the channel", async (t) => {
  const made = played(t);
  const tracks = [new Track(), new Track()];
  const channel = new Channel();
  const coming = receiveMedia(channel, {});
  for (const track of tracks) made.connection.ontrack({ track, streams: [{ getTracks: () => [track] }] });
  await coming;
  channel.close();
  await null;
  assert.deepEqual(tracks.map(({ readyState }) => readyState), ["ended", "ended"]);
  assert.equal(made.timers.size, 0);
});

test("who sends is told of the end, whoever ends it", async (t) => {
  played(t);
  const channel = new Channel();
  const sending = sendMedia(channel, [], {});
  channel.close();
  assert.equal(await sending.closed, null);
  const other = sendMedia(new Channel(), [], {});
  other.close();
  assert.equal(await other.closed, null);
});

test("candidates that are too long are not kept", async (t) => {
  const made = played(t);
  const channel = new Channel();
  let tell;
  channel._read = (take) => (tell = (message) => take(JSON.stringify(message)));
  const link = sendMedia(channel, [], {});
  const taken = [];
  made.connection.setRemoteDescription = async () => {};
  made.connection.addIceCandidate = async ({ candidate }) => void taken.push(candidate.length);
  for (const length of [1024, 1025, 60_000]) {
    await tell({ candidate: { candidate: "x".repeat(length), sdpMid: "0", more: "y".repeat(1000) } });
  }
  await tell({ description: { type: "answer", sdp: "" } });
  assert.deepEqual(taken, [1024]);
  link.close();
});
