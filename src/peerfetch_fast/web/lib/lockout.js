/** Who has guessed the access token wrong too often. Knows no clock: times are passed in. */

/** Wrong proofs within the time of a lockout, after which a remote is locked out for that time. */
const FAILURES = 5;
/** Seconds. */
const TIME = 600;
/** Remotes that are remembered; the one that failed longest ago is forgotten first. */
const REMOTES = 4096;

/** Counts by remotes: peer ids, IPv4 addresses and the networks of IPv6 addresses. */
export class Lockout {
  #failures = new Map();

  /** `remote` has shown a wrong proof at `now` (in seconds). */
  failed(remote, now) {
    const key = keyOf(remote);
    const times = [...(this.#failures.get(key) ?? []), now].slice(-FAILURES);
    this.#failures.delete(key);
    this.#failures.set(key, times);
    if (this.#failures.size > REMOTES) this.#failures.delete(this.#failures.keys().next().value);
  }

  has(remote, now) {
    const times = this.#failures.get(keyOf(remote)) ?? [];
    const [first, last] = [times[0], times.at(-1)];
    return times.length === FAILURES && now < last + TIME && last < first + TIME;
  }
}

/** Whoever has one IPv6 address has the 2^64 of its network. */
function keyOf(remote) {
  if (!remote.includes(":")) return remote;
  const [left, right] = remote.split("::").map((half) => half.split(":").filter(Boolean));
  const zeros = right ? Array(Math.max(0, 8 - left.length - right.length)).fill("0") : [];
  return [...left, ...zeros, ...(right ?? [])].slice(0, 4).join(":");
}
