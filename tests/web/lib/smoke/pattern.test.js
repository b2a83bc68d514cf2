import assert from "node:assert/strict";
import test from "node:test";

import { Pattern } from "../../../../src/peerfetch_fast/web/lib/smoke/pattern.js";

test("a pattern matches a path in one way, as the same one does in Python", () => {
  const cases = [
    ["/:a", "/b.c-d", { a: "b.c-d" }],
    ["/:a-:b/x", "/1-2-3/x", { a: "1", b: "2-3" }],
    ["/:a.:b", "/x.tar.gz", { a: "x.tar", b: "gz" }],
    ["/:a.:b.:c", "/1.2.3.4", { a: "1.2", b: "3", c: "4" }],
    ["/:a..:b", "/x...y", { a: "x.", b: "y" }],
    ["/:a.json", "/b.c.json", { a: "b.c" }],
    ["/:a/:b", "/c.d/e.f", { a: "c.d", b: "e.f" }],
    ["/:a", "/b/c", null],
    ["/a.b", "/axb", null],
  ];
  for (const [pattern, path, expected] of cases) assert.deepEqual(new Pattern(pattern).match(path), expected);
});

test("a path of a stranger is matched in linear time", () => {
  const before = process.cpuUsage();
  for (const pattern of ["/:a.:b", "/:a~:b.:c", "/:a..:b", "/:a-:b-:c"]) {
    for (const character of ".~-") assert.equal(new Pattern(pattern).match(`/${character.repeat(60_000)}!`), null);
  }
  // Seconds of the processor: where each way to cut it is tried, it is more than a minute.
  assert.ok(process.cpuUsage(before).user < 5_000_000);
});
