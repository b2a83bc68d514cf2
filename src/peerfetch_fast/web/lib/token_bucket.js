/** A bound on how often something is done. Sans-I/O: times, in seconds, are passed in. */
export class TokenBucket {
  #rate;
  #burst;
  #tokens;
  #asOf;

  /** A bucket of `burst` tokens that is full at `now`, and gets `rate` tokens a second. */
  constructor(rate, burst, now) {
    this.#rate = rate;
    this.#burst = this.#tokens = burst;
    this.#asOf = now;
  }

  /** Take a token; returns whether there was one. */
  take(now) {
    this.#tokens = Math.min(this.#burst, this.#tokens + (now - this.#asOf) * this.#rate);
    this.#asOf = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
