/** Signals that a signaling service brings, checked: a stranger has written them. */

/** Candidates of the other side that are taken for one description. */
export const MAX_CANDIDATES = 64;
/** Characters of each of a candidate's texts. */
const MAX_CANDIDATE_LENGTH = 1024;
/** Characters of the longest description that is read. */
const MAX_SDP = 65536;
/** Characters of the longest name: of a connection, a protocol or a channel. */
const MAX_NAME = 128;

const shortText = (text, most) => (typeof text === "string" && text.length <= most ? text : null);

/** The candidate in a message, {} for their end; null for one that is too long. */
export function candidateOf(candidate) {
  if (candidate === null || typeof candidate !== "object") return {};
  const { candidate: line, sdpMid = null, sdpMLineIndex = null } = candidate;
  if (shortText(line, MAX_CANDIDATE_LENGTH) === null) return null;
  if (sdpMid !== null && shortText(sdpMid, MAX_CANDIDATE_LENGTH) === null) return null;
  return { candidate: line, sdpMid, sdpMLineIndex: Number.isInteger(sdpMLineIndex) ? sdpMLineIndex : null };
}

/** The fields of a Signal (seam.js) of each type, read from a message. */
const FIELDS = {
  offer: ({ sdp, protocol, label, restart }) => ({
    sdp: shortText(sdp, MAX_SDP),
    protocol: shortText(protocol, MAX_NAME),
    label: shortText(label, MAX_NAME),
    restart: restart === true,
  }),
  // An answer whose description cannot be used is one: it ends the waiting for another.
  answer: ({ sdp, protocol }) => ({ sdp: shortText(sdp, MAX_SDP), protocol: shortText(protocol, MAX_NAME) }),
  candidate: ({ candidate }) => ({ candidate: candidateOf(candidate) }),
  gone: () => ({}),
};

/** A Signal (seam.js) of what came, which may be anything; null if it is none, or useless. */
export function checkedSignal(came) {
  const { type, peer, connectionId } = came;
  if (typeof peer !== "string") return null;
  if (type === "left" || type === "absent") return { type, peer };
  if (typeof type !== "string" || !Object.hasOwn(FIELDS, type) || !shortText(connectionId, MAX_NAME)) return null;
  const signal = { type, peer, connectionId, ...FIELDS[type](came) };
  const isUseless = signal.candidate === null || (type === "offer" && signal.sdp === null);
  return isUseless ? null : signal;
}

/** Keeps the signals that follow an offer until it is being answered. */
export class Inbox {
  #peerId;
  #kept = [];

  constructor(peerId) {
    this.#peerId = peerId;
  }

  take(signal) {
    if (signal.peer === this.#peerId && this.#kept.length < MAX_CANDIDATES) this.#kept.push(signal);
  }

  /** Give `negotiation` all of it. */
  emptyInto(negotiation) {
    for (const signal of this.#kept.splice(0)) negotiation.take(signal);
  }
}
