/** REST with nodes of `smoke-node`: a request and its answer on one NetworkStream (docs/smoke.md, "Old nodes"). */

import { NO_BODY } from "../../client.js";
import { bytesOf } from "../buffer.js";
import { NetworkStream } from "../network_stream.js";
import { Queryable } from "../queryable.js";
import { Body } from "../readable.js";
import { jsonOf, recordOf } from "../records.js";

/** Bytes of each piece of a body but the last. */
const PIECE = 65_536;
/** What the body of an answer begins with that is a media stream, and what is sent while it lasts. */
const MEDIA = "mediastream";
const PULSE = Uint8Array.of(1);
const PULSE_TIME = 100;
/** Milliseconds that a media stream may take. */
const MEDIA_TIMEOUT = 15_000;
const LOOK = 1000;
const MAX_HEADERS = 256;
/** Methods whose requests have no body. */
const BODILESS = new Set(["get", "head", "delete"]);

const END = new Uint8Array(0);
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const isText = (value) => typeof value === "string";

/** The header fields in a head: those that are text. Throws TypeError for names and values that are none. */
function headersOf(found) {
  const fields = found !== null && typeof found === "object" ? Object.entries(found) : [];
  const given = fields.slice(0, MAX_HEADERS).filter(([, value]) => isText(value) || typeof value === "number");
  return new Headers(given.map(([name, value]) => [name, `${value}`]));
}

/** What a head says. Throws Error. */
async function readHead(stream) {
  const { done, value } = await stream.readable.read();
  if (done) throw new Error("the other side closed the connection without a head");
  const head = recordOf(value.toString());
  if (head === null || typeof head !== "object") throw new Error("the other side sent a head of no use");
  return head;
}

const writeHead = (stream, head) => stream.writable.write(bytesOf(JSON.stringify(head)));

/** The pieces of a body, to the empty one. @param ended called after that */
function bodyOf(stream, ended = () => {}) {
  const pull = async (controller) => {
    const { done, value } = await stream.readable.read();
    if (done) throw new Error("the other side broke it off");
    if (value.length > 0) return controller.enqueue(value);
    controller.close();
    ended();
  };
  return new ReadableStream({ pull, cancel: () => stream.socket.close() }, { highWaterMark: 0 });
}

/** Write a ReadableStream of bytes, or nothing, in pieces, and the empty one. */
async function writeBody(stream, body) {
  let rest = END;
  const reader = body?.getReader();
  try {
    for (let found; reader && !(found = await reader.read()).done; ) {
      const all = new Uint8Array(rest.length + found.value.length);
      all.set(rest);
      all.set(found.value, rest.length);
      let at = 0;
      for (; all.length - at >= PIECE; at += PIECE) await stream.writable.write(all.subarray(at, at + PIECE));
      rest = all.slice(at);
    }
    if (rest.length > 0) await stream.writable.write(rest);
    await stream.writable.write(END);
  } catch (error) {
    await reader?.cancel(error).catch(() => {});
    throw error;
  }
}

// -- asking ----------------------------------------------------------------------------------------

class OldFetchResponse extends Body {
  #node;
  #stream;

  constructor(node, stream, { status, headers }) {
    // Its word that it has ended comes when it is asked for.
    super(bodyOf(stream, () => void stream.readable.read().catch(() => {})));
    this.#node = node;
    this.#stream = stream;
    this.status = status;
    this.headers = Object.fromEntries(headersOf(headers));
  }

  query() {
    return new Queryable(records(this._take()));
  }

  /** Throws Error. */
  async mediastream() {
    const coming = this.#node.stream(MEDIA_TIMEOUT);
    coming.catch(() => {});
    const reader = this._take().getReader();
    const first = await reader.read();
    if (first.done || first.value.toString() !== MEDIA || !(await reader.read()).done) {
      this.#stream.socket.close();
      throw new Error(`the answer (status ${this.status}) holds no media`);
    }
    const stream = await coming;
    this.#follow(stream);
    return stream;
  }

