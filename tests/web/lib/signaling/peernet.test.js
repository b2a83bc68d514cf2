// Signaling by PeerNet, with a server that a test plays.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { PeerNetSignaling } from "../../../../src/peerfetch_fast/web/lib/signaling/peernet.js";

const { fetch } = globalThis;
const turn = () => new Promise((resolve) => setTimeout(resolve, 1));
const OFFER = { type: "offer", peer: "device", connectionId: "pf_0123456789abcdef01234567", sdp: "v=0" };
const KNOCK = "servers/device/services/peernet.http/knocks/k1";

/** Requests that wait for their answer. */
let asked;

beforeEach(() => {
  asked = [];
  globalThis.fetch = (url, { method, body, headers, signal }) =>
    new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
      const answer = (content, status = 200) => resolve(new Response(JSON.stringify(content), { status }));
      const path = `${method} ${new URL(url).pathname.replace(/v1\//, "")}`;
      asked.push({ path, url: new URL(url), body: body && JSON.parse(body), headers, answer, fail: reject });
    });
});

afterEach(() => {
  globalThis.fetch = fetch;
});

/** The next request, which must be to that path. */
async function next(path) {
  for (let waited = 0; asked.length === 0; waited++) {
    assert.ok(waited < 3000, `nothing asks for ${path}`);
    await turn();
  }
  const request = asked.shift();
  assert.equal(request.path, path);
  return request;
}

async function opened(options = { takesOffers: false }, id = "me") {
  const signaling = new PeerNetSignaling("peernet+https://signaling.example/x/?room=den", id, options);
  const heard = [];
  signaling.onsignal = (signal) => heard.push(signal);
  const opening = signaling.open();
  if (options.takesOffers) (await next("POST /x/servers")).answer({});
  (await next("GET /x/ice_servers")).answer({ ice_servers: [{ urls: ["stun:stun.example"] }] });
  await opening;
  return { signaling, heard };
}

async function until(condition) {
  for (let waited = 0; !condition(); waited++) {
    assert.ok(waited < 3000);
    await turn();
  }
}

test("a knock is answered, and candidates go both ways", async () => {
  const { signaling, heard } = await opened();
  assert.deepEqual(signaling.iceServers, [{ urls: ["stun:stun.example"] }]);
  signaling.send(OFFER);
  const knock = await next("POST /x/servers/device/services/peernet.http:2/knocks");
  assert.deepEqual(knock.body, { offer: { name: OFFER.connectionId, sdp: "v=0", sdpType: "offer" } });
  assert.equal(knock.headers.Authorization, undefined);
  const about = { type: "candidate", peer: "device", connectionId: OFFER.connectionId };
  const candidate = { candidate: "candidate:1", sdpMid: "0", sdpMLineIndex: 0 };
  for (let i = 0; i < 2; i++) signaling.send({ ...about, candidate });
  knock.answer({ name: KNOCK });
  const polled = await next(`GET /x/${KNOCK}`);
  assert.equal(polled.url.searchParams.get("wait"), "25");
  const answer = { name: "theirs", sdp: "v=1", candidates: [{ candidate: "2", sdpMid: "0" }, { candidate: "" }] };
  polled.answer({ state: "ANSWERED", answer });
  const claim = await next(`GET /x/sessions/${OFFER.connectionId}/claim/candidates`);
  const post = await next("POST /x/sessions/theirs/candidates");
  assert.equal(post.body.candidates.length, 2, "those that come together go together");
  claim.answer({ candidates: [{ candidate: "candidate:3" }] });
  await until(() => heard.length === 4);
  assert.deepEqual(
    heard.map(({ type, sdp, candidate }) => [type, sdp ?? candidate]),
    [
      ["answer", "v=1"],
      ["candidate", { candidate: "candidate:2", sdpMid: "0", sdpMLineIndex: null }],
      ["candidate", {}],
      ["candidate", { candidate: "candidate:3", sdpMid: null, sdpMLineIndex: 0 }],
    ],
  );
  signaling.close();
});

