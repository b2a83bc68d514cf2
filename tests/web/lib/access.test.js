// The access token between two sessions in this process.

import assert from "node:assert/strict";
import { test } from "node:test";

import { fetchPrepared, prepare } from "../../../src/peerfetch_fast/web/lib/client.js";
import { Engine } from "../../../src/peerfetch_fast/web/lib/engine.js";
import { SessionCode } from "../../../src/peerfetch_fast/web/lib/errors.js";
import { Code, CodeAccess } from "../../../src/peerfetch_fast/web/lib/identity.js";
import { answer } from "../../../src/peerfetch_fast/web/lib/server.js";
import { Frame, encodeFrame } from "../../../src/peerfetch_fast/web/lib/wire.js";
import { only, sessions } from "../channels.js";

const bytes = (value) => new Uint8Array(32).fill(value);
const CLIENT = { proof: bytes(1), expected: bytes(2) };
const SERVER = { proof: bytes(2), expected: bytes(1) };
const ask = async (session) => fetchPrepared(only(session), await prepare("/", {}, "dev1"), "dev1");

async function within(access, handler, work) {
  const { client, server } = sessions(handler, access);
  try {
    await work(client, server);
  } finally {
    client.abort();
    server.abort();
    await Promise.all([client.closed, server.closed]);
  }
}

test("with the right token both are let in", async () => {
  const access = { client: CLIENT, server: SERVER };
  await within(access, () => new Response("in"), async (client, server) => {
    await Promise.all([client.admitted(), server.admitted()]);
    assert.equal(await (await ask(client)).text(), "in");
  });
});

test("without it every request is answered 401, unread", async () => {
  let handled = 0;
  const access = { client: null, server: SERVER };
  await within(access, () => new Response(handled++), async (client) => {
    const response = await ask(client);
    assert.equal(response.status, 401);
    assert.equal(response.headers.get("www-authenticate"), "Peerfetch");
    assert.match(await response.text(), /access token/);
    assert.equal(handled, 0);
  });
});

test("with a wrong one the responder's session goes on, and still answers nothing", async () => {
  let handled = 0;
  const wrong = { proof: bytes(7), expected: bytes(2) };
  await within({ client: wrong, server: SERVER }, () => new Response(handled++), async (client, server) => {
    await assert.rejects(server.admitted(), (error) => error.code === 0x20);
    assert.equal(server.error, null);
    server.abort(0x20, "wrong");
    await assert.rejects(client.admitted(), (error) => error.code === 0x20);
    assert.equal(handled, 0);
  });
});

test("an opener that serves answers nobody who has not proved himself", async () => {
  // Whoever poses as the device knows no token, and asks at once.
  let handled = 0;
  await within({ client: CLIENT, server: null }, () => new Response(), async (client, server) => {
    client.onstream = (stream) => void answer(stream, () => new Response(handled++));
    assert.equal((await ask(server)).status, 401);
    assert.equal(handled, 0);
  });
});

const ENDS = [bytes(1), bytes(2)];
const codes = (ours, theirs) => ({
  client: new CodeAccess(ours, ENDS, true, bytes(3)),
  server: new CodeAccess(theirs, ENDS, false, bytes(4)),
});

test("with the same code both are let in", async () => {
  await within(codes("123-able-boat", "123-able-boat"), () => new Response("in"), async (client, server) => {
    await Promise.all([client.admitted(), server.admitted()]);
    assert.equal(await (await ask(client)).text(), "in");
  });
});

test("with another code neither is", async () => {
  let handled = 0;
  const access = codes("123-able-boat", "123-able-acid");
  await within(access, () => new Response(handled++), async (client, server) => {
    await assert.rejects(server.admitted(), { name: "SessionError" });
    assert.equal(handled, 0);
    server.abort();
    await assert.rejects(client.admitted());
  });
});

/** Try `words` on `code`, as anybody may; whether it lets them in. */
async function tried(code, words) {
  let isIn = false;
  await within(codes(words, code), () => new Response(), async (client, server) => {
    isIn = await server.admitted().then(() => true, () => false);
    server.abort();
    await client.admitted().catch(() => {});
  });
  return isIn;
}

test("a code lets in many, and nobody any more after three wrong guesses in all", async () => {
  let over = 0;
  const code = new Code("123-able-boat", () => over++);
  for (let i = 0; i < 2; i++) {
    assert.ok(await tried(code, "123-able-boat"));
    assert.ok(!(await tried(code, `123-able-acid`)));
  }
  assert.equal(over, 0);
  assert.ok(!(await tried(code, "123-able-acid")));
  assert.equal(over, 1);
  assert.ok(!(await tried(code, "123-able-boat")));
  assert.equal(over, 1);
});

/** An engine of one side with a code, whose scalar is 32 times that byte. */
const engineOf = (words, opener, scalar) =>
  new Engine({ opener, now: 0, access: new CodeAccess(words, ENDS, opener, bytes(scalar)) });

/** Let two engines say all that they have to; what the first has said. */
function talk(one, other) {
  const said = [];
  for (let turn = 0; turn < 3; turn++) {
    for (let message; (message = one.nextMessage(0)); ) {
      said.push(message.slice());
      other.receive(message.slice(), 0);
    }
    for (let message; (message = other.nextMessage(0)); ) one.receive(message.slice(), 0);
  }
  return said;
}

test("recorded frames of a code are a wrong guess on any other connection", () => {
  const first = engineOf("123-able-boat", false, 4);
  const recorded = talk(engineOf("123-able-boat", true, 3), first);
  assert.equal(first.admitted, true);
  let over = 0;
  const code = new Code("123-able-boat", () => over++);
  for (let scalar = 5; scalar < 8; scalar++) {
    assert.equal(over, 0);
    const again = engineOf(code, false, scalar);
    for (const message of recorded) again.receive(message, 0);
    assert.equal(again.admitted, false);
    assert.equal(again.proofWrong, true);
  }
  assert.equal(over, 1);
});

test("recorded frames of a responder prove nothing on another connection", () => {
  const recorded = talk(engineOf("123-able-boat", false, 4), engineOf("123-able-boat", true, 3));
  const again = engineOf("123-able-boat", true, 5);
  assert.throws(() => recorded.forEach((message) => again.receive(message, 0)), { code: 0x20 });
  assert.equal(again.admitted, false);
});

test("a share or a proof that comes twice ends the connection", () => {
  const share = [Frame.PAKE, [], bytes(9)];
  const proof = [Frame.ACCESS, [], bytes(0)];
  for (const frames of [[share, share], [share, proof, proof]]) {
    const one = engineOf("123-able-boat", false, 4);
    const message = frames.flatMap((frame) => [...encodeFrame(...frame)]);
    assert.throws(() => one.receive(Uint8Array.from(message), 0), { code: SessionCode.PROTOCOL_VIOLATION });
    assert.equal(one.admitted, false);
  }
});

test("a proof without a share is a wrong one", async () => {
  const access = { client: CLIENT, server: codes("", "123-able-boat").server };
  await within(access, () => new Response(), async (_, server) => {
    await assert.rejects(server.admitted(), { name: "SessionError" });
  });
});

test("a share of low order ends the session", async () => {
  const zero = { share: new Uint8Array(32), takeShare() {}, proof: bytes(1), expected: bytes(2) };
  const access = { client: zero, server: codes("", "123-able-boat").server };
  await within(access, () => new Response(), async (_, server) => {
    await assert.rejects(server.admitted(), { name: "SessionError" });
  });
});
