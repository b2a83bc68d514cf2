import assert from "node:assert/strict";
import test from "node:test";

import { Queryable, Readable } from "../../../../src/peerfetch_fast/web/smoke.js";
import { parseUrl } from "../../../../src/peerfetch_fast/web/lib/smoke/rest.js";
import { RestServer } from "../../../../src/peerfetch_fast/web/lib/smoke/rest_server.js";
import { lonely, until } from "./steps.js";

const quiet = (t) => t.mock.method(console, "error", () => {});

test("URLs name a node, a port and a path", () => {
  const cases = [
    ["/a?b=c", ["localhost", "80", "/a?b=c"]],
    ["rest://0.0.0.1/", ["0.0.0.1", "80", "/"]],
    ["rest://0.0.0.1", ["0.0.0.1", "80", "/"]],
    ["rest://name:5433/users?a=1#b", ["name", "5433", "/users?a=1"]],
    ["rest://name?a=1", ["name", "80", "/?a=1"]],
  ];
  for (const [url, expected] of cases) assert.deepEqual(Object.values(parseUrl(url)), expected);
  for (const url of ["http://0.0.0.1/", "rest://", "rest:///a", "name/a"]) {
    assert.throws(() => parseUrl(url), { name: "FetchUrlError" });
  }
});

test("a server answers with text, JSON, bytes and streams", async (t) => {
  const { rest } = lonely(t);
  const pieces = () => {
    let left = 3;
    const pull = (controller) => (left-- ? controller.enqueue(new Uint8Array(1000)) : controller.close());
    return new Readable({ pull });
  };
  rest
    .createServer()
    .get("/text", (_, response) => response.text("hello"))
    .get("/json", (_, response) => response.json({ a: [1] }))
    .get("/bytes", (_, response) => response.send(Uint8Array.of(1, 2), 201))
    .get("/readable", (_, response) => response.readable(pieces()))
    .get("/response", () => new Response("plain", { status: 202 }))
    .get("/empty", (_, response) => response.send("", 204))
    .listen(80);
  const text = await rest.fetch("/text");
  assert.equal(text.headers["content-type"], "text/plain");
  assert.equal(await text.text(), "hello");
  assert.deepEqual(await rest.fetch("/json").then((found) => found.json()), { a: [1] });
  const bytes = await rest.fetch("rest://localhost:80/bytes");
  assert.equal(bytes.status, 201);
  assert.deepEqual([...(await bytes.buffer())], [1, 2]);
  assert.equal((await rest.fetch("/readable").then((found) => found.buffer())).length, 3000);
  assert.equal((await rest.fetch("/response")).status, 202);
  assert.equal((await rest.fetch("/empty")).status, 204);
  const absent = await rest.fetch("/absent");
  assert.deepEqual([absent.status, await absent.text()], [404, "not found"]);
});

test("a request has parameters, query, headers and a body of every kind", async (t) => {
  const { rest } = lonely(t);
  rest
    .createServer()
    .post("/users/:id-:tag/x", async (request, response) => {
      const { params, query, headers, method, remote } = request;
      response.json({ params, query, own: headers["x-own"], port: headers["peerfetch-port"], method, remote, body: await request.text() });
    })
    .listen("api");
  const url = "rest://localhost:api/users/7-a%20b/x?q=1&q=2&r=3";
  const bodies = [
    ["text", "text"],
    [new Uint8Array([0x61]), "a"],
    [{ a: 1 }, '{"a":1}'],
    [new Readable(new Blob(["read"]).stream()), "read"],
  ];
  for (const [body, expected] of bodies) {
    const found = await rest.fetch(url, { method: "post", headers: { "x-own": "own" }, body }).then((one) => one.json());
    assert.equal(found.body, expected);
    assert.deepEqual(found.params, { id: "7", tag: "a b" });
    assert.deepEqual(found.query, { q: ["1", "2"], r: "3" });
    assert.deepEqual([found.own, found.port, found.method, found.remote], ["own", undefined, "post", "localhost"]);
  }
});

test("middleware comes before the routes, and may answer", async (t) => {
  const { rest } = lonely(t);
  const seen = [];
  const guard = (request, response, next) => (request.query.token ? next() : response.text("no", 403));
  rest
    .createServer()
    .use((request, _, next) => (seen.push(request.path), next()))
    .get("/a", [guard, { handle: (_, __, next) => void next() }], (_, response) => response.text("yes"))
    .listen(80);
  assert.equal((await rest.fetch("/a")).status, 403);
  assert.equal(await rest.fetch("/a?token=1").then((found) => found.text()), "yes");
  assert.deepEqual(seen, ["/a", "/a"]);
});

test("an error, also of what is asynchronous, is answered with 500", async (t) => {
  quiet(t);
  const { rest } = lonely(t);
  const fail = () => {
    throw new Error("secret");
  };
  rest
    .createServer()
    .get("/now", fail)
    .get("/later", async () => fail())
    .get("/before", [async () => fail()], () => {})
    .get("/behind", [(_, __, next) => void next()], async () => fail())
    .listen(80);
  for (const path of ["/now", "/later", "/before", "/behind"]) {
    const found = await rest.fetch(path);
    assert.deepEqual([found.status, await found.text()], [500, "internal server error"]);
  }
});

test("an answer is sent once", async (t) => {
  const { rest } = lonely(t);
  let failure = null;
  rest
    .createServer()
    .get("/", async (_, response) => {
      await response.send("first");
      await response.send("second").catch((error) => (failure = error.name));
    })
    .listen(80);
  assert.equal(await rest.fetch("/").then((found) => found.text()), "first");
  await until(() => failure);
  assert.equal(failure, "ResponseAlreadySentError");
});

