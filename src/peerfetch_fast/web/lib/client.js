/** `fetch` on a session. */

import { Block, contentLength, endToEnd, jsonBlock, parsePriority } from "./blocks.js";
import { ACCEPT_ENCODING, decoded, isEncoded } from "./decoding.js";
import { PeerfetchError, SessionError, StreamCode, StreamError } from "./errors.js";
import { MessageReader, extractBody, sendBody } from "./message.js";

/** Redirects that one fetch follows, as in the Fetch standard. */
const MAX_REDIRECTS = 20;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
export const NO_BODY = new Set([204, 205, 304]);
/** RFC 9110 §9.2.2: doing it twice does the same as doing it once. */
const IDEMPOTENT = new Set(["DELETE", "GET", "HEAD", "OPTIONS", "PUT"]);
/** Sessions in a row that may end without having processed a request before it fails. */
const MAX_REJECTIONS = 8;
/** The urgency of each `priority` of a RequestInit (RFC 9218 §4.1). */
const URGENCY = { high: 1, low: 5 };

/**
 * `input` and `init` of fetch as what goes over the wire. Throws TypeError.
 * @param peerId whose URLs (`peer://ID/…`) are taken beside paths
 */
export async function prepare(input, init, peerId) {
  let target = input;
  let request = {};
  if (input instanceof Request) {
    target = input.url;
    request = input;
  }
  const method = normalMethod(init.method ?? request.method ?? "GET");
  const headers = new Headers(init.headers ?? request.headers);
  let body = await extractBody(init.body ?? null);
  if (!body && input instanceof Request && !(method === "GET" || method === "HEAD")) {
    // Not every browser has request.body.
    body = await extractBody(input.body ?? (await input.blob()));
    if (body && !input.body && body.length === 0) body = null;
  }
  if (body && (method === "GET" || method === "HEAD")) {
    throw new TypeError(`a ${method} request cannot have a body`);
  }
  if (body?.type && !headers.has("content-type")) headers.set("content-type", body.type);
  // A part of what is encoded could not be undone: the Fetch standard asks for it as it is.
  const codings = headers.has("range") ? "identity" : ACCEPT_ENCODING;
  if (!headers.has("accept-encoding")) headers.set("accept-encoding", codings);
  const urgency = URGENCY[init.priority];
  if (urgency && !headers.has("priority")) headers.set("priority", `u=${urgency}`);
  return {
    method,
    url: resolve(target, peerId),
    headers,
    body,
    signal: init.signal ?? request.signal ?? null,
    redirect: init.redirect ?? request.redirect ?? "follow",
  };
}

function normalMethod(method) {
  const upper = String(method).toUpperCase();
  if (["CONNECT", "TRACE", "TRACK"].includes(upper)) {
    throw new TypeError(`'${method}' is a method that fetch does not allow`);
  }
  return ["DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"].includes(upper) ? upper : `${method}`;
}

/** The URL on the device that `input` names: of an origin that stands for the peer. */
export function resolve(input, peerId) {
  let text = String(input);
  const own = `peer://${peerId}`;
  if (text === own || text.startsWith(`${own}/`)) text = text.slice(own.length) || "/";
  const base = new URL("http://peer.invalid/");
  const url = new URL(text, base);
  const here = globalThis.location?.origin;
  if (url.origin !== base.origin && url.origin !== here) {
    throw new TypeError(`${text} is not of the peer ${peerId}: give a path, or ${own}/…`);
  }
  if (url.username || url.password) throw new TypeError("a URL with a login cannot be fetched");
  // Joined, since a path of two slashes would be resolved as a host.
  return new URL(base.origin + url.pathname + url.search + url.hash);
}

/**
 * Ask for what `prepare` gave; returns a Response once its head is there. Throws as fetch does.
 * @param source `{next, reconnects}`: next() resolves with the session that there is, waiting for it where
 *   there is none; reconnects() tells whether one that breaks is followed by another
 */
export async function fetchPrepared(source, prepared, peerId) {
  const { signal } = prepared;
  signal?.throwIfAborted();
  let { method, url, headers, body } = prepared;
  try {
    for (let redirects = 0; ; redirects++) {
      const answer = await askSafely(source, { method, url, headers, body, signal });
      const location = REDIRECTS.has(answer.status) && header(answer.headers, "location");
      if (!location || prepared.redirect === "manual") {
        return toResponse(answer, `peer://${peerId}${url.pathname}${url.search}`, redirects > 0);
      }
      answer.close();
      if (prepared.redirect === "error") throw new TypeError("an unwanted redirect");
      if (redirects === MAX_REDIRECTS) throw new TypeError("too many redirects");
      const next = new URL(asciiUrl(location), url);
      if (next.origin !== url.origin) {
        throw new TypeError(`a redirect to ${next.origin}, which this peer does not speak for`);
      }
      const toGet =
        (answer.status === 303 && method !== "HEAD") || (answer.status <= 302 && method === "POST");
      if (toGet) {
        [method, body] = ["GET", null];
        headers = new Headers(headers);
        for (const name of ["content-type", "content-encoding", "content-language"]) {
          headers.delete(name);
        }
      } else if (body?.stream) {
        throw new TypeError("a redirect of a request whose body is spent");
      }
      url = next;
    }
  } catch (error) {
    throw outward(error, signal);
  }
}

