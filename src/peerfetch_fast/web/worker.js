/**
 * The service worker: gives a device an ordinary URL space (docs/browser.md).
 *
 * Registered as `worker.js`, it answers for `/~peerfetch/device/ID/…` and `/~peerfetch/download/ID/…` on
 * the page's origin, with everything active taken out. As `worker.js?app=ID` it answers for a whole
 * origin that belongs to that device alone.
 */

importScripts("/~peerfetch/documents.js");

const PREFIX = "/~peerfetch/";
const APP = new URL(location.href).searchParams.get("app");
/** The cache in which the page finds what was shared with the app. */
const SHARED = "~peerfetch shared";
/** Milliseconds within which a page must say that it holds the connection. */
const ANSWER_TIME = 5000;
/** Bytes that wait here for whoever reads a body. */
const READ_AHEAD = 1 << 20;
/** Milliseconds after which tabs that nobody sees are asked too. */
const HIDDEN_DELAY = 200;
const EMPTY = new Set([204, 205, 304]);

/** The fields that answers of a device may have on an origin that is not its own. */
const PASSIVE_HEADERS = new Set([
  "accept-ranges",
  "content-length",
  "content-range",
  "content-type",
  "etag",
  "last-modified",
]);
/** The mark that page/adopt.js puts at the end of the URL of an EventSource. */
const MARK = /[?&]~peerfetch-source=([0-9a-f-]{36})$/;
const NO_PLUGINS = "object-src blob: data:";
const NOTHING_BY_NETWORK = "default-src blob: data: 'unsafe-inline' 'unsafe-eval'";
/** Requests of these are for a part of a page that somebody else may have made. */
const EMBEDDED = new Set(["embed", "frame", "iframe", "object"]);

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
// That pages send messages at all keeps the worker alive.
self.addEventListener("message", (event) => {
  if (event.data === "claim") event.waitUntil(self.clients.claim());
});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (url.origin !== location.origin) return;
  if (APP !== null) {
    if (url.pathname === `${PREFIX}save`) event.respondWith(answerSave(event.request, url.searchParams));
    else if (!url.pathname.startsWith(PREFIX)) event.respondWith(answerApp(event.request, url));
    return;
  }
  if (url.pathname === `${PREFIX}shared` && event.request.method === "POST") {
    event.respondWith(takeShared(event.request));
    return;
  }
  const found = /^\/~peerfetch\/(device|download)\/([^/]+)(\/.*)$/.exec(url.pathname);
  if (found) {
    const [, kind, peer, path] = found;
    event.respondWith(answerPassive(event.request, peer, path + url.search, kind === "download"));
  }
});

/** Keep what the system's share sheet has given to the app for the page (page/share_sheet.js), and lead there. */
async function takeShared(request) {
  const form = await request.formData();
  const words = ["title", "text", "url"].map((name) => form.get(name)).filter((one) => typeof one === "string" && one);
  const files = form.getAll("files").filter((one) => typeof one !== "string");
  if (words.length && !files.length) files.push(new File([words.join("\n")], "text.txt", { type: "text/plain" }));
  await caches.delete(SHARED);
  const cache = await caches.open(SHARED);
  for (const [i, file] of files.entries()) {
    const headers = { "file-name": encodeURIComponent(file.name), "content-type": file.type };
    await cache.put(`${PREFIX}shared/${i}`, new Response(file, { headers }));
  }
  return Response.redirect("/?~peerfetch-shared", 303);
}

/** Something of a device on the page's own origin: to look at, never to run. */
async function answerPassive(request, peer, target, download) {
  if (request.method !== "GET" && request.method !== "HEAD") {
    return new Response("Only reading is possible here.\n", { status: 405 });
  }
  // Our page frames nothing of these; a page of the same site could, to show it or to have it saved.
  if (EMBEDDED.has(request.destination)) {
    return new Response("This is not shown within other pages.\n", { status: 403 });
  }
  const answer = await ask(peer, request, target, { redirect: "follow", download });
  const headers = new Headers();
  for (const [name, value] of answer.headers) {
    if (PASSIVE_HEADERS.has(name)) headers.append(name, value);
  }
  headers.set(
    "content-security-policy",
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
  );
  headers.set("cross-origin-resource-policy", "same-origin");
  headers.set("x-content-type-options", "nosniff");
  headers.set("referrer-policy", "no-referrer");
  if (download) headers.set("content-disposition", attachment(target));
  return new Response(answer.body, { status: madeStatus(answer.status), headers });
}

