/** A connection that goes on over another path: restarts of ICE (docs/protocol.md, section 1). */

import { SessionCode } from "./errors.js";
import { pinOf, withOneFingerprint } from "./identity.js";
import { MAX_CANDIDATES } from "./signaling/signals.js";
import { TokenBucket } from "./token_bucket.js";

/** Milliseconds that a restart has to bring a sign of life before the next is tried. */
const INTERVAL = 3000;
/**
 * Milliseconds after which an offer is said again: signaling may have sent it to a connection that the other
 * side has lost with its network.
 */
const REPEAT_AFTER = 1000;
/** Milliseconds that the other side has to offer one, where its offer would count. */
const YIELD = 1000;
/** Milliseconds until the signaling server is tried again. */
const RETRY = 1000;
/** Milliseconds for which signaling that was opened for a restart is kept after it. */
const LINGER = 10_000;
/** Milliseconds of silence after which one is believed who says that the connection is no more. */
const GONE_AFTER = 1000;
/** Restarts that the other side may ask for at once, and then a second. */
const BURST = 5;
const RATE = 0.5;
/** Messages of the other side that may wait until those before them are done with. */
const MAX_WAITING = 2 * MAX_CANDIDATES;

const now = () => performance.now() / 1000;

/** Keeps a session's connection on a path. Ends by itself when the session does. */
export class Restarts {
  #connection;
  #session;
  #signaling;
  #release;
  #describe;
  #renew;
  #relays;
  #isOfferer;
  #bucket = new TokenBucket(RATE, BURST, now());
  #turn = Promise.resolve();
  #waiting = 0;
  #taken;
  #isRunning = false;
  /** Whether the latest descriptions were made before a network changed. */
  #isStale = false;
  #isGone = false;
  /** When the latest descriptions have had their time. */
  #due = -Infinity;
  #wake = () => {};
  #linger;
  #over = new AbortController();

  /**
   * @param signaling a Signaling (signaling/seam.js)
   * @param describe sends our description: called with a Signal's type and more of its fields
   * @param renew called before candidates are gathered, whose servers may have other logins by then
   * @param release called when `signaling` is not needed any more
   * @param relays what says which candidates of the other side are followed: a Relays
   * @param isOfferer whether this side made the first offer: then its offer counts of two that cross
   * @param taken candidates that were taken for the first description
   */
  constructor(connection, session, { signaling, release, describe, renew, relays, isOfferer, taken }) {
    this.#connection = connection;
    this.#session = session;
    this.#signaling = signaling;
    this.#release = release;
    this.#describe = describe;
    this.#renew = renew;
    this.#relays = relays;
    this.#isOfferer = isOfferer;
    this.#taken = taken;
    session.onquiet = () => this.#suspect();
    session.closed.then(() => this.#end());
    this.#watchNetworks(this.#over.signal);
  }

  #watchNetworks(signal) {
    const changed = () => this.#networkChanged();
    globalThis.addEventListener?.("online", changed, { signal });
    const network = globalThis.navigator?.connection;
    let type = network?.type;
    // It also tells of each new estimate of how fast the network is.
    const look = () => {
      if (network.type !== type) changed();
      type = network.type;
    };
    network?.addEventListener?.("change", look, { signal });
  }

