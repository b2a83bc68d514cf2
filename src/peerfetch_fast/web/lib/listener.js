/** Be reachable: other peers connect to this page by its id. */

import { ConnectError } from "./errors.js";
import { answerOffer, descriptionOf } from "./negotiation.js";
import { CONNECT_TIMEOUT, Peer } from "./peer.js";
import { openSignaling, randomHex } from "./signaling.js";

/** Peers connected or connecting at once; further offers are ignored. */
const MAX_PEERS = 32;
/** Milliseconds until the signaling server is tried again. */
const RETRY = 2000;

/** Made by listen(). */
class Listener {
  #options;
  #token = randomHex(16);
  #server = null;
  #negotiations = new Map();
  #peers = 0;
  #closed = false;

  constructor(options) {
    this.#options = options;
    this.id = options.id ?? randomHex(16);
  }

  async _open() {
    this.#server = await openSignaling(this.#options.signaling, this.id, this.#token);
    if (this.#closed) return this.#server.close();
    this.#server.onmessage = (...message) => this.#message(...message);
    this.#server.onclose = () => this.#retry();
  }

  #retry() {
    if (!this.#closed) setTimeout(() => this._open().catch(() => this.#retry()), RETRY);
  }

  /** Take no more peers; those that are connected stay. */
  close() {
    this.#closed = true;
    this.#server?.close();
  }

  #message(type, src, payload) {
    const { connectionId } = payload;
    if (type === "OFFER") {
      const sdp = descriptionOf(payload, "offer");
      const isNew = typeof connectionId === "string" && !this.#negotiations.has(connectionId);
      if (sdp !== null && isNew && this.#peers < MAX_PEERS) this.#answer(src, connectionId, sdp);
    } else {
      for (const [id, negotiation] of this.#negotiations) {
        if (id === connectionId || connectionId === undefined) negotiation.message(type, src, payload);
      }
    }
  }

  async #answer(src, connectionId, sdp) {
    this.#peers++;
    const late = new AbortController();
    const timer = setTimeout(
      () => late.abort(new ConnectError("timeout", `${src} did not connect in time.`)),
      CONNECT_TIMEOUT,
    );
    const peer = new Peer(src, null);
    const { iceServers } = this.#options;
    const options = { iceServers, signal: late.signal, onstream: null };
    const negotiation = answerOffer(this.#server, src, connectionId, sdp, options);
    this.#negotiations.set(connectionId, negotiation);
    try {
      const session = await negotiation.session;
      session.closed.then(() => this.#peers--);
      this.#options.onpeer(peer);
      peer._use(session);
    } catch {
      this.#peers--; // one who did not come
    } finally {
      clearTimeout(timer);
      this.#negotiations.delete(connectionId);
    }
  }
}

/** Wait for peers: see peerfetch.d.ts. */
export async function listen({ id, signaling, iceServers = [], onpeer }) {
  const listener = new Listener({
    id,
    signaling: signaling ?? globalThis.location?.origin,
    iceServers,
    onpeer,
  });
  await listener._open();
  return listener;
}
