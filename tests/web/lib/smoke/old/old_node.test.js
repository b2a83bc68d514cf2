import assert from "node:assert/strict";
import test from "node:test";

import { OldNode } from "../../../../../src/peerfetch_fast/web/lib/smoke/old/old_node.js";

const SDP = `v=0\r\na=fingerprint:sha-256 ${Array(32).fill("AB").join(":")}\r\n`;

/** As much of an RTCPeerConnection as is used for descriptions; they take as long as a test likes. */
class Connection extends EventTarget {
  signalingState = "stable";
  taken = 0;

  constructor(taking) {
    super();
    this.taking = taking;
  }

  getTransceivers() {
    return [];
  }

  async setRemoteDescription() {
    this.taken++;
    await this.taking;
  }

  async setLocalDescription() {
    this.localDescription = { sdp: SDP };
  }
}

test("descriptions wait for those before them, but not without end", async () => {
  let go;
  const connection = new Connection(new Promise((resolve) => (go = resolve)));
  const node = new OldNode(connection, "0.0.0.2", () => {});
  for (let at = 0; at < 32; at++) node.take({ type: "offer", sdp: SDP });
  assert.equal(node.error, null);
  node.take({ type: "offer", sdp: SDP });
  assert.match(node.error.message, /0\.0\.0\.2: it sends more descriptions/);
  assert.equal(await node.closed, node.error);
  go();
});

test("descriptions one after the other are all answered", async () => {
  const connection = new Connection(null);
  const answers = [];
  const node = new OldNode(connection, "0.0.0.2", (type) => answers.push(type));
  for (let at = 0; at < 100; at++) {
    node.take({ type: "offer", sdp: SDP });
    await new Promise(setImmediate);
  }
  assert.equal(node.error, null);
  assert.deepEqual([connection.taken, answers], [100, Array(100).fill("answer")]);
});
