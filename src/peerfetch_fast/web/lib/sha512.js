/** SHA-512 (FIPS 180-4) in BigInt: a page without a secure context has no crypto.subtle. Used a few times for a code. */

const MASK = (1n << 64n) - 1n;

/** The first 64 bits behind the point of the root of `n`, of the degree 2 or 3. */
function fraction(n, degree) {
  const target = BigInt(n) << (64n * BigInt(degree));
  let [low, high] = [0n, BigInt(n) << 64n];
  while (low < high) {
    const middle = (low + high + 1n) >> 1n;
    if (middle ** BigInt(degree) <= target) low = middle;
    else high = middle - 1n;
  }
  return low & MASK;
}

const isPrime = (n) => {
  for (let i = 2; i * i <= n; i++) if (n % i === 0) return false;
  return true;
};

/** The constants, made when they are first needed: `{K, initial}`. */
let constants = null;
function made() {
  const primes = [];
  for (let n = 2; primes.length < 80; n++) if (isPrime(n)) primes.push(n);
  return {
    K: primes.map((prime) => fraction(prime, 3)),
    initial: primes.slice(0, 8).map((prime) => fraction(prime, 2)),
  };
}

const rotate = (x, n) => ((x >> n) | (x << (64n - n))) & MASK;

/** The SHA-512 of `data` (Uint8Array): 64 bytes. */
export function sha512(data) {
  const { K, initial } = (constants ??= made());
  const padded = new Uint8Array(((data.length + 16) >> 7 << 7) + 128);
  padded.set(data);
  padded[data.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setBigUint64(padded.length - 8, BigInt(data.length) * 8n);
  const state = [...initial];
  const words = new Array(80);
  for (let at = 0; at < padded.length; at += 128) {
    for (let i = 0; i < 16; i++) words[i] = view.getBigUint64(at + 8 * i);
    for (let i = 16; i < 80; i++) {
      const [x, y] = [words[i - 15], words[i - 2]];
      const s0 = rotate(x, 1n) ^ rotate(x, 8n) ^ (x >> 7n);
      const s1 = rotate(y, 19n) ^ rotate(y, 61n) ^ (y >> 6n);
      words[i] = (words[i - 16] + s0 + words[i - 7] + s1) & MASK;
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 80; i++) {
      const s1 = rotate(e, 14n) ^ rotate(e, 18n) ^ rotate(e, 41n);
      const first = h + s1 + ((e & f) ^ (~e & MASK & g)) + K[i] + words[i];
      const s0 = rotate(a, 28n) ^ rotate(a, 34n) ^ rotate(a, 39n);
      const second = s0 + ((a & b) ^ (a & c) ^ (b & c));
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) & MASK, c, b, a, (first + second) & MASK];
    }
    [a, b, c, d, e, f, g, h].forEach((word, i) => (state[i] = (state[i] + word) & MASK));
  }
  const digest = new DataView(new ArrayBuffer(64));
  state.forEach((word, i) => digest.setBigUint64(8 * i, word));
  return new Uint8Array(digest.buffer);
}
