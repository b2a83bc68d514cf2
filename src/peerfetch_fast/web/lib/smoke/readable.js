/** A stream that is read by whoever wants its next part. */

import { gathered } from "../gathering.js";
import { Buffer } from "./buffer.js";

/** Bytes of the largest body that is read as a whole. */
const MAX_WHOLE = 1 << 30;

export class Readable {
  #reader;

  /** @param source a ReadableStream, or what is given to make one */
  constructor(source) {
    const stream = source instanceof ReadableStream ? source : new ReadableStream(source, { highWaterMark: 0 });
    this.#reader = stream.getReader();
  }

  read() {
    return this.#reader.read();
  }

  cancel(reason) {
    return this.#reader.cancel(reason);
  }

  async *[Symbol.asyncIterator]() {
    let isDone = false;
    try {
      for (;;) {
        const { done, value } = await this.read();
        isDone = done;
        if (done) return;
        yield value;
      }
    } finally {
      if (!isDone) await this.cancel().catch(() => {});
    }
  }

  /** Write all of it to `writable`, which has `write`, `close` and `abort`. */
  async pipe(writable) {
    try {
      for await (const value of this) await writable.write(value);
    } catch (error) {
      await writable.abort?.(error);
      throw error;
    }
    return writable.close();
  }

  /** The rest of it, as a ReadableStream. */
  _stream() {
    return new ReadableStream(
      {
        pull: async (controller) => {
          const { done, value } = await this.read();
          if (done) controller.close();
          else controller.enqueue(value);
        },
        cancel: (reason) => this.cancel(reason),
      },
      { highWaterMark: 0 },
    );
  }
}

/** The chunks of a source, as bytes: a source may give texts and views too. */
export function byteStream(readable) {
  const stream = readable instanceof Readable ? readable._stream() : readable;
  return stream.pipeThrough(
    new TransformStream({ transform: (piece, controller) => controller.enqueue(Buffer.from(piece)) }),
  );
}

/** The methods that requests and responses have for their bodies. */
export class Body {
  #body;

  /** @param body a ReadableStream of bytes, or null */
  constructor(body) {
    this.#body = body;
  }

  /** The body, once. Throws TypeError the second time. */
  _take() {
    const body = this.#body ?? new Response("").body;
    if (body.locked) throw new TypeError("the body was read already");
    return body;
  }

  readable() {
    return new Readable(byteStream(this._take()));
  }

  async buffer() {
    const bytes = await gathered(this._take(), MAX_WHOLE);
    if (!bytes) throw new RangeError(`a body of more than ${MAX_WHOLE} bytes: read it by readable()`);
    return Buffer.from(bytes);
  }

  async text(encoding = "utf8") {
    return (await this.buffer()).toString(encoding);
  }

  async json() {
    return JSON.parse(await this.text());
  }
}
