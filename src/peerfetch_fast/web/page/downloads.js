/** The list of downloads with their progress. */

import { bytes, nameOf } from "./format.js";

const INTERVAL = 250;

export class Downloads {
  #list = document.querySelector("#downloads");
  #said = document.querySelector("#downloads-said");
  #title = document.querySelector("#downloads-title");

  /** Show a transfer, `{path, size, done, ended, whole}`, until it has ended. */
  add(transfer) {
    this.#title.hidden = false;
    const name = nameOf(transfer.path);
    const [item, text, bar] = ["li", "span", "progress"].map((tag) => document.createElement(tag));
    bar.setAttribute("aria-label", name);
    if (transfer.size) bar.max = transfer.size;
    item.append(text, bar);
    this.#list.prepend(item);
    const update = () => {
      const { done, size, ended, whole } = transfer;
      const of = size ? ` of ${bytes(size)}` : "";
      const word = !ended ? "" : whole ? ", done" : ", cut short";
      text.textContent = `${name}: ${bytes(done)}${of}${word}`;
      if (size) bar.value = done;
      bar.hidden = ended;
      if (!ended) return;
      clearInterval(timer);
      this.#said.textContent = text.textContent;
    };
    const timer = setInterval(update, INTERVAL);
    this.#said.textContent = `Downloading ${name}`;
    update();
  }
}
