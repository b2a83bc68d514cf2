import assert from "node:assert/strict";
import test from "node:test";

import { HubService } from "../../../../src/peerfetch_fast/web/lib/smoke/hub_signaling.js";
import { Events, NetworkHub, PageHub } from "../../../../src/peerfetch_fast/web/smoke.js";
import { until } from "./steps.js";

/** The sockets that hubs open, in place of the browser's. */
function fakeSockets(t) {
  const opened = [];
  class FakeSocket {
    static OPEN = 1;
    readyState = 1;
    sent = [];
    constructor(url) {
      this.url = new URL(url);
      opened.push(this);
    }
    send(text) {
      this.sent.push(JSON.parse(text));
    }
    close() {
      this.readyState = 3;
    }
    say(message) {
      this.onmessage({ data: typeof message === "string" ? message : JSON.stringify(message) });
    }
    lose() {
      this.readyState = 3;
      this.onclose({ code: 1006, reason: "" });
    }
  }
  const before = globalThis.WebSocket;
  globalThis.WebSocket = FakeSocket;
  t.after(() => (globalThis.WebSocket = before));
  return opened;
}

const binding = (address) => ({ type: "binding", address, configuration: { iceServers: [] } });

test("page hubs number their nodes and pass messages on", async () => {
  const [one, two, other] = [new PageHub(5000), new PageHub(5000), new PageHub(5001)];
  assert.deepEqual(await Promise.all([one, two, other].map((hub) => hub.address())), ["0.0.0.1", "0.0.0.2", "0.0.0.1"]);
  const came = new Promise((resolve) => two.on("forward", resolve));
  const data = { text: "hello" };
  await one.forward("0.0.0.2", data);
  data.text = "changed";
  assert.deepEqual(await came, { type: "forward", from: "0.0.0.1", to: "0.0.0.2", data: { text: "hello" } });
  await assert.rejects(one.forward("0.0.0.3", {}), /no node 0.0.0.3/);
  await Promise.all([one, two, other].map((hub) => hub.dispose()));
});

test("a host name is one node's, and free when that is disposed of", async () => {
  const [one, two] = [new PageHub(5002), new PageHub(5002)];
  await one.register("name");
  await assert.rejects(two.register("name"), /hostname 'name' already registered/);
  assert.deepEqual(await two.lookup("name"), ["0.0.0.1"]);
  assert.deepEqual(await two.lookup("0.0.0.2"), ["0.0.0.2"]);
  await one.register("another");
  assert.deepEqual(await two.lookup("name"), []);
  await two.register("name");
  await one.dispose();
  assert.deepEqual(await two.lookup("another"), []);
  await assert.rejects(two.forward("0.0.0.1", {}), /no node/);
  await two.dispose();
});

test("a network hub asks for its address and its name again when it was lost", async (t) => {
  const opened = fakeSockets(t);
  const hub = new NetworkHub("ws://hub.example/smoke");
  t.after(() => hub.dispose());
  const [first] = opened;
  const token = first.url.searchParams.get("token");
  assert.deepEqual([token.length, first.url.searchParams.get("address")], [32, null]);
  first.say(binding("0.0.0.7"));
  assert.equal(await hub.address(), "0.0.0.7");
  const named = hub.register("name");
  await until(() => first.sent.length);
  first.say({ type: "register-ok", request_id: first.sent[0].request_id, hostname: "name" });
  await named;
  first.lose();
  await until(() => opened.length === 2);
  const [, second] = opened;
  assert.deepEqual(
    [second.url.searchParams.get("token"), second.url.searchParams.get("address")],
    [token, "0.0.0.7"],
  );
  let known = false;
  const address = hub.address().then((found) => (known = found));
  assert.equal(known, false);
  second.say(binding("0.0.0.9"));
  await address;
  assert.equal(known, "0.0.0.9");
  await until(() => second.sent.length);
  assert.deepEqual([second.sent[0].type, second.sent[0].hostname], ["register", "name"]);
  second.say({ type: "register-ok", request_id: second.sent[0].request_id });
});

