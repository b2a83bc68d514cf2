/** One direction of a stream, as it arrives: pieces in any order in, bytes in order out. */

import { Queue } from "./queue.js";

/** Pieces below this size are joined, so that their objects do not outweigh the bytes in them. */
const SMALL = 1024;
const JOINED = 4096;

/** Pieces that wait are kept in runs of at most so many, so that none that comes moves many. */
const RUN = 64;

/** Pieces `{offset, data}`, sorted by offset and without overlaps. */
class Waiting {
  #runs = [];
  size = 0;

  get first() {
    return this.#runs[0]?.[0];
  }

  /** Take in a piece; returns whether it overlaps none. */
  put(offset, data) {
    const at = Math.max(0, search(this.#runs, (run) => run[0].offset <= offset) - 1);
    const run = this.#runs[at] ?? (this.#runs[at] = []);
    const place = search(run, (piece) => piece.offset <= offset);
    const before = run[place - 1];
    const after = run[place] ?? this.#runs[at + 1]?.[0];
    if (before && before.offset + before.data.length > offset) return false;
    if (after && offset + data.length > after.offset) return false;
    run.splice(place, 0, { offset, data });
    this.size++;
    if (run.length > RUN) this.#runs.splice(at + 1, 0, run.splice(RUN / 2));
    return true;
  }

  /** The first piece, which waits no more. */
  shift() {
    const piece = this.#runs[0].shift();
    this.size--;
    if (this.#runs[0].length === 0) this.#runs.shift();
    return piece;
  }
}

/** The number of leading elements of `sorted` that `holds` is true of. */
function search(sorted, holds) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(sorted[middle])) low = middle + 1;
    else high = middle;
  }
  return low;
}

export class Assembler {
  #ready = new Queue();
  /** Bytes that are filled in the last of `#ready`, if that is a buffer for small pieces. */
  #filled = null;
  /** Pieces that wait for earlier ones. */
  #waiting = new Waiting();
  /** Bytes that arrived in order, and that were taken. */
  received = 0;
  consumed = 0;

  /** Take in a piece; returns by how many the number of waiting pieces has grown, null for an overlap. */
  put(offset, data) {
    const waiting = this.#waiting;
    if (offset < this.received) return null;
    if (offset > this.received) return waiting.put(offset, data) ? 1 : null;
    if (waiting.size && offset + data.length > waiting.first.offset) return null;
    this.#append(data);
    const before = waiting.size;
    while (waiting.first?.offset === this.received) this.#append(waiting.shift().data);
    return waiting.size - before;
  }

  #append(data) {
    this.received += data.length;
    if (this.#filled !== null && data.length < SMALL && this.#filled + data.length <= JOINED) {
      this.#ready.last.set(data, this.#filled);
      this.#filled += data.length;
      return;
    }
    this.#seal();
    if (data.length >= SMALL || this.#ready.length === 0) {
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
    this.#ready.replaceLast(this.#ready.last.subarray(0, this.#filled));
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
    const waited = this.#waiting.size;
    this.#ready = new Queue();
    this.#waiting = new Waiting();
    this.#filled = null;
    this.consumed = consumed;
    return waited;
  }
}
