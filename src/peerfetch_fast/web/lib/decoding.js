/**
 * Undoing the codings of answers (Content-Encoding, RFC 9110 §8.4), as window.fetch does, with what the
 * platform has for it.
 */

/** The name of a coding for the platform's DecompressionStream. */
const FORMATS = { gzip: "gzip", "x-gzip": "gzip", deflate: "deflate", br: "brotli", zstd: "zstd" };
/** Codings that may lie on top of each other. */
const MAX_CODINGS = 5;
/**
 * Bytes that are undone in one go, which become 8 MB at most (of brotli 90 MB), whatever they hold: the
 * platform makes all of it before anybody can say that it is enough.
 */
const SLICE = { gzip: 8192, deflate: 8192, zstd: 256, brotli: 64 };

function isSupported(format) {
  try {
    return Boolean(new DecompressionStream(format));
  } catch {
    return false;
  }
}

const supported = new Set(Object.values(FORMATS).filter(isSupported));
const announced = Object.keys(FORMATS).filter((coding) => !coding.startsWith("x-") && supported.has(FORMATS[coding]));

/** The codings that can be undone here, as the value of Accept-Encoding. */
export const ACCEPT_ENCODING = announced.join(", ") || "identity";

/** The codings of a body, in the order in which they were applied. */
function codingsOf(headers) {
  const codings = (headers.get("content-encoding") ?? "").split(",").map((one) => one.trim().toLowerCase());
  return codings.filter((coding) => coding && coding !== "identity");
}

/** Whether a body with these headers is undone by decoded(). */
export function isEncoded(headers) {
  const codings = codingsOf(headers);
  return 0 < codings.length && codings.length <= MAX_CODINGS && codings.every((one) => supported.has(FORMATS[one]));
}

/**
 * The coding that keeps a body with these headers from being read; null if there is none. One
 * that is nobody's is left alone, as browsers do.
 */
export function undecodable(headers) {
  const codings = codingsOf(headers);
  if (codings.length > MAX_CODINGS) return `${codings.length} codings`;
  return codings.find((coding) => FORMATS[coding] && !supported.has(FORMATS[coding])) ?? null;
}

/** Bytes of a body with these headers once it is undone; null where that is not known. */
export const sizeOf = (headers) => (isEncoded(headers) ? null : Number(headers.get("content-length")) || null);

/** `body`, a stream of bytes that `isEncoded(headers)`, as it was before. */
export function decoded(body, headers) {
  return codingsOf(headers).reduceRight(undone, body);
}

/** `body` without its outermost coding. */
function undone(body, coding) {
  const undoing = new Undoing(body.getReader(), coding);
  return new ReadableStream(
    {
      async pull(controller) {
        const piece = await undoing.next();
        if (piece) controller.enqueue(piece);
        else controller.close();
      },
      cancel: (reason) => undoing.end(reason),
    },
    { highWaterMark: 0 },
  );
}

/** One coding. It takes in no more than what the next piece of its output needs. */
class Undoing {
  #source;
  #coding;
  /** Made of the platform's classes, once the first bytes are there. */
  #writer = null;
  #reader = null;
  #reading = null;
  #feeding = null;
  #isFed = false;
  #piece = new Uint8Array(0);
  #slice;
  /** Why nothing more comes in, where that is not our business. */
  #failure = null;

  constructor(source, coding) {
    this.#source = source;
    this.#coding = coding;
    this.#slice = SLICE[FORMATS[coding]];
  }

  /** The next piece of what was encoded, null at its end. Throws TypeError, and what the source does. */
  async next() {
    try {
      // Where nothing comes at all, as with the answer to a HEAD, there is nothing.
      if (!this.#reader && !(await this.#open())) return null;
      for (;;) {
        this.#reading ??= this.#reader.read();
        const came = await Promise.race([this.#reading, this.#fed()]);
        if (!came) continue;
        this.#reading = null;
        return came.done ? null : came.value;
      }
    } catch (error) {
      this.end(error).catch(() => {});
      const cause = { cause: error };
      throw this.#failure ?? new TypeError(`the answer is not the whole ${this.#coding} that it says`, cause);
    }
  }

  end(reason) {
    this.#writer?.abort(reason).catch(() => {});
    this.#reader?.cancel(reason).catch(() => {});
    return this.#source.cancel(reason);
  }

  async #open() {
    if (!(await this.#fill())) return false;
    const format = FORMATS[this.#coding];
    // Some servers send deflate without zlib's wrapping: its first byte gives it away (RFC 1950 §2.2).
    const isBare = format === "deflate" && (this.#piece[0] & 0x0f) !== 8;
    const { readable, writable } = new DecompressionStream(isBare ? "deflate-raw" : format);
    this.#writer = writable.getWriter();
    this.#writer.closed.catch(() => {});
    this.#reader = readable.getReader();
    return true;
  }

  /** Have some of what comes in at hand; whether there is any. */
  async #fill() {
    try {
      while (this.#piece.length === 0) {
        const { done, value } = await this.#source.read();
        if (done) return false;
        this.#piece = value;
      }
      return true;
    } catch (error) {
      throw (this.#failure = error);
    }
  }

  /** Resolves with null once more was taken in; at the end with what is being read, which ends too. */
  #fed() {
    if (this.#isFed) return this.#reading;
    if (!this.#feeding) {
      this.#feeding = this.#feed().finally(() => (this.#feeding = null));
      this.#feeding.catch(() => {}); // nobody may wait for it any more
    }
    return this.#feeding;
  }

  async #feed() {
    if (!(await this.#fill())) {
      this.#isFed = true;
      return this.#writer.close();
    }
    const slice = this.#piece.subarray(0, this.#slice);
    this.#piece = this.#piece.subarray(slice.length);
    return this.#writer.write(slice);
  }
}