test("a device that is not there is absent after a while, and one that refuses is told", async () => {
  const { signaling, heard } = await opened();
  signaling.send(OFFER);
  (await next("POST /x/servers/device/services/peernet.http:2/knocks")).answer({}, 404);
  (await next("POST /x/servers/device/services/peernet.http:2/knocks")).answer({ name: KNOCK });
  (await next(`GET /x/${KNOCK}`)).answer({ state: "REFUSED", reason: "gone" });
  await until(() => heard.length === 1);
  assert.deepEqual(heard, [{ type: "answer", peer: "device", connectionId: OFFER.connectionId, sdp: null, protocol: null }]);
  signaling.send({ ...OFFER, restart: true });
  const knock = await next("POST /x/servers/device/services/peernet.http:2/knocks");
  assert.equal(knock.body.session, OFFER.connectionId);
  assert.match(knock.body.offer.name, /^[0-9a-f]{32}$/);
  knock.answer({ name: KNOCK });
  (await next(`GET /x/${KNOCK}`)).answer({ state: "REFUSED", reason: "gone" });
  await until(() => heard.length === 2);
  assert.equal(heard[1].type, "gone");
  signaling.close();
});

test("one that takes offers is known, claims knocks and answers them", async () => {
  const { signaling, heard } = await opened({ takesOffers: true });
  const claim = await next("POST /x/servers/me/claim_knocks");
  assert.match(claim.headers.Authorization, /^[0-9a-f]{32}$/);
  claim.answer({ knocks: [null, { name: 7 }, { name: KNOCK, offer: { name: OFFER.connectionId, sdp: "v=0" } }] });
  await until(() => heard.length === 1);
  assert.equal(heard[0].protocol, "peerfetch.2");
  assert.equal(heard[0].restart, false);
  await next("POST /x/servers/me/claim_knocks");
  const { peer, connectionId } = heard[0];
  signaling.send({ type: "answer", peer, connectionId, sdp: "v=1" });
  const patch = await next(`PATCH /x/${KNOCK}`);
  assert.equal(patch.body.answer.sdp, "v=1");
  patch.answer({});
  await next(`GET /x/sessions/${patch.body.answer.name}/claim/candidates`);
  signaling.close();
  assert.equal((await next("DELETE /x/servers/me")).path, "DELETE /x/servers/me");
});

test("services are offered, looked for, and refused where a page cannot speak them", async () => {
  const named = "room=den&service=peernet.camera:1.0&service=peernet.http:2";
  const signaling = new PeerNetSignaling(`peernet+https://signaling.example/?${named}`, "me");
  const opening = signaling.open();
  const made = await next("POST /servers");
  assert.deepEqual(made.body.services, [
    { protocol: "peernet.http", version: "2" },
    { protocol: "peernet.camera", version: "1.0" },
  ]);
  made.answer({});
  (await next("GET /ice_servers")).answer({});
  await opening;
  const knock = { name: KNOCK, service: { protocol: "peernet.camera", version: "1.0" } };
  const offer = { name: OFFER.connectionId, sdp: "v=0" };
  (await next("POST /servers/me/claim_knocks")).answer({ knocks: [{ ...knock, offer }] });
  const refusal = await next(`PATCH /${KNOCK}`);
  assert.deepEqual(refusal.body, { state: "REFUSED", reason: "knock at peernet.http:2" });
  await next("POST /servers/me/claim_knocks");
  const peers = signaling.peers();
  const page = await next("GET /rooms/den/servers");
  const filter = 'services.protocol="peernet.camera" AND services.protocol="peernet.http"';
  assert.equal(page.url.searchParams.get("filter"), filter);
  const [camera, http] = [knock.service, { protocol: "peernet.http", version: "2" }];
  const servers = [
    { unique_id: "both", services: [camera, http] },
    { unique_id: "another version", services: [{ ...camera, version: "2.0" }, http] },
    { unique_id: "nonsense", services: 7 },
    { unique_id: "more of it", services: [null, 7] },
  ];
  page.answer({ servers });
  assert.deepEqual(await peers, ["both"]);
  signaling.close();
});

