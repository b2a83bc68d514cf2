/** Where something is written to in parts, each when the one before is done. */

export class Writable {
  #sink;
  #turn;
  #error = null;

  /** @param sink what may have `start`, `write`, `close` and `abort`, as for a WritableStream */
  constructor(sink) {
    this.#sink = sink;
    this.#turn = Promise.resolve();
    this.#next("start", {}).catch(() => {});
  }

  /** Throws what the sink threw, now or before. */
  write(value) {
    return this.#next("write", value, {});
  }

  close() {
    return this.#next("close");
  }

  abort(error = new Error("abort")) {
    return this.#next("abort", error);
  }

  #next(name, ...given) {
    const done = this.#turn.then(async () => {
      if (this.#error) throw this.#error;
      try {
        await this.#sink[name]?.(...given);
      } catch (error) {
        this.#error = error;
        throw error;
      }
    });
    this.#turn = done.catch(() => {});
    return done;
  }
}