test("what a hub says that makes no sense is passed over", async (t) => {
  const [socket] = [fakeSockets(t)].flatMap((opened) => {
    t.hub = new NetworkHub("ws://hub.example/smoke");
    return opened;
  });
  const { hub } = t;
  t.after(() => hub.dispose());
  const came = [];
  hub.on("forward", (message) => came.push(message.from));
  hub.on("absent", ({ address }) => came.push(address));
  const forward = { type: "forward", from: "0.0.0.2", to: "0.0.0.1", data: {} };
  socket.say(forward); // before it has told our address
  const long = "x".repeat(200);
  const nonsense = ["", "null", "[]", "7", "{", "x".repeat(300_000), {}, { type: "other" }, { type: "binding" }];
  for (const message of nonsense) socket.say(message);
  for (const address of [7, "", long, null]) socket.say(binding(address));
  socket.say({ type: "binding", address: "0.0.0.1", configuration: "none" });
  assert.deepEqual([await hub.address(), await hub.configuration()], ["0.0.0.1", {}]);
  for (const from of [7, "", long, null]) socket.say({ ...forward, from });
  for (const to of [7, "", long, null]) socket.say({ type: "forward-fail", to });
  for (const type of ["register-ok", "lookup-ok", "register-fail"]) socket.say({ type, request_id: "none" });
  assert.deepEqual(came, []);
  const named = hub.register("name");
  await until(() => socket.sent.length);
  socket.say({ type: "register-fail", request_id: socket.sent.pop().request_id, reason: { toString: 1 } });
  await assert.rejects(named, /the hub refuses/);
  const looked = hub.lookup("name");
  await until(() => socket.sent.length);
  socket.say({ type: "lookup-ok", request_id: socket.sent[0].request_id, addresses: [1, "0.0.0.2", long] });
  assert.deepEqual(await looked, ["0.0.0.2"]);
  socket.say(forward);
  socket.say({ type: "forward-fail", to: "0.0.0.3" });
  assert.deepEqual(came, ["0.0.0.2", "0.0.0.3"]);
});

test("who waits for a hub is told when that is disposed of", async (t) => {
  fakeSockets(t);
  const hub = new NetworkHub("ws://hub.example/smoke");
  const waiting = [hub.address(), hub.configuration(), hub.lookup("name")];
  hub.dispose();
  for (const one of [...waiting, hub.address()]) await assert.rejects(one, /the hub was disposed of/);
});

/** A hub that says what the test says. */
class TestHub extends Events {
  forwarded = [];
  async address() {
    return "0.0.0.1";
  }
  async configuration() {
    return { iceServers: [{ urls: "stun:stun.example" }, { urls: 7 }] };
  }
  async forward(to, data) {
    if (to === "0.0.0.9") throw new Error("there is no node 0.0.0.9");
    this.forwarded.push([to, data]);
  }
}

test("answers go to who has offered, offers to who accepts", async () => {
  const hub = new TestHub();
  const service = new HubService(hub);
  const [acceptor, caller] = [service.accepting.join(null), service.calling.join(null)];
  const came = [];
  acceptor.onsignal = ({ type }) => came.push(["acceptor", type]);
  caller.onsignal = ({ type }) => came.push(["caller", type]);
  await caller.open();
  assert.deepEqual([caller.id, caller.iceServers], ["0.0.0.1", [{ urls: ["stun:stun.example"] }]]);
  caller.send({ type: "offer", peer: "0.0.0.2", connectionId: "a", sdp: "v=0", protocol: "peerfetch.2" });
  const [[to, data]] = hub.forwarded;
  assert.deepEqual([to, data.type, data.loopback, data.sdp], ["0.0.0.2", "offer", 0, { type: "offer", sdp: "v=0" }]);
  const say = (data) => hub.emit("forward", { from: "0.0.0.2", data });
  say({ type: "answer", connectionId: "a", sdp: { type: "answer", sdp: "v=0" } });
  say({ type: "offer", connectionId: "b", sdp: { type: "offer", sdp: "v=0" } });
  caller.close();
  say({ type: "offer", connectionId: "a", restart: true, sdp: { type: "offer", sdp: "v=0" } });
  assert.deepEqual(came, [["caller", "answer"], ["acceptor", "offer"], ["caller", "offer"]]);
  came.length = 0;
  caller.send({ type: "candidate", peer: "0.0.0.9", connectionId: "a", candidate: {} });
  await until(() => came.length === 2);
  assert.deepEqual(came, [["caller", "absent"], ["acceptor", "absent"]]);
});

test("what is no signal is passed over", () => {
  const hub = new TestHub();
  const acceptor = new HubService(hub).accepting.join(null);
  acceptor.onsignal = () => assert.fail("it was taken");
  const long = "x".repeat(70_000);
  const nonsense = [
    ...[undefined, null, 7, "text", [], {}],
    { type: "offer" },
    { type: "offer", connectionId: "a" },
    { type: "offer", connectionId: long, sdp: { type: "offer", sdp: "v=0" } },
    { type: "offer", connectionId: "a", sdp: { type: "answer", sdp: "v=0" } },
    { type: "offer", connectionId: "a", sdp: { type: "offer", sdp: long } },
    { type: "candidate", connectionId: "a", candidate: { candidate: long } },
    { type: "__proto__", connectionId: "a" },
  ];
  for (const data of nonsense) hub.emit("forward", { from: "0.0.0.2", data });
});
