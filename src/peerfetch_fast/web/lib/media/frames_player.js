/** Shows a camera frame by frame, as its frames come: without sound, and with no buffer (WebCodecs). */

import { Cutter } from "./cutting.js";

/** A record: its kind, the length of its body (docs/cameras.md). */
const RECORD = 5;
const [FORMAT, PICTURE] = [0, 1];
/** What stands before a frame's data: flags, its time, and until when it is shown. */
const FRAME = 13;
const IS_KEY = 1;
/** Frames that the decoder may have before it: with more, the camera leaves some out. */
const MAX_DECODING = 30;

/** Whether this browser can: in a secure context alone. */
export const canDecode = () => "VideoDecoder" in globalThis;

/**
 * Show an answer of a camera's `frames` until it ends. Throws Error, NotSupportedError for what cannot be decoded.
 * @param {HTMLCanvasElement} canvas
 * @param {Response} response
 * @param meter what is measured: `bytes` and `pictures` are counted up
 * @param onpicture called when one is shown
 */
export async function playFrames(canvas, response, meter, onpicture) {
  const shown = new Shown(canvas, () => {
    meter.pictures++;
    onpicture();
  });
  const reader = response.body.getReader();
  const records = new Cutter(RECORD, (header) => RECORD + header.getUint32(1));
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      meter.bytes += value.length;
      for (const record of records.feed(value)) {
        if (record[0] === FORMAT) await shown.configure(JSON.parse(new TextDecoder().decode(record.subarray(RECORD))));
        else if (record[0] === PICTURE) await shown.decode(record.subarray(RECORD));
      }
    }
  } finally {
    reader.cancel().catch(() => {});
    shown.close();
  }
}

/** Decodes, and draws the newest picture when the screen takes one. */
class Shown {
  #canvas;
  #onpicture;
  #error = null;
  #newest = null;
  #drawing = null;
  #decoder;

  constructor(canvas, onpicture) {
    [this.#canvas, this.#onpicture] = [canvas, onpicture];
    this.#decoder = new VideoDecoder({
      output: (frame) => this.#take(frame),
      error: (error) => (this.#error = error),
    });
  }

  async configure({ video }) {
    const description = Uint8Array.from(atob(video?.description ?? ""), (character) => character.charCodeAt(0));
    const config = { codec: video?.codecs ?? "", description, optimizeForLatency: true };
    const isKnown = video?.codec === "h264" && (await VideoDecoder.isConfigSupported(config)).supported;
    if (!isKnown) throw new DOMException("This browser does not decode it.", "NotSupportedError");
    this.#decoder.configure(config);
  }

  async decode(body) {
    if (this.#error) throw this.#error;
    const head = new DataView(body.buffer, body.byteOffset, FRAME);
    const timestamp = Number(head.getBigUint64(1)) + head.getUint32(9);
    const type = head.getUint8(0) & IS_KEY ? "key" : "delta";
    this.#decoder.decode(new EncodedVideoChunk({ type, timestamp, data: body.subarray(FRAME) }));
    while (this.#decoder.decodeQueueSize > MAX_DECODING && !this.#error) await nextTask();
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
    frame.close();
    this.#onpicture();
  }

  close() {
    if (this.#drawing !== null) cancelAnimationFrame(this.#drawing);
    this.#newest?.close();
    this.#newest = null;
    if (this.#decoder.state !== "closed") this.#decoder.close();
  }
}

const nextTask = () => new Promise((resolve) => setTimeout(resolve));
