import assert from "node:assert/strict";
import test from "node:test";

import { NetworkStream } from "../../../../src/peerfetch_fast/web/smoke.js";
import { lonely, next } from "./steps.js";

/** Two streams, over both ends of a socket. */
async function pair(t, timeout) {
  const { sockets } = lonely(t);
  const accepted = new Promise((resolve) => sockets.createServer(resolve).listen(7));
  const socket = sockets.connect("localhost", 7);
  await next(socket, "open");
  return [new NetworkStream(socket, timeout), new NetworkStream(await accepted, timeout)];
}

test("pieces go both ways, each when it is asked for", async (t) => {
  const [near, far] = await pair(t);
  let written = 0;
  const write = async () => {
    for (const piece of ["a", "b", "c"]) {
      await near.writable.write(Buffer.from(piece));
      written++;
    }
  };
  const all = write();
  assert.equal((await far.readable.read()).value.toString(), "a");
  assert.equal(written, 1);
  const back = far.writable.write(Buffer.from("back"));
  assert.equal((await near.readable.read()).value.toString(), "back");
  await back;
  assert.equal((await far.readable.read()).value.toString(), "b");
  assert.equal((await far.readable.read()).value.toString(), "c");
  await all;
  near.writable.close();
  assert.equal((await far.readable.read()).done, true);
  await assert.rejects(near.writable.write(Buffer.from("late")), /closed/);
});

test("who cancels ends the other's writing, and an error reaches who reads", async (t) => {
  const [near, far] = await pair(t);
  const writing = near.writable.write(Buffer.from("a"));
  await far.readable.cancel();
  await assert.rejects(writing, /cancelled/);
  const [one, other] = await pair(t);
  one.writable.abort(new Error("broken"));
  await assert.rejects(other.readable.read(), /broken/);
});

test("a side that says nothing is given up, and what nobody has asked for is none of its business", async (t) => {
  const [near] = await pair(t, 20);
  await assert.rejects(near.writable.write(Buffer.from("a")), /silent/);
  const [one, other] = await pair(t);
  const reading = one.readable.read();
  other.socket.send(Uint8Array.of(2, 65));
  assert.equal((await reading).value.toString(), "A");
  other.socket.send(Uint8Array.of(2, 65));
  await next(other.socket, "close");
  await assert.rejects(one.readable.read(), /asked for/);
});
