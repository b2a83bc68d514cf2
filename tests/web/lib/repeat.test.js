// What becomes of requests whose connection breaks: sessions in this process, one after the other.

import assert from "node:assert/strict";
import { test } from "node:test";

import { fetchPrepared, prepare } from "../../../src/peerfetch_fast/web/lib/client.js";
import { sessions } from "../channels.js";

/**
 * A line to a device that answers by each of `handlers` in turn; one of them gets the Request and what
 * breaks its connection. `got` lists what arrived.
 */
function line(...handlers) {
  const got = [];
  const pairs = [];
  const next = async () => {
    const current = pairs.at(-1);
    if (current && !current.client.isEnding) return current.client;
    const handler = handlers.shift();
    if (!handler) throw new TypeError("there is no connection");
    const pair = sessions(async (request) => {
      const body = await request.text();
      got.push([request.method, new URL(request.url).pathname, body]);
      return handler(pair, request);
    });
    pairs.push(pair);
    return pair.client;
  };
  const source = { next, reconnects: () => true };
  const fetch = async (path, init = {}) => fetchPrepared(source, await prepare(path, init, "dev1"), "dev1");
  const end = () => {
    for (const { client, server } of pairs) [client, server].forEach((session) => session.abort());
    return Promise.all(pairs.flatMap(({ client, server }) => [client.closed, server.closed]));
  };
  return { fetch, got, source, end };
}

/** Handlers: one that loses the connection before it answers, and one that answers. */
const breaks = ({ server }) => {
  server.abort();
  return new Response("too late");
};
const answers = () => new Response("answered");

async function within(handlers, work) {
  const made = line(...handlers);
  try {
    await work(made);
  } finally {
    await made.end();
  }
}

for (const method of ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]) {
  test(`${method} is sent once more`, async () => {
    const init = method === "PUT" ? { method, body: "grüße" } : { method };
    await within([breaks, answers], async ({ fetch, got }) => {
      const response = await fetch("/x", init);
      assert.equal(response.status, 200);
      if (method !== "HEAD") assert.equal(await response.text(), "answered");
      const sent = [method, "/x", method === "PUT" ? "grüße" : ""];
      assert.deepEqual(got, [sent, sent]);
    });
  });
}

test("no more than once", async () => {
  await within([breaks, breaks, answers], async ({ fetch, got }) => {
    await assert.rejects(fetch("/x"), (error) => {
      assert.ok(error instanceof TypeError);
      assert.match(error.message, /GET \/x .*had been repeated once/);
      return error.cause.name === "SessionError";
    });
    assert.equal(got.length, 2);
  });
});

test("what is not safe to repeat fails with a sentence that says so", async () => {
  for (const method of ["POST", "PATCH"]) {
    await within([breaks, answers], async ({ fetch, got }) => {
      const refused = (error) => error instanceof TypeError && /may have been carried out.*not safe/.test(error.message);
      await assert.rejects(fetch("/x", { method, body: "x" }), refused);
      assert.deepEqual(got, [[method, "/x", "x"]]);
    });
  }
});

test("a body that is a stream can be sent only once", async () => {
  await within([breaks, answers], async ({ fetch, got }) => {
    const body = new Blob(["x"]).stream();
    const init = { method: "PUT", body, duplex: "half" };
    await assert.rejects(fetch("/x", init), /its body can be sent only once/);
    assert.equal(got.length, 1);
  });
});

test("an answer that has begun is not asked for again", async () => {
  const half = ({ server }) => {
    let pulls = 0;
    const pull = (controller) => {
      if (pulls++ === 0) return controller.enqueue(new Uint8Array(10));
      return server.abort();
    };
    return new Response(new ReadableStream({ pull }, { highWaterMark: 0 }));
  };
  await within([half, answers], async ({ fetch, got }) => {
    const response = await fetch("/x");
    assert.equal(response.status, 200);
    await assert.rejects(response.arrayBuffer(), TypeError);
    assert.equal(got.length, 1);
  });
});

test("what was not processed is sent again whatever it is", async () => {
  // The other side ends in order just before the request arrives.
  const first = sessions(answers);
  first.server.close();
  await within([answers], async ({ fetch, got, source }) => {
    const { next } = source;
    let asked = 0;
    source.next = () => (asked++ ? next() : first.client);
    const response = await fetch("/x", { method: "POST", body: "x" });
    assert.equal(await response.text(), "answered");
    assert.deepEqual(got, [["POST", "/x", "x"]]);
    assert.equal(asked, 2);
  });
  await Promise.all([first.client.closed, first.server.closed]);
});

test("a session that is over already counts for nothing", async () => {
  const over = sessions(answers);
  over.client.abort();
  await Promise.all([over.client.closed, over.server.closed]);
  await within([answers], async ({ fetch, source }) => {
    const { next } = source;
    let asked = 0;
    source.next = () => (asked++ < 3 ? over.client : next());
    assert.equal((await fetch("/x", { method: "POST" })).status, 200);
    // But not for ever.
    source.next = async () => over.client;
    await assert.rejects(fetch("/x"), TypeError);
  });
});

test("where there is no next connection, the error is that of the first", async () => {
  await within([breaks, answers], async ({ fetch, source }) => {
    source.reconnects = () => false;
    await assert.rejects(fetch("/x"), (error) => /the request failed/.test(error.message));
  });
});

test("an abort counts while the next connection is waited for", async () => {
  const controller = new AbortController();
  await within([breaks], async ({ fetch, source }) => {
    const { next } = source;
    let asked = 0;
    source.next = () => {
      if (asked++ === 0) return next();
      queueMicrotask(() => controller.abort());
      return new Promise(() => {});
    };
    await assert.rejects(fetch("/x", { signal: controller.signal }), { name: "AbortError" });
    assert.equal(asked, 2);
  });
});

test("a redirect that keeps method and body is followed with them", async () => {
  const moved = (_, request) =>
    new URL(request.url).pathname === "/old"
      ? new Response(null, { status: 307, headers: { location: "/new" } })
      : new Response("there");
  await within([moved], async ({ fetch, got }) => {
    const response = await fetch("/old", { method: "POST", body: "x" });
    assert.equal(await response.text(), "there");
    assert.deepEqual(got, [["POST", "/old", "x"], ["POST", "/new", "x"]]);
    const body = new Blob(["x"]).stream();
    await assert.rejects(fetch("/old", { method: "POST", body, duplex: "half" }), /spent/);
  });
});
