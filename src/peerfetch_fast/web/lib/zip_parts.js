/**
 * What stands around files in a ZIP that is made while it is sent (docs/sharing.md, APPNOTE 6.3.10): octets whose
 * number is known beforehand. Entries are `{path, size, modified}`; a directory's path ends with a slash.
 */

const encoder = new TextEncoder();
/** The size from which on a number takes ZIP64, and so many entries. */
const BIG = 0xffffffff;
const MANY = 0xffff;
const UTF8 = 0x800;
/** The CRC-32 stands behind the file. */
const BEHIND = 8;
const VERSION = 20;
const VERSION64 = 45;
const UNIX = 0x300;
/** Mode and DOS attributes: a plain file and a directory. */
const FILE = 0x81a40000;
const DIRECTORY = 0x41ed0010;

const isDirectory = ({ path }) => path.endsWith("/");
const flagsOf = (entry) => (isDirectory(entry) ? UTF8 : UTF8 | BEHIND);

/** Numbers in little-endian order: pairs of octets and value. */
function packed(...pairs) {
  const view = new DataView(new ArrayBuffer(pairs.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of pairs) {
    if (size === 8) view.setBigUint64(at, BigInt(value), true);
    else if (size === 4) view.setUint32(at, value, true);
    else view.setUint16(at, value, true);
    at += size;
  }
  return new Uint8Array(view.buffer);
}

function dosTime(modified) {
  const moment = new Date(Math.min(Math.max(modified, 315_532_800_000), 4_000_000_000_000));
  const clock = (moment.getUTCHours() << 11) | (moment.getUTCMinutes() << 5) | (moment.getUTCSeconds() >> 1);
  return [clock, ((moment.getUTCFullYear() - 1980) << 9) | ((moment.getUTCMonth() + 1) << 5) | moment.getUTCDate()];
}

/** What stands before a file: a list of octets, as all of these. */
export function localHeader(entry) {
  const name = encoder.encode(entry.path);
  const { size = 0 } = entry;
  const big = size >= BIG;
  const [clock, day] = dosTime(entry.modified);
  const least = Math.min(size, BIG);
  const extra = big ? packed([2, 1], [2, 16], [8, size], [8, size]) : new Uint8Array();
  const head = packed(
    [4, 0x04034b50], [2, big ? VERSION64 : VERSION], [2, flagsOf(entry)], [2, 0], [2, clock], [2, day], [4, 0],
    [4, least], [4, least], [2, name.length], [2, extra.length],
  );
  return [head, name, extra];
}

/** What stands behind a file; nothing behind a directory. */
export function descriptor(entry, crc) {
  if (isDirectory(entry)) return [];
  const width = entry.size >= BIG ? 8 : 4;
  return [packed([4, 0x08074b50], [4, crc], [width, entry.size], [width, entry.size])];
}

/** The entry of the directory at the end, of what begins at `at`. */
export function centralHeader(entry, crc, at) {
  const name = encoder.encode(entry.path);
  const { size = 0 } = entry;
  const [clock, day] = dosTime(entry.modified);
  const big = [size, size, at].filter((value) => value >= BIG);
  const extra = big.length ? packed([2, 1], [2, 8 * big.length], ...big.map((value) => [8, value])) : new Uint8Array();
  const least = Math.min(size, BIG);
  const head = packed(
    [4, 0x02014b50], [2, VERSION64 | UNIX], [2, big.length ? VERSION64 : VERSION], [2, flagsOf(entry)], [2, 0], [2, clock],
    [2, day], [4, crc], [4, least], [4, least], [2, name.length], [2, extra.length], [2, 0], [2, 0], [2, 0],
    [4, isDirectory(entry) ? DIRECTORY : FILE], [4, Math.min(at, BIG)],
  );
  return [head, name, extra];
}

/** The end: of `count` entries, whose directory begins at `at` and has `size` octets. */
export function endOf(count, size, at) {
  const is64 = count >= MANY || size >= BIG || at >= BIG;
  const more = is64
    ? [
        packed(
          [4, 0x06064b50], [8, 44], [2, VERSION64 | UNIX], [2, VERSION64], [4, 0], [4, 0], [8, count], [8, count],
          [8, size], [8, at],
        ),
        packed([4, 0x07064b50], [4, 0], [8, at + size], [4, 1]),
      ]
    : [];
  const few = Math.min(count, MANY);
  const last = packed(
    [4, 0x06054b50], [2, 0], [2, 0], [2, few], [2, few], [4, Math.min(size, BIG)], [4, Math.min(at, BIG)], [2, 0],
  );
  return [...more, last];
}

export const lengthOf = (parts) => parts.reduce((sum, { length }) => sum + length, 0);

/** Which bits of the octets are told beforehand: all but those from each `first` to before `last`. */
function mask(length, ...free) {
  const bits = new Uint8Array(length).fill(255);
  for (const [first, last] of free) bits.fill(0, first, last);
  return bits;
}

/** Times; and CRC-32s, and permissions, but not the kind: a link would lead elsewhere. */
const LOCAL = mask(30, [10, 14]);
const DESCRIPTOR = mask(8, [4, 8]);
const CENTRAL = mask(46, [12, 20], [38, 41]);
CENTRAL[41] = 0xfe;

function frame(parts, bits = new Uint8Array()) {
  const octets = new Uint8Array(lengthOf(parts));
  let at = 0;
  for (const part of parts) {
    octets.set(part, at);
    at += part.length;
  }
  return { octets, bits };
}

/**
 * What the ZIP of `entries` consists of, one after another: `{size}` of a file's contents, and `{octets, bits}` of what
 * stands around them, where `bits` say what of the first octets is known. Beyond those, all is.
 */
export function* zipLayout(entries) {
  const places = [];
  let at = 0;
  for (const { path, size } of entries) {
    const entry = { path, size, modified: 0 };
    const [before, behind] = [localHeader(entry), descriptor(entry, 0)];
    places.push(at);
    at += lengthOf(before) + (size ?? 0) + lengthOf(behind);
    yield frame(before, LOCAL);
    if (size !== undefined) yield { size };
    yield frame(behind, DESCRIPTOR);
  }
  let directory = 0;
  for (const [i, { path, size }] of entries.entries()) {
    const header = centralHeader({ path, size, modified: 0 }, 0, places[i]);
    directory += lengthOf(header);
    yield frame(header, CENTRAL);
  }
  yield frame(endOf(entries.length, directory, at));
}
