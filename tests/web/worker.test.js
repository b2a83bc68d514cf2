import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import vm from "node:vm";

/** What the service worker does with headers, without a browser. */
function worker(app) {
  const self = { addEventListener: () => {} };
  const location = { href: `https://peer-b.example/~peerfetch/worker.js?app=${app}`, origin: "https://peer-b.example" };
  const context = vm.createContext({ self, location, URL, Headers, TextDecoder, TextEncoder, TransformStream });
  const path = new URL("../../src/peerfetch_fast/web/worker.js", import.meta.url);
  vm.runInContext(readFileSync(path, "utf8"), context);
  return context;
}

const policyOf = (...headers) => worker("b").isolated(headers).get("content-security-policy");

test("nobody but the shell frames an app that names nobody", () => {
  assert.equal(policyOf(), "frame-ancestors 'self'");
  for (const value of ["DENY", "SAMEORIGIN"]) {
    assert.equal(policyOf(["x-frame-options", value]), "frame-ancestors 'self'");
  }
  assert.equal(worker("b").isolated([["x-frame-options", "DENY"]]).has("x-frame-options"), false);
});

test("an app's own policy goes on to hold beside it", () => {
  const own = "default-src 'self'; img-src *";
  assert.equal(policyOf(["content-security-policy", own]), `${own}, frame-ancestors 'self'`);
  const two = "script-src 'self', img-src 'none'";
  assert.equal(policyOf(["content-security-policy", two]), `${two}, frame-ancestors 'self'`);
});

test("whom an app names may frame it, and so may the shell", () => {
  const cases = [
    ["frame-ancestors 'none'", "frame-ancestors 'self'"],
    ["Frame-Ancestors 'NONE'", "Frame-Ancestors 'self'"],
    ["frame-ancestors", "frame-ancestors 'self'"],
    ["frame-ancestors 'self'", "frame-ancestors 'self'"],
    ["frame-ancestors https://a.example", "frame-ancestors 'self' https://a.example"],
    ["img-src *;\tframe-ancestors\t'none' ; script-src x", "img-src *; frame-ancestors 'self'; script-src x"],
    // The second is not looked at, by browsers either.
    ["frame-ancestors 'none'; frame-ancestors *", "frame-ancestors 'self'; frame-ancestors *"],
    ["img-src https://frame-ancestors.example", "img-src https://frame-ancestors.example, frame-ancestors 'self'"],
    ["img-src x, frame-ancestors 'none'", "img-src x,frame-ancestors 'self'"],
  ];
  for (const [said, kept] of cases) assert.equal(policyOf(["content-security-policy", said]), kept);
  const both = policyOf(
    ["content-security-policy", "frame-ancestors https://a.example"],
    ["content-security-policy", "frame-ancestors 'none'"],
  );
  assert.equal(both, "frame-ancestors 'self' https://a.example, frame-ancestors 'self'");
});

test("neighbours of one site get a process and no resources", () => {
  const headers = worker("b").isolated([["origin-agent-cluster", "?0"], ["content-type", "text/html"]]);
  assert.equal(headers.get("origin-agent-cluster"), "?1");
  assert.equal(headers.get("cross-origin-resource-policy"), "same-origin");
  assert.equal(headers.get("content-type"), "text/html");
  const open = worker("b").isolated([["cross-origin-resource-policy", "cross-origin"]]);
  assert.equal(open.get("cross-origin-resource-policy"), "cross-origin");
});

test("forms that come from elsewhere are told from the app's own", () => {
  const { isForeignPost, isolated } = worker("b");
  const form = { mode: "navigate", method: "POST" };
  assert.equal(isForeignPost({ ...form, referrer: "https://peer-b.example/form" }), false);
  for (const referrer of ["", "https://peer-a.example/", "https://peer-b.example.evil.example/"]) {
    assert.equal(isForeignPost({ ...form, referrer }), true);
    assert.equal(isForeignPost({ ...form, method: "GET", referrer }), false);
    assert.equal(isForeignPost({ ...form, mode: "cors", referrer }), false);
  }
  const referrers = (policy) => isolated([["referrer-policy", policy]]).get("referrer-policy");
  assert.equal(referrers("no-referrer"), "same-origin");
  assert.equal(referrers("strict-origin, no-referrer"), "strict-origin, same-origin");
  assert.equal(referrers("no-referrer-when-downgrade"), "no-referrer-when-downgrade");
});

test("the shim is put behind the first head, wherever that is", async () => {
  const { injection } = worker("b");
  const put = async (html) => {
    const { readable, writable } = injection();
    const writer = writable.getWriter();
    writer.write(new TextEncoder().encode(html));
    writer.close();
    return (await new Response(readable).text()).replace(/<script src="[^"]*"><\/script>/, "!");
  };
  assert.equal(await put("<!doctype html><html><head lang=de><title>"), "<!doctype html><html><head lang=de>!<title>");
  assert.equal(await put("<head\n><p>"), "<head\n>!<p>");
  assert.equal(await put("<!doctype html><header><p>"), "<!doctype html>!<header><p>");
  assert.equal(await put("<p>"), "!<p>");
  const many = "<head ".repeat(20_000);
  assert.equal(await put(many), `!${many}`);
});
