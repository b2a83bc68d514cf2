/** Bring two peers together: one RTCPeerConnection with one channel, over signaling. */

import { ConnectError, SessionCode } from "./errors.js";
import { abortable } from "./client.js";
import { accessProofs, checkPin, codeAccess, pinOf, withOneFingerprint } from "./identity.js";
import { openOldSession } from "./old_device.js";
import { OLD_LABEL } from "./old_messages.js";
import { randomHex } from "./random.js";
import { Relays, leftOut } from "./relays.js";
import { Restarts } from "./restarts.js";
import { Session } from "./session.js";
import { MAX_CANDIDATES } from "./signaling/signals.js";

const LABEL = "peerfetch";
const PROTOCOL = "peerfetch.2";
/** Channels that the other side may open; one is used. */
const MAX_CHANNELS = 16;
/** Bytes of messages that may come before the session begins, and what each counts beside its own. */
const MAX_EARLY = 1 << 20;
const MESSAGE_COST = 256;

/** A connection in the making; once it stands, it is kept on a path by Restarts. */
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
  /** The session with one who speaks no protocol of ours, at a service of such as these. */
  #foreign = null;
  #session = null;
  /** Null until there is a session, and with an old device, which would take an offer for another connection. */
  #restarts = null;
  #fail;
  #open;
  #ownServers;
  #relays;
  #leftOut;

  /**
   * @param signaling a Signaling (signaling/seam.js), open for now
   * @param release called when a session that stands needs `signaling` no longer
   * @param configuration RTCPeerConnection's; the service's ICE servers are added to it
   * @param options the class RTCPeerConnection, where it is not the browser's, and `directOnly`
   */
  constructor(signaling, release, peerId, connectionId, configuration, options) {
    const { RTCPeerConnection: Connection = globalThis.RTCPeerConnection, directOnly = false } = options;
    if (!Connection) {
      throw new TypeError("there is no RTCPeerConnection here: give that of a WebRTC package as an option");
    }
    this.#signaling = signaling;
    this.#release = release;
    this.#peerId = peerId;
    this.#connectionId = connectionId;
    this.#ownServers = configuration.iceServers ?? [];
    this.#relays = new Relays(directOnly);
    this.#leftOut = leftOut(directOnly);
    const iceServers = this.#relays.servers([...this.#ownServers, ...signaling.iceServers]);
    this.connection = new Connection({ ...configuration, iceServers });
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
      if (candidate?.candidate) this.#send("candidate", { candidate: candidate.toJSON() });
    };
    this.connection.onconnectionstatechange = () => {
      const { connectionState } = this.connection;
      if (connectionState === "failed" || connectionState === "closed") {
        this.fail("path", `No path to ${peerId} was found.${this.#leftOut}`);
      } else if (connectionState === "connected" && this.#foreign) {
        this.#open(null);
      }
    };
  }

  /** Have what is gathered next use the logins that the service hands out now: the first may have expired. */
  #useServers() {
    const { connection } = this;
    const { iceServers } = this.#signaling;
    // Some stacks of Node cannot be told.
    if (iceServers.length === 0 || !connection.getConfiguration || !connection.setConfiguration) return;
    const configuration = connection.getConfiguration();
    const all = this.#relays.servers([...this.#ownServers, ...iceServers]);
    connection.setConfiguration({ ...configuration, iceServers: all });
  }

  fail(reason, sentence) {
    this.#fail(new ConnectError(reason, sentence));
  }

  #send(type, more) {
    this.#signaling.send({ type, peer: this.#peerId, connectionId: this.#connectionId, ...more });
  }

  /** Send our description; without the protocol's name, Python's side would take us for an old proxy. */
  #describe(type, more) {
    this.#send(type, { ...more, protocol: PROTOCOL, sdp: this.connection.localDescription.sdp });
  }

  async offer() {
    this.#opened = this.connection.createDataChannel(LABEL, { ordered: false, protocol: PROTOCOL });
    this.#watch(this.#opened);
    await this.connection.setLocalDescription();
    this.#describe("offer", { label: LABEL });
  }

  async answer(sdp, protocol) {
    if (protocol !== PROTOCOL && this.#signaling.foreign) this.#useForeign();
    await this.#describeRemote("offer", sdp);
    // Nothing but the channel is wanted: of what else is offered nothing is received, or decoded.
    for (const transceiver of this.connection.getTransceivers()) transceiver.stop();
    await this.connection.setLocalDescription();
    this.#describe("answer", {});
  }

  async #describeRemote(type, sdp) {
    try {
      const followed = this.#relays.description(withOneFingerprint(sdp));
      await this.connection.setRemoteDescription({ type, sdp: followed });
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

  /** Speak to one for whom the signaling service has an interpreter. */
  #useForeign() {
    if (this.#opened) {
      this.#opened.onopen = this.#opened.onmessage = null;
      this.#opened.close();
    }
    const send = (type, more) => this.#send(type, more);
    this.#foreign = this.#signaling.foreign(this.connection, this.#peerId, send);
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

  /** Take a Signal; one that is not for this connection is left alone. */
  take(signal, pin = null) {
    const { type, peer, connectionId, candidate } = signal;
    if (peer !== this.#peerId) return;
    if (this.#restarts) {
      if (connectionId === this.#connectionId) this.#restarts.take(signal);
    } else if (this.#session && this.#foreign && type !== "candidate") {
      if (connectionId === this.#connectionId) this.#foreign.take(signal);
    } else if (type === "absent") {
      this.fail("unavailable", `The device ${peer} is not there: is it switched on and online?`);
    } else if (type === "left") {
      this.fail("unavailable", `The device ${peer} left.`);
    } else if (connectionId !== this.#connectionId) {
      return;
    } else if (type === "answer" && !this.#answered) {
      this.#answered = true;
      this.#takeAnswer(signal, pin);
    } else if (type === "candidate" && this.#taken++ < MAX_CANDIDATES) {
      if (this.#described) this.#add(candidate);
      else this.#candidates.push(candidate);
    }
  }

  #takeAnswer({ peer, sdp, protocol }, pin) {
    if (sdp === null) return this.fail("description", `${peer} sent an answer of no use.`);
    try {
      if (pin) checkPin(sdp, pin);
    } catch (error) {
      return this.#fail(error);
    }
    if (protocol !== PROTOCOL && this.#signaling.foreign) this.#useForeign();
    else if (protocol !== PROTOCOL) this.#useOld();
    return this.#describeRemote("answer", sdp).catch(this.#fail);
  }

  async #add(candidate) {
    if (!this.#relays.follows(candidate.candidate ?? "")) return;
    try {
      await this.connection.addIceCandidate(candidate);
    } catch {
      // A candidate that the browser cannot read is ignored. Stacks other than browsers' throw at once.
    }
  }

  close() {
    const { connection } = this;
    connection.onicecandidate = connection.onconnectionstatechange = connection.ondatachannel = null;
    this.#foreign?.abort();
    connection.close();
  }

  /** The session on the channel once that is open. */
  async session(opener, { accessToken = null, code = null }, onstream) {
    const channel = await this.channel;
    // Chromium may open it before it lets scripts see the description that it was opened by.
    await Promise.race([this.#whenDescribed, this.#whenOverloaded]);
    const { connection } = this;
    const isOver = () => connection.connectionState === "closed";
    if (!(await this.#relays.agree(connection, isOver))) {
      throw new ConnectError("path", `No direct path to ${this.#peerId} was found.${this.#leftOut}`);
    }
    let session;
    if (this.#foreign) session = this.#foreignSession(accessToken ?? code);
    else if (this.#isOld) session = this.#oldSession(channel, accessToken ?? code);
    else session = this.#newSession(channel, { opener, accessToken, code, onstream });
    this.#session = session;
    session.connection = this.connection;
    session.way = () => this.#relays.way(connection);
    this.#relays.watch(connection, () => session.abort(SessionCode.NO_ERROR, "its way would be through a relay"));
    session.fingerprint = pinOf(this.connection.remoteDescription.sdp);
    for (const event of this.#early.splice(0)) channel.onmessage?.(event);
    if (!this.#isOld && !this.#foreign) {
      const describe = (type, more) => this.#describe(type, more);
      const renew = () => this.#useServers();
      const relays = this.#relays;
      const options = { signaling: this.#signaling, release: this.#release, describe, renew, relays };
      const about = { isOfferer: opener, taken: this.#taken };
      this.#restarts = new Restarts(connection, session, { ...options, ...about });
    }
    connection.onconnectionstatechange = () => this.#stateChanged(session);
    session.closed.then(() => this.close());
    return session;
  }

  #stateChanged(session) {
    const { connectionState, sctp } = this.connection;
    // After DTLS has failed, no other path brings the connection back.
    const isOver = !this.#restarts || sctp.transport?.state === "failed";
    if (connectionState === "failed" && isOver) session.abort();
    else if (connectionState === "failed" || connectionState === "disconnected") this.#restarts?.begin();
  }

  #newSession(channel, { opener, accessToken, code, onstream }) {
    const { localDescription, remoteDescription, sctp } = this.connection;
    const ends = [localDescription.sdp, remoteDescription.sdp, opener];
    let access = null;
    if (code) access = codeAccess(code, ...ends);
    else if (accessToken) access = accessProofs(accessToken, ...ends);
    const { maxMessageSize } = sctp;
    return new Session(channel, { opener, maxMessageSize, access, onstream, resumes: true });
  }

  /** Throws ConnectError where a secret is asked for that the program of the other side does not know of. */
  #refuseSecret(secret, program) {
    if (!secret) return;
    const sentence = `${this.#peerId} runs ${program}, which knows of no access token and no code.`;
    throw new ConnectError("access", sentence);
  }

  #foreignSession(secret) {
    this.#refuseSecret(secret, "another program");
    this.#foreign.begin();
    return this.#foreign;
  }

  #oldSession(channel, secret) {
    const { connection } = this;
    this.#refuseSecret(secret, "an old proxy");
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
 * Connect to `peerId` through a Signaling that is open. Returns a Session, which opens the Signaling again
 * when a network changes. Throws ConnectError, and the reason of `signal`.
 */
export async function dial(signaling, peerId, options) {
  const { iceServers, pin, signal, onstream, certificate } = options;
  const release = () => signaling.close();
  // 128 bits: some services take the id for a secret (signaling/seam.js).
  const connectionId = `pf_${randomHex(16)}`;
  const configuration = certificate ? { iceServers, certificates: [certificate] } : { iceServers };
  const negotiation = new Negotiation(signaling, release, peerId, connectionId, configuration, options);
  signaling.onsignal = (came) => negotiation.take(came, pin);
  signaling.onclose = () => negotiation.fail("signaling", "The signaling server was lost.");
  const session = (async () => {
    await negotiation.offer();
    const opened = await negotiation.session(true, options, onstream);
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
 * Answer an offer. Returns `{take, session, connection}`: what takes the Signals that follow, and the
 * Session to come. `configuration` is RTCPeerConnection's.
 */
export function answerOffer(signaling, { peer, connectionId, sdp, protocol }, options) {
  const { configuration, signal, onstream, release } = options;
  const negotiation = new Negotiation(signaling, release, peer, connectionId, configuration, options);
  const session = abortable(
    negotiation.answer(sdp, protocol).then(() => negotiation.session(false, options, onstream)),
    signal,
    (late) => late.abort(),
  );
  session.catch(() => negotiation.close());
  const { connection } = negotiation;
  return { take: (came) => negotiation.take(came), session, connection };
}
