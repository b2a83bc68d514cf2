/** One direction of a stream, as it arrives: pieces in any order in, bytes in order out. */

/** Pieces below this size are joined, so that their objects do not outweigh the bytes in them. */
const SMALL = 1024;
const JOINED = 4096;

export class Assembler {
  #ready = [];
  /** How much of the last of `#ready` is filled, if it is one of ours that small pieces go into. */
  #filled = null;
  /** Pieces that wait for earlier ones: sorted by offset, without overlaps. */
  #waiting = [];
  /** Bytes that arrived in order, and that were taken. */
  received = 0;
  consumed = 0;

  /** Take in a piece; returns by how many the number of waiting pieces has grown, null for an overlap. */
  put(offset, data) {
    const end = offset + data.length;
    const waiting = this.#waiting;
    if (offset < this.received) return null;
    if (offset > this.received) {
      let low = waiting.length;
      // Messages are mostly in order, so a new piece mostly goes last.
      if (low && waiting[low - 1].offset > offset) low = this.#search(offset);
      const before = waiting[low - 1];
      if (before && before.offset + before.data.length > offset) return null;
      if (low < waiting.length && end > waiting[low].offset) return null;
      waiting.splice(low, 0, { offset, data });
      return 1;
    }
    if (waiting.length && end > waiting[0].offset) return null;
    this.#append(data);
    let taken = 0;
    while (taken < waiting.length && waiting[taken].offset === this.received) {
      this.#append(waiting[taken++].data);
    }
    if (taken) waiting.splice(0, taken);
    return -taken;
  }

  /** The index of the first waiting piece at or behind `offset`. */
  #search(offset) {
    let [low, high] = [0, this.#waiting.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#waiting[middle].offset < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #append(data) {
    this.received += data.length;
    const last = this.#ready.length - 1;
    if (this.#filled !== null && data.length < SMALL && this.#filled + data.length <= JOINED) {
      this.#ready[last].set(data, this.#filled);
      this.#filled += data.length;
      return;
    }
    this.#seal();
    if (data.length >= SMALL || last < 0) {
      this.#ready.push(data);
    } else {
      const joined = new Uint8Array(JOINED);
      joined.set(data);
      this.#ready.push(joined);
      this.#filled = data.length;
    }
  }

  /** Nothing more goes into the last piece. */
  #seal() {
    if (this.#filled === null) return;
    this.#ready.push(this.#ready.pop().subarray(0, this.#filled));
    this.#filled = null;
  }

  /** The next bytes in order, or null. */
  take() {
    if (this.#ready.length === 1) this.#seal();
    const data = this.#ready.shift();
    if (!data) return null;
    this.consumed += data.length;
    return data;
  }

  /** Forget what is there and count `consumed` bytes as read; returns how many pieces waited. */
  drop(consumed) {
    const waited = this.#waiting.length;
    this.#ready = [];
    this.#waiting = [];
    this.#filled = null;
    this.consumed = consumed;
    return waited;
  }
}
