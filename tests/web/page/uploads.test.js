// Sending files into an inbox that says one thing and does another.

import assert from "node:assert/strict";
import { test } from "node:test";

import { sendFile } from "../../../src/peerfetch_fast/web/page/uploads.js";
import { Clock } from "../clock.js";

globalThis.navigator ??= { userAgent: "Firefox on Linux" };
const FILE = Object.assign(new Blob(["x".repeat(5 << 20)]), { name: "a.txt" });
const options = { isWanted: () => true, onprogress: () => {} };

/** A peer that answers each PUT with `answer(offset, size)` of what is sent. */
function peerOf(answer) {
  const peer = { state: "open", puts: 0 };
  peer.fetch = async (target, { method, headers, body }) => {
    if (method === "HEAD") return new Response(null, { headers: { "upload-offset": "0" } });
    peer.puts += 1;
    return answer(Number(headers["upload-offset"]), body.size);
  };
  return peer;
}

const taken = (offset) => new Response("", { status: 202, headers: { "upload-offset": String(offset) } });

test("a file is sent piece by piece", async () => {
  const peer = peerOf((offset, size) =>
    offset + size < FILE.size ? taken(offset + size) : new Response('{"name": "b.txt"}', { status: 201 }),
  );
  assert.equal(await sendFile(peer, "/~inbox", FILE, options), "b.txt");
  assert.equal(peer.puts, 2);
});

for (const said of [0, -1, NaN, 1e20]) {
  test(`who takes pieces and has ${said} of them is given up`, async (t) => {
    const clock = new Clock();
    t.after(() => clock.restore());
    const peer = peerOf(() => taken(said));
    let error = null;
    sendFile(peer, "/~inbox", FILE, options).catch((raised) => (error = raised));
    await clock.pass(120_000);
    assert.match(String(error), /does not keep/);
    assert.ok(peer.puts < 100, String(peer.puts));
  });
}
