/** Files that are sent into an inbox, or into a folder of a device, each with its row (docs/sharing.md). */

import { randomHex } from "../lib/random.js";
import { stayAwake } from "./awake.js";
import { element } from "./elements.js";
import { bytes } from "./format.js";
import { browserName } from "./offer.js";

/** Bytes that are sent in one request: what a break can cost, where bodies cannot be streamed. */
const PIECE = 4 << 20;
/** Times that a piece is sent again when it broke off, and milliseconds in between. */
const TRIES = 60;
const PAUSE = 1000;

export class Uploads {
  #list;
  #peer = null;
  /** What is sent when all before it was. */
  #last = Promise.resolve();
  #waiting = 0;
  #relax = () => {};

  /** @param list the element in which each file has a row */
  constructor(list) {
    this.#list = list;
  }

  /** Send to `peer` from now on; null for nobody. */
  use(peer) {
    this.#peer = peer;
    this.#list.replaceChildren();
  }

  /** Send files to the inbox at `root`, one after the other; resolves when all of them are there, or are not. */
  send(root, files) {
    const peer = this.#peer;
    for (const file of files) {
      const bar = element("progress", { max: file.size || 1, value: 0, ariaLabel: file.name });
      const text = element("span", { className: "name", textContent: `${file.name}: waits` });
      this.#list.append(element("li", {}, text, bar));
      this.#begin();
      this.#last = this.#last.then(() => this.#sendShown(peer, root, file, { bar, text })).finally(() => this.#end());
    }
    return this.#last;
  }

  #begin() {
    if (this.#waiting++ === 0) this.#relax = stayAwake();
  }

  #end() {
    if (--this.#waiting === 0) this.#relax();
  }

  async #sendShown(peer, root, file, { bar, text }) {
    text.textContent = `${file.name}: sending ${bytes(file.size)}`;
    try {
      const isWanted = () => this.#peer === peer;
      const name = await sendFile(peer, root, file, { isWanted, onprogress: (sent) => (bar.value = sent) });
      text.textContent = name === file.name ? `${name}: sent` : `${file.name}: sent as ${name}`;
    } catch (error) {
      text.textContent = `${file.name}: not sent. ${error.message}`;
    }
    bar.hidden = true;
  }

}

/** Send a file piece by piece: what it is called there. Throws where it is not taken, or not wanted any more. */
export async function sendFile(peer, root, file, { isWanted, onprogress }) {
  const target = `${root}/files/${encodeURIComponent(file.name)}?id=${randomHex(16)}&size=${file.size}`;
  let offset = 0;
  for (let tries = 0; ; ) {
    if (!isWanted()) throw new Error("You have left.");
    try {
      const headers = { "upload-offset": String(offset), "share-name": encodeURIComponent(browserName()) };
      const response = await peer.fetch(target, { method: "PUT", headers, body: file.slice(offset, offset + PIECE) });
      if (response.status === 201) return (await response.json()).name;
      if (response.status !== 202) throw new (response.status === 409 ? Error : Refused)(await response.text());
      await response.body?.cancel();
      const next = Number(response.headers.get("upload-offset"));
      // One who takes a piece, and says that it is not there, would be sent it for ever.
      if (!(next > offset && next <= file.size)) throw new Error("The other side does not keep what it takes.");
      [tries, offset] = [0, next];
      onprogress(offset);
    } catch (error) {
      if (error instanceof Refused || ++tries > TRIES || peer.state === "closed") throw error;
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
      offset = await offsetOf(peer, target).catch(() => offset);
    }
  }
}

async function offsetOf(peer, target) {
  const response = await peer.fetch(target, { method: "HEAD" });
  return Number(response.headers.get("upload-offset"));
}

/** What the other side does not take, in its words. */
class Refused extends Error {
  constructor(said) {
    super(said.slice(0, 300).trim());
  }
}
