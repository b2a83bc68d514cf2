/** The other side: `connect` and Peer. */

import { answer } from "./server.js";
import { fetchPrepared, prepare, resolve } from "./client.js";
import { ConnectError } from "./errors.js";
import { parsePin, tokenKey } from "./identity.js";
import { dial } from "./negotiation.js";
import { SignalingClient, randomHex } from "./signaling.js";
import { openTunnel } from "./tunnel.js";
import { PeerWebSocket } from "./websocket.js";

/** Milliseconds that connecting may take, and that a request waits for a connection to come back. */
export const CONNECT_TIMEOUT = 15_000;
/** Milliseconds between attempts to connect again: doubled each time, in part random. */
const BACKOFF = { least: 250, most: 15_000 };
/** Reasons that no second attempt would change. */
const FINAL = new Set(["pin", "access"]);

/** A peer that is, or shall be again, connected. Dispatches `statechange`. */
export class Peer extends EventTarget {
  #options;
  #session = null;
  #handler = null;
  #state = "connecting";
  #closing = new AbortController();
  #waiting = [];
  /** The peer's id at the signaling server. */
  id;
  /** Why the latest connection ended, or could not be made; null while all is well. */
  error = null;
  /** Whether the latest session is that of a device with an old proxy: see old_device.js. */
  _isOld = false;

  /** @param options null for a peer that came to us, and whom we therefore cannot call back */
  constructor(id, options) {
    super();
    this.id = id;
    this.#options = options;
  }

  /** "connecting", "connected", "reconnecting" or "closed". */
  get state() {
    return this.#state;
  }

  /** Rates in bytes per second, totals in bytes, round trip in seconds; null while not connected. */
  get statistics() {
    return this.#session?.statistics ?? null;
  }

  /** As window.fetch: see peerfetch.d.ts. */
  async fetch(input, init = {}) {
    const prepared = await prepare(input, init, this.id);
    prepared.signal?.throwIfAborted();
    const next = () => this.#connected();
    const reconnects = () => this.#reconnects;
    return fetchPrepared({ next, reconnects }, prepared, this.id);
  }

  /** As `new WebSocket(url, protocols)`, for a path or a `peer://` URL of this peer. */
  websocket(url, protocols = []) {
    return this._websocket(url, protocols, []);
  }