test("logins that expire are asked for anew while knocks are waited for", async (context) => {
  const signaling = new PeerNetSignaling("peernet+https://signaling.example", "me");
  const opening = signaling.open();
  const login = (username, time) => ({
    ice_servers: [{ urls: ["turn:turn.example"], username, credential: "c", expire_time: new Date(time).toISOString() }],
  });
  (await next("POST /servers")).answer({});
  (await next("GET /ice_servers")).answer(login("first", Date.now() + 3_600_000));
  await opening;
  (await next("POST /servers/me/claim_knocks")).answer({ knocks: [] });
  const claim = await next("POST /servers/me/claim_knocks");
  assert.equal(signaling.iceServers[0].username, "first");
  const { performance } = globalThis;
  let later = 3_000_000;
  context.mock.method(performance, "now", () => later);
  claim.answer({ knocks: [] });
  (await next("GET /ice_servers")).answer({}, 500);
  (await next("POST /servers/me/claim_knocks")).answer({ knocks: [] });
  const another = await next("POST /servers/me/claim_knocks");
  later += 15_000;
  another.answer({ knocks: [] });
  // As a clock that is fast has it.
  (await next("GET /ice_servers")).answer(login("second", Date.now() - 3_600_000));
  const third = await next("POST /servers/me/claim_knocks");
  assert.equal(signaling.iceServers[0].username, "second");
  later += 50_000;
  third.answer({ knocks: [] });
  await next("GET /ice_servers");
  signaling.close();
});

test("a device that was absent is knocked at again by the same offer", async (context) => {
  const { signaling, heard } = await opened();
  let later = performance.now();
  context.mock.method(performance, "now", () => later);
  signaling.send(OFFER);
  const path = "POST /x/servers/device/services/peernet.http:2/knocks";
  const knock = await next(path);
  later += 5000;
  knock.answer({}, 404);
  await until(() => heard.length === 1);
  assert.deepEqual(heard, [{ type: "absent", peer: "device" }]);
  await turn();
  signaling.send(OFFER);
  await next(path);
  signaling.close();
});

test("a server cannot have anything asked for as a knock", async () => {
  const names = ["https://evil.example/x", "//evil.example/x", "/etc", `${KNOCK}?x`, 7, undefined];
  const { signaling, heard } = await opened({ takesOffers: true });
  const knocks = names.map((name) => ({ name, offer: { name: OFFER.connectionId, sdp: "v=0" } }));
  (await next("POST /x/servers/me/claim_knocks")).answer({ knocks });
  await next("POST /x/servers/me/claim_knocks");
  assert.deepEqual(heard, []);
  for (const name of names) {
    signaling.send(OFFER);
    (await next("POST /x/servers/device/services/peernet.http:2/knocks")).answer({ name });
    await until(() => heard.length === 1);
    assert.equal(heard.pop().sdp, null);
    await turn();
  }
  assert.deepEqual(asked, []);
  signaling.close();
});

test("a server that was started anew is told again, and one that is lost is told of", async () => {
  const { signaling } = await opened({ takesOffers: true });
  let lost = 0;
  signaling.onclose = () => lost++;
  (await next("POST /x/servers/me/claim_knocks")).answer({}, 404);
  (await next("POST /x/servers")).answer({});
  (await next("POST /x/servers/me/claim_knocks")).fail(new TypeError("no network"));
  await until(() => lost === 1);
});

test("an id that is taken, a server that is none, and one that gives up", async () => {
  for (const [status, reason, message] of [
    [409, "taken", /is taken/],
    [500, "signaling", /refuses/],
  ]) {
    const signaling = new PeerNetSignaling("peernet+https://signaling.example", "me");
    const opening = signaling.open();
    (await next("POST /servers")).answer({ error: { message: "no" } }, status);
    await assert.rejects(opening, { name: "ConnectError", reason, message });
  }
  const signaling = new PeerNetSignaling("peernet+https://signaling.example", "me");
  const enough = new AbortController();
  const opening = signaling.open(enough.signal);
  await next("POST /servers");
  enough.abort(new Error("enough"));
  await assert.rejects(opening, /enough/);
});

test("peers are those in the rooms of the URL", async () => {
  const { signaling } = await opened();
  const peers = signaling.peers();
  const servers = [{ unique_id: "me" }, { unique_id: "one" }, null, {}];
  (await next("GET /x/rooms/den/servers")).answer({ servers, next_page_token: "one" });
  const second = await next("GET /x/rooms/den/servers");
  assert.equal(second.url.searchParams.get("page_token"), "one");
  second.answer({}, 404);
  assert.deepEqual(await peers, ["one"]);
  signaling.close();
});
