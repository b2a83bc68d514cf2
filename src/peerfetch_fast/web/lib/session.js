/** A session on an open RTCDataChannel: the engine with the browser's clock, timers and promises. */

import { Engine } from "./engine.js";
import { SessionCode, SessionError, StreamCode } from "./errors.js";
import { SETTINGS } from "./settings.js";

/** Milliseconds that an orderly end may take once no stream is open. */
const CLOSE_TIMEOUT = 2000;

const now = () => performance.now() / 1000;

/** One stream of bytes each way. One reader and one writer at a time. */
export class SessionStream {
  #session;
  #core;
  #reader = null;
  #writer = null;
  /** Called once when the other side resets or stops reading, or the session is lost. */
  onaborted = null;

  constructor(session, core) {
    this.#session = session;
    this.#core = core;
  }

  get atEnd() {
    return this.#core.atEnd;
  }

  get canWrite() {
    return this.#core.canWrite;
  }

  /** Whether the other side may ask for anything: see Session.admitted(). */
  get admitted() {
    return this.#session._isAdmitted;
  }

  setPriority({ urgency, incremental }) {
    this.#core.setPriority(urgency, incremental);
  }

  /** The next bytes, empty at the end. Throws StreamError and SessionError. */
  async read() {
    let data;
    while ((data = this.#core.read()) === null) {
      await new Promise((resolve) => (this.#reader = resolve));
    }
    this.#session._flushSoon();
    return data;
  }

  /** Queue bytes, whatever is queued already. Throws StreamError and SessionError. */
  queue(data) {
    this.#core.write(data);
    this.#session._flushSoon();
  }

  /** Queue bytes and wait while too many are unsent. */
  async write(data) {
    this.queue(data);
    while (this.#core.unsent > SETTINGS.sendBuffer) {
      await new Promise((resolve) => (this.#writer = resolve));
      if (!this.#core.canWrite) this.#core.write(data); // throws what has happened
    }
  }

  end() {
    this.#core.end();
    this.#session._flushSoon();
  }

  /** Give up sending, reading or both; never throws. */
  reset(code) {
    this.#core.reset(code);
    this.#wake();
  }

  stop(code) {
    this.#core.stop(code);
    this.#wake();
  }

  cancel(code) {
    this.reset(code);
    this.stop(code);
  }

  #wake() {
    this._tell("readable");
    this._tell("writable");
    this.#session._flushSoon();
  }

  _tell(event) {
    if (event === "readable" || event === "aborted") this.#reader?.();
    if (event === "writable" || event === "aborted") this.#writer?.();
    if (event === "aborted") {
      const told = this.onaborted;
      this.onaborted = null;
      told?.();
    }
  }
}

/** Many streams over one channel. */
export class Session {
  #channel;
  #engine;
  #streams = new WeakMap();
  #openers = [];
  #listeners = [];
  #flushing = false;
  #timer;
  /** When the timer fires. */
  #due;
  #rates = { time: now(), sent: 0, received: 0, up: 0, down: 0 };
  /** Resolves with the reason (a SessionError) when the session is over. */
  closed;
  #resolveClosed;
  /** Resolves with the reason when no stream can be opened any more; those that are open may go on. */
  ending;
  #resolveEnding;
  isEnding = false;
  error = null;
  /** Called when nothing comes though it should; whoever knows better says so by isHeard(). */
  onquiet = null;
  /** Called when `silent` has changed. */
  onsilence = null;
  /** Whether the other side runs an old proxy, which takes absolute URLs: see old_device.js. */
  isOld = false;

  /**
   * @param channel an open RTCDataChannel that is ours from now on
   * @param access as for Engine, and `resumes`
   * @param onstream called with every stream that the other side opens; null refuses them
   */
  constructor(channel, { opener, maxMessageSize, onstream, access = null, resumes = false }) {
    this.#channel = channel;
    this.onstream = onstream;
    this.#engine = new Engine({ opener, now: now(), maxMessageSize, access, resumes });
    this.closed = new Promise((resolve) => (this.#resolveClosed = resolve));
    this.ending = new Promise((resolve) => (this.#resolveEnding = resolve));
    channel.binaryType = "arraybuffer";
    channel.bufferedAmountLowThreshold = SETTINGS.linkBuffer / 2;
    channel.onmessage = ({ data }) => this.#receive(data);
    channel.onbufferedamountlow = () => {
      this.#engine.heard(now());
      this.#flush();
    };
    channel.onclose = () => this.#channelClosed();
    this.#arm();
    this._flushSoon();
  }

  /** Whether nothing is heard of the other side, whose network may have changed: it may come back. */
  get silent() {
    return !this.error && this.#engine.silent;
  }

  /** Bytes per second, seconds of the latest round trip (null before), open streams. */
  get statistics() {
    const { sent, received, roundTrip, streams } = this.#engine;
    const time = now();
    // Only for those who look: while data flows there is no other PING.
    this.#engine.measure(time);
    this._flushSoon();
    const elapsed = time - this.#rates.time;
    if (elapsed >= 0.25) {
      const up = (sent - this.#rates.sent) / elapsed;
      const down = (received - this.#rates.received) / elapsed;
      this.#rates = { time, sent, received, up, down };
    }
    return {
      bytesSent: sent,
      bytesReceived: received,
      sendRate: this.#rates.up,
      receiveRate: this.#rates.down,
      roundTrip,
      openStreams: streams.size,
    };
  }

  /**
   * Resolves once the other side has proved that it knows the access token, if there is one. Throws
   * SessionError; after a wrong proof the responder's session goes on, for its user to end it slowly.
   */
  async admitted() {
    const engine = this.#engine;
    while (!this.error && !engine.admitted && !engine.proofWrong) {
      await new Promise((resolve) => this.#openers.push(resolve));
    }
    if (this.error) throw this.error;
    if (engine.proofWrong) throw new SessionError(SessionCode.ACCESS_DENIED, "a wrong access token");
  }

  get _isAdmitted() {
    return this.#engine.admitted;
  }

  /** A new stream, as soon as the other side allows one more. Throws SessionError. */
  async open() {
    for (;;) {
      if (this.error) throw this.error;
      const core = this.#engine.open();
      if (core) {
        this.#armEarlier();
        return this.#wrap(core);
      }
      await new Promise((resolve) => this.#openers.push(resolve));
    }
  }

  /** Resolves when the other side is heard from now on, or the session has ended. It is asked for a sign of life. */
  heard() {
    this.#engine.ask(now());
    this.#armEarlier();
    this._flushSoon();
    return new Promise((resolve) => (this.error ? resolve() : this.#listeners.push(resolve)));
  }

  /** The other side gave a sign of life below the messages. */
  isHeard() {
    this.#engine.heard(now());
    this._flushSoon();
  }

  /** End in order: open streams go on to their end. */
  close() {
    this.#end(new SessionError(SessionCode.NO_ERROR, "this side ends the session"));
    this.#engine.goaway();
    this.#settle();
    this.#armEarlier();
    this._flushSoon();
    return this.closed;
  }

  /** End at once; the other side is told. */
  abort(code = SessionCode.NO_ERROR, reason = "closed") {
    this.#engine.abort(code, reason);
    this.#finish(this.#engine.error);
  }

  #wrap(core) {
    const stream = new SessionStream(this, core);
    this.#streams.set(core, stream);
    return stream;
  }

  #receive(data) {
    if (this.error) return;
    try {
      if (typeof data === "string") this.#engine.violation("a text message");
      this.#engine.receive(new Uint8Array(data), now());
    } catch (error) {
      return this.#finish(error);
    }
    this.#tellListeners();
    this.#settle();
    this.#flush();
  }

  #tellListeners() {
    for (const wake of this.#listeners.splice(0)) wake();
  }

  /** Pass on what the engine has to tell. */
  #settle() {
    for (const [event, core] of this.#engine.takeEvents()) {
      if (event === "opened") {
        this.#armEarlier();
        const stream = this.#wrap(core);
        if (this.onstream) this.onstream(stream);
        else stream.cancel(StreamCode.REQUEST_REJECTED);
      } else if (core) {
        this.#streams.get(core)?._tell(event);
      } else if (event === "quiet") {
        this.onquiet?.();
      } else if (event === "silence") {
        this.onsilence?.();
      } else {
        if (event === "goaway") {
          this.#end(new SessionError(SessionCode.NO_ERROR, "the other side ends the session"));
          this.#engine.goaway();
        }
        for (const wake of this.#openers.splice(0)) wake();
      }
    }
    if (this.#engine.finished) {
      this.#finish(new SessionError(SessionCode.NO_ERROR, "the session has ended"));
    }
  }

  /** Send at the end of this task, so that what is written together leaves together. */
  _flushSoon() {
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  #flush() {
    if (this.error) return;
    try {
      while (this.#channel.bufferedAmount < SETTINGS.linkBuffer) {
        const message = this.#engine.nextMessage();
        if (!message) break;
        this.#channel.send(message);
      }
    } catch (error) {
      return this.#finish(new SessionError(SessionCode.INTERNAL_ERROR, error.message));
    }
    this.#settle();
  }

  #arm() {
    clearTimeout(this.#timer);
    if (this.error) return;
    this.#due = this.#engine.deadline();
    this.#timer = setTimeout(() => this.#onTimer(), Math.max(0, this.#due - now()) * 1000);
  }

  /** Have the timer fire when the engine wants it. One that is too early may stay. */
  #armEarlier() {
    if (this.#engine.deadline() < this.#due) this.#arm();
  }

  #onTimer() {
    try {
      if (this.#engine.deadline() <= now()) this.#engine.handleTimeout(now());
    } catch (error) {
      return this.#finish(error);
    }
    this.#flush();
    this.#arm();
  }

  #channelClosed() {
    this.#finish(new SessionError(SessionCode.NO_ERROR, "the connection is gone"));
  }

  #end(reason) {
    this.isEnding = true;
    this.#resolveEnding(reason);
  }

  /** The session is over: tell the other side if that is owed, and everyone here, once. */
  #finish(error) {
    if (this.error) return;
    this.error = error;
    // Before those who wait on streams, so that they find the next session, or that there is none.
    this.#end(error);
    clearTimeout(this.#timer);
    const channel = this.#channel;
    channel.onmessage = channel.onbufferedamountlow = channel.onclose = null;
    try {
      const message = this.#engine.nextMessage();
      if (message) channel.send(message);
    } catch {
      // There is nobody left to tell.
    }
    for (const core of this.#engine.detach(error)) this.#streams.get(core)?._tell("aborted");
    for (const wake of this.#openers.splice(0)) wake();
    this.#tellListeners();
    // The connection outlives the channel a little, so that the last messages still arrive.
    const done = () => {
      clearTimeout(late);
      this.#resolveClosed(error);
    };
    const late = setTimeout(done, CLOSE_TIMEOUT);
    if (channel.readyState === "closed") return done();
    channel.onclose = done;
    channel.close();
  }
}
