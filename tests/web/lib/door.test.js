// The code of what a page shares, when the signaling server is lost and another has its number afterwards.

import assert from "node:assert/strict";
import { test } from "node:test";

import { openDoor } from "../../../src/peerfetch_fast/web/lib/door.js";
import { ConnectError } from "../../../src/peerfetch_fast/web/lib/errors.js";
import { Clock } from "../clock.js";

const value = Array(32).fill("0A").join(":");
const certificate = { expires: Infinity, getFingerprints: () => [{ algorithm: "sha-256", value }] };

/** A service at which others can take ids while we are away. */
class Service {
  taken = new Set();
  members = [];

  join(id) {
    const { taken, members } = this;
    const member = {
      id,
      iceServers: [],
      isOpen: false,
      async open() {
        if (taken.has(id)) throw new ConnectError("taken", `The id ${id} is taken.`);
        this.isOpen = true;
      },
      close() {
        this.isOpen = false;
      },
      send() {},
      peers: async () => [],
    };
    members.push(member);
    return member;
  }

  /** All are away, and another takes the number of the code. */
  lose() {
    for (const member of this.members.filter(({ isOpen }) => isOpen)) {
      if (member.id.startsWith("pair-")) this.taken.add(member.id);
      member.isOpen = false;
      member.onclose();
    }
  }
}

test("another code is made where another has its number", async (t) => {
  globalThis.RTCPeerConnection = { generateCertificate: async () => certificate };
  const clock = new Clock();
  t.after(() => clock.restore());
  const [signaling, codes] = [new Service(), []];
  const door = await openDoor("share", () => new Response(), { signaling, oncode: (code) => codes.push(code) });
  signaling.lose();
  await clock.pass(10_000);
  assert.equal(codes.length, 3);
  assert.equal(codes[1], null);
  assert.notEqual(codes[2], codes[0]);
  assert.equal(door.code, codes[2]);
  const open = signaling.members.filter(({ isOpen }) => isOpen).map(({ id }) => id);
  assert.deepEqual(open, [door.id, `pair-${codes[2].split("-")[0]}`]);
  signaling.lose();
  door.close();
  const tried = signaling.members.length;
  await clock.pass(60_000);
  assert.equal(signaling.members.length, tried);
  assert.ok(signaling.members.every(({ isOpen }) => !isOpen));
});
