/** A wall of live pictures, small and silent, each of which leads to its camera. */

import { Live } from "../lib/media/live.js";
import { element, isPlain } from "./elements.js";

export class Tiles {
  #list;
  #open;
  #lives = [];
  #links = new Map();

  /**
   * @param {Element} list
   * @param open called with the path of a picture that is clicked; null where its link is followed
   */
  constructor(list, open = null) {
    [this.#list, this.#open] = [list, open];
  }

  /** Show these and no others, `{path, name, href, camera}`, the last as of Live. */
  show(cameras) {
    for (const live of this.#lives.splice(0)) live.stop();
    this.#links.clear();
    this.#list.replaceChildren(...cameras.map((one) => element("li", {}, this.#made(one))));
  }

  /** Go to the one with that path, if there is one. */
  focus(path) {
    this.#links.get(path)?.focus();
  }

  #made({ path, name, href, camera }) {
    const picture = element("span", { className: "picture" });
    // The name says what it is.
    picture.setAttribute("aria-hidden", "true");
    const said = element("span", { className: "said" });
    const title = element("span", { className: "name", textContent: name });
    const link = element("a", { className: "tile", href }, picture, title, said);
    this.#links.set(path, link);
    if (this.#open) {
      link.addEventListener("click", (event) => {
        if (!isPlain(event)) return;
        event.preventDefault();
        this.#open(path);
      });
    }
    const live = new Live(camera, picture);
    live.addEventListener("change", () => {
      link.dataset.state = live.state;
      const isMissing = live.state === "waiting" && !live.canPublish;
      said.classList.toggle("missing", isMissing);
      if (isMissing) said.textContent = "No picture";
      else if (live.state === "waiting") said.textContent = "Nobody sends";
      else said.textContent = live.state === "starting" ? "Starting …" : "";
      said.title = live.message ?? "";
    });
    this.#lives.push(live);
    live.start();
    return link;
  }
}
