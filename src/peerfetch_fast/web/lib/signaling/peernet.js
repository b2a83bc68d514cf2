/** Signaling by a PeerNet server (docs/peernet.md): over HTTP alone, where WebSockets are blocked. */

import { ConnectError } from "../errors.js";
import { gathered } from "../gathering.js";
import { randomHex } from "../random.js";
import { iceServersOf, RENEWAL_RETRY, RENEWED_AT } from "./ice_servers.js";
import { checkedSignal, MAX_CANDIDATES } from "./signals.js";

/** Seconds for which the server may hold a request until there is something to tell. */
const WAIT = 25;
/** Milliseconds that an answer may take beyond that, and bytes of the longest that is read. */
const ANSWER_TIMEOUT = 10_000;
const MAX_ANSWER = 1 << 20;
/** Milliseconds for which a knock waits for a device that is not there, which may be starting. */
const ABSENT_AFTER = 5000;
/** Milliseconds for which candidates of the other side are asked for. */
const CANDIDATES_TIME = 30_000;
/** Milliseconds from an attempt to the next. */
const RETRY = 500;
/** Milliseconds for which a candidate waits for others, to be sent with them. */
const TOGETHER = 50;
/** The service of ours, by protocol and version, and what runs on its channel. */
const SERVICE = { protocol: "peernet.http", version: "2" };
const SPOKEN = { protocol: "peerfetch.2", label: "peerfetch" };
/** Negotiations begun by others that are known at once; the oldest is forgotten. */
const MAX_INCOMING = 256;
const MAX_ROOMS = 8;
const MAX_SERVICES = 14;
const MAX_PAGES = 4;

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** The ConnectError for what the server refuses, with its HTTP status. */
const refused = (message, status) => Object.assign(new ConnectError("signaling", message), { status });
/** Whether a request that was refused so may succeed later. */
const passes = ({ status }) => status === 429 || status >= 500;

