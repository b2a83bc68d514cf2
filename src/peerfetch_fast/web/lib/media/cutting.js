/** What comes in pieces, cut where its parts end. */

/** Bytes of the largest part that is taken: a frame is one. */
const MAX_PART = 32 << 20;

/** Cuts a stream of parts that begin with a header of so many bytes, which says how long they are. */
export class Cutter {
  #header;
  #lengthOf;
  #part = null;
  #filled = 0;

  /** @param lengthOf the bytes of a part, its header's included, by a DataView of its header */
  constructor(headerSize, lengthOf) {
    this.#header = new Uint8Array(headerSize);
    this.#lengthOf = lengthOf;
  }

  /** The parts that are whole with this piece, each as Uint8Array. Throws RangeError for what cannot be one. */
  feed(piece) {
    const found = [];
    for (let at = 0; at < piece.length; ) {
      const into = this.#part ?? this.#header;
      const taken = piece.subarray(at, at + into.length - this.#filled);
      into.set(taken, this.#filled);
      this.#filled += taken.length;
      at += taken.length;
      if (this.#filled < into.length) break;
      if (!this.#part) {
        this.#begin();
        if (this.#filled < this.#part.length) continue;
      }
      found.push(this.#part);
      [this.#part, this.#filled] = [null, 0];
    }
    return found;
  }

  #begin() {
    const size = this.#lengthOf(new DataView(this.#header.buffer));
    if (size < this.#header.length || size > MAX_PART) throw new RangeError(`a part of ${size} bytes from the camera`);
    this.#part = new Uint8Array(size);
    this.#part.set(this.#header);
  }
}
