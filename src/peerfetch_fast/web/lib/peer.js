/** The other side: `connect` and Peer. */

import { answer } from "./server.js";
import { keptCertificate } from "./certificate.js";
import { fetchPrepared, prepare, resolve } from "./client.js";
import { ConnectError } from "./errors.js";
import { parsePin, tokenKey } from "./identity.js";
import { dial } from "./negotiation.js";
import { leftOut } from "./relays.js";
import { joinService } from "./signaling/seam.js";
import { openTunnel } from "./tunnel.js";
import { PeerWebSocket } from "./websocket.js";

/** Milliseconds that connecting may take, and that a request waits for a connection to come back. */
export const CONNECT_TIMEOUT = 15_000;
/** Milliseconds between attempts to connect again: doubled each time, in part random. */
const BACKOFF = { least: 250, most: 15_000 };
/** Reasons that no second attempt would change. */
const FINAL = new Set(["pin", "access"]);

/** A resource of the camera at a path. */
const below = (path, name) => `${String(path).replace(/\/+$/, "")}/${name}`;

/** A peer that is, or shall be again, connected. Dispatches `statechange`. */
export class Peer extends EventTarget {
  #options;
  #session = null;
  #handler = null;
  #upgrade = undefined;
  #state = "connecting";
  #fingerprint = null;
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

  /** The fingerprint of its certificate; null before the first connection. */
  get fingerprint() {
    return this.#fingerprint;
  }

  /** The certificate that it shall have from now on when it is connected to again. */
  set _pin(pin) {
    this.#options.pin = pin;
  }

  /** The access token that is proved from now on when connecting again. */
  set _accessToken(token) {
    this.#options.accessToken = token;
  }

  /** Rates in bytes per second, totals in bytes, round trip in seconds; null while not connected. */
  get statistics() {
    return this.#session?.statistics ?? null;
  }

