/** The unsent bytes of a stream: pieces in as they were written, bytes out. */

import { Queue } from "./queue.js";

export class Outgoing {
  #pieces = new Queue();
  /** The bytes of the first piece that have left. */
  #offset = 0;
  /** Bytes that have not left. */
  length = 0;

  /** @param data a Uint8Array, kept by reference */
  push(data) {
    this.#pieces.push(data);
    this.length += data.length;
  }

  clear() {
    this.#pieces = new Queue();
    this.#offset = this.length = 0;
  }

  /** Copy the next `length` bytes, of which there are so many, to `target[at:]`; they have left. */
  copy(target, at, length) {
    this.length -= length;
    for (let left = length; left > 0; ) {
      const piece = this.#pieces.first;
      const part = Math.min(left, piece.length - this.#offset);
      target.set(piece.subarray(this.#offset, this.#offset + part), at);
      at += part;
      left -= part;
      this.#offset += part;
      if (this.#offset === piece.length) {
        this.#pieces.shift();
        this.#offset = 0;
      }
    }
  }
}
