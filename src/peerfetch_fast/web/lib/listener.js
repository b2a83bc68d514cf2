/** Be reachable: other peers connect to this page by its id. */

import { isUsable, keptCertificate, newCertificate, pinOfCertificate } from "./certificate.js";
import { ConnectError, SessionCode, StreamCode } from "./errors.js";
import { tokenKey } from "./identity.js";
import { Lockout, inSameRealm } from "./lockout.js";
import { answerOffer } from "./negotiation.js";
import { CONNECT_TIMEOUT, Peer } from "./peer.js";
import { refuseAccess } from "./server.js";
import { SignalingClient, randomHex } from "./signaling.js";
import { Inbox, descriptionOf } from "./signals.js";
import { TokenBucket } from "./token_bucket.js";

/** Peers connected or connecting at once; further offers are ignored. */
const MAX_PEERS = 32;
/** Milliseconds until the signaling server is tried again. */
const RETRY = 2000;
/** Milliseconds that somebody with a wrong access token waits for the answer. */
const ACCESS_DELAY = 1000;
/** Restarts of connections that are no more which are answered at once, and then a second. */
const GONE_BURST = 16;
const GONE_RATE = 4;

const now = () => performance.now() / 1000;

/** Made by listen(). */
class Listener {
  #options;
  #server;
  /** By connection id; those of sessions, too, which may move to another path. */
  #negotiations = new Map();
  #lockout = new Lockout();
  /** Those who wait until others have shown their proofs. */
  #waiting = [];
  #certificate = null;
  #peers = 0;
  #sessions = new Set();
  #gone = new TokenBucket(GONE_RATE, GONE_BURST, now());
  #retrying = null;
  #closed = false;

