import assert from "node:assert/strict";
import { test } from "node:test";

import { folderOf, fragmentOf, parseLink } from "../../../src/peerfetch_fast/web/page/links.js";

const PIN = `sha256:${"0a".repeat(32)}`;

test("what people enter, scan and send one another", () => {
  const cases = [
    ["dev1", { id: "dev1", path: "/", pin: null }],
    [" peer://dev1 ", { id: "dev1", path: "/", pin: null }],
    [`peer://dev1#${PIN}`, { id: "dev1", path: "/", pin: PIN }],
    [`peer://dev1/#${PIN}`, { id: "dev1", path: "/", pin: PIN }],
    [`peer://dev1/a%20b/c.jpg#${PIN}`, { id: "dev1", path: "/a%20b/c.jpg", pin: PIN }],
    [`#dev1/a/?sort=size#${PIN}`, { id: "dev1", path: "/a/?sort=size", pin: PIN }],
    ["dev1?x=1", { id: "dev1", path: "/?x=1", pin: null }],
    [`http://192.168.1.20:9000/#dev1#${PIN}`, { id: "dev1", path: "/", pin: PIN }],
    // Messengers encode what they pass on, in whole or in part.
    [`https://home.example/#dev1%23${PIN}`, { id: "dev1", path: "/", pin: PIN }],
    [`#dev1/x%23y%23${PIN.replace(":", "%3A")}`, { id: "dev1", path: "/x%23y", pin: PIN }],
    ["peer%3A%2F%2Fdev1/x", { id: "dev1", path: "/x", pin: null }],
    // What is no pin is not taken for a path: connecting says what it is.
    ["dev1#nonsense", { id: "dev1", path: "/", pin: "nonsense" }],
    ["100% WIFI", { id: "100% WIFI", path: "/", pin: null }],
  ];
  for (const [text, link] of cases) assert.deepEqual(parseLink(text), link, text);
  for (const text of ["", "  ", "#", "https://home.example/#", "peer://"]) {
    assert.equal(parseLink(text), null, text);
  }
});

test("a link is read as it was made", () => {
  for (const id of ["dev1", "a b"]) {
    for (const path of ["/", "/x", "/a/b/", "/a%23b?c=d%20e"]) {
      for (const pin of [null, PIN]) {
        assert.deepEqual(parseLink(fragmentOf({ id, path, pin })), { id, path, pin });
      }
    }
  }
  assert.equal(fragmentOf({ id: "dev1", pin: PIN }), `#dev1#${PIN}`);
});

test("the folder above", () => {
  const cases = { "/": null, "/a": "/", "/a/": "/", "/a/b": "/a/", "/a/b/": "/a/", "/a/b?c=/d": "/a/" };
  for (const [path, folder] of Object.entries(cases)) assert.equal(folderOf(path), folder, path);
});

test("a link that invites has a secret behind its pin, which no other link gets", () => {
  const secret = "3f".repeat(16);
  const meant = { id: "dev1", path: "/", pin: PIN, secret };
  for (const text of [`#dev1#${PIN}.${secret}`, `peer://dev1/#${PIN}.${secret}`, `https://a.example/#dev1%23${PIN}.${secret}`]) {
    assert.deepEqual(parseLink(text), meant);
  }
  assert.equal(fragmentOf(meant), `#dev1#${PIN}`);
  for (const broken of [`${PIN}.`, `${PIN}.${secret}0`, `${PIN}.${secret.slice(1)}`]) {
    assert.deepEqual(parseLink(`#dev1#${broken}`), { id: "dev1", path: "/", pin: broken });
  }
});
