/**
 * The stream engine of peerfetch.2 (docs/protocol.md, sections 2 to 6): many byte streams over one
 * message channel. Sans-I/O: messages and the time (seconds) go in, messages, events and a deadline come
 * out.
 */

import { SessionCode, SessionError, StreamCode, StreamError } from "./errors.js";
import { Assembler } from "./assembler.js";
import { Queue } from "./queue.js";
import { Scheduler } from "./scheduler.js";
import { DEFAULTS, SETTINGS } from "./settings.js";
import { Frame, VARINT_MAX, decodeFrames, encodeFrame, putVarint, varintSize } from "./wire.js";

/** Small frames of several streams share a message up to this size, which one packet carries. */
const PACKET = 1100;
/** Type, length, stream id and offset of a STREAM frame at their longest. */
const STREAM_OVERHEAD = 1 + 4 + 8 + 8;
/** Bytes by which a message may exceed the chunk size: control frames, and a STREAM frame's head. */
const MESSAGE_OVERHEAD = 2 * PACKET + STREAM_OVERHEAD;
const STREAMS_MAX = 1n << 60n;
/** Characters of a reason that leave room for any encoding of them. */
const MAX_REASON = 256;
const NONE = new Uint8Array(0);

/** Every limit that matters is far below 2^53; what is above counts as that. */
const clamp = (value) => (typeof value === "bigint" ? Number.MAX_SAFE_INTEGER : value);

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** Both directions of one stream; made by Engine.open() and by the other side. */
export class Stream {
  #engine;
  #pieces = new Queue();
  #pieceOffset = 0;

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
    this.unsent = 0;
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
    this.#pieces.push(data);
    this.unsent += data.length;
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
    this.#pieces = new Queue();
    this.#pieceOffset = this.unsent = 0;
  }

  /** Throw away what was received, and count it, and what is known to come, as read. */
  dropUnread() {
    this.#engine._consumed(this.highest - this.input.consumed);
    this.#engine._fragments -= this.input.drop(this.highest);
    this.owesCredit = false;
  }

  /** Copy the next `length` unsent bytes to `target[at:]`. */
  copyOut(target, at, length) {
    this.sent += length;
    this.unsent -= length;
    while (length > 0) {
      const piece = this.#pieces.first;
      const part = Math.min(length, piece.length - this.#pieceOffset);
      target.set(piece.subarray(this.#pieceOffset, this.#pieceOffset + part), at);
      at += part;
      length -= part;
      this.#pieceOffset += part;
      if (this.#pieceOffset === piece.length) {
        this.#pieces.shift();
        this.#pieceOffset = 0;
      }
    }
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

/**
 * One side of a session. Events of the session and its streams gather until `takeEvents()`: pairs of
 * a name and a stream (null for the session).
 *
 * - `opened`: the other side opened the stream
 * - `readable`: read() has something new to say
 * - `writable`: less than half of `sendBuffer` is unsent
 * - `aborted`: the other side reset the stream or stopped reading
 * - `streams`: open() may succeed again
 * - `goaway`: the other side began an orderly end
 * - `quiet`: a PING was not answered, so that there may be no path any more
 * - `silence`: `silent` has changed
 */
export class Engine {
  #scheduler = new Scheduler();
  #events = [];
  #control = new Queue();
  #pongs = [];
  #scratch;
  #used = 0;
  #chunk;

  /**
   * @param access with an access token: `{proof, expected}`, what each side has to send
   *   (docs/protocol.md, section 8)
   * @param resumes whether the channel looks after its path and can move to another one: a silent session
   *   is then kept for a while, if the other side does so too, and one without streams asks seldom
   */
  constructor({ opener, now, settings = SETTINGS, maxMessageSize = 65536, access = null, resumes = false }) {
    if (maxMessageSize < 2 * MESSAGE_OVERHEAD) {
      throw new RangeError(`the other side takes no messages above ${maxMessageSize} bytes`);
    }
    this.settings = settings;
    this.opener = opener;
    /** Why the session is over; null while it is not. */
    this.error = null;
    /** Whether the other side gives no sign of life, though it was asked for one. */
    this.silent = false;
    this.streams = new Map();
    this.sent = 0;
    this.received = 0;
    /** Seconds that the latest PING took; null before. */
    this.roundTrip = null;
    this.#chunk = Math.min(settings.chunkSize, maxMessageSize - MESSAGE_OVERHEAD);
    this.#scratch = new Uint8Array(this.#chunk + MESSAGE_OVERHEAD);
    this._fragments = 0;
    // Credit: of the session, both ways; and what a new stream begins with.
    this._sendLimit = DEFAULTS.maxData;
    this._peerStreamLimit = DEFAULTS.maxStreamData;
    this._receiveLimit = settings.maxData;
    this._consumedTotal = 0;
    this._owesData = false;
    // Streams: how many were opened, and may be.
    this._opened = 0;
    this._openLimit = DEFAULTS.maxStreams;
    this._accepted = 0;
    this._acceptLimit = settings.maxStreams;
    this._acceptedClosed = 0;
    this._owesStreams = false;
    // Life and end.
    this._settingsSent = false;
    this._settingsReceived = false;
    this._settingsDeadline = now + settings.settingsTimeout;
    this._access = access;
    this._accessReceived = false;
    // The responder proves itself to nobody who has not done so before.
    this._owesAccess = opener && access !== null;
    /** Whether the other side has proved that it knows the access token, if there is one. */
    this.admitted = access === null;
    /** Whether a responder was shown a wrong proof; ending the session is left to its user. */
    this.proofWrong = false;
    this._resumes = resumes;
    /** Seconds for which both sides keep a silent session. */
    this._patience = 0;
    this._lastHeard = now;
    this._pingSent = null;
    this._pingNumber = 0n;
    this._measured = -Infinity;
    this._owesPing = false;
    this._quietTold = false;
    this._goawaySent = false;
    this._goawayReceived = false;
    this._goaway = null;
    this._goawayLimit = Infinity;
    this._peerLimit = Infinity;
  }

  // -- for the user ----------------------------------------------------------------------------

  /** A new stream, or null while the other side allows no more. Throws SessionError at the end. */
  open() {
    if (this.error) throw this.error;
    if (this._goawaySent || this._goawayReceived) {
      throw new SessionError(SessionCode.NO_ERROR, "the session is ending");
    }
    if (this._opened >= this._openLimit || !this.admitted) return null;
    return this.#make(2 * this._opened++ + (this.opener ? 0 : 1));
  }

  takeEvents() {
    const events = this.#events;
    if (events.length) this.#events = [];
    return events;
  }

  /** Whether nextMessage() has something that cannot wait for data. */
  get owes() {
    return (
      !this._settingsSent ||
      this._owesAccess ||
      this._goaway !== null ||
      this._owesPing ||
      this._owesData ||
      this._owesStreams ||
      this.#pongs.length > 0 ||
      this.#control.length > 0
    );
  }

  /** Whether the session has come to its orderly end on both sides. */
  get finished() {
    return this._goawaySent && this._goawayReceived && !this.owes && this.streams.size === 0;
  }

  /** Begin an orderly end. */
  goaway() {
    if (this._goawaySent || this.error) return;
    this._goawaySent = true;
    this.#sayGoaway(SessionCode.NO_ERROR, "");
  }

  #sayGoaway(code, reason) {
    // What was accepted may have been acted upon: only what comes later can be said not to be.
    const limit = 2 * this._accepted + (this.opener ? 1 : 0);
    this._goawayLimit = Math.min(this._goawayLimit, limit);
    this._goaway = [this._goawayLimit, code, reason];
  }

  /** End the session at once and tell the other side `code` and `reason`. */
  abort(code, reason) {
    if (this.error) return;
    this.error = new SessionError(code, reason);
    this.#sayGoaway(code, reason);
  }

  /**
   * Let go of all streams after the end. What arrived in order can still be read; then, and on every
   * write, `error` is thrown.
   */
  detach(error) {
    this.error ??= error;
    const streams = [...this.streams.values()];
    for (const stream of streams) {
      stream.dropUnsent();
      stream.lost = error;
    }
    this.streams.clear();
    this.#control = new Queue();
    this.#events = [];
    return streams;
  }

  /** The other side gave a sign of life below the frames. */
  heard(now) {
    this._lastHeard = now;
    if (this.silent) this.#setSilent(false);
  }

  #setSilent(silent) {
    this.silent = silent;
    this.#events.push(["silence", null]);
  }

  /** When handleTimeout() is due. */
  deadline() {
    let due = this._lastHeard + this.#keepAlive;
    if (this.#waitsForPong) due = this.#unansweredUntil(this.#nextSilence);
    return this.#begun ? due : Math.min(due, this._settingsDeadline);
  }

  /** Silence after which a PING is sent. */
  get #keepAlive() {
    const { keepAlive, idleKeepAlive } = this.settings;
    return this._resumes && this.streams.size === 0 ? idleKeepAlive : keepAlive;
  }

  /** Silence after a PING that comes to something next. */
  get #nextSilence() {
    const { quietAfter, deadAfter } = this.settings;
    if (this.silent) return this.#lostAfter;
    return this._quietTold ? deadAfter : quietAfter;
  }

  /** Silence after which the session is given up. */
  get #lostAfter() {
    const { deadAfter } = this.settings;
    const isEnding = this._goawaySent || this._goawayReceived;
    // Of one that ends nothing is left that would be lost.
    return isEnding && this.streams.size === 0 ? deadAfter : Math.max(deadAfter, this._patience);
  }

  get #begun() {
    return this._settingsReceived && this.admitted;
  }

  get #waitsForPong() {
    return this._pingSent !== null && this._lastHeard <= this._pingSent;
  }

  /** When there will have been so much silence since the other side was heard, and was asked. */
  #unansweredUntil(silence) {
    // Counted from the PING too, so that a page that itself stood still asks before it gives up.
    return Math.max(this._lastHeard, this._pingSent - this.settings.keepAlive) + silence;
  }

  /** Have the round trip measured where no PING was answered of late: in silence they go by themselves. */
  measure(now) {
    if (this.error || !this.#begun || this._pingSent !== null) return;
    if (now >= this._measured + this.settings.keepAlive) this.#ping(now);
  }

  /** Ask for a sign of life, unless that was done since there was one. */
  ask(now) {
    if (!this.error && !this.#waitsForPong) this.#ping(now);
  }

  #ping(now) {
    this._pingNumber++;
    this._pingSent = now;
    this._owesPing = true;
    this._quietTold = false;
  }

  /** Do what is due at `now`. Throws SessionError when the other side is dead. */
  handleTimeout(now) {
    if (this.error) return;
    const { quietAfter, deadAfter } = this.settings;
    if (!this.#begun && now >= this._settingsDeadline) {
      if (this._settingsReceived) this.#deny("it did not prove that it knows the access token");
      this.#fail(SessionCode.SETTINGS_ERROR, "no SETTINGS in time");
    }
    if (!this.#waitsForPong) {
      if (now >= this._lastHeard + this.#keepAlive) this.#ping(now);
      return;
    }
    if (now >= this.#unansweredUntil(this.#lostAfter)) {
      this.error = new SessionError(SessionCode.NO_ERROR, "the other side gives no sign of life");
      throw this.error;
    }
    if (!this._quietTold && now >= this.#unansweredUntil(quietAfter)) {
      this._quietTold = true;
      this.#events.push(["quiet", null]);
    }
    if (!this.silent && now >= this.#unansweredUntil(deadAfter)) this.#setSilent(true);
  }

  // -- receiving -------------------------------------------------------------------------------

  /** Take in one message (Uint8Array). Throws SessionError at the end of the session. */
  receive(message, now) {
    if (this.error) return;
    this.heard(now);
    try {
      for (const frame of decodeFrames(message)) this.#onFrame(frame, message, now);
    } catch (error) {
      const broken = error instanceof SessionError;
      if (!this.error) this.abort(broken ? error.code : SessionCode.INTERNAL_ERROR, error.message);
      throw this.error;
    }
  }

  /** The other side broke a rule below the frames (a text message, say). */
  violation(reason) {
    this.#fail(SessionCode.PROTOCOL_VIOLATION, reason);
  }

  #fail(code, reason) {
    this.abort(code, `the other side broke the protocol: ${reason}`);
    throw this.error;
  }

  #deny(reason) {
    this.abort(SessionCode.ACCESS_DENIED, `the other side was refused: ${reason}`);
    throw this.error;
  }

  #onFrame({ type, fields, data }, message, now) {
    const [first, second, third] = fields;
    switch (type) {
      case Frame.PING:
        if (this.#pongs.length >= this.settings.pings) {
          this.#fail(SessionCode.EXCESSIVE_LOAD, "PINGs come faster than they can be answered");
        }
        this.#pongs.push(data.slice());
        return;
      case Frame.PONG: {
        const number = new DataView(data.buffer, data.byteOffset, 8).getBigUint64(0);
        if (this._pingSent !== null && number === this._pingNumber) {
          this.roundTrip = now - this._pingSent;
          this._pingSent = null;
          this._measured = now;
        }
        return;
      }
      case Frame.SETTINGS:
        return this.#onSettings(fields);
      case Frame.ACCESS:
        return this.#onAccess(data);
      case Frame.GOAWAY:
        return this.#onGoaway(clamp(first), Number(second), data);
      case Frame.MAX_DATA:
        this._sendLimit = Math.max(this._sendLimit, clamp(first));
        return;
      case Frame.MAX_STREAMS:
        if (first > STREAMS_MAX) {
          this.#fail(SessionCode.FRAME_ENCODING_ERROR, "MAX_STREAMS above 2^60");
        }
        return this.#raiseOpenLimit(clamp(first));
    }
    if (type === Frame.STREAM || type === Frame.STREAM_FIN) {
      if (BigInt(second) + BigInt(data.length) > VARINT_MAX) {
        this.#fail(SessionCode.FRAME_ENCODING_ERROR, "a stream longer than 2^62 bytes");
      }
      const stream = this.#find(clamp(first));
      if (stream) this.#onData(stream, clamp(second), data, type === Frame.STREAM_FIN, message);
    } else if (type === Frame.MAX_STREAM_DATA) {
      const stream = this.#find(clamp(first));
      if (stream) this.#raiseStreamLimit(stream, clamp(second));
    } else if (type === Frame.STOP_SENDING) {
      const stream = this.#find(clamp(first));
      if (stream && !stream.finSent && stream.resetCode === null) {
        stream.stoppedCode = Number(second);
        stream.reset(stream.stoppedCode);
        this.#events.push(["aborted", stream]);
      }
    } else if (type === Frame.RESET_STREAM) {
      const stream = this.#find(clamp(first));
      if (stream) this.#onReset(stream, Number(second), clamp(third));
    } // Frames of unknown types are skipped.
  }

  #make(id) {
    const stream = new Stream(this, id, this._peerStreamLimit, this.settings.maxStreamData);
    this.streams.set(id, stream);
    return stream;
  }

  /** The open stream of that id, made if it is the other side's to open; undefined if it is closed. */
  #find(id) {
    const number = Math.floor(id / 2);
    if (id % 2 === (this.opener ? 0 : 1)) {
      if (number >= this._opened) {
        this.#fail(SessionCode.STREAM_STATE_ERROR, `stream ${id} was never opened`);
      }
    } else if (number >= this._accepted) {
      if (number >= this._acceptLimit) {
        this.#fail(SessionCode.STREAM_LIMIT_ERROR, `stream ${id} is one more than allowed`);
      }
      while (this._accepted <= number) {
        const stream = this.#make(2 * this._accepted++ + (this.opener ? 1 : 0));
        if (stream.id >= this._goawayLimit) {
          // Under way when this side said that it would take no more: our GOAWAY tells the other
          // side all that RESET_STREAM and STOP_SENDING would.
          stream.stopCode = stream.resetCode = StreamCode.REQUEST_REJECTED;
        } else {
          this.#events.push(["opened", stream]);
        }
      }
    }
    return this.streams.get(id);
  }

  #onData(stream, offset, data, fin, message) {
    const end = offset + data.length;
    if (stream.finalSize !== null) {
      if (end > stream.finalSize || (fin && end !== stream.finalSize)) {
        this.#fail(SessionCode.FINAL_SIZE_ERROR, "data past the end of a stream, or another end");
      }
    } else if (fin && end < stream.highest) {
      this.#fail(SessionCode.FINAL_SIZE_ERROR, "an end before data that has come");
    }
    this.#count(stream, end);
    if (stream.resetReceived !== null) return;
    if (fin) {
      stream.finalSize = end;
      stream.owesCredit = false;
    }
    if (stream.stopCode !== null) {
      stream.dropUnread();
      return stream.settle();
    }
    if (data.length) {
      // A view keeps its whole message in memory: worth it only for most of one.
      const kept = data.length * 2 < message.buffer.byteLength ? data.slice() : data;
      const added = stream.input.put(offset, kept);
      if (added === null) this.#fail(SessionCode.PROTOCOL_VIOLATION, "bytes sent twice");
      this._fragments += added;
      if (this._fragments > this.settings.fragments) {
        this.#fail(SessionCode.EXCESSIVE_LOAD, "too many pieces wait for earlier ones");
      }
    }
    this.#events.push(["readable", stream]);
    stream.settle();
  }

  /** RFC 9000 §4.1: both limits count the highest offset, not what has arrived. */
  #count(stream, end) {
    if (end <= stream.highest) return;
    this.received += end - stream.highest;
    if (end > stream.receiveLimit || this.received > this._receiveLimit) {
      this.#fail(SessionCode.FLOW_CONTROL_ERROR, "more data than was granted");
    }
    stream.highest = end;
  }

  #onReset(stream, code, finalSize) {
    if (
      finalSize < stream.highest ||
      (stream.finalSize !== null && stream.finalSize !== finalSize)
    ) {
      this.#fail(SessionCode.FINAL_SIZE_ERROR, "RESET_STREAM moves the end of its stream");
    }
    this.#count(stream, finalSize);
    // RFC 9000 §3.2: a reset changes nothing once everything has arrived.
    if (stream.resetReceived !== null || stream.input.received === stream.finalSize) return;
    stream.finalSize = finalSize;
    stream.owesStop = false;
    stream.dropUnread();
    if (stream.stopCode === null) {
      stream.resetReceived = code;
      this.#events.push(["readable", stream], ["aborted", stream]);
    }
    stream.settle();
  }

  #raiseOpenLimit(limit) {
    if (limit > this._openLimit) {
      this._openLimit = limit;
      this.#events.push(["streams", null]);
    }
  }

  #raiseStreamLimit(stream, limit) {
    if (limit > stream.sendLimit) {
      stream.sendLimit = limit;
      this._schedule(stream);
    }
  }

  #onSettings(fields) {
    if (this._settingsReceived) this.#fail(SessionCode.SETTINGS_ERROR, "SETTINGS twice");
    this._settingsReceived = true;
    const seen = new Set();
    for (let i = 0; i < fields.length; i += 2) {
      const [name, value] = [fields[i], clamp(fields[i + 1])];
      if (seen.has(name)) this.#fail(SessionCode.SETTINGS_ERROR, `setting ${name} twice`);
      seen.add(name);
      const least = [0, DEFAULTS.maxData, DEFAULTS.maxStreamData, DEFAULTS.maxStreams][name] ?? 0;
      if (value < least || (name === 3 && fields[i + 1] > STREAMS_MAX)) {
        this.#fail(SessionCode.SETTINGS_ERROR, `setting ${name} out of its range`);
      }
      if (name === 1) this._sendLimit = Math.max(this._sendLimit, value);
      if (name === 2) {
        this._peerStreamLimit = value;
        for (const stream of this.streams.values()) this.#raiseStreamLimit(stream, value);
      }
      if (name === 3) this.#raiseOpenLimit(value);
      if (name === 4 && this._resumes) this._patience = Math.min(this.settings.resumeTimeout, value / 1000);
    }
  }

  #onAccess(proof) {
    if (this._accessReceived) this.#fail(SessionCode.PROTOCOL_VIOLATION, "ACCESS twice");
    this._accessReceived = true;
    if (!this._access) return;
    let difference = 0; // in constant time
    this._access.expected.forEach((byte, i) => (difference |= byte ^ proof[i]));
    if (difference && this.opener) this.#deny("its access token is another one");
    this.proofWrong = difference !== 0;
    this.admitted = !this.proofWrong;
    this._owesAccess = this.admitted && !this.opener;
    this.#events.push(["streams", null]);
  }

  #onGoaway(limit, code, reason) {
    if (code !== SessionCode.NO_ERROR) {
      const text = decoder.decode(reason);
      this.error = new SessionError(code, `the other side ended the session: ${text}`);
      throw this.error;
    }
    if (limit > this._peerLimit) {
      this.#fail(SessionCode.PROTOCOL_VIOLATION, "GOAWAY raises its limit");
    }
    const before = Math.min(this._peerLimit, 2 * this._opened);
    const isNew = !this._goawayReceived || limit < before;
    this._peerLimit = limit;
    this._goawayReceived = true;
    if (!isNew) return;
    this.#events.push(["goaway", null]);
    // Each stream of ours is looked at once, however often the other side says that it ends.
    const first = Math.max(0, limit + ((limit + (this.opener ? 0 : 1)) % 2));
    for (let id = first; id <= before; id += 2) {
      const stream = this.streams.get(id);
      if (stream) this.#rejected(stream);
    }
  }

  /** As if the other side had reset it at once; it is still told how much was under way. */
  #rejected(stream) {
    stream.reset(StreamCode.REQUEST_REJECTED);
    stream.stoppedCode = StreamCode.REQUEST_REJECTED;
    stream.owesStop = false;
    stream.dropUnread();
    stream.finalSize = stream.highest;
    if (stream.stopCode === null) stream.resetReceived = StreamCode.REQUEST_REJECTED;
    this.#events.push(["readable", stream], ["aborted", stream]);
    stream.settle();
  }

  // -- for the streams -------------------------------------------------------------------------

  _schedule(stream) {
    if (stream.unsent > 0 && stream.sendLimit > stream.sent && stream.resetCode === null) {
      this.#scheduler.add(stream);
    }
  }

  _unschedule(stream) {
    this.#scheduler.discard(stream);
  }

  _owe(stream) {
    if (!stream.control) {
      stream.control = true;
      this.#control.push(stream);
    }
  }

  _consumed(length) {
    this._consumedTotal += length;
    const window = this.settings.maxData;
    if (this._consumedTotal + window - this._receiveLimit >= window / 2) this._owesData = true;
  }

  _retire(stream) {
    this.#scheduler.discard(stream);
    this.streams.delete(stream.id);
    if (stream.id % 2 !== (this.opener ? 0 : 1)) {
      this._acceptedClosed++;
      const most = this.settings.maxStreams;
      if (this._acceptedClosed + most - this._acceptLimit >= most / 2) this._owesStreams = true;
    }
  }

  // -- sending ---------------------------------------------------------------------------------

  /**
   * The next message for the channel, null when nothing may be sent now. A view that is good until
   * the next call.
   */
  nextMessage() {
    this.#used = 0;
    this.#writeControl();
    while (!this.error && this.#used < PACKET && this._sendLimit > this.sent) {
      const stream = this.#scheduler.head();
      if (!stream) break;
      const length = Math.min(
        this.#chunk,
        this._sendLimit - this.sent,
        stream.sendLimit - stream.sent,
        stream.unsent,
      );
      this.#writeData(stream, length);
    }
    return this.#used ? this.#scratch.subarray(0, this.#used) : null;
  }

  #writeData(stream, length) {
    const fin = stream.finWanted && length === stream.unsent;
    const before = stream.unsent;
    this.#writeStreamHead(stream, length, fin);
    stream.copyOut(this.#scratch, this.#used, length);
    this.#used += length;
    this.sent += length;
    this.#scheduler.advance(stream, stream.unsent > 0 && stream.sendLimit > stream.sent);
    const low = this.settings.sendBuffer / 2;
    if (stream.unsent <= low && before > low) this.#events.push(["writable", stream]);
    if (fin) {
      stream.finSent = true;
      stream.settle();
    }
  }

  #writeStreamHead(stream, length, fin) {
    const body = varintSize(stream.id) + varintSize(stream.sent) + length;
    let at = putVarint(this.#scratch, this.#used, fin ? Frame.STREAM_FIN : Frame.STREAM);
    at = putVarint(this.#scratch, at, body);
    at = putVarint(this.#scratch, at, stream.id);
    this.#used = putVarint(this.#scratch, at, stream.sent);
  }

  #put(type, fields, rest = null) {
    const frame = encodeFrame(type, fields, rest);
    this.#scratch.set(frame, this.#used);
    this.#used += frame.length;
  }

  #writeControl() {
    const { maxData, maxStreams } = this.settings;
    if (!this._settingsSent) {
      this._settingsSent = true;
      this.#put(Frame.SETTINGS, this.#announced());
    }
    if (this._owesAccess) {
      this._owesAccess = false;
      this.#put(Frame.ACCESS, [], this._access.proof);
    }
    if (this._goaway) {
      const [limit, code, reason] = this._goaway;
      this._goaway = null;
      this.#put(Frame.GOAWAY, [limit, code], encoder.encode(reason.slice(0, MAX_REASON)));
    }
    if (this.error) return;
    if (this._owesPing) {
      this._owesPing = false;
      const number = new Uint8Array(8);
      new DataView(number.buffer).setBigUint64(0, this._pingNumber);
      this.#put(Frame.PING, [], number);
    }
    while (this.#pongs.length && this.#used < PACKET) {
      this.#put(Frame.PONG, [], this.#pongs.shift());
    }
    if (this._owesData) {
      this._owesData = false;
      this._receiveLimit = this._consumedTotal + maxData;
      this.#put(Frame.MAX_DATA, [this._receiveLimit]);
    }
    if (this._owesStreams) {
      this._owesStreams = false;
      this._acceptLimit = this._acceptedClosed + maxStreams;
      this.#put(Frame.MAX_STREAMS, [this._acceptLimit]);
    }
    while (this.#control.length && this.#used < PACKET) {
      const stream = this.#control.shift();
      stream.control = false;
      this.#writeStreamControl(stream);
      stream.settle();
    }
  }

  /** The fields of our SETTINGS. */
  #announced() {
    const { maxData, maxStreamData, maxStreams, resumeTimeout } = this.settings;
    const resume = this._resumes && resumeTimeout > 0 ? [4, Math.round(1000 * resumeTimeout)] : [];
    return [1, maxData, 2, maxStreamData, 3, maxStreams, ...resume];
  }

  #writeStreamControl(stream) {
    if (stream.owesReset) {
      stream.owesReset = false;
      this.#put(Frame.RESET_STREAM, [stream.id, stream.resetCode, stream.sent]);
    }
    if (stream.owesFin && stream.unsent === 0) {
      stream.owesFin = false;
      this.#writeStreamHead(stream, 0, true);
      stream.finSent = true;
    }
    if (stream.owesStop) {
      stream.owesStop = false;
      this.#put(Frame.STOP_SENDING, [stream.id, stream.stopCode]);
    }
    if (stream.owesCredit) {
      stream.owesCredit = false;
      stream.receiveLimit = stream.input.consumed + this.settings.maxStreamData;
      this.#put(Frame.MAX_STREAM_DATA, [stream.id, stream.receiveLimit]);
    }
  }
}
