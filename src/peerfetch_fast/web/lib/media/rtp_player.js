/** Shows a camera by WebRTC in a video element. */

import { aborted } from "./waiting.js";
import { watch } from "./whep.js";

/** Measurements from one question whether all pictures are sent to the next. */
const ASK_EACH = 5;
/** Milliseconds from a camera's answer within which most connections come about. */
const PATIENCE = 1500;
/** The status of a camera that has no picture in whatever way. */
const NO_PICTURE = 503;

/** An attempt at a connection by WebRTC, during which something else may be shown. */
export class Attempt {
  #fetch;
  #onfail;
  #answered;
  #isAnswered;
  #isAbandoned = false;
  /** Whether the camera says that it has no picture, in whatever way. */
  #hasNone = false;
  /** What watch() gives, once it is connected; null where that does not come about. */
  live;

  /**
   * @param {string} url the camera's `live`
   * @param options as of watch(), and `onfail`, called where no connection comes about
   */
  constructor(url, { fetch, onfail, ...options }) {
    [this.#fetch, this.#onfail] = [fetch, onfail];
    this.#isAnswered = new Promise((resolve) => (this.#answered = resolve));
    this.live = this.#watch(url, options);
  }

  async #watch(url, options) {
    try {
      const live = await watch(url, { ...options, fetch: (place, init) => this.#ask(place, init) });
      if (!this.#isAbandoned) return live;
      live.close();
    } catch (error) {
      if (this.#hasNone) throw error;
      console.info("peerfetch: no WebRTC to the camera:", error.message);
      if (!this.#isAbandoned) this.#onfail();
    } finally {
      this.#answered();
    }
    return null;
  }

  async #ask(place, init) {
    const response = await this.#fetch(place, init);
    if (init?.method !== "POST") return response;
    this.#hasNone = response.status === NO_PICTURE;
    this.#answered();
    return response;
  }

  /**
   * What `live` gives, if that is soon; undefined where it takes longer than it mostly does. The camera may take as
   * long as it likes for its first picture, which is not waited for twice. Throws Error where it has none.
   */
  async soon() {
    await this.#isAnswered;
    return Promise.race([this.live, new Promise((resolve) => setTimeout(resolve, PATIENCE))]);
  }

  /** Nobody wants it any more. */
  abandon() {
    this.#isAbandoned = true;
    this.live.then((live) => live?.close(), () => {});
  }
}

/**
 * Show what comes by a connection until that ends.
 * @param {HTMLVideoElement} video
 * @param live what watch() gives
 * @param {AbortSignal} signal
 * @param meter what is measured: `measure()` is set on it
 */
export async function playRtp(video, live, signal, meter) {
  try {
    signal.throwIfAborted();
    signal.addEventListener("abort", live.close, { once: true });
    video.removeAttribute("src");
    video.srcObject = live.stream;
    let asked = 0;
    meter.measure = async () => {
      asked += 1;
      if (asked % ASK_EACH === 0) meter.slow = await isSlow(live);
      await measure(live.connection, meter);
    };
    await Promise.race([live.closed, aborted(signal)]);
  } finally {
    meter.measure = null;
    meter.delay = null;
    meter.slow = false;
    video.srcObject = null;
    live.close();
  }
}

/** Whether the device leaves pictures out, as the network between carries no more. */
async function isSlow(live) {
  const told = await live.told().catch(() => null); // the connection may be gone
  return told?.pictures === "key";
}

/** Bring the meter up to date: bytes so far, and the seconds from the network to the screen since the last time. */
async function measure(connection, meter) {
  const reports = [...(await connection.getStats()).values()];
  const tracks = reports.filter(({ type }) => type === "inbound-rtp");
  const video = tracks.find(({ kind }) => kind === "video");
  if (!video) return;
  const pair = reports.find(({ type, nominated }) => type === "candidate-pair" && nominated);
  const bytes = tracks.reduce((sum, track) => sum + track.bytesReceived, 0);
  const { jitterBufferDelay = 0, jitterBufferEmittedCount = 0 } = video;
  const before = meter.rtp ?? { bytes: 0, delay: 0, count: 0 };
  // Another connection counts anew.
  meter.bytes += Math.max(bytes - before.bytes, 0);
  const count = jitterBufferEmittedCount - before.count;
  const waited = count > 0 ? (jitterBufferDelay - before.delay) / count : null;
  if (waited >= 0 && waited !== null) meter.delay = waited + (pair?.currentRoundTripTime ?? 0) / 2;
  meter.rtp = { bytes, delay: jitterBufferDelay, count: jitterBufferEmittedCount };
}
