import assert from "node:assert/strict";
import test from "node:test";

import { lonely, next, until } from "./steps.js";

test("messages of every size go both ways, empty ones too", async (t) => {
  const { sockets } = lonely(t);
  sockets.createServer((socket) => socket.on("message", ({ data }) => socket.send(data))).listen(7000);
  const socket = sockets.connect("localhost", 7000);
  await next(socket, "open");
  for (const size of [0, 1, 70_000, 1_500_000]) {
    const sent = new Uint8Array(size).fill(size % 251);
    socket.send(sent);
    const { data } = await next(socket, "message");
    assert.ok(data.equals(sent));
  }
  socket.send("text");
  assert.equal((await next(socket, "message")).data.toString(), "text");
});

test("what was sent before close() arrives before it", async (t) => {
  const { sockets } = lonely(t);
  const server = (socket) => {
    socket.send("hello");
    socket.close();
  };
  sockets.createServer(server).listen(5000);
  const socket = sockets.connect("localhost", 5000);
  const events = [];
  for (const event of ["open", "message", "close"]) socket.on(event, () => events.push(event));
  await until(() => events.includes("close"));
  assert.deepEqual(events, ["open", "message", "close"]);
});

test("a port that is not open gives an error, then close", async (t) => {
  const { sockets } = lonely(t);
  const socket = sockets.connect("localhost", 9);
  assert.throws(() => socket.send("early"), /not open/);
  const error = await next(socket, "error");
  assert.match(error.message, /'localhost' forcefully closed this connection/);
  await next(socket, "close");
});

test("events wait for who listens, and messages slow their sender down", async (t) => {
  const { sockets } = lonely(t);
  let other;
  sockets.createServer((socket) => (other = socket)).listen(1);
  const socket = sockets.connect("localhost", 1);
  await next(socket, "open");
  for (let at = 0; at < 40; at++) socket.send(new Uint8Array(200_000).fill(at));
  await until(() => other && socket.bufferedAmount > 0);
  let before = -1;
  for (let same = 0; same < 20; same = before === socket.bufferedAmount ? same + 1 : 0) {
    before = socket.bufferedAmount;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  assert.ok(socket.bufferedAmount > 4_000_000);
  const seen = [];
  other.on("message", ({ data }) => seen.push(data[0]));
  await until(() => seen.length === 40);
  assert.deepEqual(seen, Array.from({ length: 40 }, (_, at) => at));
});

test("closing tells the other side, which may never have listened", async (t) => {
  const { sockets } = lonely(t);
  let other;
  sockets.createServer((socket) => (other = socket)).listen(1);
  const socket = sockets.connect("localhost", 1);
  await next(socket, "open");
  socket.close();
  await next(socket, "close");
  await next(other, "close");
});

test("a channel is one of the port, with RTCDataChannel's interface", async (t) => {
  const { network } = lonely(t);
  network.bindPort("echo", ([, channel]) => {
    channel.onmessage = ({ data }) => channel.send(data);
  });
  const [peer, channel] = await network.connect("localhost", "echo");
  assert.deepEqual([peer.remote, channel.label, channel.readyState], ["localhost", "echo", "open"]);
  const came = new Promise((resolve) => (channel.onmessage = resolve));
  channel.send("hello");
  assert.equal((await came).data, "hello");
  channel.close();
  await new Promise((resolve) => (channel.onclose = resolve));
  assert.equal(channel.readyState, "closed");
  network.unbindPort("echo");
  await assert.rejects(network.connect("localhost", "echo"));
});
