/**
 * Codes to be read out and typed: `NUMBER-word-word`, and digits for one who waits in a room (docs/protocol.md,
 * section 9).
 */

import { ConnectError } from "./errors.js";
import { WORDS } from "./words.js";

/** By so many letters all words differ. */
const PREFIX = 4;
const BY_PREFIX = new Map(WORDS.map((word) => [word.slice(0, PREFIX), word]));
const FORM = /^\s*([1-9][0-9]{2,5})[\s_.,-]*([a-z]{4,7})[\s_.,-]+([a-z]{4,7})\s*$/i;

/** From where numbers are drawn, `[first, count]`: at first a short one; if that is taken, from more of them. */
const NUMBERS = [[100, 900], [1000, 9000], [10_000, 990_000]];

const DIGITS = /^[0-9]{6}$/;
const WAITING = /^wait-([A-Za-z0-9-]{1,40})-[0-9a-f]{8}$/;

/** The name that a waiting device has in a room; null if the id is not that of such a device. */
export const waitingName = (id) => WAITING.exec(id)?.[1] ?? null;

/** The digits that were typed, with spaces between allowed. Throws ConnectError. */
export function parseDigits(text) {
  const digits = text.replace(/[\s_.,-]/g, "");
  if (!DIGITS.test(digits)) throw new ConnectError("code", "Enter the 6 digits that the device shows.");
  return digits;
}

/** Whether `text` has the form of a code, whatever its words are. */
export const looksLikeCode = (text) => FORM.test(text);

/**
 * The code that was typed, with capitals, other separators and shortened words allowed: `{code, id}`, with the peer id
 * of who waits for it. Throws ConnectError, before anybody is told of it: what is no word costs no guess.
 */
export function parseCode(text) {
  const found = FORM.exec(text);
  if (!found) {
    throw new ConnectError("code", `${text} is no code: it is a number and two words, as in 123-able-boat.`);
  }
  const [, number, first, second] = found;
  return { code: `${number}-${word(first)}-${word(second)}`, id: `pair-${number}` };
}

/**
 * A new code, as parseCode() gives it.
 * @param below a random number from 0 up to, and without, the one given
 * @param attempt how many were drawn before whose number was taken
 */
export function drawCode(below, attempt = 0) {
  const [first, count] = NUMBERS[Math.min(attempt, NUMBERS.length - 1)];
  const number = first + below(count);
  return { code: `${number}-${WORDS[below(WORDS.length)]}-${WORDS[below(WORDS.length)]}`, id: `pair-${number}` };
}

function word(typed) {
  const small = typed.toLowerCase();
  const found = BY_PREFIX.get(small.slice(0, PREFIX));
  if (!found?.startsWith(small)) throw new ConnectError("code", `${typed} is no word of a code: read it again.`);
  return found;
}
