// Whether the other side is still there, in a time of its own.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Liveness } from "../../../src/peerfetch_fast/web/lib/liveness.js";
import { SETTINGS } from "../../../src/peerfetch_fast/web/lib/settings.js";

const settings = { ...SETTINGS, keepAlive: 2, idleKeepAlive: 15, quietAfter: 3, deadAfter: 5 };
const made = (resumes = false) => new Liveness(settings, resumes, 100);
const busy = true;

/** The PONG to the PING that is owed. */
function pong(liveness) {
  const data = liveness.owed;
  liveness.owed = null;
  return data;
}

test("silence is asked about after the keep-alive, and seldom in an idle session that can move", () => {
  for (const [resumes, isBusy, due] of [[false, false, 102], [true, true, 102], [true, false, 115]]) {
    const liveness = made(resumes);
    assert.equal(liveness.deadline(isBusy, false), due);
    assert.deepEqual(liveness.handleTimeout(due - 0.001, isBusy, false), []);
    assert.equal(liveness.owed, null);
    liveness.handleTimeout(due, isBusy, false);
    assert.deepEqual([...liveness.owed], [0, 0, 0, 0, 0, 0, 0, 1]);
  }
});

test("the PONG to the latest PING alone measures the round trip, once", () => {
  const liveness = made();
  liveness.ask(100);
  const first = pong(liveness);
  liveness.heard(100.5);
  liveness.ask(101);
  const second = pong(liveness);
  liveness.answered(first, 101.2);
  assert.equal(liveness.roundTrip, null);
  liveness.answered(second, 101.25);
  assert.equal(liveness.roundTrip, 0.25);
  liveness.answered(second, 109);
  assert.equal(liveness.roundTrip, 0.25);
});

test("nobody is asked twice before there was a sign of life", () => {
  const liveness = made();
  liveness.ask(100);
  pong(liveness);
  liveness.ask(101);
  assert.equal(liveness.owed, null);
  liveness.heard(101.5);
  liveness.ask(101.6);
  assert.notEqual(liveness.owed, null);
});

test("the round trip is measured where none was of late", () => {
  const liveness = made();
  liveness.measure(100);
  liveness.answered(pong(liveness), 100.5);
  liveness.measure(102.4);
  assert.equal(liveness.owed, null);
  liveness.measure(102.5);
  assert.notEqual(pong(liveness), null);
  liveness.measure(110);
  assert.equal(liveness.owed, null); // that one is still waited for
});

test("silence after a PING is quiet, then silence, then the end, each told once", () => {
  const liveness = made();
  liveness.patience = 60;
  liveness.handleTimeout(102, busy, false);
  const told = [];
  for (let i = 0; i < 3; i++) {
    const due = liveness.deadline(busy, false);
    assert.deepEqual(liveness.handleTimeout(due - 0.001, busy, false), []);
    try {
      told.push([due, ...liveness.handleTimeout(due, busy, false)]);
    } catch (error) {
      told.push([due, error.name]);
    }
  }
  assert.deepEqual(told, [[103, "quiet"], [105, "silence"], [160, "SessionError"]]);
  assert.equal(liveness.silent, true);
  assert.equal(liveness.heard(161), true);
  assert.equal(liveness.heard(162), false);
  assert.equal(liveness.silent, false);
});

test("both are told at once of a page that stood still, which asks before it gives up", () => {
  const liveness = made();
  liveness.handleTimeout(500, busy, false);
  assert.equal(liveness.deadline(busy, false), 501);
  assert.deepEqual(liveness.handleTimeout(502.9, busy, false), ["quiet"]);
  const other = made();
  other.patience = 60;
  other.handleTimeout(102, busy, false);
  assert.deepEqual(other.handleTimeout(130, busy, false), ["quiet", "silence"]);
});

test("a session that ends, and has no stream, is not kept", () => {
  for (const [isBusy, leaving, lost] of [[false, true, 105], [true, true, 160], [false, false, 160]]) {
    const liveness = made();
    liveness.patience = 60;
    liveness.handleTimeout(102, isBusy, leaving);
    const until = (now) => liveness.handleTimeout(now, isBusy, leaving);
    until(104.9);
    if (lost > 105) until(159.9);
    assert.throws(() => until(lost), { name: "SessionError", code: 0, message: /no sign of life/ });
  }
});
