/**
 * URLs for what a device has: through the service worker where there is one, else blobs of what fits in
 * memory.
 */

import { sizeOf } from "../lib/decoding.js";
import { resumingReader } from "../lib/resume.js";
import { Space } from "../lib/space.js";
import { bytes, nameOf } from "./format.js";

/** Bytes of the largest file that is held in memory where there is no worker. */
export const MAX_BLOB = 256 << 20;
/** Milliseconds within which the worker must take a page that asks. */
const CLAIM_TIMEOUT = 10_000;

/** An error whose message is a whole sentence for people. */
export class Said extends Error {}

/** The error for a file that cannot be had here, before any of it is fetched. */
class TooLarge extends Said {
  constructor(path, size) {
    const most = `Without HTTPS this page shows and saves files of up to ${bytes(MAX_BLOB)}`;
    const what = size ? `${nameOf(path)} has ${bytes(size)}` : `${nameOf(path)} has more`;
    super(`${most}, and ${what}: open the page by HTTPS for it.`);
  }
}

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

  /** @param ontransfer told of what is fetched to be saved, as Space's `download` tells */
  constructor(ontransfer) {
    this.ontransfer = ontransfer;
  }

  async view(peer, path) {
    const blob = await this.#fetch(peer, path, null);
    if (this.#shown) URL.revokeObjectURL(this.#shown);
    return (this.#shown = URL.createObjectURL(blob));
  }

  async save(peer, path, size = null) {
    if (size > MAX_BLOB) throw new TooLarge(path, size);
    const blob = await this.#fetch(peer, path, this.ontransfer);
    if (!blob) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = nameOf(path) || "download";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  /** The whole of it; null where it was cancelled, or was cut short and `ontransfer` was told so. */
  async #fetch(peer, path, ontransfer) {
    const controller = new AbortController();
    // What is coded cannot go on at a byte of the file.
    const init = { signal: controller.signal, headers: ontransfer ? { "accept-encoding": "identity" } : {} };
    const response = await peer.fetch(path, init);
    if (!response.ok) throw new TypeError(`the device answered ${response.status}`);
    const size = sizeOf(response.headers);
    if (size > MAX_BLOB) {
      response.body?.cancel();
      throw new TooLarge(path, size);
    }
    const transfer = { path, size, status: response.status, done: 0 };
    const cancel = () => {
      transfer.cancelled = true;
      controller.abort();
    };
    Object.assign(transfer, { ended: false, whole: false, cancelled: false, cancel });
    ontransfer?.(transfer);
    const reader = async () => {
      const resuming = resumingReader(peer, path, init, response);
      return ontransfer && peer.checked ? peer.checked(path, resuming) : resuming;
    };
    try {
      const pieces = response.body ? await read(await reader(), transfer) : [];
      transfer.whole = true;
      // Never a type that could run as a page of this origin.
      const type = response.headers.get("content-type") ?? "";
      return new Blob(pieces, { type: /^(image\/(?!svg)|video\/|audio\/)/.test(type) ? type : "" });
    } catch (error) {
      // Where the transfer is shown, it is seen that it was cut short.
      if (transfer.cancelled || (ontransfer && !(error instanceof Said))) return null;
      throw error;
    } finally {
      transfer.ended = true;
    }
  }
}

async function read(reader, transfer) {
  const pieces = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return pieces;
    pieces.push(value);
    transfer.done += value.length;
    if (transfer.done > MAX_BLOB) {
      reader.cancel();
      throw new TooLarge(transfer.path);
    }
  }
}

/**
 * Wait until the worker answers for this page. It takes the pages that are there when it starts; one that was
 * loading just then, or that was reloaded past the cache, must ask. Throws TypeError when it does not answer.
 */
async function beControlled(container) {
  const { active } = await container.ready;
  if (container.controller) return;
  await new Promise((resolve, reject) => {
    container.addEventListener("controllerchange", resolve, { once: true });
    active.postMessage("claim");
    setTimeout(reject, CLAIM_TIMEOUT, new TypeError("the service worker does not answer"));
  });
}

/** The way to show and save files that this browser has. `ontransfer` is told of downloads. */
export async function openUrls(ontransfer) {
  if (!("serviceWorker" in navigator)) return new BlobUrls(ontransfer);
  try {
    await navigator.serviceWorker.register("/~peerfetch/worker.js", { scope: "/" });
    await beControlled(navigator.serviceWorker);
  } catch {
    return new BlobUrls(ontransfer); // a private window, say
  }
  const space = new Space(navigator.serviceWorker);
  space.addEventListener("download", ({ detail }) => ontransfer(detail));
  return new WorkerUrls(space);
}
