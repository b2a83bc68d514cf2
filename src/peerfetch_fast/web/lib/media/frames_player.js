/** Shows a camera frame by frame, as its frames come, with no buffer but what its sound needs (WebCodecs). */

import { Cutter } from "./cutting.js";
import { Gaps } from "./gaps.js";

/** A record: its kind, the length of its body (docs/cameras.md). */
const RECORD = 5;
const [FORMAT, PICTURE, SOUND] = [0, 1, 2];
/** What stands before a frame's data: flags, its time, and until when it is shown. */
const FRAME = 13;
const IS_KEY = 1;
/** What else comes is JPEG. */
const CODECS = ["h264", "h265"];
/** Frames that the decoder may have before it: with more, the camera leaves some out. */
const MAX_DECODING = 30;
/** Microseconds by which a picture may be shown before its sound is heard: people do not notice. */
const AHEAD = 40_000;
/** Microseconds, and pictures, that wait for their sound at most. */
const MAX_WAIT = 1_000_000;
const MAX_WAITING = 90;

/** Whether this browser can: in a secure context alone. */
export const canDecode = () => "VideoDecoder" in globalThis;

/**
 * Show an answer of a camera's `frames` until it ends. Throws Error, NotSupportedError for what cannot be decoded.
 * @param {HTMLCanvasElement} canvas
 * @param {Response} response
 * @param meter what is measured: `bytes` and `pictures` are counted up, `delay` is in seconds, `slow` says whether
 *   pictures were left out
 * @param options `sound`, a Sound, or null for none; `onpicture`, called when one is shown; `onformat`, called with
 *   what comes: `{video, audio}`
 */
export async function playFrames(canvas, response, meter, { sound, onpicture, onformat }) {
  const shown = new Shown(canvas, sound, (delay) => {
    meter.pictures++;
    meter.delay = delay;
    onpicture();
  });
  const reader = response.body.getReader();
  const gaps = new Gaps();
  const records = new Cutter(RECORD, (header) => RECORD + header.getUint32(1));
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      meter.bytes += value.length;
      for (const record of records.feed(value)) {
        const body = record.subarray(RECORD);
        if (record[0] === FORMAT) {
          const format = JSON.parse(new TextDecoder().decode(body));
          gaps.begin();
          await shown.configure(format);
          sound?.configure(format.audio?.channels ?? 0);
          onformat(format);
        } else if (record[0] === PICTURE) {
          const { isKey, time } = headOf(body);
          gaps.take(time, isKey, performance.now());
          meter.slow = gaps.areThere(performance.now());
          await shown.put(body);
        } else if (record[0] === SOUND) sound?.decode(headOf(body).time, body.subarray(FRAME));
      }
    }
  } finally {
    reader.cancel().catch(() => {});
    shown.close();
    meter.delay = null;
    meter.slow = false;
  }
}

/** What stands before a frame's data; times are in microseconds. */
function headOf(body) {
  const head = new DataView(body.buffer, body.byteOffset, FRAME);
  return { isKey: (head.getUint8(0) & IS_KEY) !== 0, time: Number(head.getBigUint64(1)), offset: head.getUint32(9) };
}

/** Decodes pictures once their sound is near, and draws the newest one when the screen takes one. */
class Shown {
  #canvas;
  #sound;
  #onpicture;
  #error = null;
  #newest = null;
  #drawing = null;
  #decoder;
  /** What waits for its sound. */
  #waiting = [];
  #timer = null;
  /** When each picture has come, by its time, until one is shown that came later. */
  #arrived = new Map();

  constructor(canvas, sound, onpicture) {
    [this.#canvas, this.#sound, this.#onpicture] = [canvas, sound, onpicture];
    this.#decoder = new VideoDecoder({
      output: (frame) => this.#take(frame),
      error: (error) => (this.#error = error),
    });
  }

  async configure({ video }) {
    this.#decodeAll();
    const description = Uint8Array.from(atob(video?.description ?? ""), (character) => character.charCodeAt(0));
    const config = { codec: video?.codecs ?? "", description, optimizeForLatency: true };
    const isKnown = CODECS.includes(video?.codec) && (await VideoDecoder.isConfigSupported(config)).supported;
    if (!isKnown) throw new DOMException("This browser does not decode it.", "NotSupportedError");
    this.#decoder.configure(config);
  }

  /** Take a picture. */
  async put(body) {
    if (this.#error) throw this.#error;
    const { isKey, time, offset } = headOf(body);
    const type = isKey ? "key" : "delta";
    const chunk = new EncodedVideoChunk({ type, timestamp: time + offset, data: body.subarray(FRAME) });
    this.#arrived.set(chunk.timestamp, performance.now());
    this.#waiting.push({ time, chunk });
    this.#decodeDue();
    while (this.#decoder.decodeQueueSize > MAX_DECODING && !this.#error) await nextTask();
  }

  /** Decode what is due: all where nothing is heard. */
  #decodeDue() {
    clearTimeout(this.#timer);
    const waiting = this.#waiting;
    const now = this.#sound?.now() ?? null;
    while (waiting.length > 0) {
      const early = now === null ? 0 : waiting[0].time - now - AHEAD;
      if (early > 0 && early < MAX_WAIT && waiting.length <= MAX_WAITING) {
        this.#timer = setTimeout(() => this.#decodeDue(), early / 1000);
        return;
      }
      this.#decode(waiting.shift().chunk);
    }
  }

  #decodeAll() {
    clearTimeout(this.#timer);
    for (const { chunk } of this.#waiting.splice(0)) this.#decode(chunk);
  }

  #decode(chunk) {
    if (this.#decoder.state === "configured") this.#decoder.decode(chunk);
  }

  #take(frame) {
    this.#newest?.close();
    this.#newest = frame;
    this.#drawing ??= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#drawing = null;
    const frame = this.#newest;
    if (!frame) return;
    this.#newest = null;
    const { displayWidth: width, displayHeight: height } = frame;
    if (this.#canvas.width !== width || this.#canvas.height !== height) Object.assign(this.#canvas, { width, height });
    this.#canvas.getContext("2d").drawImage(frame, 0, 0);
    this.#onpicture((performance.now() - (this.#arrived.get(frame.timestamp) ?? performance.now())) / 1000);
    for (const timestamp of this.#arrived.keys()) {
      if (timestamp <= frame.timestamp || this.#arrived.size > MAX_WAITING) this.#arrived.delete(timestamp);
    }
    frame.close();
  }

  close() {
    clearTimeout(this.#timer);
    if (this.#drawing !== null) cancelAnimationFrame(this.#drawing);
    this.#newest?.close();
    this.#newest = null;
    if (this.#decoder.state !== "closed") this.#decoder.close();
  }
}

const nextTask = () => new Promise((resolve) => setTimeout(resolve));
