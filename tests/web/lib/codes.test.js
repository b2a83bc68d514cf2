// Codes to be typed: the same words as Python's, and what people make of them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { drawCode, looksLikeCode, parseCode, parseDigits, waitingName } from "../../../src/peerfetch_fast/web/lib/codes.js";
import { randomBelow } from "../../../src/peerfetch_fast/web/lib/random.js";
import { WORDS } from "../../../src/peerfetch_fast/web/lib/words.js";

test("the words are those of Python", () => {
  const python = readFileSync(new URL("../../../src/peerfetch_fast/words.py", import.meta.url), "utf8");
  const [, listed] = /_WORDS = """\n([a-z \n]+)\n"""/.exec(python);
  assert.deepEqual(WORDS, listed.split(/\s+/));
  assert.equal(WORDS.length, 2048);
});

test("a code is understood however it is typed", () => {
  const meant = { code: "123-able-trapeze", id: "pair-123" };
  for (const typed of ["123-able-trapeze", " 123 Able TRAPEZE\n", "123able_trap", "123, able, trapez", "123.able.trapeze"]) {
    assert.deepEqual(parseCode(typed), meant);
    assert.ok(looksLikeCode(typed));
  }
});

test("what is no code is said before anybody is told of it", () => {
  const wrong = ["", "123", "123-able", "able-boat", "12-able-boat", "012-able-boat", "1234567-able-boat"];
  for (const typed of [...wrong, "123-able-boat-acid", "123-abel-boat", "123-able-zzzz", "123-able-boats"]) {
    assert.throws(() => parseCode(typed), { name: "ConnectError", reason: "code" }, typed);
  }
});

test("a device that waits in a room is told by its id, and its digits however they are typed", () => {
  assert.equal(waitingName("wait-garage-pi-0a1b2c3d"), "garage-pi");
  for (const id of ["pair-123", "wait-0a1b2c3d", "wait-pi-0a1b2c3", "wait-pi-0A1B2C3D", "wait-a b-0a1b2c3d"]) {
    assert.equal(waitingName(id), null, id);
  }
  for (const typed of ["012345", " 012 345\n", "012-345"]) assert.equal(parseDigits(typed), "012345");
  for (const typed of ["", "12345", "1234567", "12345a", "１２３４５６"]) {
    assert.throws(() => parseDigits(typed), { name: "ConnectError", reason: "code" }, typed);
  }
});

test("a code that is drawn has a longer number once short ones are taken", () => {
  const draw = (which, attempt) => drawCode((count) => (which === "first" ? 0 : count - 1), attempt);
  assert.deepEqual(draw("first", 0), { code: `100-${WORDS[0]}-${WORDS[0]}`, id: "pair-100" });
  const last = WORDS.at(-1);
  for (const [attempt, number] of [999, 9999, 999_999, 999_999].entries()) {
    assert.deepEqual(draw("last", attempt), { code: `${number}-${last}-${last}`, id: `pair-${number}` });
  }
  for (let i = 0; i < 50; i++) {
    const drawn = drawCode(randomBelow, i % 4);
    assert.deepEqual(parseCode(drawn.code), drawn);
  }
});
