import assert from "node:assert/strict";
import { test } from "node:test";

import { presented, renamed, seenField } from "../../../src/peerfetch_fast/web/lib/origins.js";

const HERE = "http://device.localhost:9000";
const THERE = "peer://device";
const LOCATION = { origin: HERE, host: "device.localhost:9000", protocol: "http:" };

const shown = (request) =>
  presented({ method: "GET", headers: [], mode: "cors", referrer: "", ...request }, LOCATION, "device");
const field = (fields, name) => fields.filter(([n]) => n === name).map(([, value]) => value);

test("only an origin itself is renamed", () => {
  for (const [name, value, expected] of [
    ["origin", HERE, THERE],
    ["origin", `${HERE}/`, `${HERE}/`],
    ["origin", `${HERE}1`, `${HERE}1`],
    ["origin", `${HERE}.evil`, `${HERE}.evil`],
    ["origin", HERE.toUpperCase(), HERE.toUpperCase()],
    ["origin", "null", "null"],
    ["origin", "https://evil.example", "https://evil.example"],
    ["referer", `${HERE}/a?b`, `${THERE}/a?b`],
    ["referer", HERE, THERE],
    ["referer", `${HERE}@evil/a`, `${HERE}@evil/a`],
    ["destination", `${HERE}/a`, `${THERE}/a`],
    ["cookie", HERE, HERE],
  ]) {
    assert.equal(renamed(name, value, HERE, THERE), expected, `${name}: ${value}`);
  }
});

test("an app's requests say that they are its own", () => {
  const post = shown({ method: "POST", referrer: `${HERE}/login`, headers: [["X-A", "1"]] });
  assert.deepEqual(post, [
    ["x-a", "1"],
    ["referer", `${THERE}/login`],
    ["origin", THERE],
    ["forwarded", 'host="device.localhost:9000";proto=http'],
  ]);
  const form = shown({ method: "POST", mode: "navigate", referrer: `${HERE}/login` });
  assert.deepEqual(field(form, "origin"), [THERE]);
  assert.deepEqual(field(shown({ referrer: `${HERE}/` }), "origin"), []);
});

test("what others make an app's user send is not the app's", () => {
  const form = { method: "POST", mode: "navigate" };
  const foreign = shown({ ...form, referrer: "https://evil.example/" });
  assert.deepEqual(field(foreign, "origin"), ["https://evil.example"]);
  assert.deepEqual(field(foreign, "referer"), ["https://evil.example/"]);
  // As the Fetch standard has it where the policy is no-referrer, whoever it was.
  assert.deepEqual(field(shown(form), "origin"), ["null"]);
});

test("a page does not choose these by itself", () => {
  const headers = [
    ["Origin", THERE],
    ["referer", `${THERE}/admin`],
    ["Forwarded", 'host="evil.example";proto=https'],
  ];
  const form = shown({ method: "POST", mode: "navigate", headers, referrer: "https://evil.example/" });
  assert.deepEqual(field(form, "origin"), ["https://evil.example"]);
  assert.deepEqual(field(form, "forwarded"), [seenField(LOCATION)[1]]);
});

test("a Destination names the peer", () => {
  const moved = shown({ method: "MOVE", headers: [["Destination", `${HERE}/b`]] });
  assert.deepEqual(field(moved, "destination"), [`${THERE}/b`]);
});
