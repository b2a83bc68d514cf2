/**
 * The stream engine of peerfetch.2 (docs/protocol.md, sections 2 to 6): many byte streams over one
 * message channel. Sans-I/O: messages and the time (seconds) go in, messages, events and a deadline come
 * out.
 *
 * This file is longer than others, because it is one class: every frame changes the state of the session,
 * and some that of a stream as well. The rest has modules of its own: stream.js, outgoing.js,
 * assembler.js, scheduler.js, liveness.js and wire.js.
 */

import { SessionCode, SessionError, StreamCode } from "./errors.js";
import { Liveness } from "./liveness.js";
import { Queue } from "./queue.js";
import { Scheduler } from "./scheduler.js";
import { DEFAULTS, SETTINGS } from "./settings.js";
import { Stream } from "./stream.js";
import { Frame, VARINT_MAX, decodeFrames, encodeFrame, putVarint, varintSize } from "./wire.js";

/** Small frames of several streams share a message up to this size, which one packet carries. */
const PACKET = 1100;
/** Type, length, stream id and offset of a STREAM frame at their longest. */
const STREAM_OVERHEAD = 1 + 4 + 8 + 8;
/** Bytes by which a message may exceed the chunk size: control frames, and a STREAM frame's head. */
const MESSAGE_OVERHEAD = 2 * PACKET + STREAM_OVERHEAD;
const STREAMS_MAX = 1n << 60n;
const STREAM_FRAMES = new Set([
  Frame.STREAM,
  Frame.STREAM_FIN,
  Frame.MAX_STREAM_DATA,
  Frame.RESET_STREAM,
  Frame.STOP_SENDING,
]);
/** Characters of a reason that leave room for any encoding of them. */
const MAX_REASON = 256;

/** Every limit that matters is far below 2^53; what is above counts as that. */
const clamp = (value) => (typeof value === "bigint" ? Number.MAX_SAFE_INTEGER : value);

