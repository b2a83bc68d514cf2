/**
 * URLs for what a device has: through the service worker where there is one, else blobs of what fits in
 * memory.
 */

import { Space } from "../lib/space.js";
import { nameOf } from "./format.js";

/** Bytes of the largest file that is held in memory where there is no worker. */
const MAX_BLOB = 256 << 20;
const TOO_LARGE = "the file is too large for this browser's memory: open this page by HTTPS";

/** The worker's URLs. */
class WorkerUrls {
  streaming = true;

  constructor(space) {
    this.space = space;
  }

  async view(peer, path) {
    return `/~peerfetch/device/${peer.id}${path}`;
  }

  async save(peer, path) {
    // A navigation that ends in a download leaves the page where it is.
    location.href = `/~peerfetch/download/${peer.id}${path}`;
  }
}

/** Blobs, one at a time to look at. */
class BlobUrls {
  streaming = false;
  #shown = null;

  /** @param onprogress told `{path, size, done, ended, whole}` of what is fetched to be saved */
  constructor(onprogress) {
    this.onprogress = onprogress;
  }

  async view(peer, path) {
    const blob = await this.#fetch(peer, path, () => {});
    if (this.#shown) URL.revokeObjectURL(this.#shown);
    return (this.#shown = URL.createObjectURL(blob));
  }

  async save(peer, path) {
    const blob = await this.#fetch(peer, path, this.onprogress);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = nameOf(path) || "download";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  async #fetch(peer, path, onprogress) {
    const response = await peer.fetch(path);
    if (!response.ok) throw new TypeError(`the device answered ${response.status}`);
    const size = Number(response.headers.get("content-length")) || null;
    if (size > MAX_BLOB) {
      response.body?.cancel();
      throw new TypeError(TOO_LARGE);
    }
    const progress = { path, size, done: 0, ended: false, whole: false };
    onprogress(progress);
    const pieces = [];
    try {
      for (const reader = response.body?.getReader(); reader; ) {
        const { done, value } = await reader.read();
        if (done) break;
        pieces.push(value);
        progress.done += value.length;
        if (progress.done > MAX_BLOB) {
          reader.cancel();
          throw new TypeError(TOO_LARGE);
        }
      }
      progress.whole = true;
    } finally {
      progress.ended = true;
    }
    // Never a type that could run as a page of this origin.
    const type = response.headers.get("content-type") ?? "";
    return new Blob(pieces, { type: /^(image\/(?!svg)|video\/|audio\/)/.test(type) ? type : "" });
  }
}

/** What this browser can do here. `ontransfer` is told of what is fetched to be saved. */
export async function openUrls(ontransfer) {
  if (!("serviceWorker" in navigator)) return new BlobUrls(ontransfer);
  try {
    await navigator.serviceWorker.register("/~peerfetch/worker.js", { scope: "/" });
    await navigator.serviceWorker.ready;
    if (!navigator.serviceWorker.controller) {
      await new Promise((resolve) =>
        navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true }),
      );
    }
  } catch {
    return new BlobUrls(ontransfer); // a private window, say
  }
  const space = new Space(navigator.serviceWorker);
  space.addEventListener("download", ({ detail }) => ontransfer(detail));
  return new WorkerUrls(space);
}