/** A header field's URL, whose octets beyond ASCII are those of UTF-8, as browsers take it. */
export const asciiUrl = (value) =>
  value.replace(/[\u0080-\u00ff]/g, (octet) => `%${octet.charCodeAt(0).toString(16).toUpperCase()}`);

const header = (headers, name) => headers.find((pair) => pair[0] === name)?.[1];

/** An error in the shape that fetch gives it. */
function outward(error, signal) {
  if (signal?.aborted) return signal.reason;
  const isOurs = error instanceof PeerfetchError;
  return isOurs ? new TypeError(`the request failed: ${error.message}`, { cause: error }) : error;
}

/**
 * One request without redirects, sent as often as is safe: what broke before its answer began once more
 * if it is idempotent, what the other side has not processed in any case; see ask().
 */
async function askSafely(source, request) {
  const { method, url, body, signal } = request;
  const repeatable = !body?.stream;
  for (let rejections = 0, losses = 0; ; ) {
    const session = await abortable(source.next(), signal);
    let stream;
    try {
      stream = await abortable(session.open(), signal, (late) =>
        late.cancel(StreamCode.REQUEST_CANCELLED),
      );
    } catch (error) {
      // Nothing was sent: as if the session had not been there.
      if (!(error instanceof SessionError) || !source.reconnects()) throw error;
      if (++rejections > MAX_REJECTIONS) throw error;
      continue;
    }
    try {
      return await ask(stream, request);
    } catch (error) {
      if (signal?.aborted || !source.reconnects()) throw error;
      if (error instanceof StreamError) {
        const unprocessed = error.code === StreamCode.REQUEST_REJECTED && session.isEnding;
        if (!unprocessed || !repeatable || ++rejections > MAX_REJECTIONS) throw error;
      } else if (error instanceof SessionError) {
        let why = null;
        if (!IDEMPOTENT.has(method)) why = `${method} is not safe to repeat`;
        else if (!repeatable) why = "its body can be sent only once";
        else if (++losses > 1) why = "it had been repeated once";
        if (why) {
          const what = `the connection broke before ${method} ${url.pathname} was answered`;
          const carriedOut = "it may have been carried out, and was not sent again because";
          throw new TypeError(`${what}: ${carriedOut} ${why}`, { cause: error });
        }
      } else {
        throw error;
      }
    }
  }
}

/** The answer on a new stream: status, headers, and its body still to be read. */
async function ask(stream, { method, url, headers, body, signal }) {
  const abort = () => stream.cancel(StreamCode.REQUEST_CANCELLED);
  signal?.addEventListener("abort", abort, { once: true });
  const close = () => {
    signal?.removeEventListener("abort", abort);
    abort();
  };
  let failure = null;
  try {
    const pairs = endToEnd([...headers]).filter(([name]) => name !== "content-length");
    if (body ? body.length !== null : method === "POST" || method === "PUT") {
      pairs.push(["content-length", String(body?.length ?? 0)]);
    }
    const priority = headers.get("priority");
    if (priority) stream.setPriority(parsePriority(priority));
    const head = { method, target: url.pathname + url.search, headers: pairs };
    stream.queue(jsonBlock(Block.HEAD, head));
    if (body) {
      sendBody(stream, body).catch((error) => {
        // A server that has heard enough ends the upload early, and its answer counts.
        if (error instanceof StreamError && error.code === StreamCode.NO_ERROR) return;
        failure ??= error;
        stream.cancel(StreamCode.REQUEST_CANCELLED);
      });
    } else {
      stream.end();
    }
    const reader = new MessageReader(stream);
    const { status, headers: answered } = await reader.finalHead();
    const empty = method === "HEAD" || NO_BODY.has(status);
    reader.expect(empty ? 0 : contentLength(answered));
    const ended = (error) => {
      signal?.removeEventListener("abort", abort);
      if (error) stream.cancel(StreamCode.REQUEST_CANCELLED);
      return outward(failure ?? error, signal);
    };
    return { status, headers: answered, reader, empty, ended, close };
  } catch (error) {
    close();
    throw failure ?? error;
  }
}

/** The Set-Cookie fields of Responses, which these do not show. */
const setCookies = new WeakMap();
export const setCookiesOf = (response) => setCookies.get(response);

function toResponse({ status, headers, reader, empty, ended }, url, redirected) {
  const shown = new Headers();
  for (const [name, value] of headers) shown.append(name, value);
  let body = null;
  if (empty) {
    // Whatever comes instead of nothing is counted and refused.
    reader.read().then(() => ended(null), ended);
  } else {
    body = reader.body(ended);
    if (isEncoded(shown)) body = decoded(body, shown);
  }
  // A Response is not made with a status beyond 599, though servers may have one.
  const made = { status: Math.min(status, 599), headers: shown };
  const response = new Response(NO_BODY.has(status) ? null : body, made);
  if (status > 599) Object.defineProperty(response, "status", { value: status });
  const cookies = headers.filter(([name]) => name === "set-cookie").map(([, value]) => value);
  setCookies.set(response, cookies);
  Object.defineProperties(response, { url: { value: url }, redirected: { value: redirected } });
  return response;
}

/** `work`, or the reason of `signal` if that is aborted first; then `undo` gets a late result. */
export async function abortable(work, signal, undo = () => {}) {
  if (!signal) return work;
  signal.throwIfAborted();
  let stop;
  const aborted = new Promise((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } catch (error) {
    work.then(undo, () => {});
    throw error;
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
