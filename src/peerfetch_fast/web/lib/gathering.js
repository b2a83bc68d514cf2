const decoder = new TextDecoder();

/** Puts pieces of bytes together in one buffer, however many and small they are. */
export class Gathering {
  #buffer = new Uint8Array(0);
  size = 0;

  append(piece) {
    const size = this.size + piece.length;
    if (size > this.#buffer.length) {
      // At least twice as large each time, so that a byte is copied a few times at most.
      const larger = new Uint8Array(Math.max(size, 2 * this.#buffer.length));
      larger.set(this.#buffer.subarray(0, this.size));
      this.#buffer = larger;
    }
    this.#buffer.set(piece, this.size);
    this.size = size;
  }

  /** All that was put together, with a buffer of its own; and begin anew. */
  take() {
    const whole = this.#buffer.length === this.size ? this.#buffer : this.#buffer.slice(0, this.size);
    this.#buffer = new Uint8Array(0);
    this.size = 0;
    return whole;
  }
}

/** All of a stream of bytes; null, and nothing more is read, where that is more than `most`. Throws what it does. */
export async function gathered(stream, most) {
  const found = new Gathering();
  for (const reader = stream.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return found.take();
    if (found.size + value.length > most) {
      reader.cancel().catch(() => {});
      return null;
    }
    found.append(value);
  }
}

/** The body of a request or response as text; null, and nothing more is read, where it has more than `most` bytes. */
export async function textOf(message, most) {
  // Firefox has no Request.body; lib/server.js takes no more there than fits in memory.
  const octets = message.body ? await gathered(message.body, most) : new Uint8Array(await message.arrayBuffer());
  return octets && octets.length <= most ? decoder.decode(octets) : null;
}
