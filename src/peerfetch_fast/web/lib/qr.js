/** A QR code (ISO/IEC 18004) of a link: octets, the lowest level of correction, versions 1 to 20. */

/** Of each version: octets of correction a block, blocks, and octets of data in all (level L). */
const VERSIONS = [
  [7, 1, 19], [10, 1, 34], [15, 1, 55], [20, 1, 80], [26, 1, 108], [18, 2, 136], [20, 2, 156], [24, 2, 194],
  [30, 2, 232], [18, 4, 274], [20, 4, 324], [24, 4, 370], [26, 4, 428], [30, 4, 461], [22, 6, 523], [24, 6, 589],
  [28, 6, 647], [30, 6, 721], [28, 7, 795], [28, 8, 861],
];
const EXP = new Uint8Array(512);
const LOG = new Uint8Array(256);
for (let i = 0, x = 1; i < 255; i++) {
  EXP[i] = EXP[i + 255] = x;
  LOG[x] = i;
  x = (x << 1) ^ (x & 128 ? 0x11d : 0);
}
const times = (a, b) => (a && b ? EXP[LOG[a] + LOG[b]] : 0);
const MASKS = [
  (r, c) => (r + c) % 2,
  (r) => r % 2,
  (r, c) => c % 3,
  (r, c) => (r + c) % 3,
  (r, c) => ((r >> 1) + Math.floor(c / 3)) % 2,
  (r, c) => ((r * c) % 2) + ((r * c) % 3),
  (r, c) => (((r * c) % 2) + ((r * c) % 3)) % 2,
  (r, c) => (((r + c) % 2) + ((r * c) % 3)) % 2,
];

/** Rows of true (dark) and false. Throws RangeError for a text that is too long. */
export function qrCode(text) {
  const data = new TextEncoder().encode(text);
  const version = 1 + VERSIONS.findIndex(([, , room], i) => data.length + (i < 9 ? 2 : 3) <= room);
  if (version === 0) throw new RangeError("this is too long for a QR code");
  const codewords = interleaved(packed(data, version), version);
  const plain = frame(version);
  const drawn = MASKS.map((mask, number) => {
    const rows = plain.rows.map((row) => [...row]);
    place(rows, plain.taken, codewords, mask);
    drawFormat(rows, number);
    return rows;
  });
  const costs = drawn.map(cost);
  return drawn[costs.indexOf(Math.min(...costs))];
}

/** The octets of data: mode, count, text and padding. */
function packed(data, version) {
  const [, , room] = VERSIONS[version - 1];
  const bits = [];
  const put = (value, count) => {
    for (let i = count - 1; i >= 0; i--) bits.push((value >> i) & 1);
  };
  put(4, 4);
  put(data.length, version < 10 ? 8 : 16);
  for (const octet of data) put(octet, 8);
  put(0, Math.min(4, room * 8 - bits.length));
  while (bits.length % 8) bits.push(0);
  for (let pad = 0xec; bits.length < room * 8; pad ^= 0xec ^ 0x11) put(pad, 8);
  return Uint8Array.from({ length: room }, (_, i) => bits.slice(i * 8, i * 8 + 8).reduce((sum, bit) => sum * 2 + bit, 0));
}

/** The blocks of data and of correction, an octet of each in turn. */
function interleaved(data, version) {
  const [count, blocks] = VERSIONS[version - 1];
  const divisor = generator(count);
  const short = Math.floor(data.length / blocks);
  const long = data.length % blocks;
  const parts = [];
  for (let i = 0, at = 0; i < blocks; i++) {
    const size = short + (i >= blocks - long ? 1 : 0);
    parts.push(data.subarray(at, (at += size)));
  }
  const corrections = parts.map((part) => remainder(part, divisor));
  const found = [];
  for (let i = 0; i <= short; i++) for (const part of parts) if (i < part.length) found.push(part[i]);
  for (let i = 0; i < count; i++) for (const part of corrections) found.push(part[i]);
  return found;
}

function generator(degree) {
  let found = [1];
  for (let i = 0; i < degree; i++) {
    const next = [...found, 0];
    for (let j = 0; j < found.length; j++) next[j + 1] ^= times(found[j], EXP[i]);
    found = next;
  }
  return found.slice(1);
}

function remainder(data, divisor) {
  const found = new Uint8Array(divisor.length);
  for (const octet of data) {
    const factor = octet ^ found[0];
    found.copyWithin(0, 1);
    found[found.length - 1] = 0;
    divisor.forEach((value, i) => (found[i] ^= times(value, factor)));
  }
  return found;
}

