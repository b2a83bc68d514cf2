/** HTTP messages on a channel's stream: reading one in order, and writing its body. */

import { Block, BlockReader, blockHeader, decodeResponse } from "./blocks.js";
import { MessageError } from "./errors.js";
import { Queue } from "./queue.js";

/** Informational heads (1xx) that may come before the head of an answer. */
const MAX_INFORMATIONAL = 100;

/** The message that comes in on a stream of the session: heads, then body, then trailers. */
export class MessageReader {
  #stream;
  #blocks = new BlockReader();
  #found = new Queue();
  #expected = null;
  #received = 0;
  #ended = false;
  finished = false;

  constructor(stream) {
    this.#stream = stream;
  }

  async #next() {
    while (this.#found.length === 0) {
      const data = await this.#stream.read();
      if (data.length === 0) {
        if (this.#blocks.inside || !this.#stream.atEnd) {
          throw new MessageError("the message ended in the middle");
        }
        return null;
      }
      for (const found of this.#blocks.feed(data)) this.#found.push(found);
    }
    return this.#found.shift();
  }

  /** The payload of the next HEAD. */
  async head() {
    const found = await this.#next();
    if (!found) throw new MessageError("the stream ended before a head");
    if (found[0] !== Block.HEAD) throw new MessageError("a message that begins without a head");
    return found[1];
  }

  /** The head of the answer that is not informational. */
  async finalHead() {
    for (let heads = 0; heads <= MAX_INFORMATIONAL; heads++) {
      const head = decodeResponse(await this.head());
      if (head.status >= 200) return head;
    }
    throw new MessageError(`an answer with more than ${MAX_INFORMATIONAL} informational heads`);
  }

  /** State how long the body must be, in bytes (null if that is not known). */
  expect(length) {
    this.#expected = length;
  }

  /** Whether the message is known to have no more bytes. */
  get atEnd() {
    return this.#found.length === 0 && !this.#blocks.inside && this.#stream.atEnd;
  }

  /** The next piece of the body, null at its end. Throws MessageError, StreamError, SessionError. */
  async read() {
    while (!this.finished) {
      const found = await this.#next();
      if (!found) {
        if (this.#expected !== null && this.#received < this.#expected) {
          throw new MessageError("a body shorter than its Content-Length");
        }
        this.finished = true;
        break;
      }
      const [type, payload] = found;
      if (type === Block.TRAILERS && !this.#ended) {
        this.#ended = true; // what they say has no place in a Response
      } else if (type === Block.DATA && !this.#ended) {
        this.#received += payload.length;
        if (this.#expected !== null && this.#received > this.#expected) {
          throw new MessageError("a body longer than its Content-Length");
        }
        return payload;
      } else {
        throw new MessageError("a message with its blocks out of order");
      }
    }
    return null;
  }

  /** The body as a ReadableStream; `ended(error)` is called once, with null when it was whole. */
  body(ended) {
    return new ReadableStream(
      {
        pull: async (controller) => {
          try {
            const piece = await this.read();
            if (piece) return controller.enqueue(piece);
            ended(null);
            controller.close();
          } catch (error) {
            controller.error(ended(error));
          }
        },
        cancel: (reason) => void ended(reason ?? new Error("cancelled")),
      },
      { highWaterMark: 0 },
    );
  }
}

/**
 * A body that was given to fetch or Response: `{type, length, blob, stream}`, either a blob, which can be
 * sent again, or a stream; null where there is none.
 */
export async function extractBody(body) {
  if (body === null || body === undefined) return null;
  if (body instanceof ReadableStream) return { type: null, length: null, blob: null, stream: body };
  if (body instanceof Blob) return ofBlob(body.type || null, body);
  const extracted = new Response(body);
  return ofBlob(extracted.headers.get("content-type"), await extracted.blob());
}

function ofBlob(type, blob) {
  return { type, length: blob.size, blob, stream: null };
}

/** Write a body, `{length, blob, stream}`, to a stream of the session, as fast as it takes it, and end it. */
export async function sendBody(stream, body) {
  const reader = (body.stream ?? body.blob.stream()).getReader();
  let left = body.length;
  try {
    if (left) stream.queue(blockHeader(Block.DATA, left));
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const piece = bytesOf(value);
      if (piece.length === 0) continue;
      if (left === null) {
        stream.queue(blockHeader(Block.DATA, piece.length));
      } else if ((left -= piece.length) < 0) {
        throw new MessageError("a body longer than its Content-Length");
      }
      await stream.write(piece);
    }
    if (left) throw new MessageError("a body shorter than its Content-Length");
    stream.end();
  } catch (error) {
    reader.cancel(error).catch(() => {});
    throw error;
  }
}

function bytesOf(value) {
  if (value instanceof Uint8Array) return value;
  throw new TypeError("a request body's stream must give Uint8Array chunks");
}
