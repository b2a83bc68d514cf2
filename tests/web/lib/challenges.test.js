// Challenges of servers, and what answers them: the examples of RFC 7616 and RFC 7617, and what servers send.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { Basic, Digest, bestChallenge, parseChallenges } from "../../../src/peerfetch_fast/web/lib/challenges.js";
import { md5 } from "../../../src/peerfetch_fast/web/lib/md5.js";

test("MD5 is that of RFC 1321", () => {
  for (const size of [0, 1, 55, 56, 63, 64, 65, 1000]) {
    const data = Uint8Array.from({ length: size }, (_, i) => (7 * i) & 0xff);
    assert.equal(Buffer.from(md5(data)).toString("hex"), createHash("md5").update(data).digest("hex"));
  }
});

const plain = (value) => parseChallenges(value).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

test("challenges are told apart, however they stand in a field", () => {
  assert.deepEqual(plain('Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"'), [
    ["newauth", { realm: "apps", type: "1", title: 'Login to "apps"' }],
    ["basic", { realm: "simple" }],
  ]);
  assert.deepEqual(plain(" ,Negotiate , NTLM TlRMTVNTUAA=, Basic REALM = x"), [
    ["negotiate", {}],
    ["ntlm", {}],
    ["tlrmtvntuaa", {}],
    ["basic", { realm: "x" }],
  ]);
  assert.equal(bestChallenge('a="b", Basic realm="open'), null);
  assert.deepEqual(plain(""), []);
  assert.equal(parseChallenges("x ".repeat(1000)).length, 16);
});

test("the strongest that can be answered is chosen", () => {
  const scheme = (value) => {
    const found = bestChallenge(value);
    return found && `${found.scheme} ${found.parameters.get("algorithm") ?? ""}`.trim();
  };
  const digest = (more) => `Digest realm="r", nonce="n", qop="auth-int, auth", ${more}`;
  assert.equal(scheme(`Basic realm="r", ${digest("algorithm=MD5")}, ${digest("algorithm=SHA-256")}`), "digest SHA-256");
  assert.equal(scheme(`Basic realm="r", ${digest("algorithm=SHA-512-256")}`), "basic");
  assert.equal(scheme(`Basic realm="r", Digest realm="r", nonce="n", qop="auth-int"`), "basic");
  assert.equal(scheme('Digest realm="r", nonce="n"'), "digest");
  for (const value of ["", "Peerfetch", "Bearer realm=x", 'Digest realm="r"', "Basic"]) assert.equal(scheme(value), null);
});

const one = (value) => parseChallenges(value)[0];

test("Basic in UTF-8, for what lies beside what was asked for and below", () => {
  const login = new Basic("test", "123£");
  assert.equal(login.take(one('Basic realm="r"'), "/a/b?x=/c/"), true);
  assert.equal(login.authorization(), "Basic dGVzdDoxMjPCow==");
  assert.deepEqual(["/a/", "/a/c/d", "/a", "/b", "/"].map((target) => login.reach(target)), [3, 3, -1, -1, -1]);
  assert.equal(login.take(one('Basic realm="r"'), "/a/c"), false);
  assert.equal(login.take(one('Basic realm="r"'), "/"), true);
  assert.equal(login.reach("/b"), 1);
});

/** The fields of an Authorization for Digest. */
const fields = (value) => Object.fromEntries(one(value).parameters);
const hex = (algorithm, text) => createHash(algorithm).update(text).digest("hex");

const RFC = 'realm="http-auth@example.org", qop="auth, auth-int", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"';

test("Digest, with MD5, SHA-256 and their sessions, counts its requests", () => {
  for (const [algorithm, hash] of [["MD5", "md5"], ["SHA-256", "sha256"], ["SHA-256-sess", "sha256"], ["MD5-sess", "md5"]]) {
    const login = new Digest("Mufasa", "Circle of Life");
    login.take(one(`Digest ${RFC}, algorithm=${algorithm}`), "/dir/index.html");
    for (const count of ["00000001", "00000002"]) {
      const said = fields(login.authorization("GET", "/dir/index.html"));
      assert.deepEqual([said.nc, said.qop, said.algorithm, said.uri], [count, "auth", algorithm, "/dir/index.html"]);
      let secret = hex(hash, "Mufasa:http-auth@example.org:Circle of Life");
      if (algorithm.endsWith("sess")) secret = hex(hash, `${secret}:${said.nonce}:${said.cnonce}`);
      const asked = hex(hash, "GET:/dir/index.html");
      assert.equal(said.response, hex(hash, `${secret}:${said.nonce}:${count}:${said.cnonce}:auth:${asked}`));
      assert.equal(said.opaque, "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS");
    }
  }
});

test("Digest without qop is that of RFC 2069", () => {
  const login = new Digest("Mufasa", "CircleOfLife");
  login.take(one('Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"'));
  const said = fields(login.authorization("GET", "/dir/index.html"));
  assert.equal(said.response, "1949323746fe6a43ef61f9606e7febea");
  assert.deepEqual([said.nc, said.cnonce, said.qop, said.algorithm], Array(4).fill(undefined));
});

test("names that no header can say are hidden or encoded", () => {
  const said = (name, more) => {
    const login = new Digest(name, "x");
    login.take(one(`Digest realm="r", nonce="n", qop=auth, ${more}`));
    return login.authorization("GET", "/");
  };
  // RFC 7616 §3.9.2, whose algorithm is another.
  const hidden = fields(said("Jäsøn Doe", "charset=UTF-8, userhash=true, algorithm=SHA-256"));
  assert.equal(hidden.username, hex("sha256", "Jäsøn Doe:r"));
  assert.equal(hidden.userhash, "true");
  assert.match(said("Jäsøn Doe", "charset=UTF-8"), /username\*=UTF-8''J%c3%a4s%c3%b8n%20Doe/);
  assert.match(said('a "b\\', "charset=UTF-8"), /username="a \\"b\\\\"/);
});

test("Digest knows what its nonces are for, and takes the next one", () => {
  const login = new Digest("u", "p");
  const challenge = (nonce, more = "") => one(`Digest realm="r", nonce="${nonce}", qop="auth", ${more}`);
  assert.equal(login.take(challenge("1", 'domain="/a /b/c http://other/"')), true);
  assert.deepEqual(["/a/x", "/b/c", "/b", "/"].map((target) => login.reach(target)), [2, 4, -1, -1]);
  login.authorization("GET", "/a");
  assert.equal(login.take(challenge("2")), false);
  assert.equal(login.reach("/"), 0);
  assert.equal(login.take(challenge("3", "stale=TRUE")), true);
  assert.equal(fields(login.authorization("GET", "/")).nc, "00000001");
  login.note('qop=auth, rspauth="x", nextnonce="4"');
  const next = fields(login.authorization("GET", "/"));
  assert.deepEqual([next.nonce, next.nc], ["4", "00000001"]);
  for (const nothing of ["=", "= x, nextnonce", '="', "=a, =b", "nextnonce"]) login.note(nothing);
  assert.equal(fields(login.authorization("GET", "/")).nonce, "4");
});