  /** A WebSocket whose request has these header fields, which no page may choose by itself. */
  _websocket(url, protocols, headers) {
    const target = resolve(String(url).replace(/^ws/, "http"), this.id);
    const shown = `peer://${this.id}${target.pathname}${target.search}`;
    const offered = typeof protocols === "string" ? [protocols] : [...protocols];
    const asked = target.pathname + target.search;
    return new PeerWebSocket(this.#connected(), asked, shown, offered, headers);
  }

  /** A raw stream to the TCP port that the peer serves under `name`: `{readable, writable}`. */
  async tunnel(name) {
    return openTunnel(await this.#connected(), name);
  }

  /** Answer the peer's requests by `handler`, from Request to Response (or a promise of it). */
  serve(handler) {
    this.#handler = handler;
    if (this.#session) this.#session.onstream = this._onstream;
  }

  /** End in order: running requests go on to their end. */
  async close() {
    this.#setState("closed");
    this.#closing.abort(new ConnectError("closed", "The peer was closed."));
    await this.#session?.close();
  }

  get _onstream() {
    return this.#handler && ((stream) => void answer(stream, (request) => this.#handler(request)));
  }

  get #reconnects() {
    return this.#options !== null && !this.#closing.signal.aborted;
  }

  /** The session, once there is one. Throws TypeError as fetch does without a network. */
  async #connected() {
    if (this.#state === "reconnecting") {
      await new Promise((resolve) => {
        this.#waiting.push(resolve);
        setTimeout(resolve, CONNECT_TIMEOUT);
      });
    }
    if (this.#state === "connected") return this.#session;
    throw new TypeError(`there is no connection to ${this.id}`, { cause: this.error });
  }

  #setState(state, error = null) {
    this.error = error;
    if (this.#state === "closed" || this.#state === state) return;
    this.#state = state;
    if (state === "connected" || state === "closed") {
      for (const wake of this.#waiting.splice(0)) wake();
    }
    this.dispatchEvent(new Event("statechange"));
  }

  async _connect(signal) {
    const { signaling, iceServers, pin, accessToken } = this.#options;
    const timeout = new AbortController();
    const late = setTimeout(
      () => timeout.abort(new ConnectError("timeout", `${this.id} did not answer in time.`)),
      CONNECT_TIMEOUT,
    );
    const signals = [signal, this.#closing.signal].filter(Boolean);
    const forward = signals.map((one) => [one, () => timeout.abort(one.reason)]);
    for (const [one, abort] of forward) {
      if (one.aborted) abort();
      one.addEventListener("abort", abort);
    }
    const server = new SignalingClient(signaling, randomHex(16));
    try {
      await server.open(timeout.signal);
      const options = { iceServers, pin, accessToken, signal: timeout.signal };
      this._use(await dial(server, this.id, { ...options, onstream: this._onstream }));
    } finally {
      clearTimeout(late);
      server.close();
      for (const [one, abort] of forward) one.removeEventListener("abort", abort);
    }
  }

  /** From now on this is the session; when it ends, another is made if it can. */
  _use(session) {
    this.#session = session;
    this._isOld = session.isOld;
    session.onstream = this._onstream;
    session.onsilence = () => {
      if (this.#session !== session || session.isEnding) return;
      this.#setState(session.silent ? "reconnecting" : "connected");
    };
    session.ending.then((reason) => {
      if (!this.#reconnects) return;
      // What it still carries goes on meanwhile.
      this.#session = null;
      this.#reconnect(reason);
    });
    session.closed.then((error) => {
      if (this.#session === session) this.#session = null;
      if (!this.#reconnects) this.#setState("closed", error);
    });
    this.#setState("connected");
    session.onsilence();
  }

  async #reconnect(error) {
    this.#setState("reconnecting", error);
    for (let wait = BACKOFF.least; !this.#closing.signal.aborted; wait = Math.min(2 * wait, BACKOFF.most)) {
      await pause(wait * (0.5 + Math.random() / 2), this.#closing.signal);
      try {
        return await this._connect(null);
      } catch (failure) {
        if (FINAL.has(failure.reason)) return this.#setState("closed", failure);
        this.error = failure;
      }
    }
  }
}

/** Wait so many milliseconds, or until the network is back or `signal` aborted. */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      globalThis.removeEventListener?.("online", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", done);
    globalThis.addEventListener?.("online", done);
  });
}

/** `peer://ID/…#sha256:…` or an id alone as `{id, pin}`. */
export function parsePeer(text) {
  const [rest, pin = null] = text.trim().replace(/^peer:\/\//, "").split("#");
  const id = rest.split(/[/?]/)[0];
  if (!/^[A-Za-z0-9_-](?:[A-Za-z0-9 _-]{0,126}[A-Za-z0-9_-])?$/.test(id)) {
    throw new ConnectError("id", `${text} is no link to a device: it is peer:// and the device's id.`);
  }
  return { id, pin: pin ? parsePin(pin) : null };
}

/** Connect to a peer: see peerfetch.d.ts. */
export async function connect(peer, options = {}) {
  const { id, pin } = parsePeer(peer);
  const signaling = options.signaling ?? globalThis.location?.origin;
  const { iceServers = [], accessToken = null, signal = null } = options;
  if (accessToken !== null) tokenKey(accessToken);
  const pinned = options.pin ? parsePin(options.pin) : pin;
  const made = new Peer(id, { signaling, iceServers, accessToken, pin: pinned });
  await made._connect(signal);
  return made;
}
