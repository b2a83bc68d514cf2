/** Bring two peers together: one RTCPeerConnection with one channel, over signaling. */

import { ConnectError, SessionCode } from "./errors.js";
import { abortable } from "./client.js";
import { accessProofs, checkPin, withOneFingerprint } from "./identity.js";
import { openOldSession } from "./old_device.js";
import { OLD_LABEL } from "./old_messages.js";
import { Restarts } from "./restarts.js";
import { Session } from "./session.js";
import { randomHex } from "./signaling.js";
import { MAX_CANDIDATES, candidateOf, descriptionOf } from "./signals.js";

const LABEL = "peerfetch";
const PROTOCOL = "peerfetch.2";
/** Channels that the other side may open; one is used. */
const MAX_CHANNELS = 16;
/** Bytes of messages that may come before the session begins, and what each counts beside its own. */
const MAX_EARLY = 1 << 20;
const MESSAGE_COST = 256;

/** One connection in the making, and while it lasts what keeps it on a path. */
class Negotiation {
  #signaling;
  #release;
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
  /** Null until there is a session, and with an old device, which would take an offer for another connection. */
  #restarts = null;
  #fail;
  #open;

  /**
   * @param signaling a SignalingClient, open for now
   * @param release called when it is not needed any more for what a session needs it for
   */
  constructor(signaling, release, peerId, connectionId, configuration) {
    this.#signaling = signaling;
    this.#release = release;
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

  /** Send our description; without the protocol's name, Python's side would take us for an old proxy. */
  #describe(type, payload) {
    const { localDescription } = this.connection;
    const sdp = { type: localDescription.type, sdp: localDescription.sdp };
    this.#send(type, { ...payload, metadata: { protocol: PROTOCOL }, sdp });
  }

  async offer() {
    this.#opened = this.connection.createDataChannel(LABEL, { ordered: false, protocol: PROTOCOL });
    this.#watch(this.#opened);
    await this.connection.setLocalDescription();
    this.#describe("OFFER", { label: LABEL, reliable: true, serialization: "raw" });
  }

  async answer(sdp) {
    await this.#describeRemote("offer", sdp);
    // Nothing but the channel is wanted: of what else is offered nothing is received, or decoded.
    for (const transceiver of this.connection.getTransceivers()) transceiver.stop();
    await this.connection.setLocalDescription();
    this.#describe("ANSWER", {});
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
    if (this.#restarts) {
      if (payload.connectionId === this.#connectionId) this.#aboutRestart(type, payload);
    } else if (type === "EXPIRE") {
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

  /** A message of the other side about a connection that stands. */
  #aboutRestart(type, payload) {
    if (type === "CANDIDATE") {
      const candidate = candidateOf(payload);
      if (candidate !== null) this.#restarts.candidate(candidate);
    } else if (type === "ANSWER" && payload.gone === true) {
      this.#restarts.gone();
    } else if (type === "ANSWER" || (type === "OFFER" && payload.restart === true)) {
      const sdp = descriptionOf(payload, type.toLowerCase());
      if (sdp !== null) this.#restarts[type === "OFFER" ? "offered" : "answered"](sdp);
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
    if (!this.#isOld) {
      const describe = (type, payload) => this.#describe(type, payload);
      const options = { signaling: this.#signaling, release: this.#release, describe };
      const about = { isOfferer: opener, taken: this.#taken };
      this.#restarts = new Restarts(connection, session, { ...options, ...about });
    }
    connection.onconnectionstatechange = () => this.#stateChanged(session);
    session.closed.then(() => this.close());
    return session;
  }

  #stateChanged(session) {
    const { connectionState, sctp } = this.connection;
    // What DTLS has given up, no other path brings back.
    const isOver = !this.#restarts || sctp.transport?.state === "failed";
    if (connectionState === "failed" && isOver) session.abort();
    else if (connectionState === "failed" || connectionState === "disconnected") this.#restarts?.begin();
  }

  #newSession(channel, { opener, accessToken, onstream }) {
    const { localDescription, remoteDescription, sctp } = this.connection;
    const access = accessToken
      ? accessProofs(accessToken, localDescription.sdp, remoteDescription.sdp, opener)
      : null;
    const { maxMessageSize } = sctp;
    return new Session(channel, { opener, maxMessageSize, access, onstream, resumes: true });
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

/**
 * Connect to `peerId` through a SignalingClient that is open; returns a Session, which opens it again when a
 * network changes. Throws ConnectError, and
 * the reason of `signal`.
 */
export async function dial(signaling, peerId, { iceServers, pin, accessToken, signal, onstream }) {
  const release = () => signaling.close();
  const negotiation = new Negotiation(signaling, release, peerId, `pf_${randomHex(8)}`, { iceServers });
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
  const { configuration, accessToken, signal, onstream, release } = options;
  const negotiation = new Negotiation(signaling, release, peerId, connectionId, configuration);
  const session = abortable(
    negotiation.answer(sdp).then(() => negotiation.session(false, accessToken, onstream)),
    signal,
    (late) => late.abort(),
  );
  session.catch(() => negotiation.close());
  const { connection } = negotiation;
  return { message: (...message) => negotiation.message(...message), session, connection };
}
