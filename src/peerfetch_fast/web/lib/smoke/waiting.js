/** Work that waits: for a barrier to open, or for others to be done. */

export class Barrier {
  #isPaused = true;
  #waiting = [];

  /** Have what is run from now on wait. */
  pause() {
    this.#isPaused = true;
  }

  /** Run what waits, and what comes. */
  resume() {
    this.#isPaused = false;
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** What `work` gives, once it may run. */
  async run(work) {
    if (this.#isPaused) await new Promise((resolve) => this.#waiting.push(resolve));
    return work();
  }
}

export class Semaphore {
  #free;
  #waiting = [];

  /** @param concurrency of the works that run at once */
  constructor(concurrency = 1) {
    this.#free = concurrency;
  }

  /** What `work` gives, once it may run, in the order of the calls. */
  async run(work) {
    if (this.#free > 0) this.#free--;
    else await new Promise((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const wake = this.#waiting.shift();
      if (wake) wake();
      else this.#free++;
    }
  }
}
