// A person is asked once for each realm.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Logins } from "../../../src/peerfetch_fast/web/lib/logins.js";

const BASIC = 'Basic realm="r"';
const about = (target = "/", isPage = false) => ({ method: "GET", target, isPage });
const refuse = (challenge) => new Response("no", { status: 401, headers: { "www-authenticate": challenge } });

/** Logins of a person who says these things, one after the other, and what was asked. */
function person(...says) {
  const asked = [];
  const logins = new Logins(async (question) => {
    asked.push(question);
    await new Promise((resolve) => setTimeout(resolve, 20)); // as people do
    return says.shift() ?? null;
  });
  return { asked, logins };
}

const right = { user: "me", password: "secret" };
const wrong = { user: "me", password: "wrong" };

/** A server that lets `me:secret` in, and what it was sent. */
function server(challenge = BASIC) {
  const sent = [];
  const send = async (authorization) => {
    sent.push(authorization);
    return authorization === `Basic ${btoa("me:secret")}` ? new Response("in") : refuse(challenge);
  };
  return { sent, send };
}

test("who is let in is asked once, and sends it from the start afterwards", async () => {
  const { asked, logins } = person(right);
  const { sent, send } = server();
  assert.equal((await logins.answered(send, about("/a/"))).status, 200);
  assert.equal((await logins.answered(send, about("/a/b"))).status, 200);
  assert.deepEqual(sent, [null, `Basic ${btoa("me:secret")}`, `Basic ${btoa("me:secret")}`]);
  assert.deepEqual(asked, [{ realm: "r", isWrong: false }]);
  // The same realm somewhere else is no question either.
  assert.equal((await logins.answered(send, about("/c"))).status, 200);
  assert.equal(asked.length, 1);
  assert.equal(logins.authorization("GET", "/c"), `Basic ${btoa("me:secret")}`);
});

test("many requests at once are one question", async () => {
  const { asked, logins } = person(wrong, right);
  const { send } = server();
  const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => logins.answered(send, about(`/${i}`))));
  assert.deepEqual(answers.map(({ status }) => status), Array(20).fill(200));
  assert.deepEqual(asked.map(({ isWrong }) => isWrong), [false, true]);
});

test("who declines gets the server's answer, and is asked again with the next page", async () => {
  const { asked, logins } = person(null, right);
  const { send } = server();
  const other = server('Basic realm="other"');
  const both = [logins.answered(send, about()), logins.answered(other.send, about("/other"))];
  assert.deepEqual((await Promise.all(both)).map(({ status }) => status), [401, 401]);
  assert.equal(await (await logins.answered(send, about())).text(), "no");
  assert.equal(asked.length, 1);
  assert.equal((await logins.answered(send, about("/", true))).status, 200);
});

test("what nobody can answer is left to the app", async () => {
  const { asked, logins } = person(right);
  for (const challenge of ["Bearer", "Peerfetch", 'Digest realm="r", nonce="n", algorithm=x']) {
    assert.equal((await logins.answered(async () => refuse(challenge), about())).status, 401);
  }
  assert.equal(asked.length, 0);
});

test("a nonce that is stale is nothing to ask about, unless all of them are", async () => {
  const { asked, logins } = person(right);
  const nonces = [];
  const digest = (stale) => `Digest realm="r", nonce="${nonces.length}", qop="auth", stale=${stale}`;
  let lives = 2;
  const send = async (authorization) => {
    nonces.push(/nonce="([^"]*)"/.exec(authorization)?.[1]);
    return authorization && lives-- > 0 ? new Response("in") : refuse(digest(authorization !== null));
  };
  for (let i = 0; i < 2; i++) assert.equal((await logins.answered(send, about())).status, 200);
  lives = 0;
  const once = async (authorization) => {
    lives = authorization?.includes(`nonce="${nonces.length}"`) ? 1 : 0;
    return send(authorization);
  };
  assert.equal((await logins.answered(once, about())).status, 200);
  assert.equal(asked.length, 1);
  lives = -1;
  assert.equal((await logins.answered(send, about())).status, 401);
  assert.equal(asked.length, 1);
});

test("each realm has a login of its own", async () => {
  const { asked, logins } = person({ user: "a", password: "1" }, { user: "b", password: "2" });
  const send = (realm, login) => async (authorization) =>
    authorization === `Basic ${btoa(login)}` ? new Response("in") : refuse(`Basic realm="${realm}"`);
  for (let i = 0; i < 2; i++) {
    assert.equal((await logins.answered(send("a", "a:1"), about("/"))).status, 200);
    assert.equal((await logins.answered(send("gr\u00c3\u00bcn\u00c2\u0085", "b:2"), about("/b/"))).status, 200);
  }
  assert.deepEqual(asked.map(({ realm }) => realm), ["a", "grün"]);
});
