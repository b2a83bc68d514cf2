/** The cameras of a device: a wall of their live pictures, and one of them enlarged. */

import { CameraPanel } from "./camera_panel.js";
import { $ } from "./elements.js";
import { keepingFocus } from "./focus.js";
import { nameOfCamera } from "./format.js";
import { Tiles } from "./tiles.js";

/** Where a device tells which of its resources are cameras (docs/cameras.md). */
const LIST = "/~peerfetch/cameras";
/** Cameras on a wall. */
const MAX_CAMERAS = 64;

const isDescribedBy = ({ headers }, name) => (headers.get("link") ?? "").includes(`<${name}>; rel="describedby"`);
/** Whether an answer says that its path is a camera's, or that of a page with all of them. */
export const isCamera = (response) => isDescribedBy(response, "info");
export const isWall = (response) => isDescribedBy(response, "cameras.json");

/** The camera at a path of a peer, as Live takes it. */
function cameraOf(peer, path) {
  const fetch = (url, init) => {
    const { pathname, search } = new URL(url);
    return peer.fetch(pathname + search, init);
  };
  return { base: `http://peer.invalid${path}`, fetch };
}

export class Cameras {
  #actions;
  #peer = null;
  /** Names by paths. */
  #found = new Map();
  #tiles;
  #panel = null;
  /** The path that is shown: of a camera, or "/" for the wall; null for neither. */
  #shown = null;

  /** @param actions `{href(path), open(path), close(path), path()}`; the last is where the person is */
  constructor(actions) {
    this.#actions = actions;
    this.#tiles = new Tiles($("wall"), (path) => actions.open(path));
    $("live-close").addEventListener("click", () => actions.close(this.#shown));
  }

  /** Ask which there are; whether there are any. */
  async load(peer) {
    this.stop();
    this.#peer = peer;
    if (peer._isOld) return false;
    const found = await listOf(peer).catch(() => []);
    if (this.#peer !== peer) return false;
    for (const { href, name } of found) this.#found.set(href, name ?? nameOfCamera(href));
    this.turnTo(this.#actions.path());
    return found.length > 0;
  }

  stop() {
    this.turnTo(null);
    this.#peer = null;
    this.#found.clear();
  }

  has(path) {
    return this.#found.has(path);
  }

  /** Remember that there is one at `path`, which the device has not told. */
  add(path) {
    if (!this.has(path)) this.#found.set(path, nameOfCamera(path));
  }

  /** Show what belongs to where one is: a camera, at the top the wall, and elsewhere nothing. */
  turnTo(path) {
    const shown = this.has(path) || (path === "/" && this.#found.size > 0) ? path : null;
    if (shown === this.#shown) return;
    const before = this.#shown;
    const isOne = this.has(shown);
    const isWall = shown !== null && !isOne;
    this.#panel?.stop();
    [this.#panel, this.#shown] = [null, shown];
    $("live-content").replaceChildren();
    this.#tiles.show(isWall ? this.#wall() : []);
    $("cameras").hidden = !isWall;
    if (isOne) this.#enlarge(shown);
    keepingFocus(() => ($("live").hidden = !isOne), $("device-name"));
    if (isOne) $("live-name").focus();
    else if (isWall) this.#tiles.focus(before);
  }

  #wall() {
    return [...this.#found].map(([path, name]) => {
      return { path, name, href: this.#actions.href(path), camera: cameraOf(this.#peer, path) };
    });
  }

  #enlarge(path) {
    const name = this.#found.get(path);
    $("live-name").textContent = name;
    this.#panel = new CameraPanel(cameraOf(this.#peer, path), name);
    $("live-content").append(this.#panel.element);
    this.#panel.start();
  }
}

async function listOf(peer) {
  const response = await peer.fetch(LIST, { headers: { accept: "application/json" } });
  if (!response.ok || !/^application\/json/.test(response.headers.get("content-type") ?? "")) {
    await response.body?.cancel();
    return [];
  }
  const { cameras } = await response.json();
  const isOne = ({ href, name }) =>
    typeof href === "string" && /^\/([^/].*)?$/.test(href) && (name === null || typeof name === "string");
  return cameras.filter(isOne).slice(0, MAX_CAMERAS);
}
