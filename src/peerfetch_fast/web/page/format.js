/** Numbers and names as people read them. */

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** Bytes with a unit: "1.4 MB". */
export function bytes(count) {
  let unit = 0;
  while (count >= 999.5 && unit < UNITS.length - 1) {
    count /= 1000;
    unit++;
  }
  return `${unit === 0 || count >= 99.5 ? Math.round(count) : count.toPrecision(2)} ${UNITS[unit]}`;
}

export const rate = (bytesPerSecond) => `${bytes(bytesPerSecond)}/s`;

/** What a picture takes: "1.42 Mbit/s". */
export function bitRate(bytesPerSecond) {
  const megabits = (bytesPerSecond * 8) / 1e6;
  return `${megabits.toFixed(megabits < 10 ? 2 : 1)} Mbit/s`;
}

/** The time since a moment of `Date.now()`: "1:05". */
export function clock(since) {
  const seconds = Math.floor((Date.now() - since) / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** Percent-encoded text as it was meant; as it is where it is not percent-encoded. */
export function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** What others have written, without what would be no text to people, or turn its direction around. */
export const shown = (text) => text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, "");

/** The name of a camera that has none of its own: its path. */
export const nameOfCamera = (path) => decoded(path).replace(/^\/|\/$/g, "") || "Camera";

/** The last part of a path, as a name; empty for a folder. */
export const nameOf = (path) => decoded(path.split("?")[0].split("/").pop());