/** As a header's value: what is to be saved, and under which name (RFC 8187 §3.2.1). */
function attachment(target, name = "") {
  const last = name ? encodeURIComponent(name) : target.split("?")[0].split("/").pop() || "download";
  // What a URL may hold beside these would end the parameter.
  const escaped = last.replace(/[^A-Za-z0-9%._~-]/g, (mark) => `%${mark.charCodeAt(0).toString(16)}`);
  return `attachment; filename*=UTF-8''${escaped}`;
}

/** Anything of the device whose origin this is. */
async function answerApp(request, url) {
  const { mode, method, referrer, destination } = request;
  if (isForeignPost(request)) {
    return new Response("A page of another origin may not send forms to this device.\n", { status: 403 });
  }
  // A tab of its own: the shell, which holds a connection and shows the same path in a frame. It could not
  // send again what a form has sent.
  if (mode === "navigate" && destination === "document" && (method === "GET" || method === "HEAD")) {
    return fetch(`${PREFIX}page/app.html`);
  }
  const [search, mark = null] = url.search.split(MARK);
  const answer = await ask(APP, request, url.pathname + search, {
    redirect: "manual",
    initiator: { mode, referrer },
    mark,
  });
  // An EventSource tries again after an error of the network, and never after an answer like ours.
  if (answer.isOurs && /^text\/event-stream\b/.test(request.headers.get("accept"))) return Response.error();
  const headers = isolated(answer.headers);
  let { body } = answer;
  if (body && mode === "navigate" && !isSandboxed(headers)) {
    body = await withShim(body, headers, `${PREFIX}page/shim.js`);
  }
  return new Response(body, { status: madeStatus(answer.status), headers });
}

/** The answer to a link of the app with `download`, which browsers would ask the endpoint's server for. */
async function answerSave(request, query) {
  const [target, name] = [query.get("target") ?? "/", query.get("name") ?? ""];
  const { mode, referrer } = request;
  const answer = await ask(APP, request, target, { redirect: "manual", initiator: { mode, referrer }, download: true });
  const { status, body } = answer;
  if (answer.isOurs) return new Response(body, answer);
  if (status > 299) {
    body?.cancel();
    const place = answer.headers.find(([field]) => field === "location");
    const next = status < 400 && place && new URL(ascii(place[1]), location.origin + target);
    if (next && next.origin === location.origin) {
      const query = new URLSearchParams({ target: next.pathname + next.search, name });
      return Response.redirect(`${PREFIX}save?${query}`);
    }
    const said = sentence(502, `The device answered ${status}, and there is nothing to save.`);
    return new Response(said.body, said);
  }
  const headers = isolated(answer.headers);
  const said = headers.get("content-disposition") ?? "";
  const isNamed = /;\s*filename\*?\s*=/i.test(said);
  headers.set("content-disposition", isNamed ? said.replace(/^[^;]*/, "attachment") : attachment(target, name));
  return new Response(body, { status, headers });
}

/** A URL in a header, whose octets beyond ASCII are those of UTF-8, as browsers take them. */
function ascii(value) {
  return value.replace(/[\u0080-\u00ff]/g, (octet) => `%${octet.charCodeAt(0).toString(16).toUpperCase()}`);
}

/**
 * Whether somebody else sends a form into a frame of theirs. Neighbours below one name are of one site,
 * so nothing else tells such a request from one of the app's own.
 */
function isForeignPost({ mode, method, referrer }) {
  const isSafe = method === "GET" || method === "HEAD";
  return mode === "navigate" && !isSafe && !referrer.startsWith(`${location.origin}/`);
}

/**
 * The app's headers, with a border around its origin. The shell, of the same origin, frames the app: so
 * whom else the app lets frame it still may, and where it names nobody, nobody else does.
 */
function isolated(answered) {
  const headers = new Headers({ "origin-agent-cluster": "?1" });
  let named = false;
  for (const [name, value] of answered) {
    if (name === "content-security-policy") {
      const policies = value.split(",").map(framedByShell);
      named ||= policies.some(({ ancestors }) => ancestors);
      headers.append(name, policies.map(({ policy }) => policy).join(","));
    } else if (name === "location" || name === "refresh") {
      headers.append(name, ascii(value));
    } else if (name === "referrer-policy") {
      // As good towards others, and the app's own forms are known for what they are.
      headers.append(name, value.replace(/\bno-referrer(?!-)/gi, "same-origin"));
    } else if (name !== "x-frame-options" && name !== "origin-agent-cluster") {
      headers.append(name, value);
    }
  }
  if (!named) headers.append("content-security-policy", "frame-ancestors 'self'");
  // What would be asked for past the worker, of the endpoint's server: plugins, and all that belongs to a
  // document of no origin.
  headers.append("content-security-policy", isSandboxed(headers) ? NOTHING_BY_NETWORK : NO_PLUGINS);
  if (!headers.has("cross-origin-resource-policy")) {
    headers.set("cross-origin-resource-policy", "same-origin");
  }
  return headers;
}

