/** Bring two peers together: one RTCPeerConnection with one channel, over signaling. */

import { ConnectError, SessionCode } from "./errors.js";
import { abortable } from "./client.js";
import { accessProofs, checkPin, withOneFingerprint } from "./identity.js";
import { openOldSession } from "./old_device.js";
import { OLD_LABEL } from "./old_messages.js";
import { Session } from "./session.js";
import { randomHex } from "./signaling.js";

const LABEL = "peerfetch";
const PROTOCOL = "peerfetch.2";
/** Candidates of the other side that are taken, and characters of each of their texts. */
const MAX_CANDIDATES = 64;
const MAX_CANDIDATE_LENGTH = 1024;
/** Characters of the longest description that is read. */
const MAX_SDP = 65536;

/** Channels that the other side may open; one is used. */
const MAX_CHANNELS = 16;
/** Bytes of messages that may come before the session begins, and what each counts beside its own. */
const MAX_EARLY = 1 << 20;
const MESSAGE_COST = 256;

/** One connection in the making. */
class Negotiation {
  #signaling;
  #peerId;
  #connectionId;
  #candidates = [];
  #taken = 0;
  #answered = false;
  #described = false;
  #whenDescribed;
  #nowDescribed;
  #whenOverloaded;
  #overloaded;
  #early = [];
  #earlySize = 0;
  #channels = 0;
  #watched = false;
  /** The channel that we opened. */
  #opened = null;
  #isOld = false;
  #session = null;
  #fail;
  #open;

