/** Locks out remotes that have guessed the access token wrong too often. Sans-I/O: the time is passed in. */

/** Wrong proofs within the time of a lockout, after which a remote is locked out for that time. */
const FAILURES = 5;
/** That time, in seconds. */
export const LOCKOUT = 600;
/** Remotes that are remembered; the one that failed longest ago is forgotten first. */
const REMOTES = 4096;

/**
 * Counts by remotes: peer ids, IPv4 addresses and the networks of IPv6 addresses. One who is known by several
 * of them has failed as often as all of them together, so that a device with addresses of both versions is
 * one. Failures are charged to the peer id and to the address that somebody was heard from, and never to what
 * it says is its own: so anybody could have somebody else locked out.
 */
export class Lockout {
  #failures = new Map();
  #proving = new Map();

  /** Whether one known by `remotes` may show a proof now, rather than once others are heard(). */
  mayProve(remotes, now) {
    const keys = keysOf(remotes);
    const begun = Math.max(0, ...keys.map((key) => this.#proving.get(key) ?? 0));
    const failed = this.#failuresOf(keys).filter(({ time }) => time > now - LOCKOUT);
    if (begun + failed.length >= FAILURES) return false;
    for (const key of keys) this.#proving.set(key, (this.#proving.get(key) ?? 0) + 1);
    return true;
  }

  /** A remote that mayProve() let through has shown a proof, right or wrong, or is gone. */
  heard(remotes) {
    for (const key of keysOf(remotes)) {
      const begun = this.#proving.get(key) - 1;
      if (begun) this.#proving.set(key, begun);
      else this.#proving.delete(key);
    }
  }

  /** A wrong proof was shown at `now` (in seconds) by one known by all of `remotes`. */
  failed(remotes, now) {
    const failure = { time: now };
    for (const key of keysOf(remotes)) {
      const failures = [...(this.#failures.get(key) ?? []), failure].slice(-FAILURES);
      this.#failures.delete(key);
      this.#failures.set(key, failures);
      if (this.#failures.size > REMOTES) this.#failures.delete(this.#failures.keys().next().value);
    }
  }

  /** Whether one known by all of `remotes`, and by what it says is its own, is locked out. */
  has(remotes, now) {
    const latest = this.#failuresOf(keysOf(remotes)).slice(-FAILURES);
    const [first, last] = [latest[0]?.time, latest.at(-1)?.time];
    return latest.length === FAILURES && now < last + LOCKOUT && last < first + LOCKOUT;
  }

  /** The failures of all of them, each once, the latest last. */
  #failuresOf(keys) {
    const found = new Set(keys.flatMap((key) => this.#failures.get(key) ?? []));
    return [...found].sort((one, other) => one.time - other.time);
  }
}

const keysOf = (remotes) => [...new Set(remotes.map(keyOf))];

/** The network of an address: a host that has one IPv6 address has all 2^64 of its network. */
function keyOf(remote) {
  if (!remote.includes(":")) return remote;
  const [left, right] = remote.split("::").map((half) => half.split(":").filter(Boolean));
  const zeros = right ? Array(Math.max(0, 8 - left.length - right.length)).fill("0") : [];
  return [...left, ...zeros, ...(right ?? [])].slice(0, 4).join(":");
}

/** The claimed addresses of a peer heard from `here` that mean the same host to us. */
export function inSameRealm(addresses, here) {
  return addresses.filter((address) => !isPrivate(address) || isPrivate(here));
}

// RFC 1918, RFC 3927, RFC 6598; RFC 4193, RFC 4291 §2.5.
const PRIVATE =
  /^(?:10\.|127\.|169\.254\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|f[cd]|fe[89ab]|::1$)/i;
const isPrivate = (address) => PRIVATE.test(address);
