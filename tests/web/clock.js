/** Time that a test plays: what setTimeout() and performance.now() go by in place of the machine's. */

import { mock } from "node:test";

const turn = () => new Promise((resolve) => setImmediate(resolve));

export class Clock {
  #now;
  #timers = new Map();
  #number = 0;

  /** From now on, until restore(), time stands still but for pass(). */
  constructor() {
    // Whole, so that sums and differences are.
    this.#now = Math.ceil(performance.now());
    mock.method(performance, "now", () => this.#now);
    mock.method(globalThis, "setTimeout", (work, wait = 0, ...parameters) => {
      this.#timers.set(++this.#number, { at: this.#now + wait, work: () => work(...parameters) });
      return this.#number;
    });
    mock.method(globalThis, "clearTimeout", (number) => void this.#timers.delete(number));
    mock.method(globalThis, "setInterval", () => null);
    mock.method(globalThis, "clearInterval", () => {});
  }

  restore() {
    mock.restoreAll();
  }

  /** Let everything happen that waits for no time. */
  async settle() {
    for (let i = 0; i < 10; i++) await turn();
  }

  /** Let so many milliseconds pass. */
  async pass(milliseconds) {
    const end = this.#now + milliseconds;
    for (;;) {
      await this.settle();
      const [next] = [...this.#timers].sort(([, one], [, other]) => one.at - other.at);
      if (!next || next[1].at > end) break;
      const [number, { at, work }] = next;
      this.#timers.delete(number);
      this.#now = Math.max(this.#now, at);
      work();
    }
    this.#now = end;
  }
}
