/**
 * Small pictures of what a folder has, made here when they come into sight: of a JPEG the one in its head, for
 * which a range of it is fetched; else the whole picture, decoded and scaled beside the page's thread.
 */

import { readExif } from "./exif.js";
import { shrunk } from "./shrinking.js";

/** Bytes of a JPEG in which its small picture is, as a rule. */
const HEAD = 64 << 10;
/** Bytes of a picture that is fetched whole. */
const MAX_WHOLE = 8 << 20;
/** Bytes of one that the browser loads by itself where it streams (`loading` keeps it for later). */
const MAX_SELF = 32 << 10;
/** Pictures in the making. */
const AT_ONCE = 4;
/** Small pictures that are kept; one that was out of sight for longest is made again when it is needed. */
const MAX_KEPT = 400;
/** Device pixels of the square. */
const SIDE = 96;
/** The distance outside the visible part within which they are made. */
const MARGIN = "200px";
/** Quarter turns to the right and whether it is mirrored before, by Exif's orientation. */
const TURNS = { 1: [0], 2: [0, true], 3: [2], 4: [2, true], 5: [3, true], 6: [1], 7: [1, true], 8: [3] };

export class Thumbnails {
  #observer = null;
  #peer = null;
  #urls = null;
  /** Of each holder, what it is to show. */
  #sources = new Map();
  #queue = new Set();
  #running = new Map();
  #kept = new Set();
  #shrink;

  /** @param shrink makes an ImageBitmap of a Blob and a width */
  constructor(shrink = shrunk) {
    this.#shrink = shrink;
  }

  /** From now on those of this folder. */
  start(peer, urls) {
    this.stop();
    [this.#peer, this.#urls] = [peer, urls];
    const seen = (entries) => entries.forEach((entry) => this.#seen(entry));
    this.#observer = new IntersectionObserver(seen, { rootMargin: MARGIN });
  }

  stop() {
    this.#observer?.disconnect();
    this.#observer = null;
    for (const controller of this.#running.values()) controller.abort();
    for (const kept of [this.#sources, this.#queue, this.#running, this.#kept]) kept.clear();
  }

  /** Show in `holder` what is at `path`, of `size` bytes, when it comes into sight. */
  add(holder, path, size) {
    if (this.#urls.streaming && size <= MAX_SELF) return this.#byItself(holder, path);
    this.#sources.set(holder, { path, size, placeholder: [...holder.childNodes] });
    return this.#observer.observe(holder);
  }

  #seen({ target: holder, isIntersecting }) {
    const running = this.#running.get(holder);
    if (isIntersecting) {
      if (this.#kept.delete(holder)) this.#kept.add(holder); // the latest
      else if (!running || running.signal.aborted) this.#queue.add(holder);
      return this.#next();
    }
    this.#queue.delete(holder);
    return running?.abort();
  }

  #next() {
    for (const holder of this.#queue) {
      if (this.#running.size >= AT_ONCE) return;
      // One that was given up out of sight is not over before its picture is decoded.
      if (this.#running.has(holder)) continue;
      this.#queue.delete(holder);
      const controller = new AbortController();
      this.#running.set(holder, controller);
      this.#fill(holder, controller.signal).finally(() => {
        if (this.#running.get(holder) === controller) this.#running.delete(holder);
        if (this.#observer) this.#next();
      });
    }
  }

  async #fill(holder, signal) {
    const { path, size } = this.#sources.get(holder);
    let shown;
    try {
      shown = await this.#make(path, size, signal);
    } catch {
      return; // what cannot be shown small keeps its symbol
    }
    if (signal.aborted || !shown) return;
    holder.replaceChildren(shown);
    this.#kept.add(holder);
    if (this.#kept.size <= MAX_KEPT) return;
    const [oldest] = this.#kept;
    this.#kept.delete(oldest);
    oldest.replaceChildren(...this.#sources.get(oldest).placeholder);
  }

  async #make(path, size, signal) {
    const options = { signal, priority: "low" };
    if (/\.jpe?g$/i.test(path)) {
      const head = await this.#peer.fetch(path, { ...options, headers: { range: `bytes=0-${HEAD - 1}` } });
      const { orientation, thumbnail } = readExif(await upTo(head, HEAD));
      if (thumbnail) return draw(await createImageBitmap(new Blob([thumbnail])), orientation);
    }
    if (!(size <= MAX_WHOLE)) return null;
    const response = await this.#peer.fetch(path, options);
    if (!response.ok) throw new TypeError(`the device answered ${response.status}`);
    const whole = new Blob([await upTo(response, MAX_WHOLE)]);
    // It is turned as its head says.
    return draw(await this.#shrink(whole, 2 * SIDE), 1);
  }

  /** A picture so small that the browser may load it as it does those of any page. */
  async #byItself(holder, path) {
    const image = Object.assign(document.createElement("img"), { loading: "lazy", decoding: "async", alt: "" });
    image.src = await this.#urls.view(this.#peer, path);
    image.addEventListener("load", () => holder.replaceChildren(image));
    image.addEventListener("error", () => image.remove());
    holder.append(image);
  }
}

/** At most `size` bytes of a body; the rest is left. */
async function upTo(response, size) {
  const pieces = [];
  let left = size;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value.subarray(0, left));
    left -= value.length;
    if (left > 0) continue;
    reader.cancel();
    break;
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

/** The middle of a picture as a square, the right way up. */
function draw(bitmap, orientation) {
  const canvas = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE });
  const context = canvas.getContext("2d");
  const [turns, isMirrored] = TURNS[orientation];
  context.translate(SIDE / 2, SIDE / 2);
  context.rotate((turns * Math.PI) / 2);
  if (isMirrored) context.scale(-1, 1);
  const scale = SIDE / Math.min(bitmap.width, bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  context.drawImage(bitmap, -width / 2, -height / 2, width, height);
  bitmap.close();
  return canvas;
}
