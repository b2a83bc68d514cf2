/** Tells where a device has left pictures out, because the network between carries less than the camera gives. */

/** Milliseconds for which that is told after each. */
const TOLD = 5000;
/** What is left out is longer than this many pictures, and than these microseconds: cameras are not that regular. */
const PICTURES = 4;
const SHORTEST = 250_000;

export class Gaps {
  #last = null;
  /** Microseconds from one picture to the next, as a rule. */
  #usual = 0;
  #until = -Infinity;

  /** What comes is of a camera that begins anew: how long it was away says nothing of the network. */
  begin() {
    this.#last = null;
  }

  /**
   * Take a picture: what was left out ends with one that can be shown without those before it.
   * @param {number} time microseconds
   * @param {boolean} isKey
   * @param {number} now milliseconds
   */
  take(time, isKey, now) {
    const passed = this.#last === null ? 0 : time - this.#last;
    this.#last = time;
    if (!isKey) this.#usual = passed;
    else if (passed > Math.max(PICTURES * this.#usual, SHORTEST)) this.#until = now + TOLD;
  }

  /** Whether pictures were left out a short while ago. */
  areThere(now) {
    return now < this.#until;
  }
}
