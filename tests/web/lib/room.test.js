// Who is in the room of a network, and what they are told.

import assert from "node:assert/strict";
import { test } from "node:test";

import { answerRoom, memberId, memberOf } from "../../../src/peerfetch_fast/web/lib/room.js";

const WAY = { id: "share-1", pin: `sha256:${"a".repeat(64)}`, secret: "b".repeat(32) };
const OFFER = { by: "anna", title: "film", files: 1, total: 5, peer_id: WAY.id, pin: WAY.pin, token: WAY.secret };
const post = (path, body) => new Request(`http://peer.invalid/~room/${path}`, { method: "POST", body });

test("ids say who it is", () => {
  assert.deepEqual(memberOf("gives-my-pc-0a1b2c3d"), { id: "gives-my-pc-0a1b2c3d", kind: "gives", name: "my-pc" });
  assert.equal(memberOf(memberId("takes", "größe <b>")).name, "gr-e-b");
  assert.equal(memberOf(memberId("takes", "")).name, "somebody");
  for (const id of ["share-1", "gives-0a1b2c3d", "gives-a b-0a1b2c3d", "gives-a-0A1B2C3D", "wait-a-0a1b2c3d"]) {
    assert.equal(memberOf(id), null, id);
  }
});

test("who gives tells the way to whom the person lets have it", async () => {
  const asked = [];
  const ask = async (name) => (asked.push(name), name === "bob" ? WAY : null);
  const found = await answerRoom(post("ask", JSON.stringify({ by: "bob" })), { ask });
  assert.deepEqual(await found.json(), { peer_id: WAY.id, pin: WAY.pin, token: WAY.secret });
  assert.equal((await answerRoom(post("ask", JSON.stringify({ by: "e\u202eve" })), { ask })).status, 403);
  assert.equal((await answerRoom(post("ask", "{}"), { ask })).status, 403);
  assert.deepEqual(asked, ["bob", "eve", "Somebody"]);
});

test("who takes is asked about what can be had, and of nothing else", async () => {
  const heard = [];
  const offer = async (told) => heard.push(told.title) === 1;
  assert.equal((await answerRoom(post("offer", JSON.stringify(OFFER)), { offer })).status, 204);
  assert.equal((await answerRoom(post("offer", JSON.stringify({ ...OFFER, title: "another" })), { offer })).status, 403);
  const wrong = [
    "", "{", "null", "[]", "{}", `"${"x".repeat(5000)}"`,
    ...[{ peer_id: "dev1" }, { peer_id: 1 }, { pin: "sha256:1" }, { token: "" }, { files: -1 }, { total: "5" }, { total: 1e99 }]
      .map((more) => JSON.stringify({ ...OFFER, ...more })),
    JSON.stringify({ ...OFFER, more: "x".repeat(5000) }),
  ];
  for (const body of wrong) assert.equal((await answerRoom(post("offer", body), { offer })).status, 400, body);
  assert.deepEqual(heard, ["film", "another"]);
});

test("nothing else is to be had", async () => {
  const actions = { ask: async () => WAY };
  for (const request of [post("offer", JSON.stringify(OFFER)), post("else", "{}"), new Request("http://peer.invalid/~room/ask")]) {
    assert.equal((await answerRoom(request, actions)).status, 404);
  }
});
