/** A media stream on a connection of its own, negotiated over a channel of the session. */

import { MAX_CANDIDATES, candidateOf } from "../signaling/signals.js";

/** Characters of the longest message of a negotiation. */
const MAX_MESSAGE = 64 << 10;
/** Milliseconds that the tracks may take. */
const TIMEOUT = 15_000;
/** Milliseconds between looks whether anybody still uses what is received. */
const LOOK = 1000;
const MAX_TRACKS = 16;
/** Characters that are read of why a stream does not come. */
const MAX_ERROR = 200;

/** Joins an RTCPeerConnection to a channel over which its two ends are described. */
class Link {
  #channel;
  #candidates = [];
  #taken = 0;
  #turn = Promise.resolve();
  #resolve;
  /** Resolves with the error that has ended it, or null. */
  closed = new Promise((resolve) => (this.#resolve = resolve));

  constructor(channel, configuration) {
    this.#channel = channel;
    this.connection = new RTCPeerConnection(configuration);
    this.connection.onicecandidate = ({ candidate }) => candidate && this.#put({ candidate: candidate.toJSON() });
    channel.addEventListener("close", () => this.close());
    channel._read((message) => {
      this.#turn = this.#turn.then(() => this.#take(message)).catch((error) => this.close(error));
      return this.#turn;
    });
  }

  #put(message) {
    if (this.#channel.readyState === "open") this.#channel.send(JSON.stringify(message));
  }

  async offer() {
    await this.connection.setLocalDescription();
    this.#put({ description: this.connection.localDescription });
  }

  async #take(text) {
    if (typeof text !== "string" || text.length > MAX_MESSAGE) throw new Error("a message of no use");
    const { description, candidate, error } = JSON.parse(text);
    if (typeof error === "string") throw new Error(error.slice(0, MAX_ERROR));
    const { connection } = this;
    if (description) {
      await connection.setRemoteDescription(description);
      if (description.type === "offer") {
        if (connection.getTransceivers().length > MAX_TRACKS) throw new Error("too many tracks");
        await connection.setLocalDescription();
        this.#put({ description: connection.localDescription });
      }
      for (const early of this.#candidates.splice(0)) await connection.addIceCandidate(early).catch(() => {});
    } else if (candidate && this.#taken++ < MAX_CANDIDATES) {
      const known = candidateOf(candidate);
      if (!known) return; // too long: many wait for the description
      if (connection.remoteDescription) await connection.addIceCandidate(known).catch(() => {});
      else this.#candidates.push(known);
    }
  }

  close(error = null) {
    this.connection.onicecandidate = null;
    this.connection.close();
    this.#channel.close();
    this.#resolve(error);
  }
}

/** Send tracks, `[track, stream]` each, until the channel ends; the Link, whose `close()` ends it before. */
export function sendMedia(channel, tracks, configuration) {
  const link = new Link(channel, configuration);
  for (const [track, stream] of tracks) link.connection.addTrack(track, stream);
  link.offer().catch(() => link.close());
  return link;
}

/**
 * The MediaStream that the other side sends. Throws Error. It goes on until all tracks that came are stopped, or the
 * channel ends.
 * @param ontrack called with each RTCTrackEvent
 */
export function receiveMedia(channel, configuration, ontrack = () => {}) {
  const link = new Link(channel, configuration);
  const tracks = new Set();
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => link.close(new Error("no media stream came in time")), TIMEOUT);
    link.closed.then((error) => {
      clearTimeout(late);
      reject(error ?? new Error("the media stream was broken off"));
    });
    link.connection.ontrack = (event) => {
      const [stream] = event.streams;
      if (!stream) return;
      ontrack(event);
      clearTimeout(late);
      if (tracks.size === 0) endWhenUnused(link, tracks);
      tracks.add(event.track);
      resolve(stream);
    };
  });
}

function endWhenUnused(link, tracks) {
  const timer = setInterval(() => {
    if (![...tracks].some(({ readyState }) => readyState === "live")) link.close();
  }, LOOK);
  link.closed.then(() => {
    clearInterval(timer);
    // Who looks at them is told by no event of the connection.
    for (const track of tracks) track.stop();
  });
}
