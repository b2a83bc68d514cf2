/** Whether the other side is still there: PINGs, round trips, silence (docs/protocol.md, section 5). */

import { SessionCode, SessionError } from "./errors.js";

/**
 * The other side's signs of life, and our PINGs. Times are in seconds, of one clock. `busy` is whether a
 * stream is open, `leaving` whether the session is ending in order.
 */
export class Liveness {
  #settings;
  #resumes;
  #lastHeard;
  #askedAt = null;
  #answeredAt = -Infinity;
  #number = 0n;
  /** Whether the latest silence was told as "quiet". */
  #toldQuiet = false;
  /** Whether the other side gives no sign of life, though it was asked for one. */
  silent = false;
  /** Seconds that the latest PING took; null before the first PONG. */
  roundTrip = null;
  /** Seconds for which both sides keep a silent session. */
  patience = 0;
  /** The payload of a PING that has yet to be sent; null if there is none. */
  owed = null;

  /** @param resumes whether the channel can move to another path */
  constructor(settings, resumes, now) {
    this.#settings = settings;
    this.#resumes = resumes;
    this.#lastHeard = now;
  }

  /** The other side gave a sign of life. Returns whether it was silent until now. */
  heard(now) {
    const wasSilent = this.silent;
    this.#lastHeard = now;
    this.silent = false;
    return wasSilent;
  }

  /** Ask for a sign of life, unless that was done since there was one. */
  ask(now) {
    if (!this.#isUnanswered) this.#ping(now);
  }

  /** Measure the round trip, unless that was done of late or is being done. */
  measure(now) {
    if (this.#askedAt === null && now >= this.#answeredAt + this.#settings.keepAlive) this.#ping(now);
  }

  #ping(now) {
    this.#number++;
    this.#askedAt = now;
    this.#toldQuiet = false;
    this.owed = new Uint8Array(8);
    new DataView(this.owed.buffer).setBigUint64(0, this.#number);
  }

  /** Take the 8 bytes of a PONG. */
  answered(data, now) {
    const number = new DataView(data.buffer, data.byteOffset, 8).getBigUint64(0);
    if (this.#askedAt === null || number !== this.#number) return;
    this.roundTrip = now - this.#askedAt;
    this.#askedAt = null;
    this.#answeredAt = now;
  }

  /** When handleTimeout() is due. */
  deadline(busy, leaving) {
    if (!this.#isUnanswered) return this.#lastHeard + this.#keepAlive(busy);
    const { quietAfter, deadAfter } = this.#settings;
    if (this.silent) return this.#unansweredUntil(this.#lostAfter(busy, leaving));
    return this.#unansweredUntil(this.#toldQuiet ? deadAfter : quietAfter);
  }

  /**
   * Do what is due. Returns the names of events: "quiet" when a PING was not answered, so that there may be
   * no path any more, "silence" when `silent` has changed. Throws SessionError when the other side was
   * silent for too long.
   */
  handleTimeout(now, busy, leaving) {
    const events = [];
    if (!this.#isUnanswered) {
      if (now >= this.#lastHeard + this.#keepAlive(busy)) this.#ping(now);
      return events;
    }
    if (now >= this.#unansweredUntil(this.#lostAfter(busy, leaving))) {
      throw new SessionError(SessionCode.NO_ERROR, "the other side gives no sign of life");
    }
    if (!this.#toldQuiet && now >= this.#unansweredUntil(this.#settings.quietAfter)) {
      this.#toldQuiet = true;
      events.push("quiet");
    }
    if (!this.silent && now >= this.#unansweredUntil(this.#settings.deadAfter)) {
      this.silent = true;
      events.push("silence");
    }
    return events;
  }

  /** Whether nothing was heard since the latest PING. */
  get #isUnanswered() {
    return this.#askedAt !== null && this.#lastHeard <= this.#askedAt;
  }

  /** Silence after which a PING is sent. */
  #keepAlive(busy) {
    const { keepAlive, idleKeepAlive } = this.#settings;
    return this.#resumes && !busy ? idleKeepAlive : keepAlive;
  }

  /** Silence after which the session is given up. */
  #lostAfter(busy, leaving) {
    const { deadAfter } = this.#settings;
    // A session that ends, and has no stream, has nothing left to lose.
    return leaving && !busy ? deadAfter : Math.max(deadAfter, this.patience);
  }

  /** When there will have been so much silence since the other side was heard, and was asked. */
  #unansweredUntil(silence) {
    // Counted from the PING too, so that a page that itself stood still asks before it gives up.
    return Math.max(this.#lastHeard, this.#askedAt - this.#settings.keepAlive) + silence;
  }
}
