/** Which way the connection takes, and whether it may be one through a relay. */

import { $ } from "./elements.js";

/** Where it is kept what the person has chosen. */
const KEY = "~peerfetch direct-only";
/** Milliseconds between two looks. */
const INTERVAL = 3000;

/** The person's choice, kept in `storage`, a Storage or null. */
export class DirectOnly {
  #box = $("direct-only");

  constructor(storage) {
    try {
      this.#box.checked = storage?.getItem(KEY) === "yes";
    } catch {
      // It is chosen anew.
    }
    this.#box.addEventListener("change", () => {
      try {
        if (this.#box.checked) storage?.setItem(KEY, "yes");
        else storage?.removeItem(KEY);
      } catch {
        // It holds for as long as this page.
      }
    });
  }

  get isWanted() {
    return this.#box.checked;
  }
}

/** What is said of a Way. */
export function wayInWords({ way, relay, why }) {
  const how = way === "direct" ? "Connected directly" : relay ? `Connected through the relay ${relay}` : "Connected through a relay";
  return why ? `${how}: ${why}.` : `${how}.`;
}

/** Shows the way of a peer. */
export class WayShown {
  #timer = null;

  start(peer) {
    this.stop();
    const look = async () => {
      const way = peer.state === "connected" ? await peer.way() : null;
      if (this.#timer === timer && way) {
        $("way").textContent = wayInWords(way);
        $("way").hidden = false;
      }
    };
    const timer = (this.#timer = setInterval(look, INTERVAL));
    look();
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = null;
    $("way").hidden = true;
  }
}
