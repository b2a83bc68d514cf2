// Tunnels of the browser client, over two sessions in this process.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Block, blockHeader, decodeRequest, jsonBlock } from "../../../src/peerfetch_fast/web/lib/blocks.js";
import { StreamCode } from "../../../src/peerfetch_fast/web/lib/errors.js";
import { MessageReader } from "../../../src/peerfetch_fast/web/lib/message.js";
import { openTunnel } from "../../../src/peerfetch_fast/web/lib/tunnel.js";
import { sessions } from "../channels.js";

/** Run `work(client)` with the requests of its session answered by `serve(stream, reader, head)`. */
async function withServer(serve, work) {
  const { client, server } = sessions(() => new Response());
  server.onstream = async (stream) => {
    const reader = new MessageReader(stream);
    const head = decodeRequest(await reader.head());
    await serve(stream, reader, head).catch(() => {});
  };
  try {
    await work(client);
  } finally {
    client.abort();
    await Promise.all([client.closed, server.closed]);
  }
}

const answer = (stream, status) => stream.queue(jsonBlock(Block.HEAD, { status, headers: [] }));

async function echo(stream, reader, { method, target, protocol }) {
  assert.deepEqual([method, target, protocol], ["CONNECT", "/ssh", "tcp"]);
  answer(stream, 200);
  for (let piece; (piece = await reader.read()); ) {
    stream.queue(blockHeader(Block.DATA, piece.length));
    await stream.write(piece.slice());
  }
  stream.end();
}

test("bytes go and come, and each direction ends by itself", () =>
  withServer(echo, async (client) => {
    const { readable, writable } = await openTunnel(client, "ssh");
    const writer = writable.getWriter();
    const sent = new Uint8Array(300_000).map((_, i) => i);
    const sending = writer.write(sent).then(() => writer.close());
    assert.deepEqual(new Uint8Array(await new Response(readable).arrayBuffer()), sent);
    await sending;
  }));

test("a tunnel that is refused", () =>
  withServer(
    async (stream) => {
      answer(stream, 404);
      stream.end();
    },
    async (client) => {
      await assert.rejects(openTunnel(client, "ssh"), /status 404/);
      await assert.rejects(openTunnel(client, "../x"), TypeError);
    },
  ));

test("what is broken off does not look whole", () =>
  withServer(
    async (stream) => {
      answer(stream, 200);
      stream.queue(blockHeader(Block.DATA, 1));
      await stream.write(new Uint8Array(1));
      stream.cancel(StreamCode.UPSTREAM_ERROR);
    },
    async (client) => {
      const { readable } = await openTunnel(client, "ssh");
      await assert.rejects(new Response(readable).arrayBuffer());
    },
  ));

test("one that is given up is broken off for the other side", async () => {
  let seen;
  const told = new Promise((resolve) => (seen = resolve));
  await withServer(
    async (stream, reader) => {
      answer(stream, 200);
      await reader.read().catch(seen);
    },
    async (client) => {
      const { writable } = await openTunnel(client, "ssh");
      await writable.abort();
      assert.equal((await told).code, StreamCode.UPSTREAM_ERROR);
    },
  );
});
