/**
 * Answers that go on over a channel of their own: queries that are asked for each record, and media streams. The
 * answer names the channel in a header field, `peerfetch-continues: KIND ID`; who asked opens it at the same port.
 */

import { randomHex } from "../random.js";

export const CONTINUES = "peerfetch-continues";
/** Answers of one port to one node that wait for their channel at once, and milliseconds that one waits. */
const MAX_WAITING = 64;
const PATIENCE = 30_000;

const PREFIX = "/~peerfetch/";

/** Those of one node. */
export class Continuations {
  #waiting = new Map();

  /**
   * The value of the header field for an answer that goes on.
   * @param start called with the channel, or with null if none was opened in time
   */
  offer(kind, start) {
    if (this.#waiting.size >= MAX_WAITING) throw new Error("too many answers wait to be taken up");
    const id = randomHex(16);
    const timer = setTimeout(() => this.take(PREFIX + id, null), PATIENCE);
    this.#waiting.set(id, { start, timer });
    return `${kind} ${id}`;
  }

  /** Give a channel to the answer that waits for it; whether there is one. */
  take(target, channel) {
    const id = target.startsWith(PREFIX) ? target.slice(PREFIX.length) : null;
    const found = this.#waiting.get(id);
    if (!found) return false;
    this.#waiting.delete(id);
    clearTimeout(found.timer);
    found.start(channel);
    return true;
  }
}

/** The meaning of a header field: `{kind, target}`, null if it has none. */
export function continuation(value) {
  const found = /^(query|media) ([0-9a-f]{32})$/.exec(value ?? "");
  return found && { kind: found[1], target: PREFIX + found[2] };
}
