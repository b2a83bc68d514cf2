/** One thing of a device, shown or played, in the place of the list. */

import { $, element } from "./elements.js";
import { nameOf } from "./format.js";

/** Characters of a text that are shown. */
const MAX_TEXT = 1 << 20;

/** The kind of viewer for a media type. */
export function kindOfType(type) {
  const [main] = type.split("/");
  if (["image", "audio", "video"].includes(main) && !type.includes("svg")) return main;
  return main === "text" || /json|xml|javascript/.test(type) ? "text" : "file";
}

export class Viewer {
  #path = null;
  #size = null;
  #neighbours = [];
  #actions;

  /** @param actions `{close(), save(path, size), turn(path)}` */
  constructor(actions) {
    this.#actions = actions;
    $("viewer-close").addEventListener("click", () => actions.close());
    $("viewer-save").addEventListener("click", () => actions.save(this.#path, this.#size));
    $("viewer-before").addEventListener("click", () => this.#turn(-1));
    $("viewer-after").addEventListener("click", () => this.#turn(1));
    $("viewer").addEventListener("keydown", ({ key, target }) => {
      if (target.closest("audio, video, pre")) return;
      if (key === "ArrowLeft") this.#turn(-1);
      if (key === "ArrowRight") this.#turn(1);
    });
  }

  /** The path of what is shown; null where nothing is. */
  get path() {
    return this.#path;
  }

  /** Show `content`; `neighbours` are the paths among which one can turn the pages. */
  show(path, content, { size = null, neighbours = [] } = {}) {
    const isTurned = this.#path !== null && neighbours.includes(this.#path);
    [this.#path, this.#size, this.#neighbours] = [path, size, neighbours];
    $("viewer-name").textContent = nameOf(path) || "/";
    $("viewer-content").replaceChildren(content);
    const at = neighbours.indexOf(path);
    $("viewer-before").hidden = $("viewer-after").hidden = at < 0 || neighbours.length < 2;
    $("viewer-before").disabled = at <= 0;
    $("viewer-after").disabled = at === neighbours.length - 1;
    $("viewer").hidden = false;
    const held = document.activeElement;
    if (!isTurned || held.disabled || held === document.body) $("viewer-name").focus();
  }

  hide() {
    this.#path = null;
    $("viewer").hidden = true;
    $("viewer-content").replaceChildren();
  }

  #turn(by) {
    const next = this.#neighbours[this.#neighbours.indexOf(this.#path) + by];
    if (next !== undefined) this.#actions.turn(next);
  }
}

/** An element that shows or plays what is at `url`. */
export function media(kind, url, name, onerror) {
  const made = element(kind === "image" ? "img" : kind, { src: url });
  if (kind === "image") made.alt = name;
  else Object.assign(made, { controls: true, autoplay: true, playsInline: true, ariaLabel: name });
  made.addEventListener("error", onerror);
  return made;
}

export const text = (content) => element("pre", { textContent: content.slice(0, MAX_TEXT), tabIndex: 0 });

/** As much of a text as is shown. */
export async function beginning(response) {
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let found = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return found + decoder.decode();
    found += decoder.decode(value, { stream: true });
    if (found.length > MAX_TEXT) {
      reader.cancel();
      return `${found.slice(0, MAX_TEXT - 2)}\n…`;
    }
  }
}
