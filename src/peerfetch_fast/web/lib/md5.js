/** MD5 (RFC 1321), which logins by Digest may ask for and browsers have not. It protects nothing else. */

const SHIFTS = [
  [7, 12, 17, 22],
  [5, 9, 14, 20],
  [4, 11, 16, 23],
  [6, 10, 15, 21],
];
const SINES = Array.from({ length: 64 }, (_, i) => Math.floor(Math.abs(Math.sin(i + 1)) * 2 ** 32) | 0);
const INITIAL = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];
const MIXED = [
  (b, c, d) => (b & c) | (~b & d),
  (b, c, d) => (d & b) | (~d & c),
  (b, c, d) => b ^ c ^ d,
  (b, c, d) => c ^ (b | ~d),
];
/** Which word of a block a step takes. */
const WORDS = [(i) => i, (i) => (5 * i + 1) % 16, (i) => (3 * i + 5) % 16, (i) => (7 * i) % 16];

const rotate = (x, n) => (x << n) | (x >>> (32 - n));

/** The MD5 of `data` (Uint8Array): 16 bytes. */
export function md5(data) {
  const padded = new Uint8Array((((data.length + 8) >> 6) << 6) + 64);
  padded.set(data);
  padded[data.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setBigUint64(padded.length - 8, BigInt(data.length) * 8n, true);
  const state = Int32Array.from(INITIAL);
  for (let at = 0; at < padded.length; at += 64) {
    let [a, b, c, d] = state;
    for (let i = 0; i < 64; i++) {
      const round = i >> 4;
      const word = view.getInt32(at + 4 * WORDS[round](i), true);
      const sum = (a + MIXED[round](b, c, d) + SINES[i] + word) | 0;
      [a, b, c, d] = [d, (b + rotate(sum, SHIFTS[round][i % 4])) | 0, b, c];
    }
    [a, b, c, d].forEach((value, i) => (state[i] += value));
  }
  const digest = new DataView(new ArrayBuffer(16));
  state.forEach((value, i) => digest.setInt32(4 * i, value, true));
  return new Uint8Array(digest.buffer);
}