/** A policy whose frame-ancestors, if it has any, let the shell frame it beside whom they name. */
function framedByShell(policy) {
  const directives = policy.split(";").map((directive) => directive.trim().split(/[\t\n\f\r ]+/));
  // Of several, the first counts (CSP3 §2.2.1).
  const ancestors = directives.find(([name]) => name.toLowerCase() === "frame-ancestors");
  if (!ancestors) return { policy, ancestors: false };
  const others = ancestors.slice(1).filter((source) => !/^'(?:none|self)'$/i.test(source));
  ancestors.splice(1, Infinity, "'self'", ...others);
  return { policy: directives.map((parts) => parts.join(" ")).join("; "), ancestors: true };
}

/** Whether a document with these headers is of no origin, and therefore not ours to answer for. */
function isSandboxed(headers) {
  const directives = (headers.get("content-security-policy") ?? "").split(/[;,]/).map((one) => one.trim());
  return directives.some((one) => /^sandbox\b/i.test(one) && !/\ballow-same-origin\b/i.test(one));
}

/** The status that a worker can answer with: a Response is not made with one beyond 599. */
function madeStatus(status) {
  return status > 599 ? 502 : status;
}

function sentence(status, text) {
  const headers = { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" };
  const body = new Blob([`${text}\n`]).stream();
  return { status, headers: new Headers(headers), body, isOurs: true };
}

/** Have a page that holds a connection to `peer` ask for `target`: `{status, headers, body}`. */
async function ask(peer, request, target, more) {
  const port = await holder(peer, {
    type: "request",
    peer,
    method: request.method,
    target,
    headers: [...request.headers],
    credentials: request.credentials,
    body: request.method === "GET" || request.method === "HEAD" ? null : await request.blob(),
    ...more,
  });
  if (!port) {
    return sentence(503, "No page is connected to this device any more. Open its page and try again.");
  }
  const head = await new Promise((resolve) => {
    port.onmessage = ({ data }) => resolve(data);
    request.signal.addEventListener("abort", () => port.postMessage("cancel"));
    port.postMessage("go");
  });
  if (head.type !== "head") return sentence(502, `The device did not answer: ${head.message}`);
  if (head.empty || EMPTY.has(head.status)) {
    port.close();
    return { status: head.status, headers: head.headers, body: null };
  }
  return { status: head.status, headers: head.headers, body: bodyFrom(port) };
}

/**
 * The port to the first page that says it holds a connection to `peer`; null if there is none. Whom a person
 * sees is asked first: what a device wants to know of that person is asked there.
 */
async function holder(peer, message) {
  const pages = (await self.clients.matchAll({ type: "window", includeUncontrolled: true })).filter(isOurs);
  const timers = [];
  const after = (time, act) => new Promise((resolve) => timers.push(setTimeout(() => resolve(act()), time)));
  const asked = [];
  const ask = (page) => {
    const { port1, port2 } = new MessageChannel();
    asked.push(port1);
    page.postMessage(message, [port2]);
    return new Promise((resolve) => (port1.onmessage = () => resolve(port1)));
  };
  const visible = pages.filter((page) => page.visibilityState === "visible");
  const hidden = pages.filter((page) => !visible.includes(page));
  const askHidden = () => Promise.race(hidden.map(ask));
  const chosen = await Promise.race([
    ...visible.map(ask),
    visible.length ? after(HIDDEN_DELAY, askHidden) : askHidden(),
    after(ANSWER_TIME, () => null),
  ]);
  timers.forEach(clearTimeout);
  for (const port of asked) if (port !== chosen) port.close();
  return chosen;
}

/** Whether a client is one that may hold a connection. */
function isOurs({ frameType, url }) {
  return frameType === "top-level" && (APP !== null || new URL(url).pathname === "/");
}

function bodyFrom(port) {
  return new ReadableStream(
    {
      pull: (controller) =>
        new Promise((resolve) => {
          port.onmessage = ({ data }) => {
            if (data.type === "piece") {
              controller.enqueue(data.piece);
            } else {
              port.close();
              if (data.type === "end") controller.close();
              else controller.error(new TypeError(data.message));
            }
            resolve();
          };
          port.postMessage("next");
        }),
      cancel: () => port.postMessage("cancel"),
    },
    new ByteLengthQueuingStrategy({ highWaterMark: READ_AHEAD }),
  );
}
