/** What a camera shows from now on, as a file. */

import { Cutter } from "./cutting.js";

/** Bytes at which a recording ends by itself. */
const MAX_SIZE = 2 ** 31;
/** The header of a box of MP4: its size and its type (ISO/IEC 14496-12 §4.2). */
const BOX = 8;
/** Bytes that are put together, so that the browser can take them out of memory. */
const MAX_LOOSE = 8 << 20;

export class Recording {
  #controller = new AbortController();
  #parts = [];
  #loose = [];
  #looseSize = 0;
  #fragment = null;
  #headers = 0;
  #fragments = 0;
  /** Bytes so far. */
  size = 0;
  /** The moment of the beginning, as of `Date.now()`. */
  began = Date.now();
  /** The Blob, once it has ended: by `stop()`, at its largest, or as the camera has. Rejects if there is nothing. */
  ended;

  /** @param camera as of Live */
  constructor(camera) {
    this.ended = this.#run(camera);
  }

  /** End it. */
  stop() {
    this.#controller.abort();
  }

  async #run({ base, fetch }) {
    let failure = null;
    try {
      const { signal } = this.#controller;
      const response = await fetch(new URL("live.mp4", base).href, { signal, cache: "no-store" });
      if (!response.ok) throw new Error(`The camera answers ${response.status}.`);
      await this.#read(response.body.getReader());
    } catch (error) {
      failure = error; // What has come is kept all the same.
    }
    if (this.#fragments === 0) throw failure ?? new Error("The camera gave nothing.");
    return new Blob([...this.#parts, ...this.#loose], { type: "video/mp4" });
  }

  async #read(reader) {
    const boxes = new Cutter(BOX, (header) => header.getUint32(0));
    try {
      while (this.size < MAX_SIZE) {
        const { done, value } = await reader.read();
        if (done) return;
        for (const box of boxes.feed(value)) {
          const type = String.fromCharCode(...box.subarray(4, BOX));
          // With another header, pictures of another size begin: they are of another file.
          if (type === "ftyp" && this.#headers++ > 0) return;
          this.#take(type, box);
        }
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  /** Keep whole fragments, whatever the piece that came last ends with. */
  #take(type, bytes) {
    if (type === "moof") {
      this.#fragment = bytes;
      return;
    }
    if (this.#fragment) {
      this.#put(this.#fragment);
      this.#fragments++;
    }
    this.#fragment = null;
    this.#put(bytes);
  }

  #put(bytes) {
    this.#loose.push(bytes);
    this.#looseSize += bytes.length;
    this.size += bytes.length;
    if (this.#looseSize < MAX_LOOSE) return;
    this.#parts.push(new Blob(this.#loose));
    [this.#loose, this.#looseSize] = [[], 0];
  }
}
