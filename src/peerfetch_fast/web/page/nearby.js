/**
 * The room of this network, at the server that the page is from: the devices that want to be found, those who share,
 * and those to whom one can send; and being one of them.
 */

import { waitingName } from "../lib/codes.js";
import { answerRoom, memberId, memberOf } from "../lib/room.js";
import { openServer } from "../lib/serve.js";
import { $, element, icon } from "./elements.js";
import { keepingFocus } from "./focus.js";
import { fragmentOf } from "./links.js";
import { browserName } from "./offer.js";

/** Milliseconds between looks. */
const INTERVAL = 5000;
/** Devices and people that are shown. */
const MAX_SHOWN = 50;
/** Peers that may ask at once. */
const MAX_PEERS = 8;

/** Shows them, and new ones as they come, while somebody looks. */
export class Nearby {
  #named;
  #actions;
  #shown = "";
  #timer = null;
  /** What others see here: `gives` or `takes`; null while nobody looks. */
  #kind = null;
  #server = null;

  /**
   * @param named what people call the device with an id; the list is `#near`, and of those who take `#send-near`
   * @param actions `ask(name)` and `offer(told)` as of answerRoom(), and `send(member, row)`: the person sends to one
   */
  constructor(named, actions) {
    this.#named = named;
    this.#actions = actions;
    document.addEventListener("visibilitychange", () => this.#lookAfter(0));
  }

  /** What the page does from now on: `takes`, `gives`, or null to look no more. */
  set kind(kind) {
    if (kind === this.#kind) return;
    this.#leave();
    this.#kind = kind;
    this.#lookAfter(0);
  }

  #lookAfter(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), delay);
  }

  /** A server tells those who are connected to it. */
  async #found() {
    this.#server ??= await this.#opened(this.#kind);
    return this.#server._neighbours();
  }

  async #opened(kind) {
    const { ask, offer } = this.#actions;
    const handler = (request) => answerRoom(request, kind === "gives" ? { ask } : { offer });
    const server = await openServer(handler, { id: memberId(kind, browserName()), maxPeers: MAX_PEERS });
    if (this.#kind === kind && !document.hidden) return server;
    server.close();
    throw new TypeError("nobody looks any more");
  }

  #leave() {
    this.#server?.close();
    this.#server = null;
  }

  async #look() {
    const kind = this.#kind;
    if (kind === null || document.hidden) return this.#leave();
    let found = [];
    try {
      found = await this.#found();
    } catch {
      // The server has no rooms, or is away: nobody is shown.
    }
    if (this.#kind !== kind) return undefined;
    this.#show(found.slice(0, MAX_SHOWN));
    return this.#lookAfter(INTERVAL);
  }

  #show(ids) {
    // Who waits for somebody comes first. A row stays as it is while its device is there: a finger may be on it.
    const sorted = [...ids].sort((one, other) => Number(!waitingName(one)) - Number(!waitingName(other)));
    const key = [this.#kind, ...sorted].join();
    if (key === this.#shown) return;
    this.#shown = key;
    const takers = sorted.map(memberOf).filter((member) => member?.kind === "takes");
    const others = sorted.filter((id) => memberOf(id)?.kind !== "takes");
    keepingFocus(() => {
      $("near").hidden = others.length === 0;
      $("near-list").replaceChildren(...others.map((id) => this.#row(id)));
    }, $("connect-title"));
    keepingFocus(() => {
      $("send-near").hidden = takers.length === 0;
      const rows = new Map([...$("send-near-list").children].map((row) => [row.dataset.id, row]));
      $("send-near-list").replaceChildren(...takers.map((taker) => rows.get(taker.id) ?? this.#taker(taker)));
    }, $("send-title"));
  }

  #row(id) {
    const [waits, gives] = [waitingName(id), memberOf(id)?.name];
    const link = element("a", { className: waits || gives ? "entry" : "entry bare", href: fragmentOf({ id }) });
    link.append(
      element("span", { className: "thumb" }, icon(gives ? "file" : "device")),
      element("span", { className: "name", textContent: waits ?? gives ?? this.#named(id), title: id }),
      element("span", { className: "date", textContent: waits ? "waits for you" : gives ? "shares files" : "" }),
    );
    return element("li", {}, link);
  }

  #taker(member) {
    const said = element("span", { className: "size", role: "status" });
    const button = element("button", { type: "button", className: "quiet small", textContent: "Send" });
    button.setAttribute("aria-label", `Send to ${member.name}`);
    const row = element("li", {}, element("span", { className: "name", textContent: member.name }), said, button);
    row.dataset.id = member.id;
    button.addEventListener("click", async () => {
      button.disabled = true;
      said.textContent = "asked …";
      try {
        await this.#actions.send(member);
        said.textContent = "accepted";
      } catch (error) {
        said.textContent = error.reason === "access" ? "would rather not" : "cannot be reached";
      }
      button.disabled = false;
    });
    return row;
  }
}
