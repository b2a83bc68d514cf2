/** Answers requests to a port. */

import { NO_BODY } from "../client.js";
import { Continuations, CONTINUES } from "./continuations.js";
import { PORT } from "./channel.js";
import { bytesOf } from "./buffer.js";
import { sendMedia } from "./media_link.js";
import { answerOld } from "./old/old_rest.js";
import { sendPulled } from "./pulled.js";
import { Body, byteStream } from "./readable.js";
import { RECORDS, recordStream } from "./records.js";
import { Router } from "./router.js";
import { Socket } from "./sockets.js";
import { queryOf } from "./url.js";

/** Milliseconds for which an old node that asks for an answer may be silent. */
const TIMEOUT = 4000;

export class ResponseAlreadySentError extends Error {
  constructor() {
    super("The response has already been sent.");
    this.name = "ResponseAlreadySentError";
  }
}

export class RestRequest extends Body {
  params = {};

  /** @param request a Request */
  constructor(request, { local, remote }) {
    const url = new URL(request.url);
    // Not every browser has request.body.
    super(request.body === undefined ? new Response(lazy(request)).body : request.body);
    this.method = request.method.toLowerCase();
    this.url = url.pathname + url.search;
    this.path = url.pathname;
    this.query = queryOf(url.searchParams);
    this.headers = Object.fromEntries([...request.headers].filter(([name]) => name !== PORT));
    this.local = local;
    this.remote = remote;
    /** Aborted when nobody waits for the answer any more. */
    this.signal = request.signal;
  }
}

function lazy(request) {
  const pull = async (controller) => {
    controller.enqueue(new Uint8Array(await request.arrayBuffer()));
    controller.close();
  };
  return new ReadableStream({ pull }, { highWaterMark: 0 });
}

/** An answer, to be sent once by one of its methods. */
export class RestResponse {
  #context;
  #resolve;
  #isSent = false;
  headers = {};
  status = 200;
  /** For an old node, what is sent in the place of a body: `{records, done}` or `{media, isOver, done}`. */
  _other = null;

