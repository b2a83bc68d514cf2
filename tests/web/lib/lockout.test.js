import assert from "node:assert/strict";
import { test } from "node:test";

import { Lockout } from "../../../src/peerfetch_fast/web/lib/lockout.js";

const failing = (lockout, remote, times) => times.forEach((time) => lockout.failed(remote, time));

test("five wrong proofs lock a remote out for ten minutes, and nobody else", () => {
  const lockout = new Lockout();
  failing(lockout, "eve", [0, 1, 2, 3]);
  assert.equal(lockout.has("eve", 4), false);
  lockout.failed("eve", 10);
  assert.equal(lockout.has("eve", 10), true);
  assert.equal(lockout.has("eve", 609), true);
  assert.equal(lockout.has("eve", 610), false);
  assert.equal(lockout.has("alice", 11), false);
});

test("wrong proofs once in a while do not", () => {
  const lockout = new Lockout();
  failing(lockout, "careless", [0, 200, 400, 600, 800]);
  assert.equal(lockout.has("careless", 801), false);
});

test("addresses of one IPv6 network are one remote", () => {
  const lockout = new Lockout();
  for (const end of ["1", "2", "a:b:c:d", "3", "4"]) lockout.failed(`2001:db8:0:7::${end}`, 0);
  assert.equal(lockout.has("2001:db8:0:7::99", 1), true);
  assert.equal(lockout.has("2001:db8:0:7:1:2:3:4", 1), true);
  assert.equal(lockout.has("2001:db8:0:8::1", 1), false);
  failing(lockout, "fe80::1", [0, 0, 0, 0, 0]);
  assert.equal(lockout.has("fe80:0:0:0:9::", 1), true);
  assert.equal(lockout.has("192.168.1.7", 1), false);
  for (const odd of ["::", ":", ":::", "1::2::3", "%", ""]) lockout.failed(odd, 0);
});

test("only so many are remembered", () => {
  const lockout = new Lockout();
  failing(lockout, "first", [0, 0, 0, 0, 0]);
  for (let number = 0; number < 4095; number++) lockout.failed(`other${number}`, 1);
  assert.equal(lockout.has("first", 1), true);
  lockout.failed("one more", 1);
  assert.equal(lockout.has("first", 1), false);
});