  /** The way that the connection takes now: see peerfetch.d.ts. */
  async way() {
    return (await this.#session?.way?.()) ?? null;
  }

  /** As window.fetch: see peerfetch.d.ts. */
  async fetch(input, init = {}) {
    const prepared = await prepare(input, init, this.id);
    prepared.signal?.throwIfAborted();
    const next = () => this.#connected();
    const reconnects = () => this.#reconnects;
    const response = await fetchPrepared({ next, reconnects }, prepared, this.id);
    if (response.headers.has("peerfetch-media")) {
      response.mediaStream = () => this.#mediaStream(new URL(response.url).pathname);
    }
    return response;
  }

  /** Watch the camera that the peer has at this path: see peerfetch.d.ts. */
  async media(path, options = {}) {
    const { watch } = await import("./media/whep.js");
    return watch(below(path, "live"), { ...options, ...this.#media() });
  }

  /** The stream of that, which goes on by another connection when one ends. */
  async #mediaStream(path) {
    const { keptStream } = await import("./media/kept_stream.js");
    return keptStream(() => this.media(path), () => this.#state === "closed");
  }

  /** Publish a stream to the peer, at this path: see peerfetch.d.ts. */
  async publish(path, stream) {
    const { publish } = await import("./media/whep.js");
    return publish(below(path, "publish"), stream, this.#media());
  }

  /** With what connections for media are made. */
  #media() {
    const iceServers = this._connection?.getConfiguration?.().iceServers ?? [];
    return { iceServers, fetch: (input, init) => this.fetch(String(input), init) };
  }

  /** As `new WebSocket(url, protocols)`, for a path or a `peer://` URL of this peer. */
  websocket(url, protocols = []) {
    return this._websocket(url, protocols, []);
  }

  /**
   * A WebSocket whose request has these header fields, which no page may choose by itself. An app's own is made
   * for a `realm`, as of `constructed` there, and calls itself `shown`.
   */
  _websocket(url, protocols, headers, { realm = globalThis, constructed = PeerWebSocket, shown = null } = {}) {
    const target = resolve(String(url).replace(/^ws/, "http"), this.id);
    const asked = target.pathname + target.search;
    const about = {
      url: shown ?? `peer://${this.id}${asked}`,
      protocols: typeof protocols === "string" ? [protocols] : [...protocols].map(String),
      headers,
      realm,
    };
    return Reflect.construct(PeerWebSocket, [this.#connected(), asked, about], constructed);
  }

  /** A raw stream to the TCP port that the peer serves under `name`: `{readable, writable}`. */
  async tunnel(name) {
    return openTunnel(await this.#connected(), name);
  }

  /** A stream of its own, for a protocol that is spoken on it. Throws TypeError and SessionError. */
  async _open() {
    return (await this.#connected()).open();
  }

  /** Takes requests of the peer for other protocols than HTTP: see answer() in server.js. */
  set _onupgrade(upgrade) {
    this.#upgrade = upgrade;
  }

  /** The session, if it is with a program of another kind: see `foreign` in signaling/seam.js. */
  get _foreign() {
    return this.#session?.isForeign ? this.#session : null;
  }

  /** The RTCPeerConnection that there is now, if there is one. */
  get _connection() {
    return this.#session?.connection ?? null;
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

  /** End at once, with all that runs. */
  _abort() {
    this.close();
    this.#session?.abort();
  }

  get _onstream() {
    return this.#handler && ((stream) => void answer(stream, (request) => this.#handler(request), this.#upgrade));
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
    const { service, iceServers, pin, accessToken, identity, RTCPeerConnection, directOnly } = this.#options;
    const timeout = new AbortController();
    const late = setTimeout(
      () => timeout.abort(new ConnectError("timeout", `${this.id} did not answer in time.${leftOut(directOnly)}`)),
      CONNECT_TIMEOUT,
    );
    const signals = [signal, this.#closing.signal].filter(Boolean);
    const forward = signals.map((one) => [one, () => timeout.abort(one.reason)]);
    for (const [one, abort] of forward) {
      if (one.aborted) abort();
      one.addEventListener("abort", abort);
    }
    let signaling;
    try {
      signaling = joinService(service, null, { takesOffers: false });
      await signaling.open(timeout.signal);
      const certificate = await certificateOf(identity);
      const about = { iceServers, pin, accessToken, certificate, RTCPeerConnection, directOnly };
      const options = { ...about, signal: timeout.signal };
      this._use(await dial(signaling, this.id, { ...options, onstream: this._onstream }));
    } finally {
      clearTimeout(late);
      signaling?.close();
      for (const [one, abort] of forward) one.removeEventListener("abort", abort);
    }
  }

  /** From now on this is the session; when it ends, another is made if it can. */
  _use(session) {
    this.#session = session;
    this.#fingerprint = session.fingerprint ?? null;
    this._isOld = session.isOld;
    session.onstream = this._onstream;
    session.onsilence = () => {
      if (this.#session !== session || session.isEnding) return;
      this.#setState(session.silent ? "reconnecting" : "connected");
    };
    session.ending.then((reason) => {
      if (!this.#reconnects) return;
      // Requests that the ending session still carries go on meanwhile.
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

/** The certificate that this browser keeps under a name, made on first use; null without a name. */
export async function certificateOf(identity) {
  return identity === null ? null : keptCertificate(identity);
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

/** Whether `id` is one that a peer can have. */
export const isPeerId = (id) =>
  typeof id === "string" && /^[A-Za-z0-9_-](?:[A-Za-z0-9 _-]{0,126}[A-Za-z0-9_-])?$/.test(id);

/** `peer://ID/…#sha256:…` or an id alone as `{id, pin}`. */
export function parsePeer(text) {
  const [rest, pin = null] = text.trim().replace(/^peer:\/\//, "").split("#");
  const id = rest.split(/[/?]/)[0];
  if (!isPeerId(id)) {
    throw new ConnectError("id", `${text} is no link to a device: it is peer:// and the device's id.`);
  }
  return { id, pin: pin ? parsePin(pin) : null };
}

/** Connect to a peer: see peerfetch.d.ts. */
export async function connect(peer, options = {}) {
  const { id, pin } = parsePeer(peer);
  const service = options.signaling ?? globalThis.location?.origin;
  const { iceServers = [], accessToken = null, identity = null, signal = null } = options;
  const { RTCPeerConnection, directOnly = false } = options;
  if (accessToken !== null) tokenKey(accessToken);
  const pinned = options.pin ? parsePin(options.pin) : pin;
  const about = { service, iceServers, accessToken, identity, pin: pinned, RTCPeerConnection, directOnly };
  const made = new Peer(id, about);
  await made._connect(signal);
  return made;
}
