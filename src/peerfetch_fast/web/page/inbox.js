/** Send files to an inbox (docs/sharing.md). */

import { $ } from "./elements.js";
import { bytes } from "./format.js";
import { Uploads } from "./uploads.js";

const ROOT = "/~inbox";

/** Whether files can be sent to somebody under that id. */
export const isInbox = (id) => id.startsWith("inbox-");

export class Inbox {
  isShown = false;
  #peer = null;
  #uploads = new Uploads($("inbox-sent"));

  /** @param onleave called when the person wants no more of it */
  constructor(onleave) {
    $("inbox-leave").addEventListener("click", onleave);
    $("inbox-files").addEventListener("click", () => $("inbox-input").click());
    $("inbox-input").addEventListener("change", () => {
      this.send([...$("inbox-input").files]);
      $("inbox-input").value = "";
    });
  }

  /** Offer to send to `peer`. */
  async begin(peer) {
    this.isShown = true;
    this.#peer = peer;
    this.#uploads.use(peer);
    $("inbox-name").textContent = "";
    $("inbox-error").hidden = true;
    try {
      const { by, free } = await (await peer.fetch(ROOT)).json();
      if (this.#peer !== peer) return;
      $("inbox-name").textContent = String(by);
      $("inbox-note").textContent = `There is room for ${bytes(free)}.`;
    } catch (error) {
      this.#fail(error.message);
    }
  }

  stop() {
    this.isShown = false;
    this.#peer = null;
    this.#uploads.use(null);
  }

  /** Send files, one after the other. */
  send(files) {
    return this.#uploads.send(ROOT, files);
  }

  #fail(words) {
    $("inbox-error").textContent = words;
    $("inbox-error").hidden = false;
  }
}
