/** The entries of a folder as rows: their order, dates and sizes, and what is done with each. */

import { $, element, icon, isPlain } from "./elements.js";
import { keepingFocus } from "./focus.js";
import { bytes, nameOf } from "./format.js";
import { folderOf } from "./links.js";
import { Thumbnails } from "./thumbnails.js";

/** Rows that are made before the browser may do something else. */
const BATCH = 100;
const KINDS = [
  ["image", /\.(avif|bmp|gif|ico|jpe?g|png|webp)$/i],
  ["video", /\.(m4v|mkv|mov|mp4|ogv|webm)$/i],
  ["audio", /\.(aac|flac|m4a|mp3|oga|ogg|opus|wav)$/i],
  ["text", /\.(conf|css|csv|html?|ini|js|json|log|md|py|sh|svg|toml|txt|xml|ya?ml)$/i],
];
export const kindOfName = (name) => KINDS.find(([, pattern]) => pattern.test(name))?.[0] ?? "file";

const names = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
const byName = (one, other) => names.compare(one.name, other.name);
const ORDERS = {
  name: byName,
  newest: (one, other) => time(other) - time(one) || byName(one, other),
  oldest: (one, other) => time(one) - time(other) || byName(one, other),
  largest: (one, other) => (other.size ?? 0) - (one.size ?? 0) || byName(one, other),
};
const time = ({ modified }) => Date.parse(modified) || 0;
const isFolder = ({ type }) => type === "directory";

const days = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const moments = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "short" });

export class Listing {
  #thumbnails = new Thumbnails();
  #actions;
  /** The peer whose folder it is, and its URLs. */
  #source = [];
  #folder = null;
  #entries = [];
  /** The same in the order in which they are shown. */
  #sorted = [];
  #rows = new Map();
  /** Changes with each list, so that rows of one before are not added any more. */
  #version = 0;

  /**
   * @param actions what entries do: `{open(path), view(path, kind), save(path, size), href(path), shown()}`; the
   *   last is called when there are other rows
   */
  constructor(actions) {
    this.#actions = actions;
    $("sort").addEventListener("change", () => this.#render());
  }

  /** The path of the folder that is shown; null where none is. */
  get folder() {
    return this.#folder;
  }

  /** Files beside one another that are shown in the viewer, as they stand there. */
  get pictures() {
    return this.#sorted
      .filter((entry) => !isFolder(entry) && kindOfName(entry.name) === "image")
      .map(({ path }) => path);
  }

  show(peer, urls, path, { entries, more }) {
    [this.#source, this.#folder] = [[peer, urls], path];
    this.#entries = entries.map((entry) => ({ ...entry, path: pathOf(path, entry) }));
    $("entries").ariaLabel = `Files in ${nameOf(path.replace(/\/$/, "")) || "the device"}`;
    this.#render();
    const count = entries.length === 1 ? "1 entry" : `${entries.length} entries`;
    const full = more ? `The first ${count}: there are more than can be shown.` : count;
    $("entries-note").textContent = entries.length > 0 ? full : "This folder is empty.";
    $("sort-row").hidden = entries.length < 2;
  }

  clear() {
    this.#version++;
    this.#thumbnails.stop();
    [this.#folder, this.#entries, this.#sorted] = [null, [], []];
    this.#rows.clear();
    $("entries").replaceChildren();
    $("entries-note").textContent = "";
    $("sort-row").hidden = true;
  }

  /** The entry of a file, `{name, path, size, …}`; null where none is listed there. */
  file(path) {
    return this.#entries.find((entry) => entry.path === path && !isFolder(entry)) ?? null;
  }

  /** The row of an entry; null where none is shown. */
  row(path) {
    return this.#rows.get(path) ?? null;
  }

  async #render() {
    const version = ++this.#version;
    const order = ORDERS[$("sort").value];
    const entries = [...this.#entries].sort((one, other) => isFolder(other) - isFolder(one) || order(one, other));
    this.#sorted = entries;
    const above = folderOf(this.#folder);
    const first = above ? [this.#parent(above)] : [];
    this.#rows.clear();
    this.#thumbnails.start(...this.#source);
    for (let at = 0; at === 0 || at < entries.length; at += BATCH) {
      const rows = entries.slice(at, at + BATCH).map((entry) => this.#made(entry));
      if (at === 0) keepingFocus(() => $("entries").replaceChildren(...first, ...rows), $("entries"));
      else $("entries").append(...rows);
      this.#actions.shown();
      await new Promise((resolve) => setTimeout(resolve));
      if (version !== this.#version) return;
    }
  }

  #parent(path) {
    const link = element(
      "a",
      { className: "entry bare", href: this.#actions.href(path) },
      element("span", { className: "thumb" }, icon("up")),
      element("span", { className: "up", textContent: "Parent folder" }),
    );
    onPlainClick(link, () => this.#actions.open(path));
    return element("li", {}, link);
  }

  #made(entry) {
    const { name, path, size, modified } = entry;
    const kind = isFolder(entry) ? "folder" : kindOfName(name);
    const thumb = element("span", { className: "thumb" }, icon(kind));
    const date = dateOf(modified);
    const isBare = isFolder(entry) && !date.length;
    const link = element(
      "a",
      { className: isBare ? "entry bare" : "entry", href: this.#actions.href(path) },
      thumb,
      element("span", { className: "name", textContent: name }),
      element("span", { className: "size", textContent: isFolder(entry) ? "" : bytes(size) }),
      ...date,
    );
    onPlainClick(link, () => {
      if (isFolder(entry)) this.#actions.open(path);
      else if (kind === "file") this.#actions.save(path, size);
      else this.#actions.view(path, kind);
    });
    const row = element("li", {}, link);
    this.#rows.set(path, row);
    if (kind === "image") this.#thumbnails.add(thumb, path, size);
    if (isFolder(entry)) return row;
    const save = element("a", { className: "save", href: this.#actions.href(path) }, icon("save"));
    save.setAttribute("aria-label", `Download ${name}`);
    onPlainClick(save, () => this.#actions.save(path, size));
    row.append(save);
    return row;
  }
}

function onPlainClick(link, action) {
  link.addEventListener("click", (event) => {
    if (!isPlain(event)) return;
    event.preventDefault();
    action();
  });
}

/** The date of an entry; nothing where the device does not tell one. */
function dateOf(modified) {
  const date = new Date(modified ?? NaN);
  if (Number.isNaN(date.getTime())) return [];
  const shown = element("time", { className: "date", textContent: days.format(date) });
  return [Object.assign(shown, { dateTime: modified, title: moments.format(date) })];
}

const pathOf = (folder, { href }) => new URL(href, `http://peer.invalid${folder}`).pathname;

/** The listing that `peerfetch proxy --serve` gives, or null where the JSON is something else. */
export function asListing(text) {
  try {
    const found = JSON.parse(text);
    const isEntry = ({ name, href, type }) =>
      [name, href, type].every((value) => typeof value === "string");
    return Array.isArray(found.entries) && found.entries.every(isEntry) ? found : null;
  } catch {
    return null;
  }
}
