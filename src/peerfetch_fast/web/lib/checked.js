/**
 * Shared contents, checked while they are read (docs/sharing.md): a file, or the ZIP of all of them, whose pieces
 * have digests, and whose names and sizes are those that were offered. Nothing is kept but one piece.
 */

import { hex } from "./bytes.js";
import { sha256 } from "./sha256.js";

/** Bytes of a file that have a digest of their own. */
export const PIECE = 8 << 20;
/** Characters of a digest. */
const DIGEST = 64;

/** SHA-256; without HTTPS browsers have none. */
export const digestOf = async (data) =>
  globalThis.crypto?.subtle ? new Uint8Array(await crypto.subtle.digest("SHA-256", data)) : sha256(data);

/** A reader, `{read, cancel}`, of what `reader` reads; it throws TypeError where that is not what was offered. */
export class CheckedReader {
  #reader;
  #layout;
  #digests;
  /** What stands around a file, and how much of it has come. */
  #frame = null;
  #at = 0;
  /** Bytes of a file that are still to come. */
  #left = 0;
  #isWhole = false;
  #piece = null;
  #filled = 0;
  #known;

  /**
   * @param layout what comes, in order: `{size}` of a file, or `{octets, bits}` as of `zipLayout` in zip_parts.js
   * @param digests reads the digests of their pieces, a line each
   * @param known how many of these are of pieces that are not read any more
   */
  constructor(reader, layout, digests, known = 0) {
    this.#known = known;
    this.#reader = reader;
    this.#layout = layout[Symbol.iterator]();
    this.#digests = new Lines(digests);
    this.#following();
  }

  async read() {
    const found = await this.#reader.read();
    if (!found.done) await this.#take(found.value);
    else if (!this.#isWhole) throw new TypeError("it was cut short");
    return found;
  }

  cancel(reason) {
    this.#digests.cancel();
    return this.#reader.cancel(reason);
  }

  async #take(data) {
    let rest = data;
    while (rest.length) {
      if (this.#isWhole) throw new TypeError("there is more of it than was offered");
      rest = rest.subarray(this.#frame ? this.#compare(rest) : await this.#keep(rest));
      this.#following();
    }
  }

  /** Go on with what comes behind, once this is whole. */
  #following() {
    while (!this.#isWhole && this.#left === 0 && this.#at === (this.#frame?.octets.length ?? 0)) {
      const { done, value } = this.#layout.next();
      this.#isWhole = Boolean(done);
      [this.#frame, this.#at, this.#left] = [value?.octets ? value : null, 0, value?.size ?? 0];
    }
  }

  /** How many of these octets stand around a file. */
  #compare(data) {
    const { octets, bits } = this.#frame;
    const count = Math.min(data.length, octets.length - this.#at);
    for (let i = 0; i < count; i++, this.#at++) {
      if ((data[i] ^ octets[this.#at]) & (bits[this.#at] ?? 255)) {
        throw new TypeError("its names or sizes are not those that were offered");
      }
    }
    return count;
  }

  /** How many of these octets are of the piece that comes. */
  async #keep(data) {
    this.#piece ??= new Uint8Array(Math.min(PIECE, this.#left));
    const part = data.subarray(0, this.#piece.length - this.#filled);
    this.#piece.set(part, this.#filled);
    this.#filled += part.length;
    this.#left -= part.length;
    if (this.#filled === this.#piece.length) await this.#check();
    return part.length;
  }

  async #check() {
    const piece = this.#piece;
    [this.#piece, this.#filled] = [null, 0];
    for (; this.#known > 0; this.#known--) await this.#digests.next();
    const [digest, told] = await Promise.all([digestOf(piece), this.#digests.next()]);
    if (hex(digest) !== told) throw new TypeError("it came damaged: what was saved is not what was offered");
  }
}

/** The lines of a text that is read as octets. */
class Lines {
  #reader;
  #text = "";
  #decoder = new TextDecoder();

  constructor(reader) {
    this.#reader = reader;
  }

  async next() {
    for (;;) {
      const end = this.#text.indexOf("\n");
      if (end >= 0) {
        const line = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 1);
        return line;
      }
      if (this.#text.length > DIGEST) throw new TypeError("its digests are none: a line is too long");
      const { done, value } = await this.#reader.read();
      if (done) throw new TypeError("its digests were cut short");
      this.#text += this.#decoder.decode(value, { stream: true });
    }
  }

  cancel() {
    this.#reader.cancel().catch(() => {});
  }
}