test("a port that is not open refuses, one that is taken is not given twice", async (t) => {
  const { rest, sockets } = lonely(t);
  await assert.rejects(rest.fetch("rest://localhost:81/"), /'localhost' forcefully closed this connection/);
  const server = rest.createServer().listen(80);
  assert.throws(() => sockets.createServer(() => {}).listen("80"), { name: "PortInUseError" });
  server.dispose();
  await assert.rejects(rest.fetch("/"), /forcefully closed/);
});

test("a node that is disposed of while it connects keeps no connection", async (t) => {
  const node = lonely(t);
  node.rest.createServer().get("/", (_, response) => response.text("late")).listen(80);
  const asked = node.rest.fetch("/");
  node.dispose();
  await assert.rejects(asked);
  for (const { peer } of node.network.getPeers().values()) assert.equal(peer.state, "closed");
});

/** Numbered records, with a count of those that were pulled. */
function records(count) {
  const log = { pulled: 0, ended: false };
  async function* all() {
    try {
      for (let at = 0; at < count; at++) {
        log.pulled++;
        yield { at, text: "x".repeat(100) };
      }
    } finally {
      log.ended = true;
    }
  }
  return { query: new Queryable(all()), log };
}

for (const options of [undefined, { prefetch: 0 }]) {
  test(`records arrive in order, with the options ${JSON.stringify(options)}`, async (t) => {
    const { rest } = lonely(t);
    const { query, log } = records(500);
    rest.createServer().get("/", (_, response) => response.query(query, options)).listen(80);
    const found = await rest.fetch("/").then((response) => response.query());
    const numbers = await found.where(({ at }) => at % 2 === 0).select(({ at }) => at).toArray();
    assert.deepEqual(numbers, Array.from({ length: 250 }, (_, at) => 2 * at));
    assert.equal(log.ended, true);
  });

  test(`take(n) ends the query at its source, with the options ${JSON.stringify(options)}`, async (t) => {
    t.mock.method(console, "info", () => {});
    const { rest } = lonely(t);
    const { query, log } = records(Infinity);
    rest.createServer().get("/", (_, response) => response.query(query, options)).listen(80);
    const found = await rest.fetch("/").then((response) => response.query());
    assert.equal((await found.take(3).toArray()).length, 3);
    await until(() => log.ended);
  });

  test(`a source that fails is an error here, with the options ${JSON.stringify(options)}`, async (t) => {
    quiet(t);
    t.mock.method(console, "info", () => {});
    const { rest } = lonely(t);
    async function* failing() {
      yield { at: 0 };
      throw new Error("the disk is gone");
    }
    rest.createServer().get("/", (_, response) => response.query(failing(), options)).listen(80);
    const found = await rest.fetch("/").then((response) => response.query());
    await assert.rejects(found.toArray());
  });
}

test("without prefetching, each record is pulled when it is asked for", async (t) => {
  const { rest } = lonely(t);
  const { query, log } = records(100);
  rest.createServer().get("/", (_, response) => response.query(query, { prefetch: 0 })).listen(80);
  const found = await rest.fetch("/").then((response) => response.query());
  const values = found[Symbol.asyncIterator]();
  for (let asked = 1; asked <= 5; asked++) {
    await values.next();
    assert.equal(log.pulled, asked);
  }
  await values.return();
});

test("a reader that stops stops the source at the window", async (t) => {
  t.mock.method(console, "info", () => {});
  const { rest } = lonely(t);
  const { query, log } = records(1_000_000);
  rest.createServer().get("/", (_, response) => response.query(query)).listen(80);
  const found = await rest.fetch("/").then((response) => response.query());
  const values = found[Symbol.asyncIterator]();
  await values.next();
  let before = -1;
  // It has stopped once it pulls none for a while; each record has more than 100 octets.
  for (let same = 0; same < 50; same = before === log.pulled ? same + 1 : 0) {
    before = log.pulled;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.ok(log.pulled < (4 << 20) / 100, `${log.pulled} were pulled`);
  await values.return();
  await until(() => log.ended);
});

test("a record that is no JSON is an error", async (t) => {
  const { rest } = lonely(t);
  rest
    .createServer()
    .get("/", (_, response) => response.text('{"a":1}\n{"a":'))
    .get("/endless", (_, response) =>
      response.readable(new Readable({ pull: (controller) => controller.enqueue(new Uint8Array(1 << 20).fill(0x61)) })),
    )
    .listen(80);
  const broken = await rest.fetch("/").then((response) => response.query());
  await assert.rejects(broken.toArray(), SyntaxError);
  const endless = await rest.fetch("/endless").then((response) => response.query());
  await assert.rejects(endless.toArray(), RangeError);
});

test("answers that wait for their channel count for each node", async (t) => {
  quiet(t);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let bound;
  const network = { _bind: (_, handlers) => (bound = handlers), _configuration: () => Promise.resolve({}) };
  new RestServer(network).get("/", (_, response) => response.query([1], { prefetch: 0 })).listen(80);
  const [one, other] = [{ id: "0.0.0.1" }, { id: "0.0.0.2" }];
  const ask = async (peer) => (await bound.request(new Request("https://node/"), peer)).status;
  for (let left = 64; left > 0; left--) assert.equal(await ask(one), 200);
  assert.equal(await ask(one), 500);
  assert.equal(await ask(other), 200);
});