  constructor(options) {
    this.#options = options;
    this.id = options.id ?? randomHex(16);
    this.#server = new SignalingClient(options.signaling, this.id);
    this.#server.onmessage = (...message) => this.#message(...message);
    this.#server.onclose = () => this.#retry();
    // A page that its visitor has left may live on, frozen; its id shall not be taken meanwhile.
    globalThis.addEventListener?.("pagehide", () => this.#server.close());
    globalThis.addEventListener?.("pageshow", ({ persisted }) => {
      if (persisted) this.#reopen();
    });
    // The socket of before may be dead without knowing.
    globalThis.addEventListener?.("online", () => this.#reopen());
  }

  async _identify() {
    const { identity } = this.#options;
    const certificate = await (identity === null ? newCertificate() : keptCertificate(identity));
    this.fingerprint = await pinOfCertificate(certificate);
    this.#certificate = certificate;
  }

  _open() {
    return this.#server.open();
  }

  #reopen() {
    if (!this.#closed) this.#server.open().catch(() => this.#retry());
  }

  #retry() {
    this.#retrying ??= setTimeout(() => {
      this.#retrying = null;
      this.#reopen();
    }, RETRY);
  }

  /** Take no more peers; those that are connected stay. */
  close() {
    this.#closed = true;
    this.#server.close();
  }

  #message(type, src, payload) {
    const { connectionId } = payload;
    if (type === "OFFER" && payload.restart === true) {
      const known = this.#negotiations.get(connectionId);
      if (known) known.message(type, src, payload);
      else this.#tellGone(src, connectionId);
    } else if (type === "OFFER") {
      const sdp = descriptionOf(payload, "offer");
      const isNew = typeof connectionId === "string" && !this.#negotiations.has(connectionId);
      const isRefused = this.#closed || this.#lockout.has([src], now());
      if (sdp === null || !isNew || isRefused || !this.#hasPlace()) return;
      // Candidates may come before there is a certificate to answer with.
      this.#negotiations.set(connectionId, new Inbox(src));
      this.#answer(src, connectionId, sdp);
    } else {
      for (const [id, negotiation] of this.#negotiations) {
        if (id === connectionId || connectionId === undefined) negotiation.message(type, src, payload);
      }
    }
  }

  /** Whether one more peer may come; one of whom nothing is heard gives way. */
  #hasPlace() {
    if (this.#peers < MAX_PEERS) return true;
    const silent = [...this.#sessions].find((session) => session.silent);
    if (!silent) return false;
    this.#sessions.delete(silent);
    silent.abort(SessionCode.NO_ERROR, "it is silent, and others want to connect");
    return true;
  }

  /** Who restarts a connection that is no more, as after this page was loaded anew, need not go on. */
  #tellGone(src, connectionId) {
    if (typeof connectionId !== "string" || !this.#gone.take(now())) return;
    this.#server.send("ANSWER", src, { type: "data", connectionId, gone: true });
  }

  async #answer(src, connectionId, sdp) {
    this.#peers++;
    try {
      // Requests that come before onpeer() has said how they are answered.
      const early = [];
      const onstream = (stream) => (stream.admitted ? early.push(stream) : refuseAccess(stream));
      const found = await this.#meet(src, connectionId, sdp, onstream);
      if (!found) return; // one who did not come
      const { session, connection } = found;
      this.#sessions.add(session);
      session.closed.then(() => this.#sessions.delete(session));
      try {
        if (await this.#admits(session, src, connection)) {
          const peer = new Peer(src, null);
          this.#options.onpeer(peer);
          peer._use(session);
          for (const stream of early) {
            if (session.onstream) session.onstream(stream);
            else stream.cancel(StreamCode.REQUEST_REJECTED);
          }
        }
      } catch (error) {
        session.abort();
        throw error;
      }
      await session.closed;
    } finally {
      this.#negotiations.delete(connectionId);
      this.#peers--;
    }
  }

  /** The session and connection with one who has made an offer; null if it does not come about. */
  async #meet(src, connectionId, sdp, onstream) {
    const late = new AbortController();
    const timer = setTimeout(
      () => late.abort(new ConnectError("timeout", `${src} did not connect in time.`)),
      CONNECT_TIMEOUT,
    );
    const { iceServers, accessToken } = this.#options;
    try {
      if (!isUsable(this.#certificate)) await this._identify();
      const configuration = { iceServers, certificates: [this.#certificate] };
      const release = () => this.#closed && this.#server.close();
      const options = { configuration, accessToken, signal: late.signal, onstream, release };
      const negotiation = answerOffer(this.#server, src, connectionId, sdp, options);
      const inbox = this.#negotiations.get(connectionId);
      this.#negotiations.set(connectionId, negotiation);
      inbox.emptyInto(negotiation);
      return { session: await negotiation.session, connection: negotiation.connection };
    } catch {
      return null;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Whether the other side has proved that it knows the access token, if there is one. */
  async #admits(session, src, connection) {
    if (!this.#options.accessToken) return true;
    const remotes = await this.#mayProve(src, connection);
    if (!remotes) {
      session.abort(SessionCode.ACCESS_DENIED, "too many wrong access tokens");
      return false;
    }
    try {
      await session.admitted();
      return true;
    } catch {
      if (session.error) return false; // it has ended, or no proof came in time
      this.#lockout.failed(remotes, now());
    } finally {
      this.#lockout.heard(remotes);
      for (const wake of this.#waiting.splice(0)) wake();
    }
    // Guessing takes its time; the right token does not. Who guesses and runs keeps a place meanwhile.
    await new Promise((resolve) => setTimeout(resolve, ACCESS_DELAY));
    session.abort(SessionCode.ACCESS_DENIED, "the access token is wrong");
    return false;
  }

  /** By what one is known who may show a proof, once it may; null if it is locked out. */
  async #mayProve(src, connection) {
    const { heard, claimed } = await remoteAddresses(connection);
    const remotes = [src, ...heard];
    const all = [...remotes, ...claimed];
    while (!this.#lockout.has(all, now())) {
      if (this.#lockout.mayProve(remotes, now())) return remotes;
      await new Promise((resolve) => this.#waiting.push(resolve));
    }
    return null;
  }
}

/**
 * The address that the other side is heard from here (none where the browser does not tell), and those that
 * it says are its own.
 */
async function remoteAddresses(connection) {
  try {
    const reports = await connection.getStats();
    const all = [...reports.values()];
    const transport = all.find(({ type }) => type === "transport");
    const pair = reports.get(transport?.selectedCandidatePairId);
    const { address } = reports.get(pair?.remoteCandidateId) ?? {};
    const remotes = all.filter(({ type, address }) => type === "remote-candidate" && address);
    const claimed = remotes.map(({ address }) => address);
    return address ? { heard: [address], claimed: inSameRealm(claimed, address) } : { heard: [], claimed: [] };
  } catch {
    return { heard: [], claimed: [] }; // it is closed already
  }
}

/** Wait for peers: see peerfetch.d.ts. */
export async function listen(options) {
  const { id, signaling, iceServers = [], accessToken = null, identity = null, onpeer } = options;
  if (accessToken !== null) tokenKey(accessToken);
  const listener = new Listener({
    id,
    signaling: signaling ?? globalThis.location?.origin,
    iceServers,
    accessToken,
    identity,
    onpeer,
  });
  try {
    await listener._identify();
    await listener._open();
    return listener;
  } catch (error) {
    listener.close();
    throw error;
  }
}
