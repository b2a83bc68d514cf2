// What the package exports, and its types.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import * as peerfetch from "../../src/peerfetch_fast/web/peerfetch.js";

const types = readFileSync(new URL("../../src/peerfetch_fast/web/peerfetch.d.ts", import.meta.url), "utf8");

test("each export has a type, and each type of a value is exported", () => {
  const values = [...types.matchAll(/^export (?:declare )?(?:class|function|const) (\w+)/gm)].map(([, name]) => name);
  // Their users get them from connect() and fetch(), and cannot make them.
  const given = ["Peer"];
  assert.deepEqual(Object.keys(peerfetch).sort(), values.filter((name) => !given.includes(name)).sort());
});

test("what is no link to a device is refused before anything is asked for", async () => {
  for (const link of ["", "peer://", "peer://a.b", "peer:///x", `peer://${"a".repeat(129)}`]) {
    await assert.rejects(peerfetch.connect(link), { name: "ConnectError", reason: "id" });
  }
  await assert.rejects(peerfetch.connect("peer://id#sha256:12", { signaling: "local:here" }), { reason: "pin" });
  for (const call of [
    (options) => peerfetch.connect("id", options),
    (options) => peerfetch.serve(null, options),
  ]) {
    await assert.rejects(call({ accessToken: "", signaling: "local:here" }), { reason: "access" });
  }
});

test("a connection error is of the base that all share, and has its name", async () => {
  const error = await peerfetch.connect("id", { signaling: "gopher://nowhere" }).catch((failure) => failure);
  assert.ok(error instanceof peerfetch.ConnectError);
  assert.ok(error instanceof peerfetch.PeerfetchError);
  assert.deepEqual([error.name, error.reason], ["ConnectError", "signaling"]);
});

test("PeerFetch asks nothing before connect()", async () => {
  const old = new peerfetch.PeerFetch();
  await assert.rejects(old.get("/"), /call connect\(\) first/);
  await assert.rejects(old.connect(""), /needs the id/);
  await old.disconnect();
  assert.equal(old.textDecode(new TextEncoder().encode("grüße").buffer), "grüße");
  assert.deepEqual(old.jsonify(undefined), {});
  assert.deepEqual(old.jsonify('{"a": 1}'), { a: 1 });
  assert.deepEqual(old.jsonify(new TextEncoder().encode("[2]")), [2]);
});
