// A peer whose session loses its path and finds another one, with a clock that a test plays.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { Peer } from "../../../src/peerfetch_fast/web/lib/peer.js";
import { sessions } from "../channels.js";
import { Clock } from "../clock.js";

let clock;

beforeEach(() => (clock = new Clock()));
afterEach(() => clock.restore());

const pass = (seconds) => clock.pass(1000 * seconds);
const turn = () => clock.settle();

/** A peer that answers by `handler`, and what is between. */
async function connected(handler) {
  const pair = sessions(handler, undefined, true);
  const peer = new Peer("dev1", null);
  const states = [];
  peer.addEventListener("statechange", () => states.push(peer.state));
  peer._use(pair.client);
  await turn();
  return { ...pair, peer, states };
}

test("a silent session is waited for, and what ran on it goes on", async () => {
  const got = [];
  const { client, server, path, peer, states } = await connected(async (request) => {
    got.push(await request.text());
    return new Response(got.at(-1));
  });
  let body;
  const upload = peer.fetch("/", { method: "POST", body: new ReadableStream({ start: (made) => (body = made) }) });
  body.enqueue(new TextEncoder().encode("before, "));
  await turn();
  path.cut();
  body.enqueue(new TextEncoder().encode("meanwhile, "));
  await pass(4);
  assert.equal(peer.state, "connected");
  await pass(2);
  assert.deepEqual([peer.state, peer.error, client.silent, server.silent], ["reconnecting", null, true, true]);
  const waiting = peer.fetch("/", { method: "POST", body: "asked in the silence" });
  await pass(10);
  path.mend();
  await turn();
  assert.deepEqual([peer.state, client.silent, server.silent], ["connected", false, false]);
  assert.equal(await (await waiting).text(), "asked in the silence");
  body.enqueue(new TextEncoder().encode("after"));
  body.close();
  assert.equal(await (await upload).text(), "before, meanwhile, after");
  assert.deepEqual(states, ["connected", "reconnecting", "connected"]);
  assert.equal(got.length, 2);
});

test("a request waits for a silent session as long as for another", async () => {
  const { path, peer, client } = await connected(() => new Response());
  path.cut();
  const lost = client.heard();
  await pass(6);
  assert.equal(peer.state, "reconnecting");
  const waiting = assert.rejects(peer.fetch("/"), TypeError);
  await pass(15);
  await waiting;
  assert.equal(client.error, null);
  client.abort();
  await lost;
});

test("a silent session that nobody brings back is lost in the end", async () => {
  const { client, server, path, peer, states } = await connected(() => new Promise(() => {}));
  const lost = peer.fetch("/").catch((error) => error);
  await turn();
  path.cut();
  await pass(59);
  assert.deepEqual([client.error, server.error], [null, null]);
  await pass(4);
  assert.match(client.error.message, /no sign of life/);
  assert.ok(server.error);
  assert.ok((await lost) instanceof TypeError);
  assert.deepEqual(states, ["connected", "reconnecting", "closed"]);
  assert.match(peer.error.message, /no sign of life/);
});

test("a session without requests asks seldom, and one that begins has silence noticed as soon", async () => {
  const { client, path, peer } = await connected(() => new Response("answered"));
  path.cut();
  await pass(14);
  assert.equal(client.silent, false);
  path.mend();
  await pass(14);
  path.cut();
  const waiting = peer.fetch("/");
  await pass(5);
  assert.equal(peer.state, "reconnecting");
  path.mend();
  assert.equal(await (await waiting).text(), "answered");
});

test("a silent session that is closed has nothing to wait for", async () => {
  const { client, path, peer } = await connected(() => new Response());
  path.cut();
  client.heard();
  await pass(6);
  const closed = peer.close();
  await pass(3);
  await closed;
  assert.ok(client.error);
});
