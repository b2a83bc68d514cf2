import assert from "node:assert/strict";
import { posix } from "node:path";
import test from "node:test";

import { Path } from "../../../../src/peerfetch_fast/web/smoke.js";

const PATHS = ["", ".", "/", "//", "a", "a/", "/a/b.txt", "a//b/../c", "../a", "/../a", "a/./b/", ".hidden", "a.b.c/..", "a/b/.."];

test("paths are those of Node", () => {
  for (const path of PATHS) {
    for (const name of ["basename", "extname", "isAbsolute"]) assert.equal(Path[name](path), posix[name](path), `${name} ${path}`);
    if (path !== "") assert.equal(Path.normalize(path), posix.normalize(path), path);
    for (const other of PATHS) {
      assert.equal(Path.join(path, other) || ".", posix.join(path, other), `${path} ${other}`);
      assert.equal(Path.resolve(path, other), posix.resolve("/", path, other), `${path} ${other}`);
      assert.equal(Path.relative(path, other), posix.relative(posix.resolve("/", path), posix.resolve("/", other)));
    }
  }
  assert.equal(Path.dirname("/a/b.txt"), "/a");
  assert.equal(Path.dirname("a"), ".");
  assert.equal(Path.basename("/a/b.txt", ".txt"), "b");
  assert.deepEqual(Path.parse("/a/b.txt"), posix.parse("/a/b.txt"));
  assert.equal(Path.format(Path.parse("/a/b.txt")), "/a/b.txt");
});
