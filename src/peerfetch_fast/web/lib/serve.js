/** `serve`: other peers connect to this page by its id. */

import { isUsable, keptCertificate, newCertificate, pinOfCertificate } from "./certificate.js";
import { ConnectError, SessionCode, StreamCode } from "./errors.js";
import { tokenKey } from "./identity.js";
import { LOCKOUT, Lockout, inSameRealm } from "./lockout.js";
import { answerOffer } from "./negotiation.js";
import { CONNECT_TIMEOUT, Peer } from "./peer.js";
import { refuseAccess } from "./server.js";
import { joinService } from "./signaling/seam.js";
import { Inbox } from "./signaling/signals.js";
import { TokenBucket } from "./token_bucket.js";

/** Peers connected or connecting at once, where nothing else is said; further offers are ignored. */
const MAX_PEERS = 32;
/** Milliseconds until the signaling server is tried again. */
const RETRY = 2000;
/** Milliseconds that somebody with a wrong access token waits for the answer. */
const ACCESS_DELAY = 1000;
/** Restarts of unknown connections that are answered at once, and then a second. */
const GONE_BURST = 16;
const GONE_RATE = 4;

const now = () => performance.now() / 1000;

/** Made by serve(). */
class Server {
  #options;
  #signaling;
  /** By connection id; those of sessions, too, which may move to another path. */
  #negotiations = new Map();
  #lockout = new Lockout();
  /** Wakes peers that may not show their proof before others have shown theirs. */
  #waiting = [];
  #certificate = null;
  #peers = 0;
  #sessions = new Set();
  #gone = new TokenBucket(GONE_RATE, GONE_BURST, now());
  #retrying = null;
  #closed = false;
  /** Ends what is listened to of the page. */
  #listening = new AbortController();

