/** REST: servers, and `fetch` of `rest://` URLs. */

import { Channel, PORT, REFUSED } from "./channel.js";
import { CONTINUES, continuation } from "./continuations.js";
import { receiveMedia } from "./media_link.js";
import { fetchOld } from "./old/old_rest.js";
import { receivePulled } from "./pulled.js";
import { Queryable } from "./queryable.js";
import { Body, Readable, byteStream } from "./readable.js";
import { recordsIn } from "./records.js";
import { RestServer } from "./rest_server.js";
import { Socket } from "./sockets.js";

export class FetchUrlError extends Error {
  constructor(message) {
    super(message);
    this.name = "FetchUrlError";
  }
}

const URL_FORM = /^rest:\/\/([^/?#:@]+)(?::([\w-]{1,64}))?([/?][^#]*)?(?:#.*)?$/;

/** `{remote, port, target}` of a URL, or of a path of this node itself. Throws FetchUrlError. */
export function parseUrl(text) {
  if (text.startsWith("/")) return { remote: "localhost", port: "80", target: text };
  const found = URL_FORM.exec(text);
  if (!found) throw new FetchUrlError(`${text} cannot be fetched: give rest://ADDRESS[:PORT]/path, or a path.`);
  const [, remote, port = "80", rest = "/"] = found;
  return { remote, port, target: rest.startsWith("/") ? rest : `/${rest}` };
}

export class FetchResponse extends Body {
  #response;
  #peer;
  #port;
  #network;

  constructor(response, { peer, port, network }) {
    super(response.body);
    this.#response = response;
    this.#peer = peer;
    this.#port = port;
    this.#network = network;
    this.status = response.status;
    this.headers = Object.fromEntries(response.headers);
  }

  /** The channel on which the answer goes on. Throws Error. */
  async #continued(kind) {
    const found = continuation(this.#response.headers.get(CONTINUES));
    if (found?.kind !== kind) throw new Error(`the answer (status ${this.status}) holds no ${kind}`);
    return Channel.open(this.#peer, this.#port, found.target);
  }

  /** The records in the body, pulled as they are read. */
  query() {
    const isPulled = continuation(this.#response.headers.get(CONTINUES))?.kind === "query";
    return isPulled ? new Queryable(receivePulled(lazily(() => this.#continued("query")))) : recordsIn(this._take());
  }

  /** The MediaStream that the answer is. Stop its tracks to end it. Throws Error. */
  async mediastream() {
    const channel = await this.#continued("media");
    return receiveMedia(channel, await this.#network._configuration());
  }
}

/** A promise whose work begins when somebody waits for it. */
const lazily = (work) => ({ then: (...handlers) => work().then(...handlers) });

const isBytes = (body) => body instanceof ArrayBuffer || ArrayBuffer.isView(body) || body instanceof Blob;

/** A body for fetch, and the type that goes with it. */
function bodyOf(body) {
  if (body === undefined || body === null) return { body: null };
  if (typeof body === "string" || isBytes(body)) return { body };
  if (body instanceof Readable || body instanceof ReadableStream) return { body: byteStream(body) };
  return { body: JSON.stringify(body), type: "application/json" };
}

export class Rest {
  #network;
  #servers = new Set();

  constructor(network) {
    this.#network = network;
  }

  createServer(options = {}) {
    const server = new RestServer(this.#network, options);
    this.#servers.add(server);
    return server;
  }

  /**
   * Ask a port of a node for `rest://ADDRESS[:PORT]/path`, or this one for a path. Throws FetchUrlError,
   * Error for a port that is not open, TypeError as fetch does, and the reason of `signal`.
   */
  async fetch(url, { method = "get", headers = {}, body, signal, pin = null } = {}) {
    const { remote, port, target } = parseUrl(`${url}`);
    const peer = await this.#network._peer(remote, pin);
    const sent = bodyOf(body);
    const fields = new Headers(headers);
    if (sent.type && !fields.has("content-type")) fields.set("content-type", sent.type);
    if (peer._foreign) {
      const socket = await Socket._opened(this.#network, peer, port);
      const request = { url: target, method, headers: fields, body: new Response(sent.body).body, signal };
      return fetchOld(peer._foreign, socket, request);
    }
    fields.set(PORT, port);
    const init = { method: method.toUpperCase(), headers: fields, signal, redirect: "manual" };
    const response = await peer.fetch(target, { ...init, body: sent.body });
    if (response.status === 503 && response.headers.get(REFUSED) === "port") {
      await response.body?.cancel();
      throw new Error(`'${remote}' forcefully closed this connection.`);
    }
    return new FetchResponse(response, { peer, port, network: this.#network });
  }

  dispose() {
    for (const server of this.#servers) server.dispose();
  }
}