  /** Read the pulses until the stream is disposed of over there, or nobody uses it here. */
  async #follow(stream) {
    const isLive = () => stream.getTracks().some(({ readyState }) => readyState === "live");
    const timer = setInterval(() => isLive() || this.#stream.socket.close(), LOOK);
    try {
      while (!(await this.#stream.readable.read()).done);
    } catch {
      // The connection has ended, and the stream with it.
    }
    clearInterval(timer);
    this.#stream.socket.close();
    for (const track of stream.getTracks()) track.stop();
  }
}

async function* records(body) {
  const reader = body.getReader();
  try {
    for (let found; !(found = await reader.read()).done; ) yield recordOf(found.value.toString());
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/**
 * Ask for `url`, a path, on a socket that is open. Throws Error, and the reason of `signal`.
 * @param body a ReadableStream of bytes, or null
 */
export async function fetchOld(node, socket, { url, method, headers, body, signal }) {
  const abort = () => socket.close();
  signal?.addEventListener("abort", abort, { once: true });
  try {
    signal?.throwIfAborted();
    const stream = new NetworkStream(socket);
    await writeHead(stream, { url, method: method.toLowerCase(), headers: Object.fromEntries(headers) });
    // Servers of that package may answer without having read it.
    writeBody(stream, body).catch(() => {});
    const head = await readHead(stream);
    if (!Number.isInteger(head.status)) throw new Error("the other side sent a head without a status");
    return new OldFetchResponse(node, stream, head);
  } catch (error) {
    socket.close();
    signal?.throwIfAborted();
    throw error;
  }
}

// -- answering -------------------------------------------------------------------------------------

/** What RestRequest is made of, for a request that comes on a stream. Throws Error. */
async function requestOf(stream, signal) {
  const { url, method, headers } = await readHead(stream);
  if (!isText(url) || !url.startsWith("/") || !isText(method)) throw new Error("a head of no use");
  const about = { method, headers: headersOf(headers), signal };
  // Joined, since a target of two slashes would be resolved as a host.
  return { ...about, url: new URL(`http://node.invalid${url}`).href, body: bodyOf(stream) };
}

/**
 * Answer the request that comes on a socket of an old node.
 * @param respond called with what a RestRequest is made of; gives the RestResponse that is to be sent
 */
export async function answerOld(node, socket, timeout, respond) {
  const stream = new NetworkStream(socket, timeout);
  const over = new AbortController();
  socket.on("close", () => over.abort());
  try {
    const request = await requestOf(stream, over.signal);
    const { body } = request;
    // Who asks gives up when nobody asks for the end of the body, where there is none, too.
    if (BODILESS.has(request.method.toLowerCase())) discard(body);
    const answer = respond(request);
    answer._sent.then(() => body.locked || discard(body));
    await sendAnswer(node, stream, answer);
  } catch (error) {
    console.info("peerfetch: a request of an old node ended:", error);
    socket.close();
  }
}

async function discard(body) {
  try {
    for await (const _ of body);
  } catch {
    // The answer says what there is to say.
  }
}

async function sendAnswer(node, stream, answer) {
  const response = await answer._sent;
  const { records, media, done } = answer._other ?? {};
  try {
    await writeHead(stream, { status: response.status, headers: Object.fromEntries(response.headers) });
    if (records) await writeRecords(stream, records);
    else if (media) await writeMedia(node, stream, media, answer._other);
    else await writeBody(stream, NO_BODY.has(response.status) ? null : response.body);
    await stream.writable.close();
  } catch (error) {
    await response.body?.cancel(error).catch(() => {});
    throw error;
  } finally {
    done?.();
  }
}

/** Each record is pulled when it is asked for. */
async function writeRecords(stream, records) {
  const iterator = records[Symbol.asyncIterator]();
  try {
    for (;;) {
      await stream._wanted();
      const { done, value } = await iterator.next();
      if (done) break;
      await stream.writable.write(bytesOf(jsonOf(value)));
    }
  } finally {
    await iterator.return?.();
  }
  await stream.writable.write(END);
}

async function writeMedia(node, stream, media, until) {
  await stream.writable.write(bytesOf(MEDIA));
  const remove = node.addStream(media);
  try {
    await stream.writable.write(END);
    while (!until.isOver) {
      await stream.writable.write(PULSE);
      await pause(PULSE_TIME);
    }
  } finally {
    remove();
  }
}
