// The access token between two sessions in this process.

import assert from "node:assert/strict";
import { test } from "node:test";

import { fetchPrepared, prepare } from "../../../src/peerfetch_fast/web/lib/client.js";
import { answer } from "../../../src/peerfetch_fast/web/lib/server.js";
import { sessions } from "../channels.js";

const bytes = (value) => new Uint8Array(32).fill(value);
const CLIENT = { proof: bytes(1), expected: bytes(2) };
const SERVER = { proof: bytes(2), expected: bytes(1) };
const ask = async (session) => fetchPrepared(session, await prepare("/", {}, "dev1"), "dev1");

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
