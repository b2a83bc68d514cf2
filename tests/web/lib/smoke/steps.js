/** Nodes for tests in Node, where only `localhost` can be reached: there is no WebRTC. */

import { Node, PageHub } from "../../../../src/peerfetch_fast/web/smoke.js";

let port = 1000;

/** A node with a hub of its own, disposed of when the test ends. */
export function lonely(t) {
  const node = new Node({ hub: new PageHub(port++) });
  t.after(() => node.dispose());
  return node;
}

/** Resolves with the next event of a name. */
export const next = (emitter, event) => new Promise((resolve) => emitter.once(event, resolve));

/** Resolves once `done()` is true: at the turn of the event loop at which it becomes so. */
export async function until(done) {
  while (!done()) await new Promise((resolve) => setImmediate(resolve));
}
