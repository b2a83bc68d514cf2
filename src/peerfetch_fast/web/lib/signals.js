/** What signaling messages hold, within bounds: descriptions and candidates of somebody else. */

/** Candidates of the other side that are taken for one description. */
export const MAX_CANDIDATES = 64;
/** Characters of each of a candidate's texts. */
const MAX_CANDIDATE_LENGTH = 1024;
/** Characters of the longest description that is read. */
const MAX_SDP = 65536;

/** The text of a session description in a message, null if there is none of that type. */
export function descriptionOf({ sdp }, type) {
  const text = sdp?.type === type ? sdp.sdp : null;
  return typeof text === "string" && text.length <= MAX_SDP ? text : null;
}

/** The candidate in a message, {} for their end; null for one that is too long. */
export function candidateOf({ candidate }) {
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
