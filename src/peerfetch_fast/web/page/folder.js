/** Save what is shared into a folder that the person has picked: each file by itself, checked. */

import { hex } from "../lib/bytes.js";
import { resumingReader } from "../lib/resume.js";
import { sha256 } from "../lib/sha256.js";
import { targetOf } from "./manifest.js";

/** Bytes of a part of a large file, which is kept by itself until all are there: what a reload can cost. */
const PART = 64 << 20;

/**
 * Begin: `{transfer, done}`, the transfer as Space tells of them. Files that are there with that size are left as
 * they are, and of large ones the parts that are, so that it goes on where it was when it is begun anew.
 */
export function saveIntoFolder(folder, { entries, total }, sharing) {
  const controller = new AbortController();
  const transfer = { path: "", size: total, status: 200, done: 0, ended: false, whole: false, cancelled: false };
  transfer.cancel = () => {
    transfer.cancelled = true;
    controller.abort();
  };
  const done = saveAll(folder, entries, { sharing, transfer, signal: controller.signal })
    .then(() => (transfer.whole = true))
    .catch((error) => {
      if (!transfer.cancelled) throw error;
    })
    .finally(() => (transfer.ended = true));
  return { transfer, done };
}

async function saveAll(folder, entries, about) {
  const refused = [];
  for (const { path, size, modified } of entries) {
    const names = path.split("/").filter(Boolean);
    const last = size === undefined ? null : names.pop();
    const place = await placeOf(folder, names, last);
    if (place === null) refused.push(path);
    else if (last !== null) await saveFile(place, last, { path, size, modified }, about);
  }
  if (refused.length) {
    const more = refused.length > 3 ? ` and ${refused.length - 3} more` : "";
    const which = refused.slice(0, 3).join(", ");
    throw new TypeError(`This browser writes no files of such names: ${which}${more}. All others are there; Save all has these, too.`);
  }
}

/** The folder below `folder` that `names` lead to; null where the browser refuses one, or that of the file in it. */
async function placeOf(folder, names, last) {
  let place = folder;
  try {
    for (const name of names) place = await place.getDirectoryHandle(name, { create: true });
    if (last !== null) await place.getFileHandle(last);
  } catch (error) {
    // It refuses what some system takes for something else, such as a backslash.
    if (error instanceof TypeError) return null;
    if (error.name !== "NotFoundError") throw error;
  }
  return place;
}

async function saveFile(place, name, entry, about) {
  if (await isThere(place, name, entry.size)) {
    about.transfer.done += entry.size;
    return undefined;
  }
  if (entry.size > PART) return saveParts(place, name, entry, about);
  return write(place, name, async (writable) => {
    if (entry.size === 0) return;
    const reader = await readerOf(entry, 0, about);
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      await writable.write(value);
      about.transfer.done += value.length;
    }
  });
}

/** Save a large file part by part, from the first that is not there; once all are, they are joined. */
async function saveParts(place, name, entry, about) {
  const version = hex(sha256(new TextEncoder().encode(`${entry.path}\n${entry.size}\n${entry.modified}`)));
  const folder = `${name}.${version.slice(0, 16)}.part`;
  const parts = await place.getDirectoryHandle(folder, { create: true });
  const count = Math.ceil(entry.size / PART);
  const sizeOf = (number) => Math.min(PART, entry.size - number * PART);
  let number = 0;
  while (number < count && (await sizeIn(parts, String(number))) === sizeOf(number)) number++;
  about.transfer.done += Math.min(number * PART, entry.size);
  if (number < count) {
    const reader = await readerOf(entry, number * PART, about);
    let rest = new Uint8Array();
    for (; number < count; number++) {
      rest = await write(parts, String(number), (writable) => fill(writable, sizeOf(number), { reader, rest, about }));
    }
    // What comes behind the last octet is the verdict on the last piece.
    if (rest.length || !(await reader.read()).done) throw new TypeError(`more came of ${entry.path} than was offered`);
  }
  await write(place, name, async (writable) => {
    for (let i = 0; i < count; i++) {
      const part = await (await parts.getFileHandle(String(i))).getFile();
      await part.stream().pipeTo(writable, { preventClose: true, signal: about.signal });
    }
  });
  await place.removeEntry(folder, { recursive: true });
}

/** Write `size` bytes: `rest`, and what `reader` gives; what was read beyond them. */
async function fill(writable, size, { reader, rest, about }) {
  let [left, data] = [size, rest];
  for (;;) {
    const part = data.subarray(0, left);
    if (part.length) await writable.write(part);
    about.transfer.done += part.length;
    left -= part.length;
    if (left === 0) return data.subarray(part.length);
    const { done, value } = await reader.read();
    if (done) throw new TypeError("it was cut short");
    data = value;
  }
}

/** A checked reader of a file from `offset` on, where a piece begins. */
async function readerOf({ path }, offset, { sharing, signal }) {
  const target = targetOf(path);
  const headers = [["accept-encoding", "identity"], ...(offset ? [["range", `bytes=${offset}-`]] : [])];
  const init = { signal, headers };
  const response = await sharing.fetch(target, init);
  if (response.status !== (offset ? 206 : 200)) {
    throw new TypeError(`${path} cannot be had: the other side answered ${response.status}`);
  }
  return sharing.checked(target, resumingReader(sharing, target, init, response), offset);
}

/** Write a file, which is there once all of it is: what `use` gives, which writes into it. */
async function write(place, name, use) {
  const handle = await place.getFileHandle(name, { create: true });
  const writable = await handle.createWritable();
  try {
    const found = await use(writable);
    await writable.close();
    return found;
  } catch (error) {
    await writable.abort().catch(() => {});
    throw error;
  }
}

/** Bytes of a file; null where there is none. */
async function sizeIn(place, name) {
  try {
    return (await (await place.getFileHandle(name)).getFile()).size;
  } catch {
    return null;
  }
}

/** Whether the file is there; one of another size is somebody else's. */
async function isThere(place, name, size) {
  const there = await sizeIn(place, name);
  if (there !== null && there !== size && there !== 0) throw new TypeError(`${name} is there already, and is not overwritten`);
  return there === size;
}
