/** The class of the npm package that was there before, on today's protocol: see peerfetch.d.ts. */

import { connect } from "./peer.js";

/** Milliseconds that an answer may take: as long as it always could. */
const TIMEOUT = 20_000;

export class PeerFetch {
  #config;
  #peer = null;

  constructor(config = {}) {
    this.#config = config;
  }

  async connect(remotePeerID) {
    if (!remotePeerID) throw new Error("connect() needs the id of a peer.");
    const options = { iceServers: this.#config.config?.iceServers ?? [] };
    if (this.#config.host) options.signaling = signalingUrl(this.#config);
    const peer = await connect(remotePeerID, options);
    await this.disconnect();
    this.#peer = peer;
  }

  async disconnect() {
    const peer = this.#peer;
    this.#peer = null;
    await peer?.close();
  }

  get(url = "/", config = {}) {
    return this.request({ ...config, url, method: "GET" });
  }

  put(url, data, config = {}) {
    return this.request({ ...config, url, method: "PUT", data });
  }

  post(url, data, config = {}) {
    return this.request({ ...config, url, method: "POST", data });
  }

  fetch(input = "/", init = {}) {
    return this.request({ ...init, url: input, method: init.method ?? "GET" });
  }

  async request({ url = "/", method = "GET", params = {}, json, data }) {
    if (!this.#peer) throw new Error("There is no connection: call connect() first.");
    const init = { method, signal: AbortSignal.timeout(TIMEOUT) };
    if (method !== "GET" && json !== undefined && json !== null) {
      init.body = JSON.stringify(json);
      init.headers = { "content-type": "application/json" };
    } else if (method !== "GET" && data !== undefined && data !== null) {
      init.body = isPlain(data) ? new URLSearchParams(data) : data;
    }
    const response = await this.#peer.fetch(target(url, params, this.#peer._isOld), init);
    const content = response.status === 204 ? undefined : await response.arrayBuffer();
    const header = {
      status: response.status,
      "content-type": response.headers.get("content-type"),
      "content-length": content?.byteLength ?? 0,
    };
    return { header, content, receivedAll: true };
  }

  textDecode(data) {
    return new TextDecoder().decode(data);
  }

  jsonify(data) {
    if (!data) return {};
    return JSON.parse(typeof data === "string" ? data : this.textDecode(data));
  }
}

function signalingUrl({ host, port, path = "/", key, secure = false }) {
  const url = new URL(`${secure ? "wss" : "ws"}://${host}${port ? `:${port}` : ""}`);
  url.pathname = path;
  if (key) url.searchParams.set("key", key);
  return url;
}

function isPlain(data) {
  return Object.getPrototypeOf(data) === Object.prototype;
}

/**
 * Path and query of a URL. Whose it is does not matter: there is but one side that can answer, and it
 * serves what it was started with. Only an old proxy fetches what it is told, from wherever that is.
 */
function target(url, params, isOld) {
  const { origin, pathname, search } = new URL(url, "http://device/");
  const path = isOld && origin !== "http://device" ? `/${origin}${pathname}` : pathname;
  const query = new URLSearchParams(search);
  for (const [name, value] of params instanceof Map ? params : Object.entries(params)) {
    query.append(name, value);
  }
  return query.size ? `${path}?${query}` : path;
}