  /**
   * @param context `{continuations, configuration}`: the second a promise of an RTCConfiguration; null for the
   *   answer to an old node
   */
  constructor(context) {
    this.#context = context;
    this._sent = new Promise((resolve) => (this.#resolve = resolve));
  }

  /** Answer by a Response. Throws ResponseAlreadySentError. */
  _give(response) {
    if (this.#isSent) throw new ResponseAlreadySentError();
    this.#isSent = true;
    this.#resolve(response);
  }

  #send(body, status, type = null) {
    const headers = new Headers();
    for (const [name, value] of Object.entries(this.headers)) headers.set(name, `${value}`);
    if (type && !headers.has("content-type")) headers.set("content-type", type);
    if (body instanceof Uint8Array) headers.set("content-length", body.length);
    this.status = status ?? this.status;
    const isEmpty = NO_BODY.has(this.status);
    if (isEmpty) headers.delete("content-length");
    this._give(new Response(isEmpty ? null : body, { status: this.status, headers }));
  }

  /** The answer failed before it was sent; afterwards, it is for the log alone. */
  _fail(error) {
    console.error("a handler of requests failed:", error);
    if (this.#isSent) return;
    this.headers = {};
    this.#send(bytesOf("internal server error"), 500, "text/plain");
  }

  async send(data, status) {
    this.#send(bytesOf(data), status);
  }

  async buffer(data, status) {
    this.#send(bytesOf(data), status, "application/octet-stream");
  }

  async text(data, status) {
    this.#send(bytesOf(`${data}`), status, "text/plain");
  }

  async json(data, status) {
    this.#send(bytesOf(JSON.stringify(data)), status, "application/json");
  }

  /** Send what is read of a Readable or a ReadableStream, as it is asked for. */
  async readable(readable, status) {
    this.#send(byteStream(readable), status);
  }

  /**
   * Send the records of a Queryable, or any asynchronous iterable. Resolves when all are sent.
   * @param options `{prefetch, status}`, or a status: with `prefetch: 0`, a record is pulled only when the
   *   receiver asks for it; by default they are pulled as far as the stream's window reaches
   */
  async query(records, options = {}) {
    const { prefetch = null, status } = typeof options === "number" ? { status: options } : options;
    if (!this.#context) return new Promise((done) => this.#instead({ records, done }, status));
    if (prefetch === 0) return this.#continue("query", (channel) => channel && sendPulled(channel, records), status);
    if (prefetch !== null) throw new TypeError("prefetch is 0, or not given");
    return new Promise((resolve, reject) => {
      const done = (error) => (error ? reject(error) : resolve());
      this.#send(recordStream(records, done), status, RECORDS);
    }).catch((error) => {
      if (error instanceof ResponseAlreadySentError) throw error;
      console.info("peerfetch: a query has ended before its last record:", error);
    });
  }

  /**
   * Send a MediaStream until the receiver ends it, or `dispose()` of what this resolves with is called. Its `closed`
   * resolves when either has, and when the receiver has not come for it in time.
   */
  async mediastream(stream, status) {
    let close;
    const closed = new Promise((resolve) => (close = () => resolve()));
    if (!this.#context) {
      const other = { media: stream, isOver: false, done: close };
      this.#instead(other, status);
      return { dispose: () => (other.isOver = true), closed };
    }
    let link = null;
    let isOver = false;
    const start = (channel) => {
      if (!channel) return close();
      if (isOver) return channel.close();
      const tracks = stream.getTracks().map((track) => [track, stream]);
      link = sendMedia(channel, tracks, this.#context.rtc);
      link.closed.then(close);
    };
    this.#context.rtc = await this.#context.configuration;
    this.#continue("media", start, status);
    const dispose = () => {
      isOver = true;
      link?.close();
      close();
    };
    return { dispose, closed };
  }

  #instead(other, status) {
    if (this.#isSent) throw new ResponseAlreadySentError();
    this._other = other;
    this.#send(null, status);
  }

  #continue(kind, start, status) {
    if (this.#isSent) throw new ResponseAlreadySentError();
    this.headers[CONTINUES] = this.#context.continuations.offer(kind, start);
    this.#send(new Uint8Array(0), status);
  }
}

/** A Router whose routes answer on a port. */
export class RestServer extends Router {
  #network;
  #port = null;
  #timeout;
  /** By peer. */
  #continuations = new WeakMap();

  /** @param timeout milliseconds for which an old node that asks for an answer may be silent */
  constructor(network, { timeout = TIMEOUT } = {}) {
    super();
    this.#network = network;
    this.#timeout = timeout;
  }

  /** Throws PortInUseError. */
  listen(port) {
    this.#network._bind(port, {
      request: (request, peer) => this.#answer(request, peer),
      channel: (peer, channel, target) => this.#continuationsOf(peer).take(target, channel) || channel.close(),
      old: (peer, channel) => this.#answerOld(peer, channel),
    });
    this.#port = port;
    return this;
  }

  /** Answer no more requests. */
  dispose() {
    if (this.#port !== null) this.#network.unbindPort(this.#port);
    this.#port = null;
  }

  async #answer(request, peer) {
    const configuration = this.#network._configuration();
    configuration.catch(() => {});
    return this.#respond(request, peer, { continuations: this.#continuationsOf(peer), configuration })._sent;
  }

  #continuationsOf(peer) {
    const known = this.#continuations.get(peer) ?? new Continuations();
    this.#continuations.set(peer, known);
    return known;
  }

  #respond(request, peer, context) {
    const response = new RestResponse(context);
    const asked = new RestRequest(request, { local: peer._local, remote: peer.id });
    this.handle(asked, response, () => response.text("not found", 404));
    return response;
  }

  #answerOld(peer, channel) {
    const socket = Socket._accepted(this.#network, peer, channel);
    answerOld(peer._foreign, socket, this.#timeout, (request) => this.#respond(request, peer, null));
  }
}