  #networkChanged() {
    this.#isStale = true;
    this.#wake();
    this.begin();
  }

  /** Nothing comes on the channel: perhaps because what is sent fills the path. */
  async #suspect() {
    if ((await packetSilence(this.#connection)) < 1) this.#session.isHeard();
    else this.begin();
  }

  #end() {
    this.#over.abort();
    this.#wake();
    clearTimeout(this.#linger);
    this.#release();
  }

  // -- ours ----------------------------------------------------------------------------------------

  /** Look for another path until the other side is heard, where the stack knows how. */
  async begin() {
    if (this.#isRunning || this.#session.error || !this.#connection.restartIce) return;
    this.#isRunning = true;
    this.#isGone = false;
    clearTimeout(this.#linger);
    const heard = this.#session.heard();
    let isHeard = false;
    heard.then(() => (isHeard = true));
    if (!this.#isOfferer && !this.#isStale) await this.#pause(YIELD, heard);
    do {
      const pause = await this.#attempt();
      await this.#pause(pause, heard);
      if (this.#isGone) await this.#pause(GONE_AFTER, heard);
      if (this.#isGone && !isHeard) {
        this.#session.abort(SessionCode.NO_ERROR, "the other side does not know this connection any more");
      }
    } while (!isHeard && !this.#session.error);
    this.#isRunning = false;
    this.#linger = setTimeout(() => this.#release(), LINGER);
  }

  /** Offer a restart, if there is none under way; returns the milliseconds until the next look. */
  async #attempt() {
    const wait = this.#due - performance.now();
    if (wait > 0 && !this.#isStale) return wait;
    try {
      await this.#signaling.open();
    } catch {
      return RETRY; // It may be gone with the same network, and come back.
    }
    let time = INTERVAL;
    await this.#inTurn(async () => {
      // An unanswered offer is repeated as it was, so that an answer fits whichever of them arrived.
      if (this.#isStale || this.#connection.signalingState !== "have-local-offer") {
        this.#isStale = false;
        this.#renew();
        this.#connection.restartIce();
        await this.#connection.setLocalDescription();
        time = REPEAT_AFTER;
      }
      this.#due = performance.now() + time;
      this.#describe("offer", { restart: true });
    });
    return time;
  }

  /** Wait so many milliseconds, or until `heard` settles or a network changes. */
  async #pause(milliseconds, heard) {
    let timer;
    const woken = new Promise((resolve) => {
      this.#wake = resolve;
      timer = setTimeout(resolve, milliseconds);
    });
    await Promise.race([woken, heard]);
    clearTimeout(timer);
  }

  // -- what the other side says --------------------------------------------------------------------

  /** Take a Signal about this connection. */
  take({ type, sdp, candidate, restart }) {
    if (type === "candidate") this.candidate(candidate);
    else if (type === "gone") this.gone();
    else if (type === "answer" && sdp !== null) this.answered(sdp);
    else if (type === "offer" && restart) this.offered(sdp);
  }

  /** An offer to go on over another path. */
  offered(sdp) {
    if (!this.#bucket.take(now())) return;
    this.#inTurn(async () => {
      const connection = this.#connection;
      const isOurs = connection.signalingState === "have-local-offer";
      if (isOurs && this.#isRunning && this.#isOfferer) return; // Two offers have crossed: the first offerer's counts.
      await this.#describeRemote("offer", sdp);
      for (const transceiver of connection.getTransceivers()) transceiver.stop();
      this.#renew();
      await connection.setLocalDescription();
      this.#describe("answer", {});
    });
  }

  /** The answer to our offer. */
  answered(sdp) {
    this.#inTurn(async () => {
      if (this.#connection.signalingState === "have-local-offer") await this.#describeRemote("answer", sdp);
    });
  }

  /** The other side says that it does not know the connection, as after it was started anew. */
  gone() {
    if (!this.#isRunning) return;
    this.#isGone = true;
    this.#wake();
  }

  candidate(candidate) {
    this.#inTurn(async () => {
      if (this.#taken++ >= MAX_CANDIDATES || !this.#relays.follows(candidate.candidate ?? "")) return;
      // A candidate that the browser cannot read is ignored.
      await this.#connection.addIceCandidate(candidate).catch(() => {});
    });
  }

  async #describeRemote(type, sdp) {
    if (pinOf(sdp) !== pinOf(this.#connection.remoteDescription.sdp)) {
      throw new Error("it names another certificate");
    }
    const followed = this.#relays.description(withOneFingerprint(sdp));
    await this.#connection.setRemoteDescription({ type, sdp: followed });
    this.#taken = 0;
    this.#due = performance.now() + INTERVAL;
  }

  /** Do `work` once what came before is done. What fails has changed nothing: what is connected stays so. */
  #inTurn(work) {
    if (this.#waiting >= MAX_WAITING) return this.#turn;
    this.#waiting++;
    this.#turn = this.#turn
      .then(() => (this.#over.signal.aborted ? undefined : work()))
      .catch((error) => console.info("peerfetch: of a restart something was ignored:", error))
      .finally(() => this.#waiting--);
    return this.#turn;
  }
}

/** Seconds since a packet came, signaling and ICE's checks aside; Infinity where the browser does not tell. */
async function packetSilence(connection) {
  let least = Infinity;
  let reports;
  try {
    reports = await connection.getStats();
  } catch {
    return least; // It is closed, or of a stack that has no statistics.
  }
  for (const report of reports.values()) {
    const { type, timestamp, lastPacketReceivedTimestamp: latest } = report;
    if (type === "candidate-pair" && latest) least = Math.min(least, (timestamp - latest) / 1000);
  }
  return least;
}