  constructor(signaling, peerId, connectionId, configuration) {
    this.#signaling = signaling;
    this.#peerId = peerId;
    this.#connectionId = connectionId;
    this.connection = new RTCPeerConnection(configuration);
    this.#whenDescribed = new Promise((resolve) => (this.#nowDescribed = resolve));
    this.#whenOverloaded = new Promise((_, reject) => (this.#overloaded = reject));
    this.#whenOverloaded.catch(() => {});
    /** Resolves with the open channel. */
    this.channel = new Promise((resolve, reject) => {
      this.#open = resolve;
      this.#fail = reject;
    });
    this.channel.catch(() => {});
    this.connection.ondatachannel = ({ channel }) => this.#offered(channel);
    this.connection.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate) this.#send("CANDIDATE", { candidate: candidate.toJSON() });
    };
    this.connection.onconnectionstatechange = () => {
      const { connectionState } = this.connection;
      if (connectionState === "failed" || connectionState === "closed") {
        this.fail("path", `No path to ${peerId} was found.`);
      }
    };
  }

  fail(reason, sentence) {
    this.#fail(new ConnectError(reason, sentence));
  }

  #send(type, payload) {
    const more = { type: "data", connectionId: this.#connectionId };
    this.#signaling.send(type, this.#peerId, { ...payload, ...more });
  }

  #describe(type, payload) {
    const { localDescription } = this.connection;
    const sdp = { type: localDescription.type, sdp: localDescription.sdp };
    this.#send(type, { ...payload, sdp });
  }

  async offer() {
    this.#opened = this.connection.createDataChannel(LABEL, { ordered: false, protocol: PROTOCOL });
    this.#watch(this.#opened);
    await this.connection.setLocalDescription();
    const metadata = { protocol: PROTOCOL };
    this.#describe("OFFER", { label: LABEL, reliable: true, serialization: "raw", metadata });
  }

  async answer(sdp) {
    await this.#describeRemote("offer", sdp);
    // Nothing but the channel is wanted: of what else is offered nothing is received, or decoded.
    for (const transceiver of this.connection.getTransceivers()) transceiver.stop();
    await this.connection.setLocalDescription();
    // Without it, Python's side would take us for an old proxy.
    this.#describe("ANSWER", { metadata: { protocol: PROTOCOL } });
  }

  async #describeRemote(type, sdp) {
    try {
      await this.connection.setRemoteDescription({ type, sdp: withOneFingerprint(sdp) });
    } catch (error) {
      if (error instanceof ConnectError) throw error;
      throw new ConnectError("description", `${this.#peerId} sent a description of no use.`);
    }
    this.#described = true;
    this.#nowDescribed();
    for (const candidate of this.#candidates) this.#add(candidate);
  }

  /**
   * Speak to an old proxy, which takes any channel for its own: until its description is used it has not
   * heard of ours, so that there will be only this.
   */
  #useOld() {
    this.#opened.onopen = this.#opened.onmessage = null;
    this.#opened.close();
    this.#isOld = true;
    this.#watch(this.connection.createDataChannel(OLD_LABEL));
  }

  /** A channel that the other side has opened. */
  #offered(channel) {
    if (++this.#channels > MAX_CHANNELS) return this.#overload("too many channels");
    const isIt = channel.label === LABEL && channel.protocol === PROTOCOL && !this.#watched;
    return isIt ? this.#watch(channel) : channel.close();
  }

  #overload(what) {
    const error = new ConnectError("protocol", `${this.#peerId} was disconnected: ${what}.`);
    this.#early = [];
    this.#fail(error);
    this.#overloaded(error);
    if (this.#session) this.#session.abort(SessionCode.EXCESSIVE_LOAD, what);
    else this.close();
  }

  #watch(channel) {
    this.#watched = true;
    channel.binaryType = "arraybuffer";
    channel.onmessage = (event) => {
      this.#earlySize += (event.data.byteLength ?? event.data.length) + MESSAGE_COST;
      if (this.#earlySize <= MAX_EARLY) return this.#early.push(event);
      channel.onmessage = null;
      return this.#overload("it sent too much before the session began");
    };
    if (channel.readyState === "open") this.#open(channel);
    channel.onopen = () => this.#open(channel);
  }

  /** A message of the other side; what is not for this connection is left alone. */
  message(type, src, payload, pin) {
    if (src !== this.#peerId) return;
    if (type === "EXPIRE") {
      this.fail("unavailable", `The device ${src} is not there: is it switched on and online?`);
    } else if (type === "LEAVE") {
      this.fail("unavailable", `The device ${src} left.`);
    } else if (payload.connectionId !== this.#connectionId) {
      return;
    } else if (type === "ANSWER" && !this.#answered) {
      this.#answered = true;
      const sdp = descriptionOf(payload, "answer");
      if (sdp === null) return this.fail("description", `${src} sent an answer of no use.`);
      try {
        if (pin) checkPin(sdp, pin);
      } catch (error) {
        return this.#fail(error);
      }
      if (payload.metadata?.protocol !== PROTOCOL) this.#useOld();
      this.#describeRemote("answer", sdp).catch(this.#fail);
    } else if (type === "CANDIDATE" && this.#taken++ < MAX_CANDIDATES) {
      const candidate = candidateOf(payload);
      if (candidate === null) return;
      if (this.#described) this.#add(candidate);
      else this.#candidates.push(candidate);
    }
  }

  #add(candidate) {
    // What cannot be read is of no use to us, and of no harm.
    this.connection.addIceCandidate(candidate).catch(() => {});
  }

  close() {
    this.connection.ondatachannel = ({ channel }) => this.#offered(channel);
    const { connection } = this;
    connection.onicecandidate = connection.onconnectionstatechange = connection.ondatachannel = null;
    this.connection.close();
  }

  /** The session on the channel once that is open. */
  async session(opener, accessToken, onstream) {
    const channel = await this.channel;
    // Chromium may open it before it lets scripts see the description that it was opened by.
    await Promise.race([this.#whenDescribed, this.#whenOverloaded]);
    const { connection } = this;
    const session = this.#isOld
      ? this.#oldSession(channel, accessToken)
      : this.#newSession(channel, { opener, accessToken, onstream });
    this.#session = session;
    for (const event of this.#early.splice(0)) channel.onmessage?.(event);
    connection.onconnectionstatechange = () => {
      if (connection.connectionState === "failed") session.abort();
    };
    session.closed.then(() => this.close());
    return session;
  }

  #newSession(channel, { opener, accessToken, onstream }) {
    const { localDescription, remoteDescription, sctp } = this.connection;
    const access = accessToken
      ? accessProofs(accessToken, localDescription.sdp, remoteDescription.sdp, opener)
      : null;
    const { maxMessageSize } = sctp;
    return new Session(channel, { opener, maxMessageSize, access, onstream });
  }

  #oldSession(channel, accessToken) {
    const { connection } = this;
    if (accessToken) {
      const sentence = `${this.#peerId} runs an old proxy, which knows of no access token.`;
      throw new ConnectError("access", sentence);
    }
    const { maxMessageSize } = connection.sctp;
    const bytesReceived = async () => {
      let received = 0;
      for (const report of (await connection.getStats()).values()) {
        if (report.type === "candidate-pair") received += report.bytesReceived ?? 0;
      }
      return received;
    };
    return openOldSession(channel, { maxMessageSize, bytesReceived });
  }
}

/** The text of a session description in a message, null if there is none of that type. */
export function descriptionOf({ sdp }, type) {
  const text = sdp?.type === type ? sdp.sdp : null;
  return typeof text === "string" && text.length <= MAX_SDP ? text : null;
}

/** The candidate in a message, {} for their end; null for one that is too long. */
function candidateOf({ candidate }) {
  if (candidate === null || typeof candidate !== "object") return {};
  const { candidate: line, sdpMid = null, sdpMLineIndex = null } = candidate;
  const isShort = (text) => typeof text === "string" && text.length <= MAX_CANDIDATE_LENGTH;
  if (!isShort(line) || !(sdpMid === null || isShort(sdpMid))) return null;
  return { candidate: line, sdpMid, sdpMLineIndex: Number.isInteger(sdpMLineIndex) ? sdpMLineIndex : null };
}

/** What comes behind an offer, as long as nobody has begun to answer it. */
export class Inbox {
  #peerId;
  #kept = [];

  constructor(peerId) {
    this.#peerId = peerId;
  }

  message(type, src, { connectionId, candidate }) {
    if (src !== this.#peerId || this.#kept.length >= MAX_CANDIDATES) return;
    const kept = type === "CANDIDATE" ? candidateOf({ candidate }) : {};
    if (kept !== null) this.#kept.push([type, src, { connectionId, candidate: kept }]);
  }

  /** Give `negotiation` all of it. */
  emptyInto(negotiation) {
    for (const message of this.#kept.splice(0)) negotiation.message(...message);
  }
}

/**
 * Connect to `peerId` through an open signaling connection; returns a Session. Throws ConnectError, and
 * the reason of `signal`.
 */
export async function dial(signaling, peerId, { iceServers, pin, accessToken, signal, onstream }) {
  const negotiation = new Negotiation(signaling, peerId, `pf_${randomHex(8)}`, { iceServers });
  signaling.onmessage = (type, src, payload) => negotiation.message(type, src, payload, pin);
  signaling.onclose = () => negotiation.fail("signaling", "The signaling server was lost.");
  const session = (async () => {
    await negotiation.offer();
    const opened = await negotiation.session(true, accessToken, onstream);
    try {
      await opened.admitted();
    } catch (error) {
      throw new ConnectError("access", `${peerId} does not let us in: ${error.message}`);
    }
    return opened;
  })();
  try {
    return await abortable(session, signal, (late) => late.abort());
  } catch (error) {
    negotiation.close();
    throw error;
  }
}

/**
 * Take an offer. Returns `{message, session, connection}`: what to do with messages, and the Session to
 * come. `configuration` is RTCPeerConnection's.
 */
export function answerOffer(signaling, peerId, connectionId, sdp, options) {
  const { configuration, accessToken, signal, onstream } = options;
  const negotiation = new Negotiation(signaling, peerId, connectionId, configuration);
  const session = abortable(
    negotiation.answer(sdp).then(() => negotiation.session(false, accessToken, onstream)),
    signal,
    (late) => late.abort(),
  );
  session.catch(() => negotiation.close());
  const { connection } = negotiation;
  return { message: (...message) => negotiation.message(...message), session, connection };
}
