/** Downloads with their progress: each in the row that was tapped, and where that is not seen, in a list. */

import { $, element, icon } from "./elements.js";
import { bytes, nameOf } from "./format.js";

const INTERVAL = 250;
/** Milliseconds until what was asked for is taken to be shown elsewhere. */
const ASKING = 10_000;

export class Downloads {
  /** Whether there is no connection now. */
  isLost = false;
  #where;
  /** Of each path the element of its latest download. */
  #shown = new Map();
  /** Of each path that was asked for, the timer that gives up waiting for it to begin. */
  #asked = new Map();

  /** @param where of a path, the element in which it was tapped, if that is seen; null elsewhere */
  constructor(where) {
    this.#where = where;
  }

  /** Something is to be saved: shown until add() or fail() is told what became of it. */
  begin(path) {
    const name = nameOf(path);
    const text = element("span", { textContent: `${name}: asking the device …` });
    this.#put(path, element("div", { className: "download" }, text));
    this.#say(`Downloading ${name}`);
    clearTimeout(this.#asked.get(path));
    const late = () => {
      // Another tab that is connected to the device may carry it.
      text.textContent = `${name}: the browser saves it, and shows it among its downloads`;
      text.after(this.#dismiss(path));
    };
    this.#asked.set(path, setTimeout(late, ASKING));
  }

  fail(path, sentence) {
    this.#heard(path);
    const item = element("div", { className: "download error" });
    item.append(element("span", { textContent: sentence }), this.#dismiss(path));
    this.#put(path, item);
    this.#say(sentence);
  }

  /** Show a transfer, `{path, size, done, status, ended, whole, cancelled, cancel}`, as it goes. */
  add(transfer) {
    const { path } = transfer;
    const name = nameOf(path);
    if (!this.#heard(path)) this.#say(`Downloading ${name}`);
    if (transfer.status >= 400) return this.fail(path, `${name}: the device answered ${transfer.status}`);
    const [text, bar] = [element("span"), element("progress", { ariaLabel: name })];
    if (transfer.size) bar.max = transfer.size;
    const cancel = element("button", { className: "quiet small", textContent: "Cancel" });
    cancel.setAttribute("aria-label", `Cancel ${name}`);
    cancel.addEventListener("click", () => transfer.cancel());
    const item = element("div", { className: "download" }, text, bar, cancel);
    this.#put(path, item);
    let isOver = false;
    const update = () => {
      if (isOver) return;
      const { done, size, ended } = transfer;
      const more = !ended && this.isLost ? LOST : word(transfer);
      text.textContent = `${name}: ${bytes(done)}${size ? ` of ${bytes(size)}` : ""}${more}`;
      if (size) bar.value = done;
      if (!ended) return;
      isOver = true;
      clearInterval(timer);
      bar.hidden = true;
      cancel.replaceWith(this.#dismiss(path));
      item.classList.toggle("error", !transfer.whole && !transfer.cancelled);
      this.#say(text.textContent);
    };
    const timer = setInterval(update, INTERVAL);
    update();
  }

  /** Put each where it belongs now, as `where` tells. */
  arrange() {
    for (const [path, item] of this.#shown) this.#place(path, item);
    this.#title();
  }

  #put(path, item) {
    this.#shown.get(path)?.remove();
    this.#shown.set(path, item);
    this.#place(path, item);
    this.#title();
  }

  #place(path, item) {
    const place = this.#where(path);
    if (place && item.parentNode !== place) place.append(item);
    else if (!place && !$("downloads").contains(item)) $("downloads").prepend(element("li", {}, item));
  }

  /** Another device is shown: what is still under way stays in the list. */
  leave() {
    this.arrange();
    this.#shown.clear();
  }

  /** Whether that was asked for here, and nothing had been heard yet. */
  #heard(path) {
    clearTimeout(this.#asked.get(path));
    return this.#asked.delete(path);
  }

  #dismiss(path) {
    const button = element("button", { className: "quiet small", ariaLabel: `Dismiss ${nameOf(path)}` });
    button.append(icon("close"));
    button.addEventListener("click", () => {
      const item = button.closest(".download");
      if (this.#shown.get(path) === item) this.#shown.delete(path);
      item.remove();
      this.#title();
    });
    return button;
  }

  #title() {
    for (const li of $("downloads").children) if (!li.firstChild) li.remove();
    $("downloads-title").hidden = $("downloads").children.length === 0;
  }

  #say(sentence) {
    $("downloads-said").textContent = sentence;
  }
}

const LOST = ". The connection is lost; it goes on when that is back";

function word({ ended, whole, cancelled }) {
  if (!ended) return "";
  return whole ? ", done" : cancelled ? ", cancelled" : ", cut short";
}
