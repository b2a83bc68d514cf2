import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import vm from "node:vm";

const place = (name) => new URL(`../../src/peerfetch_fast/web/${name}`, import.meta.url);
const source = (name) => readFileSync(place(name), "utf8");

/** What the service worker does with headers and documents, without a browser. */
function worker(app) {
  const self = { addEventListener: () => {}, clients: { matchAll: async () => [] } };
  const location = { href: `https://peer-b.example/~peerfetch/worker.js?app=${app}`, origin: "https://peer-b.example" };
  // By the file's name V8 counts which of its lines are run.
  const run = (name) => vm.runInContext(source(name), context, { filename: place(name).href });
  const importScripts = (url) => run(url.replace("/~peerfetch/", ""));
  const soon = { setTimeout: (act) => setTimeout(act, 0), clearTimeout };
  const platform = { Blob, Headers, ReadableStream, Response, TextDecoder, TextEncoder, URL, Uint8Array };
  const globals = { self, location, importScripts, ...soon, ...platform };
  const context = vm.createContext(globals);
  importScripts("/~peerfetch/worker.js");
  return context;
}

/** The policy beside the one that is added to all. */
const policyOf = (...headers) =>
  worker("b").isolated(headers).get("content-security-policy").replace(/, object-src blob: data:$/, "");

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

test("a document of no origin asks for nothing, which nobody here could answer", () => {
  const added = (policy) => worker("b").isolated([["content-security-policy", policy]]).get("content-security-policy");
  assert.match(added("img-src *; Sandbox allow-scripts"), /, default-src blob: data: 'unsafe-inline' 'unsafe-eval'$/);
  assert.match(added("sandbox allow-same-origin"), /, object-src blob: data:$/);
  assert.match(added("sandboxed x"), /, object-src blob: data:$/);
});

test("where no page has a connection, a sentence says so, and an EventSource tries again", async () => {
  const { answerApp } = worker("b");
  const asked = (accept) => {
    const request = { mode: "cors", method: "GET", referrer: "", destination: "", headers: new Headers({ accept }) };
    return answerApp(request, new URL("https://peer-b.example/events"));
  };
  const said = await asked("*/*");
  assert.equal(said.status, 503);
  assert.match(await said.text(), /Open its page/);
  assert.equal((await asked("text/event-stream")).type, "error");
});

test("a Location in UTF-8 becomes one that every browser reads alike", () => {
  const headers = worker("b").isolated([["location", Buffer.from("/grüße?ä").toString("latin1")]]);
  assert.equal(headers.get("location"), "/gr%C3%BC%C3%9Fe?%C3%A4");
});

test("what is to be saved has the name that the device gave it, or the link, or the path", () => {
  const { attachment } = worker("b");
  assert.equal(attachment("/a/b%20c'(.txt?x=/y"), "attachment; filename*=UTF-8''b%20c%27%28.txt");
  assert.equal(attachment("/a/", "grün;.txt"), "attachment; filename*=UTF-8''gr%C3%BCn%3B.txt");
  assert.equal(attachment("/"), "attachment; filename*=UTF-8''download");
});

/** `pieces` as the body of a document with that type, with `!` where the shim is. */
async function put(pieces, headers = new Headers({ "content-type": "text/html", "content-length": "7" })) {
  const encoder = new TextEncoder();
  const body = new ReadableStream({
    start(controller) {
      for (const piece of [pieces].flat()) {
        controller.enqueue(typeof piece === "string" ? encoder.encode(piece) : piece);
      }
      controller.close();
    },
  });
  const shown = await worker("b").withShim(body, headers, "/shim.js");
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(await new Response(shown).arrayBuffer());
  const found = /<script( xmlns="[^"]*")? src="\/shim\.js"><\/script>/.exec(text);
  assert.equal(headers.has("content-length"), headers.has("content-length") && !found);
  return found ? text.replace(found[0], "!") : text;
}

test("the shim is put where a document's head begins, whatever stands before it", async () => {
  const cases = [
    "<!doctype html><html><head lang=de>!<title>",
    "<head\n>!<p>",
    "<!doctype html>!<header><p>",
    "!<p>",
    "!",
    "<!-- a <head> in words --><!DOCTYPE html><html data-x='>' lang=\"a>b\"><head>!",
    "\ufeff\n<!doctype html>\n<html>\n!<body>",
    "<?xml version='1.0'?><!doctype html><html>!<title>",
    "<!doctype html>!<script>'<head>'</script>",
  ];
  for (const expected of cases) {
    const html = expected.replace("!<", "<").replace(/!$/, "");
    assert.equal(await put(html.replace(/^<doc/, "<!doc")), expected, html);
    // However it is cut into pieces.
    const octets = [...new TextEncoder().encode(html)].map((octet) => Uint8Array.of(octet));
    assert.equal(await put(octets), expected, html);
  }
});

test("what would take long to look through is not looked through", async () => {
  for (const tag of ["<head ", "<html ", "<!-- ", "<!", "<?", "<html a='"]) {
    const many = tag.repeat(20_000);
    assert.equal(await put(many), `!${many}`);
  }
  const blanks = " ".repeat(20_000);
  assert.match(await put(`<!doctype html>${blanks}<head>`), /^<!doctype html> +! +<head>$/);
});

test("HTML without a type is told as browsers tell it", async () => {
  const typeOf = async (html, more = {}) => {
    const headers = new Headers(more);
    const shown = await put(html, headers);
    const isPut = shown !== html;
    assert.equal(isPut, headers.get("content-type") === "text/html", html);
    return headers.get("content-type");
  };
  for (const html of ["<!DOCTYPE HTML>", "  \n<html>", "<p>x", "<!-- x -->", "<b >", "<Script>"]) {
    assert.equal(await typeOf(html), "text/html");
  }
  for (const text of ["<address>", "{}", "", "plain text", "<", "\ufeff<p>x"]) {
    assert.equal(await typeOf(text), null);
  }
  assert.equal(await typeOf("<p>", { "x-content-type-options": "nosniff" }), null);
  assert.equal(await typeOf("<p>", { "content-type": "text/plain" }), "text/plain");
  assert.equal(await typeOf("<p>x", { "content-type": "*/*" }), "text/html");
});

test("XML takes the shim within its root alone, UTF-16 not at all", async () => {
  const xhtml = () => new Headers({ "content-type": "application/xhtml+xml" });
  assert.equal(await put("<?xml?><html><head><title/>", xhtml()), "<?xml?><html><head>!<title/>");
  assert.equal(await put("<?xml?><html><body>", xhtml()), "<?xml?><html><body>");
  const utf16 = Uint8Array.from([0xff, 0xfe, 0x3c, 0, 0x70, 0, 0x3e, 0]);
  const headers = new Headers({ "content-type": "text/html", "content-length": "8" });
  await put([utf16], headers);
  assert.equal(headers.get("content-length"), "8");
});

test("an answer that breaks off is shown as far as it came, and not as whole", async () => {
  for (const headers of [new Headers(), new Headers({ "content-type": "text/html" })]) {
    const body = new ReadableStream({
      pull(controller) {
        if (this.sent) throw new TypeError("the connection broke");
        this.sent = controller.enqueue(new TextEncoder().encode("<!doctype")) ?? true;
      },
    });
    const reader = (await worker("b").withShim(body, headers, "/shim.js")).getReader();
    await assert.rejects(async () => {
      while (!(await reader.read()).done);
    }, /the connection broke/);
  }
});
