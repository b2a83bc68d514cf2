/**
 * A node of `smoke-node`, as the session of a Peer: one connection, negotiated through the hub, whose channels
 * are ports (docs/smoke.md, "Old nodes").
 */

import { SessionCode } from "../../errors.js";
import { withOneFingerprint } from "../../identity.js";

/** Channels at once, of either side. */
const MAX_CHANNELS = 256;
/** Bytes that have come on all of them and are not taken. */
const MAX_HELD = 16 << 20;
/** Media sections of the connection. */
const MAX_TRANSCEIVERS = 16;
/** Streams that have come and that nobody has asked for. */
const MAX_STREAMS = 16;
/** Descriptions that wait until those before them are done with. */
const MAX_WAITING = 32;
/** Milliseconds for which a channel may open, and then for the other side's word whether the port is. */
const OPEN_TIMEOUT = 4000;
/** Attempts to open a channel: nodes of that package may miss that one has opened. */
const ATTEMPTS = 3;
/** Milliseconds before that word is said. */
const WORD_DELAY = 30;
/** The first message on a channel, by the side that was called. */
const ACCEPTED = 0;
const REFUSED = 1;

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** What has come on all channels of a node, and is not taken. */
class Budget {
  #held = 0;
  #exceeded;

  constructor(exceeded) {
    this.#exceeded = exceeded;
  }