const decoder = new TextDecoder();
const encoder = new TextEncoder();

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
  #liveness;
  // Credit of the session, both ways; and what a new stream of ours begins with.
  #sendLimit = DEFAULTS.maxData;
  #peerStreamLimit = DEFAULTS.maxStreamData;
  #receiveLimit;
  #consumed = 0;
  #owesData = false;
  // Streams: how many were opened, and may be.
  #opened = 0;
  #openLimit = DEFAULTS.maxStreams;
  #accepted = 0;
  #acceptLimit;
  #acceptedClosed = 0;
  #owesStreams = false;
  // The beginning: SETTINGS and, with an access token, ACCESS; with a code, PAKE before it.
  #settingsSent = false;
  #settingsReceived = false;
  #settingsDeadline;
  #resumes;
  #access;
  #accessReceived = false;
  #shareReceived = false;
  #owesAccess;
  #owesShare;
  // The end: what was said of it, and below which stream ids streams are still processed.
  #goawaySent = false;
  #goawayReceived = false;
  #goaway = null;
  #goawayLimit = Infinity;
  #peerLimit = Infinity;
  /** Why the session is over; null while it is not. */
  error = null;
  streams = new Map();
  sent = 0;
  received = 0;
  /** Whether a responder was shown a wrong proof; ending the session is left to its user. */
  proofWrong = false;

  /**
   * @param access with an access token: `{proof, expected}`, what each side has to send
   *   (docs/protocol.md, section 8); with a code: a CodeAccess (section 9)
   * @param resumes whether the channel looks after its path and can move to another one: a silent session
   *   is then kept for a while, if the other side does so too, and one without streams asks seldom
   */
  constructor({ opener, now, settings = SETTINGS, maxMessageSize = 65536, access = null, resumes = false }) {
    if (maxMessageSize < 2 * MESSAGE_OVERHEAD) {
      throw new RangeError(`the other side takes no messages above ${maxMessageSize} bytes`);
    }
    this.settings = settings;
    this.opener = opener;
    this.#chunk = Math.min(settings.chunkSize, maxMessageSize - MESSAGE_OVERHEAD);
    this.#scratch = new Uint8Array(this.#chunk + MESSAGE_OVERHEAD);
    this.#liveness = new Liveness(settings, resumes, now);
    this.#receiveLimit = settings.maxData;
    this.#acceptLimit = settings.maxStreams;
    this.#settingsDeadline = now + settings.settingsTimeout;
    this.#resumes = resumes;
    this.#access = access;
    // The responder proves itself to nobody who has not done so before.
    this.#owesAccess = opener && access !== null && !access.share;
    this.#owesShare = opener && Boolean(access?.share);
    /** Whether the other side has proved that it knows the access token, if there is one. */
    this.admitted = access === null;
    /** Pieces of all streams that wait for earlier ones. */
    this._fragments = 0;
  }

  // -- for the user ----------------------------------------------------------------------------

  /** A new stream, or null while the other side allows no more. Throws SessionError at the end. */
  open() {
    if (this.error) throw this.error;
    if (this.#goawaySent || this.#goawayReceived) {
      throw new SessionError(SessionCode.NO_ERROR, "the session is ending");
    }
    if (this.#opened >= this.#openLimit || !this.admitted) return null;
    return this.#make(2 * this.#opened++ + (this.opener ? 0 : 1));
  }

  takeEvents() {
    const events = this.#events;
    if (events.length) this.#events = [];
    return events;
  }

  /** Whether nextMessage() has something that cannot wait for data. */
  get owes() {
    return (
      !this.#settingsSent ||
      this.#owesAccess ||
      this.#owesShare ||
      this.#goaway !== null ||
      this.#liveness.owed !== null ||
      this.#owesData ||
      this.#owesStreams ||
      this.#pongs.length > 0 ||
      this.#control.length > 0
    );
  }

  /** Whether the session has come to its orderly end on both sides. */
  get finished() {
    return this.#goawaySent && this.#goawayReceived && !this.owes && this.streams.size === 0;
  }

  /** Begin an orderly end. */
  goaway() {
    if (this.#goawaySent || this.error) return;
    this.#goawaySent = true;
    this.#sayGoaway(SessionCode.NO_ERROR, "");
  }

  #sayGoaway(code, reason) {
    // An accepted stream may have been acted upon. Only later streams are certainly unprocessed.
    const limit = 2 * this.#accepted + (this.opener ? 1 : 0);
    this.#goawayLimit = Math.min(this.#goawayLimit, limit);
    this.#goaway = [this.#goawayLimit, code, reason];
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

  /** Whether the other side gives no sign of life, though it was asked for one. */
  get silent() {
    return this.#liveness.silent;
  }

  /** Seconds that the latest PING took; null before. */
  get roundTrip() {
    return this.#liveness.roundTrip;
  }

  /** The other side gave a sign of life below the frames. */
  heard(now) {
    if (this.#liveness.heard(now)) this.#events.push(["silence", null]);
  }

  get #busy() {
    return this.streams.size > 0;
  }

  get #leaving() {
    return this.#goawaySent || this.#goawayReceived;
  }

  get #begun() {
    return this.#settingsReceived && this.admitted;
  }

  /** When handleTimeout() is due. */
  deadline() {
    const due = this.#liveness.deadline(this.#busy, this.#leaving);
    return this.#begun ? due : Math.min(due, this.#settingsDeadline);
  }

  /** Have the round trip measured where no PING was answered of late: in silence they go by themselves. */
  measure(now) {
    if (!this.error && this.#begun) this.#liveness.measure(now);
  }

  /** Ask for a sign of life, unless that was done since there was one. */
  ask(now) {
    if (!this.error) this.#liveness.ask(now);
  }

  /** Do what is due at `now`. Throws SessionError when the other side is dead. */
  handleTimeout(now) {
    if (this.error) return;
    if (!this.#begun && now >= this.#settingsDeadline) {
      if (this.#settingsReceived) this.#deny("it did not prove that it knows the access token");
      this.#fail(SessionCode.SETTINGS_ERROR, "no SETTINGS in time");
    }
    try {
      const events = this.#liveness.handleTimeout(now, this.#busy, this.#leaving);
      for (const event of events) this.#events.push([event, null]);
    } catch (error) {
      this.error = error;
      throw error;
    }
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
    const [first, second] = fields;
    switch (type) {
      case Frame.PING:
        return this.#onPing(data);
      case Frame.PONG:
        return this.#liveness.answered(data, now);
      case Frame.SETTINGS:
        return this.#onSettings(fields);
      case Frame.ACCESS:
        return this.#onAccess(data);
      case Frame.PAKE:
        return this.#onShare(data);
      case Frame.GOAWAY:
        return this.#onGoaway(clamp(first), Number(second), data);
      case Frame.MAX_DATA:
        this.#sendLimit = Math.max(this.#sendLimit, clamp(first));
        return;
      case Frame.MAX_STREAMS:
        if (first > STREAMS_MAX) {
          this.#fail(SessionCode.FRAME_ENCODING_ERROR, "MAX_STREAMS above 2^60");
        }
        return this.#raiseOpenLimit(clamp(first));
      default: // Frames of unknown types are skipped.
        if (STREAM_FRAMES.has(type)) this.#onStreamFrame(type, fields, data, message);
    }
  }

  #onPing(data) {
    if (this.#pongs.length >= this.settings.pings) {
      this.#fail(SessionCode.EXCESSIVE_LOAD, "PINGs come faster than they can be answered");
    }
    this.#pongs.push(data.slice());
  }

  #onStreamFrame(type, [first, second, third], data, message) {
    const hasData = type === Frame.STREAM || type === Frame.STREAM_FIN;
    if (hasData && BigInt(second) + BigInt(data.length) > VARINT_MAX) {
      this.#fail(SessionCode.FRAME_ENCODING_ERROR, "a stream longer than 2^62 bytes");
    }
    const stream = this.#find(clamp(first));
    if (!stream) return;
    if (hasData) {
      this.#onData(stream, clamp(second), data, type === Frame.STREAM_FIN, message);
    } else if (type === Frame.MAX_STREAM_DATA) {
      this.#raiseStreamLimit(stream, clamp(second));
    } else if (type === Frame.RESET_STREAM) {
      this.#onReset(stream, Number(second), clamp(third));
    } else if (!stream.finSent && stream.resetCode === null) {
      stream.stoppedCode = Number(second);
      stream.reset(stream.stoppedCode);
      this.#events.push(["aborted", stream]);
    }
  }

  #make(id) {
    const stream = new Stream(this, id, this.#peerStreamLimit, this.settings.maxStreamData);
    this.streams.set(id, stream);
    return stream;
  }

  /** The open stream of that id, made if it is the other side's to open; undefined if it is closed. */
  #find(id) {
    const number = Math.floor(id / 2);
    if (id % 2 === (this.opener ? 0 : 1)) {
      if (number >= this.#opened) {
        this.#fail(SessionCode.STREAM_STATE_ERROR, `stream ${id} was never opened`);
      }
    } else if (number >= this.#accepted) {
      if (number >= this.#acceptLimit) {
        this.#fail(SessionCode.STREAM_LIMIT_ERROR, `stream ${id} is one more than allowed`);
      }
      while (this.#accepted <= number) {
        const stream = this.#make(2 * this.#accepted++ + (this.opener ? 1 : 0));
        if (stream.id >= this.#goawayLimit) {
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
    if (end > stream.receiveLimit || this.received > this.#receiveLimit) {
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
    if (limit > this.#openLimit) {
      this.#openLimit = limit;
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
    if (this.#settingsReceived) this.#fail(SessionCode.SETTINGS_ERROR, "SETTINGS twice");
    this.#settingsReceived = true;
    const seen = new Set();
    for (let i = 0; i < fields.length; i += 2) {
      const [name, value] = [fields[i], clamp(fields[i + 1])];
      if (seen.has(name)) this.#fail(SessionCode.SETTINGS_ERROR, `setting ${name} twice`);
      seen.add(name);
      const least = [0, DEFAULTS.maxData, DEFAULTS.maxStreamData, DEFAULTS.maxStreams][name] ?? 0;
      if (value < least || (name === 3 && fields[i + 1] > STREAMS_MAX)) {
        this.#fail(SessionCode.SETTINGS_ERROR, `setting ${name} out of its range`);
      }
      if (name === 1) this.#sendLimit = Math.max(this.#sendLimit, value);
      if (name === 2) {
        this.#peerStreamLimit = value;
        for (const stream of this.streams.values()) this.#raiseStreamLimit(stream, value);
      }
      if (name === 3) this.#raiseOpenLimit(value);
      if (name === 4 && this.#resumes) this.#liveness.patience = Math.min(this.settings.resumeTimeout, value / 1000);
    }
  }

  #onShare(share) {
    // Each share costs two multiplications on the curve.
    if (this.#shareReceived) this.#fail(SessionCode.PROTOCOL_VIOLATION, "PAKE twice");
    this.#shareReceived = true;
    if (!this.#access?.share || this.#accessReceived) return;
    try {
      this.#access.takeShare(share);
    } catch (error) {
      this.#deny(error.message);
    }
    if (this.opener) this.#owesAccess = true;
    else this.#owesShare = true;
  }

  #onAccess(proof) {
    if (this.#accessReceived) this.#fail(SessionCode.PROTOCOL_VIOLATION, "ACCESS twice");
    this.#accessReceived = true;
    if (!this.#access) return;
    const { expected, share } = this.#access;
    let difference = expected ? 0 : 1; // in constant time
    expected?.forEach((byte, i) => (difference |= byte ^ proof[i]));
    if (difference && this.opener) this.#deny(`its ${share ? "code" : "access token"} is another one`);
    const isRight = difference === 0;
    this.proofWrong = !(this.#access.admits ? this.#access.admits(isRight) : isRight);
    this.admitted = !this.proofWrong;
    this.#owesAccess = this.admitted && !this.opener;
    this.#events.push(["streams", null]);
  }

  #onGoaway(limit, code, reason) {
    if (code !== SessionCode.NO_ERROR) {
      const text = decoder.decode(reason);
      this.error = new SessionError(code, `the other side ended the session: ${text}`);
      throw this.error;
    }
    if (limit > this.#peerLimit) {
      this.#fail(SessionCode.PROTOCOL_VIOLATION, "GOAWAY raises its limit");
    }
    const before = Math.min(this.#peerLimit, 2 * this.#opened);
    const isNew = !this.#goawayReceived || limit < before;
    this.#peerLimit = limit;
    this.#goawayReceived = true;
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
    this.#consumed += length;
    const window = this.settings.maxData;
    if (this.#consumed + window - this.#receiveLimit >= window / 2) this.#owesData = true;
  }

  _retire(stream) {
    this.#scheduler.discard(stream);
    this.streams.delete(stream.id);
    if (stream.id % 2 !== (this.opener ? 0 : 1)) {
      this.#acceptedClosed++;
      const most = this.settings.maxStreams;
      if (this.#acceptedClosed + most - this.#acceptLimit >= most / 2) this.#owesStreams = true;
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
    while (!this.error && this.#used < PACKET && this.#sendLimit > this.sent) {
      const stream = this.#scheduler.head();
      if (!stream) break;
      const length = Math.min(
        this.#chunk,
        this.#sendLimit - this.sent,
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
    if (!this.#settingsSent) {
      this.#settingsSent = true;
      this.#put(Frame.SETTINGS, this.#announced());
    }
    if (this.#owesShare) {
      this.#owesShare = false;
      this.#put(Frame.PAKE, [], this.#access.share);
    }
    if (this.#owesAccess) {
      this.#owesAccess = false;
      this.#put(Frame.ACCESS, [], this.#access.proof);
    }
    if (this.#goaway) {
      const [limit, code, reason] = this.#goaway;
      this.#goaway = null;
      this.#put(Frame.GOAWAY, [limit, code], encoder.encode(reason.slice(0, MAX_REASON)));
    }
    if (this.error) return;
    if (this.#liveness.owed !== null) {
      this.#put(Frame.PING, [], this.#liveness.owed);
      this.#liveness.owed = null;
    }
    while (this.#pongs.length && this.#used < PACKET) {
      this.#put(Frame.PONG, [], this.#pongs.shift());
    }
    if (this.#owesData) {
      this.#owesData = false;
      this.#receiveLimit = this.#consumed + maxData;
      this.#put(Frame.MAX_DATA, [this.#receiveLimit]);
    }
    if (this.#owesStreams) {
      this.#owesStreams = false;
      this.#acceptLimit = this.#acceptedClosed + maxStreams;
      this.#put(Frame.MAX_STREAMS, [this.#acceptLimit]);
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
    const resume = this.#resumes && resumeTimeout > 0 ? [4, Math.round(1000 * resumeTimeout)] : [];
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
