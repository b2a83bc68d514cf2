import assert from "node:assert/strict";
import { test } from "node:test";

import { Lockout, inSameRealm } from "../../../src/peerfetch_fast/web/lib/lockout.js";

const failing = (lockout, remote, times) => times.forEach((time) => lockout.failed([remote], time));

test("five wrong proofs lock a remote out for ten minutes, and nobody else", () => {
  const lockout = new Lockout();
  failing(lockout, "eve", [0, 1, 2, 3]);
  assert.equal(lockout.has(["eve"], 4), false);
  lockout.failed(["eve"], 10);
  assert.equal(lockout.has(["eve"], 10), true);
  assert.equal(lockout.has(["eve"], 609), true);
  assert.equal(lockout.has(["eve"], 610), false);
  assert.equal(lockout.has(["alice"], 11), false);
});

test("wrong proofs once in a while do not", () => {
  const lockout = new Lockout();
  failing(lockout, "careless", [0, 200, 400, 600, 800]);
  assert.equal(lockout.has(["careless"], 801), false);
});

test("addresses of one IPv6 network are one remote", () => {
  const lockout = new Lockout();
  for (const end of ["1", "2", "a:b:c:d", "3", "4"]) lockout.failed([`2001:db8:0:7::${end}`], 0);
  assert.equal(lockout.has(["2001:db8:0:7::99"], 1), true);
  assert.equal(lockout.has(["2001:db8:0:7:1:2:3:4"], 1), true);
  assert.equal(lockout.has(["2001:db8:0:8::1"], 1), false);
  failing(lockout, "fe80::1", [0, 0, 0, 0, 0]);
  assert.equal(lockout.has(["fe80:0:0:0:9::"], 1), true);
  assert.equal(lockout.has(["192.168.1.7"], 1), false);
  for (const odd of ["::", ":", ":::", "1::2::3", "%", ""]) lockout.failed([odd], 0);
});

test("only so many are remembered", () => {
  const lockout = new Lockout();
  failing(lockout, "first", [0, 0, 0, 0, 0]);
  for (let number = 0; number < 4095; number++) lockout.failed([`other${number}`], 1);
  assert.equal(lockout.has(["first"], 1), true);
  lockout.failed(["one more"], 1);
  assert.equal(lockout.has(["first"], 1), false);
});

test("an attacker with several addresses is one, and accuses nobody else", () => {
  const lockout = new Lockout();
  const addresses = ["203.0.113.5", "2001:db8:5::1"];
  let guesses = 0;
  for (let number = 0; number < 20; number++) {
    const remotes = [`peer${number}`, addresses[number % 2]];
    if (lockout.has([...remotes, ...addresses], number)) continue;
    guesses++;
    lockout.failed(remotes, number);
  }
  assert.equal(guesses, 5);
  assert.equal(lockout.has(["victim", "203.0.113.7"], 20), false);
  assert.equal(lockout.has(["liar", "203.0.113.7", "203.0.113.5", "2001:db8:5::9"], 20), true);
});

test("guesses at the same time are as many as one after the other", () => {
  const lockout = new Lockout();
  const one = Array.from({ length: 32 }, (_, number) => [`peer${number}`, "203.0.113.5"]);
  const let_ = one.filter((remotes) => lockout.mayProve(remotes, 0));
  assert.equal(let_.length, 5);
  lockout.failed(let_[0], 1);
  lockout.heard(let_[0]);
  assert.equal(lockout.mayProve(one[9], 1), false);
  lockout.heard(let_[1]);
  assert.equal(lockout.mayProve(one[9], 1), true);
  for (let time = 0; time < 5; time++) lockout.failed(one[20], time);
  for (const remotes of [...let_.slice(2), one[9]]) lockout.heard(remotes);
  assert.equal(lockout.mayProve(one[20], 700), true);
});

test("private addresses are told apart by where they are seen", () => {
  const claimed = ["192.168.1.7", "8.8.8.8", "2a00:1450::1", "fe80::1", "fd00::1", "172.31.0.1", "172.32.0.1"];
  const global = ["8.8.8.8", "2a00:1450::1", "172.32.0.1"];
  assert.deepEqual(inSameRealm(claimed, "9.9.9.9"), global);
  assert.deepEqual(inSameRealm(claimed, "10.0.0.1"), claimed);
});
