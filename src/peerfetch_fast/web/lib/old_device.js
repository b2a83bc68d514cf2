/**
 * A device that runs an old proxy (`peerfetch.1`), seen as a session: what is asked on it is translated,
 * within this page.
 */

import { NO_BODY } from "./client.js";
import { MessageError, SessionCode } from "./errors.js";
import { gathered } from "./gathering.js";
import { channelPair } from "./memory_channel.js";
import { MAX_OLD_MESSAGE, MAX_REQUEST, PING, PONG, encodeRequest, parseHead } from "./old_messages.js";
import { answer } from "./server.js";
import { Session } from "./session.js";

/** Milliseconds of silence after which a ping is sent, and after which the device is taken for dead. */
const KEEP_ALIVE = 1500;
const DEAD_AFTER = 10_000;
/**
 * Milliseconds between the pings until the first pong: an old proxy loses what comes before it listens,
 * which is a moment after the channel opened.
 */
const GREETING = 250;
/**
 * Pongs in a row, with no word about a request, that mean that none will come: an old proxy says every
 * second that it still waits, and nothing at all when its upstream failed.
 */
const PONGS_FOR_SILENCE = 3;
/** Bytes that have come since one last looked, and are more than acknowledgements of a ping. */
const PART_OF_A_MESSAGE = 1000;
const METHODS = new Set(["GET", "POST", "PUT"]);

/** The session of a device that runs an old proxy. Made by openOldSession(). */
class OldSession extends Session {
  isOld = true;
  #device;

  constructor(channel, options, device) {
    super(channel, options);
    this.#device = device;
  }

  get statistics() {
    return { ...super.statistics, roundTrip: this.#device.roundTrip };
  }
}

/**
 * A Session whose other side answers with what the old proxy on `channel` answers. The target
 * `/http://localhost:8778/api` asks it for that URL, and `/api` for just that. Requests are sent one at
 * a time. Closing either closes the other.
 * @param channel the open `http-proxy` channel
 * @param maxMessageSize bytes of the longest message that the device takes
 * @param bytesReceived resolves with how many bytes have come on the connection, of whatever
 */
export function openOldSession(channel, { maxMessageSize, bytesReceived }) {
  const [near, far] = channelPair();
  const options = { maxMessageSize: MAX_REQUEST, onstream: null };
  const device = new OldDevice(channel, Math.min(MAX_REQUEST, maxMessageSize), bytesReceived);
  const session = new OldSession(near, { ...options, opener: true }, device);
  device.onbroken = (code, reason) => session.abort(code, reason);
  const onstream = (stream) => void answer(stream, (request) => device.answer(request));
  new Session(far, { ...options, opener: false, onstream }).closed.then(() => device.close());
  return session;
}

/** A sentence of ours in the place of an answer. */
function refusal(status, sentence) {
  return new Response(`${sentence}\n`, { status, headers: { "content-type": "text/plain; charset=utf-8" } });
}

class OldDevice {
  #channel;
  #most;
  #bytesReceived;
  #turn = Promise.resolve();
  /** Settles the request that was sent: with null when the device has nothing to say. */
  #settle = null;
  #head = null;
  #pongs = 0;
  #heard = performance.now();
  /** When the oldest ping was sent that nothing was heard after, and that no pong came to; null for none. */
  #pinged = null;
  #measured = null;
  #received = null;
  #isOver = false;
  #timer;
  #nowListens;
  #whenListens = new Promise((resolve) => (this.#nowListens = resolve));
  #listens = false;
  /** Seconds that the latest pong took; null before the first. */
  roundTrip = null;
  /** Called once with a SessionCode and a reason when the device cannot be spoken to any more. */
  onbroken = () => {};

  constructor(channel, most, bytesReceived) {
    this.#channel = channel;
    this.#most = most;
    this.#bytesReceived = bytesReceived;
    channel.binaryType = "arraybuffer";
    channel.onmessage = ({ data }) => this.#receive(data);
    channel.onclose = () => this.#break("the old device closed the connection");
    this.#timer = setTimeout(() => this.#onTime(), 0);
  }

  // -- what the channel tells --------------------------------------------------------------------

  #receive(message) {
    this.#hear();
    this.#listens = true;
    this.#nowListens();
    try {
      this.#take(message);
    } catch (error) {
      if (!(error instanceof MessageError)) throw error;
      this.#break(`the old device sent ${error.message}`, SessionCode.PROTOCOL_VIOLATION);
    }
  }

