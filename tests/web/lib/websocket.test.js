// The WebSocket of the browser client: its frames against the vectors, and its life on two sessions.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import vm from "node:vm";

import { Block, BlockReader, decodeRequest, jsonBlock } from "../../../src/peerfetch_fast/web/lib/blocks.js";
import {
  FrameReader,
  PeerWebSocket,
  frameBlock,
} from "../../../src/peerfetch_fast/web/lib/websocket.js";
import { sessions } from "../channels.js";

const VECTORS = JSON.parse(
  readFileSync(new URL("../../vectors/peerfetch2.json", import.meta.url), "utf8"),
);
const KINDS = { 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong" };
const hex = (data) => Buffer.from(data).toString("hex");
const text = (data) => Buffer.from(data).toString();

function describe([type, payload]) {
  const kind = KINDS[type];
  if (kind === "text") return { type: kind, text: text(payload) };
  if (kind !== "close") return { type: kind, data: hex(payload) };
  const code = payload.length ? payload[0] * 256 + payload[1] : 1005;
  return { type: kind, code, reason: text(payload.subarray(2)) };
}

for (const vector of VECTORS.websocket) {
  for (const step of [1, 5, 1000]) {
    test(`${vector.name}, ${step} bytes at a time`, () => {
      const bytes = new Uint8Array(Buffer.from(vector.bytes, "hex"));
      const reader = new FrameReader();
      const found = [];
      for (let at = 0; at < bytes.length; at += step) {
        found.push(...reader.feed(bytes.subarray(at, at + step)));
      }
      assert.deepEqual(found.map(describe), vector.events);
    });
  }
}

class CloseEvent extends Event {
  constructor(type, { code, reason, wasClean }) {
    super(type);
    Object.assign(this, { code, reason, wasClean });
  }
}

/** What a window has, of which node has most. */
const REALM = { Blob, CloseEvent, DOMException, Event, MessageEvent, Uint8Array };

/** A WebSocket whose other side is `serve(stream, frames)`, with what it sent in `frames`. */
async function webSocket(serve, protocols = [], realm = REALM) {
  const { client, server } = sessions(() => new Response());
  const frames = [];
  const answer = async (stream) => {
    const [blocks, reader] = [new BlockReader(), new FrameReader()];
    for (let data, first = true; (data = await stream.read()).length; ) {
      for (const [type, payload] of blocks.feed(data)) {
        if (type === Block.HEAD) {
          assert.equal(decodeRequest(payload).protocol, "websocket");
        } else {
          frames.push(...reader.feed(payload).map(describe));
        }
      }
      if (first) await serve(stream, frames);
      first = false;
    }
  };
  // What the client gives up is none of these tests' business.
  server.onstream = (stream) => void answer(stream).catch(() => {});
  const socket = new PeerWebSocket(Promise.resolve(client), "/x", { url: "peer://dev1/x", protocols, realm });
  const closed = new Promise((resolve) => (socket.onclose = resolve));
  const end = async () => {
    client.abort();
    await Promise.all([client.closed, server.closed]);
  };
  return { socket, closed, frames, end };
}

async function until(condition) {
  for (let i = 0; i < 1000 && !condition(); i++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const grant = (stream, headers = []) => stream.queue(jsonBlock(Block.HEAD, { status: 200, headers }));

for (const vector of VECTORS.websocket_errors) {
  test(`error: ${vector.name}`, async () => {
    const { socket, closed, frames, end } = await webSocket((stream) => {
      grant(stream);
      const bytes = new Uint8Array(Buffer.from(vector.bytes, "hex"));
      const header = bytes.length < 64 ? [0, bytes.length] : [0, 0x40 | (bytes.length >> 8), bytes.length & 0xff];
      stream.queue(Uint8Array.from([...header, ...bytes]));
    });
    assert.equal((await closed).wasClean, false);
    assert.equal(socket.readyState, 3);
    await end();
    assert.deepEqual(frames, [{ type: "close", code: vector.code, reason: "" }]);
  });
}

test("messages both ways, in order, whatever their kind and size", async () => {
  const { socket, closed, frames, end } = await webSocket(
    (stream) => {
      grant(stream, [["sec-websocket-protocol", "two"]]);
      stream.queue(frameBlock(1, new TextEncoder().encode("grüße")));
      stream.queue(frameBlock(2, new Uint8Array([1, 2])));
      stream.queue(frameBlock(9, new Uint8Array([7])));
    },
    ["one", "two"],
  );
  const got = [];
  socket.binaryType = "arraybuffer";
  socket.addEventListener("message", ({ data }) => got.push(data));
  assert.throws(() => socket.send("too early"), { name: "InvalidStateError" });
  await new Promise((resolve) => (socket.onopen = resolve));
  assert.equal(socket.protocol, "two");
  socket.send(new Blob(["a blob"]));
  socket.send(new Uint8Array(200_000).subarray(1));
  socket.send("");
  assert.throws(() => socket.close(1001), { name: "InvalidAccessError" });
  assert.throws(() => socket.close(1000, "x".repeat(124)), { name: "SyntaxError" });
  await until(() => got.length === 2 && frames.some(({ type }) => type === "pong"));
  socket.close(4000, "done");
  await until(() => frames.length === 5);
  assert.equal(socket.bufferedAmount, 0);
  await end();
  assert.equal((await closed).code, 1006);
  assert.deepEqual(got[0], "grüße");
  assert.deepEqual([...new Uint8Array(got[1])], [1, 2]);
  const kinds = frames.filter(({ type }) => type !== "pong");
  assert.deepEqual(kinds[0], { type: "binary", data: hex(new TextEncoder().encode("a blob")) });
  assert.equal(kinds[1].data, "00".repeat(199_999));
  assert.deepEqual(kinds.slice(2), [
    { type: "text", text: "" },
    { type: "close", code: 4000, reason: "done" },
  ]);
  assert.deepEqual(frames.filter(({ type }) => type === "pong"), [{ type: "pong", data: "07" }]);
});

test("the other side's CLOSE is answered with its code", async () => {
  const { closed, frames, end } = await webSocket((stream) => {
    grant(stream);
    stream.queue(frameBlock(8, Uint8Array.from([0x0f, 0xa1, 0x78])));
    stream.end();
  });
  const { code, reason, wasClean } = await closed;
  assert.deepEqual([code, reason, wasClean], [4001, "x", true]);
  await until(() => frames.length);
  assert.deepEqual(frames, [{ type: "close", code: 4001, reason: "" }]);
  await end();
});

test("a refusal, and a stream that ends without CLOSE, are 1006", async () => {
  for (const serve of [
    (stream) => stream.queue(jsonBlock(Block.HEAD, { status: 501, headers: [] })),
    (stream) => grant(stream) ?? stream.end(),
    (stream) => grant(stream, [["sec-websocket-protocol", "not offered"]]),
  ]) {
    const { closed, end } = await webSocket(serve);
    const { code, wasClean } = await closed;
    assert.deepEqual([code, wasClean], [1006, false]);
    await end();
  }
});

test("of PINGs that cannot be answered yet, the last is answered", async () => {
  const written = [];
  let letGo;
  const held = new Promise((resolve) => (letGo = resolve));
  const pieces = [jsonBlock(Block.HEAD, { status: 200, headers: [] })];
  for (let i = 0; i < 2000; i++) pieces.push(frameBlock(9, Uint8Array.of(i >> 8, i & 0xff)));
  let ended;
  const stream = {
    atEnd: false,
    read: () => (pieces.length ? Promise.resolve(pieces.shift()) : new Promise((resolve) => (ended = resolve))),
    queue: () => {},
    write: async (block) => {
      written.push(block);
      await held;
    },
    end: () => {},
    reset: () => {},
    stop: () => {},
  };
  const socket = new PeerWebSocket(Promise.resolve({ open: async () => stream }), "/", {
    url: "peer://dev1/",
    protocols: [],
    realm: REALM,
  });
  await until(() => ended);
  assert.equal(written.length, 1);
  letGo();
  await until(() => written.length === 2);
  assert.deepEqual([...written[1]].slice(-2), [1999 >> 8, 1999 & 0xff]);
  assert.equal(written.length, 2);
  socket.close();
  const closed = new Promise((resolve) => (socket.onclose = resolve));
  ended(new Uint8Array(0));
  await closed;
});

test("events, and what comes in them, are of the realm that it is made for", async () => {
  class Marked extends Event {}
  const theirs = {
    ...REALM,
    Event: Marked,
    MessageEvent: class extends MessageEvent {},
    CloseEvent: class extends CloseEvent {},
    Uint8Array: vm.runInNewContext("Uint8Array"),
    DOMException: class extends Error {},
  };
  const { socket, closed, end } = await webSocket((stream) => grant(stream) ?? stream.queue(frameBlock(2, Uint8Array.of(7))), [], theirs);
  assert.throws(() => socket.send(""), theirs.DOMException);
  socket.binaryType = "arraybuffer";
  socket.binaryType = "nonsense";
  const opened = new Promise((resolve) => (socket.onopen = resolve));
  const message = await new Promise((resolve) => (socket.onmessage = resolve));
  assert.ok((await opened) instanceof Marked);
  assert.ok(message instanceof theirs.MessageEvent);
  assert.deepEqual([message.data.constructor.name, message.data instanceof ArrayBuffer], ["ArrayBuffer", false]);
  socket.send(vm.runInNewContext("new ArrayBuffer(3)"));
  assert.equal(socket.bufferedAmount, 3);
  await end();
  assert.ok((await closed) instanceof theirs.CloseEvent);
});

test("a handler has its place among the listeners", async () => {
  const { socket, closed, end } = await webSocket((stream) => {
    grant(stream);
    stream.queue(frameBlock(1, new TextEncoder().encode("one")));
    stream.queue(frameBlock(1, new TextEncoder().encode("two")));
  });
  const got = [];
  socket.onmessage = () => got.push("first");
  socket.addEventListener("message", () => got.push("second"));
  socket.onmessage = ({ data }) => got.push(data);
  await until(() => got.length === 4);
  assert.deepEqual(got, ["one", "second", "two", "second"]);
  socket.onmessage = {};
  assert.equal(socket.onmessage, null);
  await end();
  assert.equal((await closed).code, 1006);
});

test("what is no data is sent as text, and names of protocols are tokens", async () => {
  const { socket, frames, end } = await webSocket(grant);
  await new Promise((resolve) => (socket.onopen = resolve));
  for (const data of [123, null, { toString: () => "an object" }]) socket.send(data);
  await until(() => frames.length === 3);
  await end();
  assert.deepEqual(frames.map(({ text }) => text), ["123", "null", "an object"]);
  for (const protocols of [["a", "a"], ["a b"], [""]]) {
    const about = { url: "peer://dev1/", protocols, realm: REALM };
    assert.throws(() => new PeerWebSocket(Promise.resolve(), "/", about), { name: "SyntaxError" });
  }
});

test("when its page is left, the other side hears of it, and nobody else", async () => {
  const { socket, closed, frames, end } = await webSocket(grant);
  await new Promise((resolve) => (socket.onopen = resolve));
  let told = false;
  closed.then(() => (told = true));
  socket._leave();
  await until(() => frames.length);
  assert.deepEqual(frames, [{ type: "close", code: 1001, reason: "" }]);
  assert.equal(socket.readyState, 3);
  await end();
  assert.equal(told, false);
});