  constructor(options) {
    this.#options = options;
    this.#signaling = joinService(options.service, options.id);
    this.#signaling.onsignal = (signal) => this.#take(signal);
    this.#signaling.onclose = () => this.#retry();
    // A page that its visitor has left may live on, frozen; its id shall not be taken meanwhile.
    const { signal } = this.#listening;
    globalThis.addEventListener?.("pagehide", () => this.#signaling.close(), { signal });
    globalThis.addEventListener?.("pageshow", ({ persisted }) => {
      if (persisted) this.#reopen();
    }, { signal });
    // The socket of before may be dead without knowing.
    globalThis.addEventListener?.("online", () => this.#reopen(), { signal });
  }

  /** The id by which others reach us. */
  get id() {
    return this.#signaling.id;
  }

  async _identify() {
    const { identity, certificate: given } = this.#options;
    const certificate = given ?? (await (identity === null ? newCertificate() : keptCertificate(identity)));
    this.fingerprint = await pinOfCertificate(certificate);
    this.#certificate = certificate;
  }

  _open() {
    return this.#signaling.open();
  }

  #reopen() {
    if (this.#closed) return;
    const { ontaken } = this.#options;
    this.#signaling.open().catch((error) => (ontaken && error.reason === "taken" ? ontaken() : this.#retry()));
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
    this.#listening.abort();
    this.#signaling.close();
  }

  /** Be found by those in this network from now on, where the service has rooms; the others who are. Throws ConnectError. */
  _neighbours() {
    return this.#signaling.join?.() ?? this.#signaling.peers();
  }

  #take(signal) {
    const { type, peer, connectionId } = signal;
    const known = this.#negotiations.get(connectionId);
    if (type === "offer" && signal.restart) {
      if (known) known.take(signal);
      else this.#tellGone(peer, connectionId);
    } else if (type === "offer") {
      const isRefused = this.#closed || this.#lockout.has([peer], now());
      if (known || isRefused || !this.#hasPlace()) return;
      // Candidates may come before there is a certificate to answer with.
      this.#negotiations.set(connectionId, new Inbox(peer));
      this.#answer(signal);
    } else if (connectionId !== undefined) {
      known?.take(signal);
    } else {
      for (const negotiation of this.#negotiations.values()) negotiation.take(signal);
    }
  }

  /** Whether one more peer may come; one of whom nothing is heard gives way. */
  #hasPlace() {
    if (this.#peers < this.#options.maxPeers) return true;
    const silent = [...this.#sessions].find((session) => session.silent);
    if (!silent) return false;
    this.#sessions.delete(silent);
    silent.abort(SessionCode.NO_ERROR, "it is silent, and others want to connect");
    return true;
  }

  /** Tell a peer that it tries to restart a connection which this page, loaded anew, does not know. */
  #tellGone(peer, connectionId) {
    if (this.#gone.take(now())) this.#signaling.send({ type: "gone", peer, connectionId });
  }

  async #answer(offer) {
    const { peer: src, connectionId } = offer;
    this.#peers++;
    try {
      // Requests that come before onpeer() has said how they are answered.
      const early = [];
      const onstream = (stream) => (stream.admitted ? early.push(stream) : refuseAccess(stream));
      const found = await this.#meet(offer, onstream);
      if (!found) return; // one who did not come
      const { session, connection } = found;
      this.#sessions.add(session);
      session.closed.then(() => this.#sessions.delete(session));
      try {
        if (await this.#admits(session, src, connection)) {
          const peer = new Peer(src, null);
          const { handler, onpeer } = this.#options;
          if (handler) peer.serve((request) => handler(request, peer));
          onpeer?.(peer);
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
  async #meet(offer, onstream) {
    const { peer: src, connectionId } = offer;
    const late = new AbortController();
    const timer = setTimeout(
      () => late.abort(new ConnectError("timeout", `${src} did not connect in time.`)),
      CONNECT_TIMEOUT,
    );
    const { iceServers, accessToken, code, directOnly } = this.#options;
    try {
      if (!isUsable(this.#certificate)) await this._identify();
      const configuration = { iceServers, certificates: [this.#certificate] };
      const release = () => this.#closed && this.#signaling.close();
      const access = { accessToken, code };
      const options = { configuration, ...access, directOnly, signal: late.signal, onstream, release };
      const negotiation = answerOffer(this.#signaling, offer, options);
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
    if (!this.#options.accessToken && !this.#options.code) return true;
    const remotes = await this.#mayProve(src, connection);
    if (!remotes) {
      session.abort(SessionCode.ACCESS_DENIED, `too many wrong access tokens: wait ${LOCKOUT} s`);
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
    // A wrong token is answered late, the right one at once. A guesser that leaves keeps its place until then.
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

/** Answer whoever connects: see peerfetch.d.ts. */
export function serve(handler, options = {}) {
  const { id, signaling, iceServers, directOnly, accessToken, identity, onpeer, maxPeers } = options;
  const about = { id, signaling, iceServers, directOnly, accessToken, identity, onpeer, maxPeers };
  return openServer(handler, about);
}

/**
 * The same with what pages are not given.
 * @param options as of serve(), and `certificate` in place of `identity`, and `code`, a Code in place of `accessToken`;
 *   `ontaken` is called when another has the id, after the signaling server was lost, in place of waiting until it is free
 */
export async function openServer(handler, options) {
  const { id = null, signaling, iceServers = [], accessToken = null, identity = null, onpeer = null } = options;
  const { maxPeers = MAX_PEERS, directOnly = false, certificate = null, code = null, ontaken = null } = options;
  if (accessToken !== null) tokenKey(accessToken);
  const service = signaling ?? globalThis.location?.origin;
  const about = { identity, certificate, accessToken, code, ontaken };
  const server = new Server({ handler, id, service, iceServers, directOnly, onpeer, maxPeers, ...about });
  try {
    await server._identify();
    await server._open();
    return server;
  } catch (error) {
    server.close();
    throw error;
  }
}