/** Names of knocks, which become paths. */
const KNOCK = /^servers\/[^/?#]+\/services\/[^/?#]+\/knocks\/[^/?#]+$/;
const knockName = (knock) => (typeof knock?.name === "string" && KNOCK.test(knock.name) ? knock.name : null);

/** Candidates for the session of the other side, which are kept until it is known. */
class Candidates {
  #post;
  #to = null;
  #waiting = [];
  #sending = false;
  #left = MAX_CANDIDATES;

  /** @param post sends a list of candidates to a session */
  constructor(post) {
    this.#post = post;
  }

  put(candidate) {
    if (this.#left-- <= 0) return;
    const { candidate: line = "", sdpMid = null, sdpMLineIndex = null } = candidate ?? {};
    this.#waiting.push({ candidate: line, sdpMid, sdpLineIndex: sdpMLineIndex });
    this.#send();
  }

  sendTo(session) {
    this.#to = session;
    this.#send();
  }

  async #send() {
    if (this.#sending || this.#to === null) return;
    this.#sending = true;
    while (this.#waiting.length > 0) {
      await pause(TOGETHER);
      await this.#post(this.#to, this.#waiting.splice(0));
    }
    this.#sending = false;
  }
}

/** Candidates of an answer of the server, as a browser takes them. */
function candidatesOf(found) {
  const given = Array.isArray(found?.candidates) ? found.candidates.slice(0, MAX_CANDIDATES) : [];
  return given.map((one) => {
    const { candidate, sdpMid = null, sdpLineIndex = null } = one ?? {};
    if (typeof candidate !== "string" || candidate === "") return null;
    const line = candidate.startsWith("candidate:") ? candidate : `candidate:${candidate}`;
    // The source of PeerNet may leave both out, which no browser takes.
    const index = sdpMid === null && sdpLineIndex === null ? 0 : sdpLineIndex;
    return { candidate: line, sdpMid, sdpMLineIndex: index };
  });
}

/** `PROTOCOL` or `PROTOCOL:VERSION`; without a version, any is meant. */
function serviceOf(text) {
  const [protocol, version = ""] = text.split(":");
  return { protocol, version };
}

const isOffered = (offered, { protocol, version }) =>
  offered.some((one) => one?.protocol === protocol && (version === "" || one.version === version));

/**
 * `url` of a server, `peernet+https://HOST/?room=ROOM&service=PROTOCOL:VERSION`, as the URL of its operations,
 * its rooms, and the services that are offered beside ours, or looked for.
 */
function addressOf(url) {
  const base = new URL(String(url).replace(/^peernet\+/i, ""));
  const rooms = base.searchParams.getAll("room").slice(0, MAX_ROOMS);
  const services = base.searchParams.getAll("service").slice(0, MAX_SERVICES).map(serviceOf);
  base.search = base.hash = "";
  base.pathname = `${base.pathname.replace(/\/$/, "")}/v1/`;
  return { base, rooms, services };
}

/** See Signaling in seam.js. */
export class PeerNetSignaling {
  #base;
  #rooms;
  #services;
  #takesOffers;
  #token = randomHex(16);
  /** Ends all that was begun since open(); null while this is closed. */
  #running = null;
  /** When logins are asked for anew, as performance.now() has it. */
  #renewAt = Infinity;
  #outgoing = new Map();
  #incoming = new Map();
  id;
  iceServers = [];
  onsignal = () => {};
  onclose = () => {};

  /**
   * @param url of the server, with the rooms that we are in and look for others in
   * @param takesOffers whether the server is told of us, and asked for knocks
   */
  constructor(url, id = null, { takesOffers = true } = {}) {
    ({ base: this.#base, rooms: this.#rooms, services: this.#services } = addressOf(url));
    this.id = id ?? randomHex(16);
    this.#takesOffers = takesOffers;
  }

  async open(signal = null) {
    const running = new AbortController();
    const stop = () => running.abort(signal.reason);
    signal?.addEventListener("abort", stop, { once: true });
    try {
      signal?.throwIfAborted();
      if (this.#takesOffers) await this.#register(running.signal);
      await this.#askForIceServers(running.signal);
    } finally {
      signal?.removeEventListener("abort", stop);
    }
    this.#running?.abort();
    this.#running = running;
    if (this.#takesOffers) this.#serve(running.signal);
  }

  close() {
    if (!this.#running) return;
    this.#running.abort();
    this.#running = null;
    const knocks = [...this.#outgoing.values()].filter(({ name, isAnswered }) => name && !isAnswered);
    this.#outgoing.clear();
    this.#incoming.clear();
    const left = knocks.map(({ name }) => name);
    if (this.#takesOffers) left.push(this.#server);
    for (const path of left) this.#ask("DELETE", path, { keepalive: true }).catch(() => {});
  }

  get #server() {
    return `servers/${encodeURIComponent(this.id)}`;
  }

  /** The JSON of an answer. Throws ConnectError, and the reason of `signal`. */
  async #ask(method, path, { body, wait = 0, query = {}, signal = null, keepalive = false } = {}) {
    const url = new URL(path, this.#base);
    if (wait) query = { ...query, wait };
    url.search = new URLSearchParams(query);
    const late = AbortSignal.timeout(ANSWER_TIMEOUT + 1000 * wait);
    const request = { method, keepalive, cache: "no-store", headers: {} };
    if (this.#takesOffers) request.headers.Authorization = this.#token;
    if (body !== undefined) {
      request.headers["Content-Type"] = "application/json";
      request.body = JSON.stringify(body);
    }
    let response, answer;
    try {
      request.signal = signal ? AbortSignal.any([signal, late]) : late;
      response = await fetch(url, request);
      const octets = await gathered(response.body, MAX_ANSWER);
      answer = octets && JSON.parse(new TextDecoder().decode(octets));
    } catch {
      signal?.throwIfAborted();
      throw new ConnectError("signaling", `The signaling server ${url.host} cannot be reached by PeerNet.`);
    }
    if (response.ok && answer !== null && typeof answer === "object") return answer;
    const reason = String(answer?.error?.message ?? `HTTP status ${response.status}`).slice(0, 300);
    throw refused(`The signaling server ${url.host} refuses: ${reason}`, response.status);
  }

  async #register(signal) {
    const others = this.#services.filter((one) => !isOffered([SERVICE], one));
    const about = { unique_id: this.id, auth_token: this.#token, rooms: this.#rooms };
    const body = { ...about, services: [SERVICE, ...others] };
    try {
      await this.#ask("POST", "servers", { body, signal });
    } catch (error) {
      if (error.status !== 409) throw error;
      throw new ConnectError("taken", `The id ${this.id} is taken.`);
    }
  }

  async #askForIceServers(signal) {
    const { ice_servers: iceServers } = await this.#ask("GET", "ice_servers", { signal });
    const given = Array.isArray(iceServers) ? iceServers : [];
    const left = given.map((one) => Date.parse(one?.expire_time) - Date.now()).filter(Number.isFinite);
    // By a clock that is fast, all logins have expired: they are asked for anew all the same.
    const ttl = left.length > 0 ? Math.max(1, Math.min(...left) / 1000) : null;
    const told = iceServersOf({ iceServers, ttl });
    this.iceServers = told.iceServers;
    this.#renewAt = told.ttl === null ? Infinity : performance.now() + RENEWED_AT * told.ttl * 1000;
  }

  /** Logins that expire are asked for anew while we may be knocked at. */
  async #renew(signal) {
    if (performance.now() < this.#renewAt) return;
    try {
      await this.#askForIceServers(signal);
    } catch {
      this.#renewAt = performance.now() + RENEWAL_RETRY;
    }
  }

  /** Claim knocks until this is closed, or the server is lost. */
  async #serve(signal) {
    while (!signal.aborted) {
      try {
        const answer = await this.#ask("POST", `${this.#server}/claim_knocks`, { wait: WAIT, signal });
        for (const knock of Array.isArray(answer.knocks) ? answer.knocks : []) this.#knocked(knock);
        await this.#renew(signal);
        await pause(0); // a server that holds no request does not hold up the page
      } catch (error) {
        if (signal.aborted) return;
        try {
          // A server that was started anew does not know us.
          if (error.status !== 404) throw error;
          await this.#register(signal);
        } catch {
          if (signal.aborted) return;
          this.close();
          this.onclose();
        }
      }
    }
  }

  #tell(came) {
    const signal = this.#running && checkedSignal(came);
    if (signal) this.onsignal(signal);
  }

  #tellCandidates(found, about) {
    for (const candidate of candidatesOf(found)) this.#tell({ type: "candidate", ...about, candidate });
  }

  async #claimCandidates(session, about, signal) {
    const until = performance.now() + CANDIDATES_TIME;
    const path = `sessions/${encodeURIComponent(session)}/claim/candidates`;
    while (!signal.aborted && performance.now() < until) {
      try {
        this.#tellCandidates(await this.#ask("GET", path, { wait: WAIT, signal }), about);
      } catch (error) {
        if (signal.aborted || (error.status && !passes(error))) return;
        await pause(RETRY);
      }
    }
  }

  #candidates() {
    return new Candidates((session, candidates) =>
      this.#ask("POST", `sessions/${encodeURIComponent(session)}/candidates`, { body: { candidates } }).catch(() => {}),
    );
  }

  #knocked(knock) {
    const { offer, session } = knock ?? {};
    const name = knockName(knock);
    if (name === null || typeof offer?.name !== "string") return;
    if (knock.service && !isOffered([knock.service], SERVICE)) {
      // A page has no HTTP/1.1 in octets, by which the other services are spoken.
      const reason = `knock at ${SERVICE.protocol}:${SERVICE.version}`;
      this.#ask("PATCH", name, { body: { state: "REFUSED", reason } }).catch(() => {});
      return;
    }
    // Who knocks has no id but that of the session.
    const connectionId = typeof session === "string" && session !== "" ? session : offer.name;
    const about = { peer: connectionId, connectionId };
    this.#incoming.get(connectionId)?.ended.abort();
    const incoming = { name, about, session: randomHex(16), candidates: this.#candidates() };
    incoming.ended = new AbortController();
    incoming.candidates.sendTo(offer.name);
    this.#incoming.delete(connectionId);
    this.#incoming.set(connectionId, incoming);
    if (this.#incoming.size > MAX_INCOMING) {
      const [oldest, { ended }] = this.#incoming.entries().next().value;
      this.#incoming.delete(oldest);
      ended.abort();
    }
    this.#tell({ type: "offer", ...about, ...SPOKEN, sdp: offer.sdp, restart: connectionId !== offer.name });
    this.#tellCandidates(offer, about);
  }

  send(signal) {
    if (!this.#running) return;
    if (signal.type === "offer") {
      this.#offer(signal);
      return;
    }
    const found = this.#outgoing.get(signal.connectionId) ?? this.#incoming.get(signal.connectionId);
    if (signal.type === "candidate") found?.candidates.put(signal.candidate);
    else if (found && this.#incoming.get(signal.connectionId) === found) this.#answer(found, signal);
  }

  async #answer(incoming, { type, sdp }) {
    const { name, session, about, ended } = incoming;
    const signal = AbortSignal.any([this.#running.signal, ended.signal]);
    const answer = { name: session, sdp, sdpType: "answer" };
    const body = type === "gone" ? { state: "REFUSED", reason: "gone" } : { answer };
    try {
      await this.#ask("PATCH", name, { body, signal });
    } catch {
      return; // who knocked hears nothing, and knocks again
    }
    if (type === "answer") await this.#claimCandidates(session, about, signal);
  }

  #offer(offer) {
    const { connectionId, sdp, restart } = offer;
    if (this.#incoming.has(connectionId)) return; // only a server can be knocked at
    const before = this.#outgoing.get(connectionId);
    if (before && !before.isAnswered && before.offer.sdp === sdp) return; // it waits for its answer
    before?.ended.abort();
    // A restart is a new knock with a session of its own, which names the first one's.
    const session = restart ? randomHex(16) : connectionId;
    const outgoing = { offer, session, name: null, isAnswered: false, candidates: this.#candidates() };
    outgoing.ended = new AbortController();
    this.#outgoing.set(connectionId, outgoing);
    this.#knock(outgoing, AbortSignal.any([this.#running.signal, outgoing.ended.signal]));
  }

  /** Knock, see what becomes of it, and forget it. */
  async #knock(outgoing, signal) {
    const { connectionId } = outgoing.offer;
    try {
      await this.#negotiate(outgoing, signal);
    } finally {
      if (this.#outgoing.get(connectionId) === outgoing) this.#outgoing.delete(connectionId);
    }
  }

  async #negotiate(outgoing, signal) {
    const { offer, session, candidates } = outgoing;
    const about = { peer: offer.peer, connectionId: offer.connectionId };
    const knock = await this.#answered(outgoing, signal);
    if (!knock || signal.aborted) return;
    outgoing.isAnswered = true;
    const { state, answer } = knock;
    if (state !== "ANSWERED" || typeof answer?.name !== "string") {
      // An answer without a description ends the negotiation.
      this.#tell({ type: offer.restart ? "gone" : "answer", ...about });
      return;
    }
    this.#tell({ type: "answer", ...about, sdp: answer.sdp, protocol: SPOKEN.protocol });
    this.#tellCandidates(answer, about);
    candidates.sendTo(answer.name);
    await this.#claimCandidates(session, about, signal);
  }

  /** The knock once it is answered or refused; null if there is nobody to answer. */
  async #answered(outgoing, signal) {
    const { offer, session } = outgoing;
    const service = `servers/${encodeURIComponent(offer.peer)}/services/${SERVICE.protocol}:${SERVICE.version}`;
    const body = { offer: { name: session, sdp: offer.sdp, sdpType: "offer" } };
    if (offer.restart) body.session = offer.connectionId;
    let absentAt = performance.now() + ABSENT_AFTER;
    while (!signal.aborted) {
      try {
        outgoing.name ??= knockName(await this.#ask("POST", `${service}/knocks`, { body, signal }));
        if (outgoing.name === null) return { state: "REFUSED" };
        const knock = await this.#ask("GET", outgoing.name, { wait: WAIT, signal });
        if (knock.state === "ANSWERED" || knock.state === "REFUSED") return knock;
        if (knock.state === "EXPIRED") outgoing.name = null;
        absentAt = performance.now() + ABSENT_AFTER;
      } catch (error) {
        if (signal.aborted) return null;
        // The device or the server may have been started anew.
        if (error.status === 404) outgoing.name = null;
        else if (error.status && !passes(error)) return { state: "REFUSED" };
        if (error.status === 404 && performance.now() >= absentAt) {
          this.#tell({ type: "absent", peer: offer.peer });
          return null;
        }
        await pause(RETRY);
      }
    }
    return null;
  }

  /** The others in the rooms that the URL names. */
  async peers() {
    const found = new Set();
    const filter = this.#services.map(({ protocol }) => `services.protocol="${protocol}"`).join(" AND ");
    for (const room of this.#rooms) {
      let token = "";
      for (let page = 0; page < MAX_PAGES; page++) {
        const query = { page_token: token, filter };
        const answer = await this.#ask("GET", `rooms/${encodeURIComponent(room)}/servers`, { query }).catch((error) => {
          if (error.status === 404) return {}; // nobody is there
          throw error;
        });
        for (const server of Array.isArray(answer.servers) ? answer.servers : []) {
          const offered = Array.isArray(server?.services) ? server.services : [];
          const isIt = this.#services.every((one) => isOffered(offered, one));
          if (isIt && typeof server?.unique_id === "string") found.add(server.unique_id);
        }
        token = answer.next_page_token;
        if (typeof token !== "string" || token === "") break;
      }
    }
    found.delete(this.id);
    return [...found];
  }
}
