/**
 * The head of a JPEG: the small picture that cameras put there (Exif 2.3, section 4.5.5), and how
 * it is to be turned. The bytes are a device's: nothing in them is trusted.
 */

const SOI = 0xffd8;
const APP1 = 0xffe1;
const SOS = 0xffda;
const ORIENTATION = 0x0112;
const THUMBNAIL_OFFSET = 0x0201;
const THUMBNAIL_LENGTH = 0x0202;
const SHORT = 3;
const LONG = 4;
/** Entries of a directory that are looked at; real ones have some twenty. */
const MAX_ENTRIES = 128;

/**
 * `{orientation, thumbnail}` of a JPEG that begins with `bytes`: 1 to 8, and the bytes of a JPEG, or null where
 * there is none among these.
 */
export function readExif(bytes) {
  const nothing = { orientation: 1, thumbnail: null };
  const tiff = findTiff(bytes);
  if (!tiff) return nothing;
  try {
    return { ...nothing, ...readTiff(tiff) };
  } catch (error) {
    if (error instanceof RangeError) return nothing; // an offset that leads out of it
    throw error;
  }
}

/** The part that is in the form of a TIFF file. */
function findTiff(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.byteLength < 4 || view.getUint16(0) !== SOI) return null;
  for (let at = 2; at + 4 <= view.byteLength; ) {
    const [marker, size] = [view.getUint16(at), view.getUint16(at + 2)];
    if (marker < 0xff00 || marker === SOS || size < 2) return null;
    const segment = bytes.subarray(at + 4, at + 2 + size);
    if (marker === APP1 && String.fromCharCode(...segment.subarray(0, 6)) === "Exif\0\0") {
      return segment.subarray(6);
    }
    at += 2 + size;
  }
  return null;
}

function readTiff(tiff) {
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  const order = view.getUint16(0);
  if (order !== 0x4949 && order !== 0x4d4d) return {};
  const little = order === 0x4949;
  const main = directory(view, view.getUint32(4, little), little);
  const orientation = main.values.get(ORIENTATION) ?? 1;
  const found = { orientation: orientation >= 1 && orientation <= 8 ? orientation : 1 };
  if (main.next === 0) return found;
  const { values } = directory(view, main.next, little);
  const [start, size] = [values.get(THUMBNAIL_OFFSET), values.get(THUMBNAIL_LENGTH)];
  if (!start || !size || start + size > tiff.byteLength) return found;
  const thumbnail = tiff.slice(start, start + size);
  return thumbnail[0] === 0xff && thumbnail[1] === 0xd8 ? { ...found, thumbnail } : found;
}

/** The numbers of a directory by their tags, and where the next one is. Throws RangeError. */
function directory(view, at, little) {
  const count = view.getUint16(at, little);
  const values = new Map();
  for (let i = 0; i < Math.min(count, MAX_ENTRIES); i++) {
    const entry = at + 2 + 12 * i;
    const [tag, type] = [view.getUint16(entry, little), view.getUint16(entry + 2, little)];
    if (type === SHORT) values.set(tag, view.getUint16(entry + 8, little));
    if (type === LONG) values.set(tag, view.getUint32(entry + 8, little));
  }
  const after = at + 2 + 12 * count;
  return { values, next: after + 4 <= view.byteLength ? view.getUint32(after, little) : 0 };
}
