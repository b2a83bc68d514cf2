/** One stream of a session: what its two directions hold, and what they owe the other side. */

import { Assembler } from "./assembler.js";
import { StreamError } from "./errors.js";
import { Outgoing } from "./outgoing.js";

const NONE = new Uint8Array(0);

/** Both directions of one stream; made by Engine.open() and by the other side. */
export class Stream {
  #engine;
  #output = new Outgoing();

  constructor(engine, id, sendLimit, receiveLimit) {
    this.#engine = engine;
    this.id = id;
    this.urgency = 3;
    this.incremental = true;
    this.scheduled = false;
    this.control = false;
    this.closed = false;
    /** Why reading or writing ended with the session, if it did. */
    this.lost = null;
    // Sending.
    this.sent = 0;
    this.sendLimit = sendLimit;
    this.finWanted = false;
    this.finSent = false;
    this.owesFin = false;
    this.resetCode = null;
    this.owesReset = false;
    this.stoppedCode = null;
    // Receiving.
    this.input = new Assembler();
    this.highest = 0;
    this.receiveLimit = receiveLimit;
    this.finalSize = null;
    this.resetReceived = null;
    this.stopCode = null;
    this.owesStop = false;
    this.owesCredit = false;
  }

  /** Bytes that were written and have not been sent. */
  get unsent() {
    return this.#output.length;
  }

  get canWrite() {
    return !this.finWanted && this.resetCode === null && this.lost === null;
  }

  /** Whether the whole of the other side's direction, FIN included, was read. */
  get atEnd() {
    return this.#allRead && this.resetReceived === null && this.stopCode === null;
  }

  get #allRead() {
    return this.finalSize !== null && this.input.consumed === this.finalSize;
  }

  /** Queue `data` (a Uint8Array, kept by reference). Throws StreamError or SessionError. */
  write(data) {
    if (!this.canWrite) this.#refuseWrite();
    if (data.length === 0) return;
    this.#output.push(data);
    this.#engine._schedule(this);
  }

  #refuseWrite() {
    if (this.stoppedCode !== null) {
      throw new StreamError(this.stoppedCode, "the other side stopped reading");
    }
    throw this.lost ?? new Error("write() after end() or reset()");
  }

  /** End this side's direction after what was written. Throws as write() does. */
  end() {
    if (this.finWanted) return;
    if (!this.canWrite) this.#refuseWrite();
    this.finWanted = true;
    if (this.unsent === 0) {
      this.owesFin = true;
      this.#engine._owe(this);
    }
  }

  /** Give up sending. Without effect once everything was sent. */
  reset(code) {
    if (this.finSent || this.resetCode !== null || this.lost) return;
    this.resetCode = code;
    this.owesFin = false;
    this.dropUnsent();
    this.owesReset = true;
    this.#engine._owe(this);
  }

  /** Give up reading. Without effect once everything was read. */
  stop(code) {
    if (this.stopCode !== null || this.resetReceived !== null || this.lost || this.#allRead) return;
    this.stopCode = code;
    const complete = this.finalSize !== null && this.input.received === this.finalSize;
    this.dropUnread();
    if (!complete) {
      this.owesStop = true;
      this.#engine._owe(this);
    }
    this.settle();
  }

  /** Give up both directions. */
  cancel(code) {
    this.reset(code);
    this.stop(code);
  }

  setPriority(urgency, incremental) {
    this.#engine._unschedule(this);
    this.urgency = urgency;
    this.incremental = incremental;
    this.#engine._schedule(this);
  }

  /**
   * The next bytes in order: empty at the end, null if none are there yet. Throws StreamError when the
   * other side gave up, SessionError when the session ended.
   */
  read() {
    if (this.resetReceived !== null) {
      throw new StreamError(this.resetReceived, "the other side gave up sending");
    }
    const data = this.input.take();
    if (data === null) {
      if (this.#allRead || this.stopCode !== null) return NONE;
      if (this.lost) throw this.lost;
      return null;
    }
    if (!this.lost) {
      this.#engine._consumed(data.length);
      this.#grant();
      this.settle();
    }
    return data;
  }

  #grant() {
    const window = this.#engine.settings.maxStreamData;
    if (this.finalSize === null && this.input.consumed + window - this.receiveLimit >= window / 2) {
      this.owesCredit = true;
      this.#engine._owe(this);
    }
  }

  // -- for the engine --------------------------------------------------------------------------

  dropUnsent() {
    this.#engine._unschedule(this);
    this.#output.clear();
  }

  /** Throw away what was received, and count it, and what is known to come, as read. */
  dropUnread() {
    this.#engine._consumed(this.highest - this.input.consumed);
    this.#engine._fragments -= this.input.drop(this.highest);
    this.owesCredit = false;
  }

  /** Copy the next `length` unsent bytes to `target[at:]`; they count as sent. */
  copyOut(target, at, length) {
    this.sent += length;
    this.#output.copy(target, at, length);
  }

  /** Retire the stream once both directions are over and nothing is owed. */
  settle() {
    const sent = this.finSent || this.resetCode !== null;
    if (!this.closed && !this.control && sent && this.#allRead) {
      this.closed = true;
      this.#engine._retire(this);
    }
  }
}
