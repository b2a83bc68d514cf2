import assert from "node:assert/strict";
import { test } from "node:test";

import { Devices, MAX_DEVICES } from "../../../src/peerfetch_fast/web/page/devices.js";

/** A Storage that keeps its items in memory. */
function memory(items = {}) {
  const kept = new Map(Object.entries(items));
  return {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => kept.set(key, value),
    removeItem: (key) => kept.delete(key),
  };
}

const fails = () => {
  throw new Error("forbidden");
};

test("a device is known by the certificate that it was seen with", () => {
  const local = memory();
  const devices = new Devices(local, memory());
  assert.equal(devices.get("dev1"), null);
  devices.remember("dev1", "sha256:aa");
  devices.remember("dev2", "sha256:bb");
  devices.remember("dev1", "sha256:cc");
  assert.equal(new Devices(local, null).get("dev1").pin, "sha256:cc");
  devices.forget("dev1");
  assert.deepEqual(devices.list().map(({ id }) => id), ["dev2"]);
});

test("who has let this browser in by name has done so until it has another certificate", () => {
  const local = memory();
  const devices = new Devices(local, null);
  devices.remember("dev1", "sha256:aa");
  assert.equal(devices.get("dev1").named, false);
  devices.remember("dev1", "sha256:aa", true);
  devices.remember("dev1", "sha256:aa");
  assert.equal(new Devices(local, null).get("dev1").named, true);
  devices.remember("dev1", "sha256:bb");
  assert.equal(devices.get("dev1").named, false);
});

test("names of JavaScript's own are names like others", () => {
  const devices = new Devices(memory(), memory());
  for (const id of ["__proto__", "constructor", "toString"]) {
    assert.equal(devices.get(id), null);
    devices.remember(id, "sha256:aa");
    assert.equal(devices.get(id).pin, "sha256:aa");
  }
});

test("the one that was not seen for longest is forgotten", () => {
  const devices = new Devices(memory(), memory());
  for (let i = 0; i <= MAX_DEVICES; i++) devices.remember(`dev${i}`, "sha256:aa");
  assert.equal(devices.list().length, MAX_DEVICES);
  assert.equal(devices.get("dev0"), null);
  assert.notEqual(devices.get(`dev${MAX_DEVICES}`), null);
});

test("a token is kept in this tab, until the device is forgotten", () => {
  const devices = new Devices(memory(), memory());
  devices.setToken("dev1", "secret");
  assert.equal(devices.token("dev1"), "secret");
  assert.equal(devices.token("dev2"), null);
  devices.forget("dev1");
  assert.equal(devices.token("dev1"), null);
});

test("where nothing is kept, or something else was, every device is new", () => {
  const broken = { getItem: fails, setItem: fails, removeItem: fails };
  for (const storage of [null, broken]) {
    const devices = new Devices(storage, storage);
    devices.remember("dev1", "sha256:aa");
    devices.setToken("dev1", "secret");
    devices.forget("dev1");
    assert.deepEqual([devices.list(), devices.get("dev1"), devices.token("dev1")], [[], null, null]);
  }
  for (const text of ["{", "null", "[1]", '{"dev1": 1}', '{"dev1": {"pin": 1}}']) {
    assert.deepEqual(new Devices(memory({ "~peerfetch devices": text }), null).list(), []);
  }
});
