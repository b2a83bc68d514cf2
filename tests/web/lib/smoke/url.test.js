import assert from "node:assert/strict";
import test from "node:test";

import { QueryString, Url } from "../../../../src/peerfetch_fast/web/smoke.js";

test("a URL is taken apart, whatever its scheme", () => {
  assert.deepEqual(Url.parse("rest://me@0.0.0.1:80/a/b?c=d&e#f"), {
    auth: "me",
    hash: "#f",
    host: "0.0.0.1",
    hostname: "0.0.0.1:80",
    href: "rest://me@0.0.0.1:80/a/b?c=d&e#f",
    path: "/a/b?c=d&e#f",
    pathname: "/a/b",
    port: "80",
    protocol: "rest:",
    query: "c=d&e",
    search: "?c=d&e",
  });
  const { protocol, host, port, path, hash } = Url.parse("/a");
  assert.deepEqual([protocol, host, port, path, hash], [null, null, null, "/a", null]);
  assert.equal(Url.parse("rest://name").path, "/");
});

test("a query is an object", () => {
  assert.deepEqual({ ...QueryString.parse("/a?b=1&c=2&c=3&d") }, { b: "1", c: ["2", "3"], d: "" });
});
