/** Counts what code does, for tests of how work grows; no clock is looked at. */

import assert from "node:assert/strict";
import { Session } from "node:inspector";
import { setFlagsFromString } from "node:v8";

// Code that is optimized while it runs is not counted whole.
for (const flag of ["--no-opt", "--no-maglev", "--no-sparkplug"]) setFlagsFromString(flag);

const session = new Session();
session.connect();

function post(method, parameters) {
  let result;
  // Within one thread the answer is there when this returns.
  session.post(method, parameters, (error, answer) => {
    assert.equal(error, null);
    result = answer;
  });
  return result;
}

// Once and for all: of functions that have run before counting is stopped, V8 counts no blocks any more.
post("Profiler.enable");
post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });

/** What the engine does in one call, and how much of it. */
const NATIVE = [
  [Array.prototype, "concat", (array) => array.length],
  [Array.prototype, "indexOf", (array) => array.length],
  [Array.prototype, "shift", (array) => array.length],
  [Array.prototype, "slice", (array, [start = 0, end]) => (end ?? array.length) - start],
  [Array.prototype, "splice", (array, [start]) => array.length - start],
  [Array.prototype, "unshift", (array) => array.length],
  [Uint8Array.prototype, "set", (_, [source]) => source.length],
  [Uint8Array.prototype, "slice", (bytes, [start = 0, end]) => (end ?? bytes.length) - start],
];

/** How often blocks of the modules in lib/ were run in `work`, and how much the engine moved for them. */
export function steps(work) {
  post("Profiler.takePreciseCoverage"); // which begins to count anew
  let moved = 0;
  const before = NATIVE.map(([prototype, name]) => prototype[name]);
  NATIVE.forEach(([prototype, name, cost], index) => {
    const native = before[index];
    prototype[name] = function (...parameters) {
      moved += Math.max(0, cost(this, parameters));
      return native.apply(this, parameters);
    };
  });
  let result;
  try {
    work();
    ({ result } = post("Profiler.takePreciseCoverage"));
  } finally {
    NATIVE.forEach(([prototype, name], index) => (prototype[name] = before[index]));
  }
  let run = 0;
  for (const { url, functions } of result) {
    if (!url.includes("/web/lib/")) continue;
    for (const { ranges } of functions) for (const { count } of ranges) run += count;
  }
  assert.ok(run > 0);
  return run + moved;
}

/** Assert that `work(n)` does at most in proportion to `n` (and a logarithm of it). */
export function assertLinear(work, least = 500) {
  const counts = [1, 4, 16].map((factor) => steps(() => work(factor * least)));
  const [, second, third] = counts;
  assert.ok(third <= 6 * second, `${counts} steps for ${least} times 1, 4 and 16`);
  return counts;
}