  #take(message) {
    const head = this.#head;
    if (head === null) {
      const next = parseHead(message);
      if (next.isWaiting) this.#pongs = 0;
      else if (next.status === 204) this.#answered(next, new Uint8Array(0));
      else this.#head = next;
      return;
    }
    this.#head = null;
    if (message === PONG && head.contentType === null) {
      if (this.#measured !== null) this.roundTrip = (performance.now() - this.#measured) / 1000;
      this.#measured = null;
      if (++this.#pongs >= PONGS_FOR_SILENCE) this.#tell(null);
      return;
    }
    const isText = typeof message === "string";
    this.#answered(head, isText ? new TextEncoder().encode(message) : new Uint8Array(message));
  }

  #answered(head, body) {
    if (!this.#settle) throw new MessageError("an answer to nothing");
    this.#tell({ head, body });
  }

  #tell(answered) {
    this.#pongs = 0;
    const settle = this.#settle;
    this.#settle = null;
    settle?.(answered);
  }

  #hear() {
    this.#heard = performance.now();
    this.#pinged = null;
  }

  // -- life and end ------------------------------------------------------------------------------

  async #onTime() {
    await this.#look();
    if (this.#isOver) return;
    const time = performance.now();
    const interval = this.#listens ? KEEP_ALIVE : GREETING;
    const silence = time - this.#heard;
    // Counted from the ping too, so that a page that itself stood still asks before it gives up.
    const isAsked = this.#pinged !== null && time - this.#pinged >= DEAD_AFTER / 2;
    if (silence >= DEAD_AFTER && isAsked) {
      return this.#break(`nothing was heard of the old device for ${(silence / 1000).toFixed(1)} s`);
    }
    let wait = interval;
    if (silence >= interval || !this.#listens) {
      this.#pinged ??= time;
      this.#measured ??= time;
      this.#send(PING);
    } else {
      wait = interval - silence;
    }
    this.#timer = setTimeout(() => this.#onTime(), wait);
  }

  /** A body comes in one message, which may take longer than a dead device is given. */
  async #look() {
    if (this.#pinged === null || !this.#listens) return;
    const received = await this.#bytesReceived().catch(() => null);
    if (received === null) return;
    if (this.#received !== null && received - this.#received >= PART_OF_A_MESSAGE) {
      this.#hear();
    }
    this.#received = received;
  }

  #send(message) {
    try {
      this.#channel.send(message);
    } catch {
      this.#break("the connection is gone");
    }
  }

  #break(reason, code = SessionCode.NO_ERROR) {
    if (this.#isOver) return;
    this.close();
    this.onbroken(code, reason);
  }

  /** Nobody asks any more. */
  close() {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    const channel = this.#channel;
    channel.onmessage = channel.onclose = null;
    channel.close();
    this.#nowListens();
    this.#tell(null);
  }

  // -- requests ----------------------------------------------------------------------------------

  /** A Response to a Request, with what the device answers. */
  async answer(request) {
    const { method, signal } = request;
    if (!METHODS.has(method)) {
      return refusal(501, "This device runs an old proxy, which knows GET, PUT and POST.");
    }
    const tooLarge = () => refusal(413, `The old proxy of this device takes ${this.#most} bytes at most.`);
    // Not every browser has request.body.
    const body = await gathered(request.body ?? (await request.blob()).stream(), this.#most);
    if (body === null) return tooLarge();
    const contentType = request.headers.get("content-type");
    let message;
    try {
      message = encodeRequest({ url: urlOf(request), method, contentType, body });
    } catch (error) {
      return refusal(415, `The old proxy of this device cannot take this: ${error.message}.`);
    }
    if (new TextEncoder().encode(message).length > this.#most) return tooLarge();
    // Whoever gives up waiting must not leave the answer to the next one: the turn goes on.
    const asked = this.#turn.then(() => this.#ask(message, signal));
    this.#turn = asked;
    const answered = await asked;
    if (answered === null) {
      const why =
        method === "GET"
          ? "its upstream failed, perhaps"
          : "perhaps its upstream failed, or it knows no POST and no body";
      return refusal(504, `The old proxy had no answer: ${why}.`);
    }
    return toResponse(answered);
  }

  async #ask(message, signal) {
    await this.#whenListens;
    if (this.#isOver || signal.aborted) return null;
    const answered = new Promise((resolve) => (this.#settle = resolve));
    this.#pongs = 0;
    this.#send(message);
    return answered;
  }
}

function toResponse({ head, body }) {
  if (body.length > MAX_OLD_MESSAGE) {
    const most = `at most ${MAX_OLD_MESSAGE} bytes are taken. Ask for less.`;
    return refusal(502, `The old proxy's answer is too large: ${most}`);
  }
  const { status, contentType } = head;
  const headers = new Headers(contentType === null ? {} : { "content-type": contentType });
  if (NO_BODY.has(status)) return new Response(null, { status, headers });
  headers.set("content-length", String(body.length));
  return new Response(body, { status, headers });
}

/**
 * The URL that an old proxy is to fetch: most of them take nothing but absolute URLs, which a target can hold
 * behind its slash.
 */
function urlOf(request) {
  const { pathname, search } = new URL(request.url);
  const target = pathname + search;
  return /^\/https?:\/\//.test(target) ? target.slice(1) : target;
}
