/**
 * The service worker: gives a device an ordinary URL space (docs/browser.md).
 *
 * Registered as `worker.js`, it answers for `/~peerfetch/device/ID/…` and `/~peerfetch/download/ID/…` on
 * the page's origin, with everything active taken out. As `worker.js?app=ID` it answers for a whole
 * origin that belongs to that device alone.
 */

const PREFIX = "/~peerfetch/";
const APP = new URL(location.href).searchParams.get("app");
/** Milliseconds within which a page must say that it holds the connection. */
const ANSWER_TIME = 5000;
/** Bytes that wait here for whoever reads a body. */
const READ_AHEAD = 1 << 20;
const EMPTY = new Set([204, 205, 304]);

/** What answers of a device may say on an origin that is not its own. */
const PASSIVE_HEADERS = new Set([
  "accept-ranges",
  "content-length",
  "content-range",
  "content-type",
  "etag",
  "last-modified",
]);
/** Requests of these are for a part of a page that somebody else may have made. */
const EMBEDDED = new Set(["embed", "frame", "iframe", "object"]);

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
// That pages send these at all keeps the worker alive.
self.addEventListener("message", () => {});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (url.origin !== location.origin) return;
  if (APP !== null) {
    if (!url.pathname.startsWith(PREFIX)) event.respondWith(answerApp(event.request, url));
    return;
  }
  const found = /^\/~peerfetch\/(device|download)\/([^/]+)(\/.*)$/.exec(url.pathname);
  if (found) {
    const [, kind, peer, path] = found;
    event.respondWith(answerPassive(event.request, peer, path + url.search, kind === "download"));
  }
});

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
  if (download) {
    const last = target.split("?")[0].split("/").pop() || "download";
    // RFC 8187 §3.2.1: what a URL may hold beside these would end the parameter.
    const name = last.replace(/[^A-Za-z0-9%._~-]/g, (mark) => `%${mark.charCodeAt(0).toString(16)}`);
    headers.set("content-disposition", `attachment; filename*=UTF-8''${name}`);
  }
  return new Response(answer.body, { status: madeStatus(answer.status), headers });
}

/** Anything of the device whose origin this is. */
async function answerApp(request, url) {
  if (request.mode === "navigate" && request.destination === "document") {
    // A tab of its own: the shell, which holds a connection and shows the same path in a frame.
    return fetch(`${PREFIX}page/app.html`);
  }
  const { mode, referrer } = request;
  if (isForeignPost(request)) {
    return new Response("A page of another origin may not send forms to this device.\n", { status: 403 });
  }
  const answer = await ask(APP, request, url.pathname + url.search, {
    redirect: "manual",
    initiator: { mode, referrer },
  });
  const headers = isolated(answer.headers);
  let { body } = answer;
  const isDocument = request.mode === "navigate" && /^text\/html\b/i.test(headers.get("content-type"));
  if (isDocument && body) {
    headers.delete("content-length");
    body = body.pipeThrough(injection());
  }
  return new Response(body, { status: madeStatus(answer.status), headers });
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
    } else if (name === "referrer-policy") {
      // As good towards others, and the app's own forms are known for what they are.
      headers.append(name, value.replace(/\bno-referrer(?!-)/gi, "same-origin"));
    } else if (name !== "x-frame-options" && name !== "origin-agent-cluster") {
      headers.append(name, value);
    }
  }
  if (!named) headers.append("content-security-policy", "frame-ancestors 'self'");
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

/** Puts the WebSocket shim at the beginning of a document's head. */
function injection() {
  const tag = new TextEncoder().encode(`<script src="${PREFIX}page/shim.js"></script>`);
  let first = true;
  return new TransformStream({
    transform(piece, controller) {
      if (!first) return controller.enqueue(piece);
      first = false;
      // One character an octet, so that indices are the same in any encoding that extends ASCII.
      const text = new TextDecoder("latin1").decode(piece);
      // A tag ends before the next begins, so that nothing is looked at twice.
      const found = /<head(?:\s[^<>]*)?>/i.exec(text) ?? /^\s*<!doctype[^>]*>/i.exec(text);
      const at = found ? found.index + found[0].length : 0;
      controller.enqueue(piece.subarray(0, at));
      controller.enqueue(tag);
      controller.enqueue(piece.subarray(at));
    },
  });
}

/** What a worker can answer with: a Response is not made with a status beyond 599. */
function madeStatus(status) {
  return status > 599 ? 502 : status;
}

function sentence(status, text) {
  const headers = { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" };
  const body = new Blob([`${text}\n`]).stream();
  return { status, headers: new Headers(headers), body };
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

/** The port to the first page that says it holds a connection to `peer`; null if there is none. */
async function holder(peer, message) {
  const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  let late;
  const none = new Promise((resolve) => (late = setTimeout(() => resolve(null), ANSWER_TIME)));
  const asked = pages
    .filter(isOurs)
    .map((page) => {
      const { port1, port2 } = new MessageChannel();
      page.postMessage(message, [port2]);
      const answered = new Promise((resolve) => (port1.onmessage = () => resolve(port1)));
      return { port1, answered };
    });
  const chosen = await Promise.race([...asked.map(({ answered }) => answered), none]);
  clearTimeout(late);
  for (const { port1 } of asked) if (port1 !== chosen) port1.close();
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
