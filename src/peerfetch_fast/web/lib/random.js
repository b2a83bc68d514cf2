import { hex } from "./bytes.js";

/** `bytes` random bytes as hexadecimal digits. */
export const randomHex = (bytes) => hex(crypto.getRandomValues(new Uint8Array(bytes)));

/** A random number from 0 up to, and without, `count` (2^32 at most), each as likely as the others. */
export function randomBelow(count) {
  const fair = 2 ** 32 - (2 ** 32 % count);
  const drawn = new Uint32Array(1);
  do crypto.getRandomValues(drawn);
  while (drawn[0] >= fair);
  return drawn[0] % count;
}
