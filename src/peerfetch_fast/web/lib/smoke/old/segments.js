/** Messages of `smoke-node` on a data channel: in segments, of which each but the last says that more follow. */

import { bytesOf } from "../buffer.js";

/** Bytes of the longest message, which both sides refuse beyond it, and of a segment. */
const MAX_MESSAGE = 1_000_000;
const SEGMENT = 32_768;
/** The first byte of a segment. */
const LAST = 0;
const MORE = 1;

/** Bytes that a segment costs beside its content: empty ones, too, are bounded. */
const OVERHEAD = 256;

/** Bytes that the browser is given at once: it closes channels that are given too much. */
const LINK_BUFFER = 1 << 20;
/** Milliseconds for which what came before the end waits for somebody who listens. */
const CLOSE_TIMEOUT = 5000;

/** As Channel of ../channel.js, for sockets. */
export class Segments extends EventTarget {
  #channel;
  #budget;
  #unsent = [];
  #unsentBytes = 0;
  #parts = [];
  #partBytes = 0;
  /** What the parts cost. */
  #held = 0;
  /** Messages that wait until the ones before are taken. */
  #turn = Promise.resolve();
  #deliver = null;
  #early = [];
  #isClosing = false;
  #giveUp;
  /** Resolves when messages are not to be delivered any more. */
  #givenUp = new Promise((resolve) => (this.#giveUp = resolve));

  /**
   * @param channel an RTCDataChannel that the other side has accepted
   * @param budget counts what has come and is not taken: see Budget in old_node.js
   */
  constructor(channel, budget) {
    super();
    this.#channel = channel;
    this.#budget = budget;
    this.label = channel.label;
    channel.bufferedAmountLowThreshold = LINK_BUFFER / 2;
    channel.onbufferedamountlow = () => this.#flush();
    channel.onmessage = ({ data }) => this.#take(data);
    channel.onclose = () => this.#closed();
  }

  get readyState() {
    return this.#isClosing ? "closing" : this.#channel.readyState;
  }

  get bufferedAmount() {
    return this.#unsentBytes + this.#channel.bufferedAmount;
  }

  /** Give each message to `deliver`, the next one when what that returns has settled. */
  _read(deliver) {
    this.#deliver = deliver;
    for (const message of this.#early.splice(0)) this.#hand(message);
  }

  /** Throws RangeError. */
  send(data) {
    const bytes = bytesOf(data);
    if (bytes.length > MAX_MESSAGE) throw new RangeError(`Message size exceeds ${MAX_MESSAGE} bytes.`);
    if (this.readyState !== "open") throw new DOMException("The channel is not open.", "InvalidStateError");
    let at = 0;
    do {
      const end = Math.min(at + SEGMENT, bytes.length);
      const segment = new Uint8Array(1 + end - at);
      segment[0] = end < bytes.length ? MORE : LAST;
      segment.set(bytes.subarray(at, end), 1);
      this.#unsent.push(segment);
      this.#unsentBytes += segment.length;
      at = end;
    } while (at < bytes.length);
    this.#flush();
  }

  #flush() {
    while (this.#unsent.length > 0 && this.#channel.bufferedAmount < LINK_BUFFER) {
      if (this.#channel.readyState !== "open") return;
      const segment = this.#unsent.shift();
      this.#unsentBytes -= segment.length;
      this.#channel.send(segment);
    }
    if (this.#isClosing && this.#unsent.length === 0) this.#channel.close();
  }

  #take(data) {
    if (this.#isClosing) return;
    const segment = data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array(0);
    const [type] = segment;
    if (type !== LAST && type !== MORE) return this.#fail(new Error("Received invalid socket message."));
    const content = segment.subarray(1);
    this.#parts.push(content);
    this.#partBytes += content.length;
    this.#held += content.length + OVERHEAD;
    this.#budget.add(content.length + OVERHEAD);
    if (this.#partBytes > MAX_MESSAGE) {
      return this.#fail(new RangeError(`Message received exceeded ${MAX_MESSAGE} bytes.`));
    }
    if (type === MORE) return;
    const message = { parts: this.#parts, held: this.#held };
    [this.#parts, this.#partBytes, this.#held] = [[], 0, 0];
    if (this.#deliver) this.#hand(message);
    else this.#early.push(message);
  }

  #hand({ parts, held }) {
    const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    this.#turn = this.#turn.then(async () => {
      await Promise.race([this.#deliver(whole), this.#givenUp]);
      this.#budget.take(held);
    });
  }

  #fail(error) {
    this.dispatchEvent(Object.assign(new Event("error"), { error }));
    this.close();
  }

  close() {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.#giveUp();
    this.#flush();
  }

  async #closed() {
    this.#isClosing = true;
    const late = setTimeout(this.#giveUp, CLOSE_TIMEOUT);
    await this.#turn; // what came before is heard before
    clearTimeout(late);
    this.#giveUp();
    this.#budget.take(this.#held + this.#early.reduce((sum, { held }) => sum + held, 0));
    [this.#parts, this.#held, this.#early] = [[], 0, []];
    this.dispatchEvent(new Event("close"));
  }
}
