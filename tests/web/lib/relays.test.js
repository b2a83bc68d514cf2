// No relay is used where none is wanted, and which way is taken is told, with connections that a test plays.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Relays, leftOut } from "../../../src/peerfetch_fast/web/lib/relays.js";
import { Clock } from "../clock.js";

const relayed = "candidate:1 1 udp 41885439 192.0.2.9 4000 typ relay raddr 192.0.2.1 rport 9";
const near = "candidate:2 1 udp 2122260223 192.168.1.2 5000 typ host";

/** The statistics of a connection whose pair has these ends. */
function connection(local, remote, { servers = [{}], more = [], names = true } = {}) {
  const reports = [
    { id: "L", type: "local-candidate", ...local },
    { id: "R", type: "remote-candidate", address: "192.168.1.2", port: 5000, ...remote },
    { id: "P", type: "candidate-pair", localCandidateId: "L", remoteCandidateId: "R", nominated: true, state: "succeeded" },
    ...(names ? [{ id: "T", type: "transport", selectedCandidatePairId: "P" }] : []),
    ...more.map((one, i) => ({ id: `M${i}`, ...one })),
  ];
  return {
    connectionState: "connected",
    getConfiguration: () => ({ iceServers: servers }),
    getStats: async () => new Map(reports.map((one) => [one.id, one])),
  };
}

const host = { candidateType: "host" };
const relay = { candidateType: "relay", url: "turns:meet.example:443?transport=tcp" };

test("relays of ours are not asked, and those of the other side not followed", () => {
  const relays = new Relays(true);
  const login = { username: "a", credential: "b" };
  const servers = [
    { urls: "stun:s.example" },
    { urls: ["turn:t.example", "stun:t.example"], ...login },
    { urls: ["turns:t.example", "TURN:t.example"], ...login },
  ];
  assert.deepEqual(relays.servers(servers), [{ urls: ["stun:s.example"] }, { urls: ["stun:t.example"] }]);
  assert.equal(relays.follows(relayed), false);
  assert.equal(relays.follows(near), true);
  assert.equal(relays.follows(""), true);
  const sdp = `v=0\r\na=${near}\r\na=${relayed}\r\na=end-of-candidates\r\n`;
  assert.equal(relays.description(sdp), `v=0\r\na=${near}\r\na=end-of-candidates\r\n`);
  assert.match(leftOut(true), /directOnly/);
});

test("where relays may be used, nothing is left out", () => {
  const relays = new Relays(false);
  const servers = [{ urls: "turn:t.example", username: "a", credential: "b" }];
  assert.equal(relays.servers(servers), servers);
  assert.equal(relays.description(`a=${relayed}\r\n`), `a=${relayed}\r\n`);
  assert.equal(leftOut(false), "");
});

test("the way is told, and why it is no better one", async () => {
  const told = (...what) => new Relays(false).way(connection(...what));
  const local = (candidateType) => ({ more: [{ type: "local-candidate", candidateType }] });
  const both = { more: [...local("srflx").more, { type: "remote-candidate", candidateType: "srflx" }] };
  assert.deepEqual(await told(host, host), { way: "direct", relay: null, address: "192.168.1.2", why: null });
  assert.match((await told(host, { candidateType: "srflx" })).why, /different networks/);
  const found = await told(relay, host);
  assert.deepEqual([found.way, found.relay], ["relayed", "turns:meet.example:443"]);
  assert.match(found.why, /UDP may be blocked here/);
  assert.match((await told(relay, host, local("srflx"))).why, /UDP may be blocked there/);
  assert.match((await told(relay, host, both)).why, /another port/);
  assert.match((await told(relay, host, { servers: [] })).why, /no STUN server is known/);
  assert.equal((await told(host, relay)).way, "relayed");
  // Firefox names no transport, and not always the URL.
  assert.equal((await told({ candidateType: "relay" }, host, { names: false })).relay, null);
});

test("nothing is told of a connection without a pair, nor of one that is closed", async () => {
  const relays = new Relays(false);
  assert.equal(await relays.way({ getStats: async () => new Map() }), null);
  assert.equal(await relays.way({ getStats: () => Promise.reject(new Error("closed")) }), null);
});

test("a relay that has checked us is one, whatever the browser calls its candidate", async () => {
  const relays = new Relays(true);
  relays.follows(relayed);
  const found = await relays.way(connection(host, { candidateType: "prflx", address: "192.0.2.9", port: 4000 }));
  assert.equal(found.way, "relayed");
});

test("a way by a relay is given some time to become a direct one", async () => {
  const clock = new Clock();
  let now = connection(relay, host);
  const changing = { ...now, getStats: () => now.getStats() };
  const agreed = new Relays(true).agree(changing, () => false);
  await clock.pass(1000);
  now = connection(host, host);
  await clock.pass(1000);
  assert.equal(await agreed, true);
  now = connection(relay, host);
  const refused = new Relays(true).agree(changing, () => false);
  await clock.pass(6000);
  assert.equal(await refused, false);
  clock.restore();
  assert.equal(await new Relays(false).agree(changing, () => false), true);
  assert.equal(await new Relays(true).agree(changing, () => true), false);
});

test("a connection that would go on through a relay ends", async () => {
  let now = connection(host, host);
  const transport = {};
  const changing = { sctp: { transport: { iceTransport: transport } }, getStats: () => now.getStats() };
  let ended = 0;
  new Relays(true).watch(changing, () => (ended += 1));
  await transport.onselectedcandidatepairchange();
  assert.equal(ended, 0);
  now = connection(relay, host);
  await transport.onselectedcandidatepairchange();
  assert.equal(ended, 1);
});
