// The seam: which service a URL means, and the service within one process.

import assert from "node:assert/strict";
import { test } from "node:test";

import { LocalService } from "../../../../src/peerfetch_fast/web/lib/signaling/local.js";
import { PeerJsSignaling } from "../../../../src/peerfetch_fast/web/lib/signaling/peerjs.js";
import { PeerNetSignaling } from "../../../../src/peerfetch_fast/web/lib/signaling/peernet.js";
import { joinService } from "../../../../src/peerfetch_fast/web/lib/signaling/seam.js";

const MEMBERS = ["id", "iceServers", "open", "send", "peers", "close", "onsignal", "onclose"];
const turn = () => new Promise((resolve) => setImmediate(resolve));
const offer = (peer) => ({ type: "offer", peer, connectionId: "c1", sdp: "v=0", protocol: "p", label: "l" });

async function member(service, id) {
  const signaling = joinService(service, id);
  const heard = [];
  signaling.onsignal = (signal) => heard.push(signal);
  await signaling.open();
  return { signaling, heard };
}

test("the scheme of a URL chooses the service, and each has all that a negotiation needs", () => {
  for (const scheme of ["ws", "wss", "http", "https"]) {
    assert.ok(joinService(`${scheme}://signaling.example`, "me") instanceof PeerJsSignaling);
  }
  for (const scheme of ["peernet+http", "peernet+https"]) {
    assert.ok(joinService(`${scheme}://signaling.example?room=den`, "me") instanceof PeerNetSignaling);
  }
  for (const service of ["ws://signaling.example", "peernet+https://signaling.example", "local:here", new URL("local:here"), new LocalService()]) {
    const signaling = joinService(service);
    for (const name of MEMBERS) assert.notEqual(signaling[name], undefined, name);
    assert.match(signaling.id, /^[0-9a-f]{32}$/);
    assert.equal(joinService(service, "me").id, "me");
  }
});

test("a URL of no service is refused with those that there are", () => {
  for (const service of ["nonsense", undefined, "ftp://signaling.example"]) {
    assert.throws(() => joinService(service), { name: "ConnectError", reason: "signaling" });
  }
  assert.throws(() => joinService("ftp://signaling.example"), /ws:, wss:, http:, https:, peernet\+https:, peernet\+http:, local:/);
});

test("a service of one's own is asked for its signaling", () => {
  const asked = [];
  const service = { join: (id) => (asked.push(id), "its signaling") };
  assert.deepEqual([joinService(service, "me"), joinService(service)], ["its signaling", "its signaling"]);
  assert.deepEqual(asked, ["me", null]);
});

test("members of one place hear each other, and those of another do not", async () => {
  const [alice, bob] = [await member("local:one", "alice"), await member("local:one", "bob")];
  const other = await member("local:other", "bob");
  assert.deepEqual(await alice.signaling.peers(), ["bob"]);
  const sent = offer("bob");
  alice.signaling.send(sent);
  sent.sdp = "changed later";
  await turn();
  assert.deepEqual(bob.heard, [{ ...offer("alice"), restart: false }]);
  assert.deepEqual(other.heard, []);
  for (const { signaling } of [alice, bob, other]) signaling.close();
});

test("what is sent to nobody comes back as absent", async () => {
  const { signaling, heard } = await member("local:one", "alice");
  signaling.send(offer("nobody"));
  await turn();
  assert.deepEqual(heard, [{ type: "absent", peer: "nobody" }]);
  signaling.close();
});

test("an id is one member's until that closes", async () => {
  const first = await member("local:one", "alice");
  await first.signaling.open(); // again, as after a change of network
  await assert.rejects(member("local:one", "alice"), { name: "ConnectError", message: /alice is taken/ });
  first.signaling.close();
  const second = await member("local:one", "alice");
  first.signaling.close();
  first.signaling.send(offer("alice"));
  await turn();
  assert.deepEqual([first.heard, second.heard], [[], []]);
  const reason = new Error("enough");
  await assert.rejects(first.signaling.open(AbortSignal.abort(reason)), reason);
  second.signaling.close();
});

test("nothing is heard after close", async () => {
  const [alice, bob] = [await member("local:one", "alice"), await member("local:one", "bob")];
  alice.signaling.send(offer("bob"));
  bob.signaling.close();
  await turn();
  assert.deepEqual([bob.heard, alice.heard], [[], [{ type: "absent", peer: "bob" }]]);
  alice.signaling.close();
});