/** The modules that are the same in all codes of a version, and their places. */
function frame(version) {
  const size = version * 4 + 17;
  const rows = Array.from({ length: size }, () => Array(size).fill(false));
  const taken = rows.map((row) => [...row]);
  const set = (r, c, dark) => {
    if (r < 0 || c < 0 || r >= size || c >= size) return;
    rows[r][c] = dark;
    taken[r][c] = true;
  };
  const square = (r, c, radius) => {
    for (let y = -radius; y <= radius; y++) {
      for (let x = -radius; x <= radius; x++) {
        const distance = Math.max(Math.abs(x), Math.abs(y));
        set(r + y, c + x, radius === 2 ? distance !== 1 : distance !== 2 && distance !== 4);
      }
    }
  };
  for (let i = 0; i < size; i++) {
    set(6, i, i % 2 === 0);
    set(i, 6, i % 2 === 0);
  }
  for (const [r, c] of [[3, 3], [3, size - 4], [size - 4, 3]]) square(r, c, 4);
  const places = alignments(version);
  for (const r of places) {
    for (const c of places) {
      const isCorner = (r === 6 && (c === 6 || c === size - 7)) || (r === size - 7 && c === 6);
      if (!isCorner) square(r, c, 2);
    }
  }
  for (let i = 0; i < 9; i++) {
    for (const [r, c] of [[8, i], [i, 8]]) if (!taken[r][c]) set(r, c, false);
  }
  for (let i = 1; i <= 8; i++) {
    set(8, size - i, false);
    set(size - i, 8, false);
  }
  set(size - 8, 8, true);
  if (version >= 7) drawVersion(version, size, set);
  return { rows, taken };
}

function alignments(version) {
  if (version === 1) return [];
  const count = Math.floor(version / 7) + 2;
  const step = Math.floor((version * 8 + count * 3 + 5) / (count * 4 - 4)) * 2;
  const places = Array.from({ length: count - 1 }, (_, i) => version * 4 + 10 - i * step);
  return [6, ...places.reverse()];
}

function drawVersion(version, size, set) {
  let rest = version;
  for (let i = 0; i < 12; i++) rest = (rest << 1) ^ ((rest >> 11) * 0x1f25);
  const bits = (version << 12) | rest;
  for (let i = 0; i < 18; i++) {
    const [a, b] = [size - 11 + (i % 3), Math.floor(i / 3)];
    set(a, b, ((bits >> i) & 1) === 1);
    set(b, a, ((bits >> i) & 1) === 1);
  }
}

/** Level L and the mask, twice. */
function drawFormat(rows, mask) {
  const size = rows.length;
  const data = 8 | mask;
  let rest = data;
  for (let i = 0; i < 10; i++) rest = (rest << 1) ^ ((rest >> 9) * 0x537);
  const bits = ((data << 10) | rest) ^ 0x5412;
  for (let i = 0; i < 15; i++) {
    const dark = ((bits >> i) & 1) === 1;
    if (i < 6) rows[i][8] = dark;
    else if (i < 8) rows[i + 1][8] = dark;
    else if (i === 8) rows[8][7] = dark;
    else rows[8][14 - i] = dark;
    if (i < 8) rows[8][size - 1 - i] = dark;
    else rows[size - 15 + i][8] = dark;
  }
}

/** Fill the rest with `codewords`, two columns at a time, up and down, where `mask` is 0 turned round. */
function place(rows, taken, codewords, mask) {
  const size = rows.length;
  let at = 0;
  for (let right = size - 1; right >= 1; right -= 2) {
    if (right === 6) right = 5;
    for (let i = 0; i < size; i++) {
      const r = ((right + 1) & 2) === 0 ? size - 1 - i : i;
      for (const c of [right, right - 1]) {
        if (taken[r][c]) continue;
        const bit = at < codewords.length * 8 && ((codewords[at >> 3] >> (7 - (at & 7))) & 1) === 1;
        at++;
        rows[r][c] = bit !== (mask(r, c) === 0);
      }
    }
  }
}

/** How hard it is to read: long runs, blocks, what looks like a corner, and too much of one colour. */
function cost(rows) {
  const size = rows.length;
  const columns = rows.map((_, c) => rows.map((row) => row[c]));
  let sum = 0;
  for (const line of [...rows, ...columns]) {
    const text = line.map((dark) => (dark ? "1" : "0")).join("");
    for (const [run] of text.matchAll(/0{5,}|1{5,}/g)) sum += run.length - 2;
    for (const pattern of ["10111010000", "00001011101"]) {
      for (let at = text.indexOf(pattern); at >= 0; at = text.indexOf(pattern, at + 1)) sum += 40;
    }
  }
  let dark = 0;
  for (let r = 0; r < size; r++) {
    for (let c = 0; c < size; c++) {
      dark += rows[r][c];
      if (r && c && rows[r][c] === rows[r - 1][c] && rows[r][c] === rows[r][c - 1] && rows[r][c] === rows[r - 1][c - 1]) sum += 3;
    }
  }
  return sum + Math.floor(Math.abs(dark * 20 - size * size * 10) / (size * size)) * 10;
}