  add(bytes) {
    this.#held += bytes;
    if (this.#held > MAX_HELD) this.#exceeded();
  }

  take(bytes) {
    this.#held -= bytes;
  }
}

/** What a Peer uses of a Session, and what nodes of this kind can do. */
export class OldNode {
  #address;
  #send;
  #channels = new Set();
  #waiting = [];
  #accept = null;
  #streams = [];
  #wanted = [];
  #negotiating = Promise.resolve();
  /** Descriptions of either side that wait for that, or are being made or taken. */
  #described = 0;
  #close;
  closed = new Promise((resolve) => (this.#close = resolve));
  ending = this.closed;
  connection;
  fingerprint = null;
  error = null;
  isOld = false;
  isForeign = true;
  isEnding = false;
  silent = false;
  statistics = null;
  onstream = null;
  onsilence = () => {};
  budget = new Budget(() => this.abort(SessionCode.EXCESSIVE_LOAD, "it sends more than is read"));

  /**
   * @param connection that is being made, by a description of either side
   * @param send sends a description: called with its type and `{sdp}`
   */
  constructor(connection, address, send) {
    this.connection = connection;
    this.#address = address;
    this.#send = send;
    connection.ondatachannel = ({ channel }) => this.#offered(channel);
    connection.addEventListener("track", ({ streams }) => this.#came(streams[0]));
  }

  // -- as the session of a Peer --------------------------------------------------------------------

  async admitted() {}

  async open() {
    throw new TypeError(`${this.#address} runs smoke-node, which knows no streams but its own`);
  }

  async close() {
    this.abort();
  }

  abort(_code = SessionCode.NO_ERROR, reason = "the connection was closed") {
    if (this.error) return;
    this.error = new Error(`${this.#address}: ${reason}`);
    this.isEnding = true;
    for (const channel of this.#channels) channel.close();
    for (const { reject } of this.#wanted.splice(0)) reject(this.error);
    this.#close(this.error);
  }

  // -- descriptions after the first ----------------------------------------------------------------

  /** Negotiate what has changed from now on: the first descriptions are made. */
  begin() {
    this.connection.onnegotiationneeded = () => this.#inTurn(() => this.#offer());
  }

  async #offer() {
    const { connection } = this;
    if (connection.signalingState !== "stable") return;
    await connection.setLocalDescription();
    this.#send("offer", { sdp: connection.localDescription.sdp });
  }

  /** Take an offer or an answer of the other side. */
  take({ type, sdp }) {
    this.#inTurn(async () => {
      const { connection } = this;
      // Of two offers that cross, browsers take back that of smoke-node.
      if (sdp === null || (type === "offer") !== (connection.signalingState === "stable")) return;
      await connection.setRemoteDescription({ type, sdp: withOneFingerprint(sdp) });
      if (type !== "offer") return;
      if (connection.getTransceivers().length > MAX_TRANSCEIVERS) {
        return this.abort(SessionCode.EXCESSIVE_LOAD, "it has too many tracks");
      }
      await connection.setLocalDescription();
      this.#send("answer", { sdp: connection.localDescription.sdp });
    });
  }

  #inTurn(work) {
    if (this.#described >= MAX_WAITING) {
      return this.abort(SessionCode.EXCESSIVE_LOAD, "it sends more descriptions than can be taken");
    }
    this.#described++;
    this.#negotiating = this.#negotiating
      .then(work)
      .catch((error) => console.warn(`peerfetch: a description of ${this.#address} is of no use:`, error))
      .finally(() => this.#described--);
  }

  // -- channels ------------------------------------------------------------------------------------

  /** Have `accept(channel)` say whether a port is open, by what takes the channel, or null. */
  set onchannel(accept) {
    this.#accept = accept;
    for (const channel of this.#waiting.splice(0)) this.#answer(channel);
  }

  #offered(channel) {
    if (this.#channels.size >= MAX_CHANNELS) return channel.close();
    channel.binaryType = "arraybuffer";
    this.#keep(channel);
    const ready = () => (this.#accept ? this.#answer(channel) : this.#waiting.push(channel));
    if (channel.readyState === "open") ready();
    else channel.addEventListener("open", ready, { once: true });
  }

  #keep(channel) {
    this.#channels.add(channel);
    channel.addEventListener("close", () => this.#channels.delete(channel), { once: true });
  }

  async #answer(channel) {
    // Said together with what opens the channel over there, it would be missed: see #word().
    await pause(WORD_DELAY);
    if (channel.readyState !== "open") return;
    const take = this.#accept(channel);
    channel.send(Uint8Array.of(take ? ACCEPTED : REFUSED));
    if (take) take();
    else channel.close();
  }

  /**
   * Open a channel to a port. Throws Error.
   * @param attach called with it before anything more is heard on it; what it returns is what is resolved with
   */
  async openChannel(port, attach = (channel) => channel) {
    for (let attempt = 1; ; attempt++) {
      if (this.error) throw this.error;
      if (this.#channels.size >= MAX_CHANNELS) throw new Error(`${MAX_CHANNELS} channels to ${this.#address} are open`);
      const channel = this.connection.createDataChannel(port);
      channel.binaryType = "arraybuffer";
      this.#keep(channel);
      const { word, early, isClosed } = await this.#word(channel);
      if (word === ACCEPTED) {
        const attached = attach(channel);
        for (const data of early) channel.dispatchEvent(new MessageEvent("message", { data }));
        return attached;
      }
      channel.close();
      // Who refuses closes at once, and its word may be lost.
      if (word === REFUSED || isClosed) throw new Error(`'${this.#address}' forcefully closed this connection.`);
      if (attempt === ATTEMPTS) throw new Error(`'${this.#address}' is not responding.`);
    }
  }

  /** The other side's first message on a channel, null if none comes in time, and what came after it. */
  async #word(channel) {
    const over = new AbortController();
    const { signal } = over;
    const timer = setTimeout(() => over.abort(), OPEN_TIMEOUT);
    channel.addEventListener("close", () => over.abort(), { signal });
    const came = [];
    await new Promise((resolve) => {
      // A browser may hand out messages before it lets scripts see that the channel is open.
      const look = () => came.length > 0 && channel.readyState === "open" && resolve();
      const listen = ({ data }) => (came.push(data), look());
      channel.addEventListener("message", listen, { signal });
      channel.addEventListener("open", look, { signal });
      signal.addEventListener("abort", resolve);
    });
    clearTimeout(timer);
    over.abort();
    const [word, ...early] = came;
    const isClosed = channel.readyState === "closed";
    return { word: word instanceof ArrayBuffer ? new Uint8Array(word)[0] : null, early, isClosed };
  }

  // -- media ---------------------------------------------------------------------------------------

  #came(stream) {
    if (!stream || this.#streams.includes(stream)) return;
    const [wanted] = this.#wanted.splice(0, 1);
    if (wanted) return wanted.resolve(stream);
    this.#streams.push(stream);
    if (this.#streams.length > MAX_STREAMS) this.#streams.shift();
  }

  /** The next stream that comes, or has come and nobody has taken. Throws Error. */
  async stream(milliseconds) {
    const known = this.#streams.shift();
    if (known) return known;
    return new Promise((resolve, reject) => {
      const wanted = { resolve, reject };
      this.#wanted.push(wanted);
      setTimeout(() => {
        this.#wanted = this.#wanted.filter((one) => one !== wanted);
        reject(new Error("no media stream came in time"));
      }, milliseconds);
    });
  }

  /** Send the tracks of a stream; what ends that. */
  addStream(stream) {
    const senders = stream.getTracks().map((track) => this.addTrack(track, stream));
    return () => senders.forEach((remove) => remove());
  }

  /** Send a track; what ends that. */
  addTrack(track, stream) {
    const sender = this.connection.addTrack(track, stream);
    return () => this.error || this.connection.removeTrack(sender);
  }
}
