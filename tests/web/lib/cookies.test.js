import assert from "node:assert/strict";
import { test } from "node:test";

import { CookieJar, parseDate } from "../../../src/peerfetch_fast/web/lib/cookies.js";

class Storage {
  kept = new Map();
  getItem(key) {
    return this.kept.get(key) ?? null;
  }
  setItem(key, value) {
    this.kept.set(key, value);
  }
}

const START = Date.UTC(2026, 0, 1);

function jar() {
  const storage = new Storage();
  const time = { now: START };
  const make = () => new CookieJar(storage, "k", () => time.now);
  return { jar: make(), other: make(), storage, time };
}

test("a cookie comes back with requests below its path", () => {
  for (const [set, at, asked, header] of [
    ["a=1", "/", "/x/y", "a=1"],
    ["a=1", "/login", "/", "a=1"],
    ["a=1", "/app/login", "/app", "a=1"],
    ["a=1", "/app/login", "/app/x", "a=1"],
    ["a=1", "/app/login", "/", ""],
    ["a=1", "/app/login", "/application", ""],
    ["a=1; Path=/", "/app/login", "/other", "a=1"],
    ["a=1; path=/x/", "/", "/x/y", "a=1"],
    ["a=1; Path=/x/", "/", "/x", ""],
    ["a=1; Path=x", "/app/login", "/", ""],
    ["a=1; Path=/; Path=/x", "/", "/", ""],
    [" a = 1=2 ; Secure; HttpOnly; SameSite=Lax; Unknown=x", "/", "/", "a=1=2"],
    ['a="quoted value"', "/", "/", 'a="quoted value"'],
    ["a=; Path=/", "/", "/", "a="],
    ["a=1; Domain=elsewhere.example", "/", "/", "a=1"],
  ]) {
    const { jar: made } = jar();
    made.set(set, at);
    assert.equal(made.header(asked), header, `${set} set at ${at}, asked for ${asked}`);
  }
});

test("what is no cookie is ignored", () => {
  const { jar: made } = jar();
  for (const text of [
    ...["", "a", "=b", ";", "; Path=/", "a=\r\nb", "a=\u0000", "a\u007f=b", `a=${"x".repeat(4096)}`],
    ...["__Secure-a=1", "__Host-a=1; Secure; Path=/x", "__Host-a=1; Path=/", "__host-a=1; Path=/"],
    ...["__Host-a=1; Secure; Path=/; Domain=x"],
  ]) {
    made.set(text, "/");
    assert.equal(made.header("/x"), "", JSON.stringify(text));
  }
  for (const text of ["__Secure-a=1; Secure", "__Host-b=1; Secure; Path=/"]) made.set(text, "/");
  assert.equal(made.header("/"), "__Secure-a=1; __Host-b=1");
});

test("Max-Age goes before Expires, and both end", () => {
  const { jar: made, time } = jar();
  made.set("a=1; Max-Age=10; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "/");
  made.set("b=1; Expires=Thu, 01 Jan 2026 00:01:00 GMT", "/");
  made.set("c=1; Expires=nonsense; Max-Age=soon", "/");
  made.set("d=1; Max-Age=999999999999999", "/");
  assert.equal(made.header("/"), "a=1; b=1; c=1; d=1");
  time.now += 10_000;
  assert.equal(made.header("/"), "b=1; c=1; d=1");
  time.now += 50_000;
  assert.equal(made.header("/"), "c=1; d=1");
  made.set("c=; Max-Age=0", "/");
  assert.equal(made.header("/"), "d=1");
  time.now += 400 * 86_400_000;
  assert.equal(made.header("/"), "");
});

test("one of the same name and path takes the place of the old one", () => {
  const { jar: made } = jar();
  for (const text of ["a=1", "b=2", "c=3; Path=/deep/er", "a=4", "a=5; Path=/deep"]) made.set(text, "/");
  assert.equal(made.header("/deep/er/x"), "c=3; a=5; a=4; b=2");
  made.set("a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/deep", "/");
  assert.equal(made.header("/deep/er"), "c=3; a=4; b=2");
});

test("scripts neither see nor set nor replace what is HttpOnly", () => {
  const { jar: made } = jar();
  made.set("session=secret; HttpOnly", "/");
  made.setByScript("session=mine", "/");
  made.setByScript("session=; Max-Age=0", "/");
  made.setByScript("other=1; HttpOnly", "/");
  made.setByScript("theme=dark; Path=/", "/deep/page");
  assert.equal(made.header("/"), "session=secret; theme=dark");
  assert.equal(made.visible("/"), "theme=dark");
  made.set("session=new", "/");
  assert.equal(made.visible("/"), "session=new; theme=dark");
});

test("scripts use characters and the wire octets", () => {
  const { jar: made } = jar();
  made.setByScript("name=Grüße 👋", "/");
  assert.equal(made.visible("/"), "name=Grüße 👋");
  assert.equal(Buffer.from(made.header("/"), "latin1").toString("utf8"), "name=Grüße 👋");
  assert.match(made.header("/"), /^[\u0020-\u00ff]*$/);
  made.setByScript(`big=${"x".repeat(100_000)}`, "/");
  assert.equal(made.visible("/"), "name=Grüße 👋");
});

test("tabs share them, and a session that is over takes its own with it", () => {
  const { jar: made, other, storage } = jar();
  other.endSession();
  assert.equal(storage.kept.size, 0);
  made.set("session=1", "/");
  made.set("stay=1; Max-Age=1000", "/");
  assert.equal(other.header("/"), "session=1; stay=1");
  other.endSession();
  assert.equal(made.header("/"), "stay=1");
});

test("only so many are kept", () => {
  const { jar: made } = jar();
  for (let number = 0; number < 200; number++) made.set(`n${number}=1`, "/");
  const names = made.header("/").split("; ");
  assert.deepEqual([names.length, names[0], names.at(-1)], [180, "n20=1", "n199=1"]);
});

test("whatever else stands in the storage does no harm", () => {
  const good = { name: "a", value: "1", path: "/", expires: null, httpOnly: false };
  for (const text of [
    ...["", "x", "null", "7", "{}", "[null, 7, {}]"],
    JSON.stringify([{ ...good, value: "1\r\nx: y" }, { ...good, name: 7 }, { ...good, value: "€" }, { ...good, expires: "x" }]),
  ]) {
    const { jar: made, storage } = jar();
    storage.setItem("k", text);
    assert.equal(made.header("/"), "");
    made.set("b=2", "/");
    assert.equal(made.header("/"), "b=2");
  }
  const { jar: made, storage } = jar();
  storage.setItem = () => {
    throw new Error("full");
  };
  made.set("a=1", "/");
  assert.equal(made.header("/"), "");
});

test("dates in all the forms that servers write", () => {
  const expected = Date.UTC(1994, 10, 6, 8, 49, 37);
  for (const text of [
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun Nov  6 08:49:37 1994",
    "6 november 1994 8:49:37",
  ]) {
    assert.equal(parseDate(text), expected, text);
  }
  assert.equal(parseDate("01 Jan 69 00:00:00"), Date.UTC(2069, 0, 1));
  for (const text of ["", "x", "30 Feb 2026 00:00:00", "1 Jan 1600 0:0:0", "1 Jan 2026 24:00:00", "Jan 2026"]) {
    assert.equal(parseDate(text), null, text);
  }
});
