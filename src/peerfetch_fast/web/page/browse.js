/** Look through a device: its folders, and what is in them. */

import { keepingFocus } from "./focus.js";
import { bytes, decoded, nameOf } from "./format.js";

/** Characters of a text that are shown. */
const MAX_TEXT = 1 << 20;
const KINDS = [
  ["image", /\.(avif|bmp|gif|ico|jpe?g|png|webp)$/i],
  ["video", /\.(m4v|mkv|mov|mp4|ogv|webm)$/i],
  ["audio", /\.(aac|flac|m4a|mp3|oga|ogg|opus|wav)$/i],
  ["text", /\.(conf|css|csv|html?|ini|js|json|log|md|py|sh|svg|toml|txt|xml|ya?ml)$/i],
];

const $ = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function icon(name) {
  const [svg, use] = ["svg", "use"].map((tag) =>
    document.createElementNS("http://www.w3.org/2000/svg", tag),
  );
  use.setAttribute("href", `/~peerfetch/page/icons.svg#${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** A path for people: that of an old proxy is the slash and a whole URL. */
const shown = (path) => decoded(path).replace(/^\/(?=https?:\/\/)/, "");

const kindOfName = (name) => KINDS.find(([, pattern]) => pattern.test(name))?.[0] ?? "file";

/** What a media type is to us. */
function kindOfType(type) {
  const [main] = type.split("/");
  if (["image", "audio"].includes(main) && !type.includes("svg")) return main;
  return main === "text" || /json|xml|javascript/.test(type) ? "text" : "file";
}

export class Browser {
  #peer = null;
  #urls = null;
  #path = "/";
  #loading = new AbortController();
  /** The entry from which the viewer was opened. */
  #opener = null;

  constructor() {
    $("path-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const path = $("path").value.trim();
      this.open(path.startsWith("/") ? path : `/${path}`);
    });
    $("viewer-close").addEventListener("click", () => this.#closeViewer());
  }

  async start(peer, urls) {
    [this.#peer, this.#urls] = [peer, urls];
    await this.open("/");
  }

  stop() {
    this.#loading.abort();
    this.#closeViewer();
    $("entries").replaceChildren();
  }

  /** Show what is at `path`: a folder's list, or the thing itself. */
  async open(path) {
    this.#loading.abort();
    const { signal } = (this.#loading = new AbortController());
    this.#fail(null);
    $("path").value = shown(path);
    if (this.#peer._isOld && path === "/") return this.#askForUrl();
    try {
      const response = await this.#peer.fetch(path, {
        signal,
        headers: { accept: "application/json, text/html;q=0.5, */*;q=0.1" },
      });
      const url = new URL(response.url.replace(/^peer:\/\/[^/]*/, "http://peer.invalid"));
      await this.#show(url.pathname + url.search, response);
    } catch (error) {
      if (error.name !== "AbortError") this.#fail(`That did not work: ${error.message}`);
    }
  }

  async #show(path, response) {
    const type = response.headers.get("content-type") ?? "";
    if (!response.ok) {
      const text = (await response.text()).slice(0, 300);
      const isText = /^text\/plain/.test(type);
      throw new Error(`the device answered ${response.status}${isText ? `: ${text}` : ""}`);
    }
    this.#showPath(path);
    if (type.startsWith("application/json")) {
      const text = await response.text();
      const listing = asListing(text);
      if (listing) return this.#showListing(path, listing);
      return this.#showText(path, text.slice(0, MAX_TEXT));
    }
    await response.body?.cancel();
    return this.#view(path, kindOfType(type));
  }

  /** What an old proxy has is not to be listed, and it takes whole URLs only. */
  #askForUrl() {
    this.#showPath("/");
    keepingFocus(() => {
      this.#closeViewer();
      $("entries").replaceChildren();
    }, $("path"));
    $("path").value = "";
    $("entries-note").textContent =
      "This device runs an old proxy. Enter the URL that it shall fetch, as the device sees it: " +
      "http://localhost:8778/api, for example.";
  }

  #showPath(path) {
    this.#path = path;
    $("path").value = shown(path);
    const isUrl = shown(path) !== decoded(path);
    const parts = isUrl ? [shown(path)] : path.split("?")[0].split("/").filter(Boolean);
    const crumbs = ["", ...parts].map((part, i) => {
      const isFolder = i < parts.length || path.endsWith("/");
      const below = isUrl ? path : `/${parts.slice(0, i).join("/")}${isFolder ? "/" : ""}`;
      const to = i === 0 ? "/" : below;
      const link = element("a", { href: "#", textContent: i ? decoded(part) : "Device" });
      link.addEventListener("click", (event) => {
        event.preventDefault();
        this.open(to);
      });
      return element("li", {}, link);
    });
    crumbs.at(-1).firstChild.setAttribute("aria-current", "page");
    keepingFocus(() => $("crumbs").replaceChildren(...crumbs), $("entries"));
  }

  #showListing(path, { entries, more }) {
    $("entries").ariaLabel = `Files in ${nameOf(path.replace(/\/$/, "")) || "the device"}`;
    const shown = entries.map((entry) => this.#entry(path, entry));
    keepingFocus(() => {
      this.#closeViewer();
      this.#opener = null;
      $("entries").replaceChildren(...shown);
    }, $("entries"));
    const count = entries.length === 1 ? "1 entry" : `${entries.length} entries`;
    $("entries-note").textContent = more
      ? `The first ${count}: there are more than can be shown.`
      : entries.length > 0 ? count : "This folder is empty.";
  }

  #entry(folder, { name, href, type, size }) {
    const isFolder = type === "directory";
    const path = new URL(href, `http://peer.invalid${folder}`).pathname;
    const kind = isFolder ? "folder" : kindOfName(name);
    const link = element(
      "a",
      { className: "entry", href: "#" },
      icon(kind),
      element("span", { className: "name", textContent: name }),
      element("span", { className: "size", textContent: isFolder ? "" : bytes(size) }),
    );
    link.addEventListener("click", (event) => {
      event.preventDefault();
      if (isFolder) this.open(path);
      else if (kind === "file") this.#save(path);
      else this.#view(path, kind);
    });
    const item = element("li", {}, link);
    if (!isFolder) {
      const save = element("a", { className: "save", href: "#" }, icon("save"));
      save.setAttribute("aria-label", `Download ${name}`);
      save.addEventListener("click", (event) => {
        event.preventDefault();
        this.#save(path);
      });
      item.append(save);
    }
    return item;
  }

  /** Show or play one thing. */
  async #view(path, kind) {
    this.#fail(null);
    try {
      if (kind === "file") return await this.#offer(path);
      if (kind === "text") {
        const response = await this.#peer.fetch(path);
        return this.#showText(path, await beginning(response));
      }
      const url = await this.#urls.view(this.#peer, path);
      const media = element(kind === "image" ? "img" : kind, { src: url });
      if (kind === "image") media.alt = nameOf(path);
      else Object.assign(media, { controls: true, autoplay: true, ariaLabel: nameOf(path) });
      media.addEventListener("error", () => this.#fail("This browser cannot show that file."));
      this.#openViewer(path, media);
    } catch (error) {
      this.#fail(`That did not work: ${error.message}`);
    }
  }

  #showText(path, text) {
    this.#openViewer(path, element("pre", { textContent: text, tabIndex: 0 }));
  }

  async #offer(path) {
    const save = element("button", { textContent: "Download" });
    save.addEventListener("click", () => this.#save(path));
    this.#openViewer(path, save);
  }

  async #save(path) {
    this.#fail(null);
    try {
      await this.#urls.save(this.#peer, path);
    } catch (error) {
      this.#fail(`That did not work: ${error.message}`);
    }
  }

  #openViewer(path, content) {
    const held = document.activeElement;
    this.#opener = $("entries").contains(held) ? held : null;
    $("viewer-name").textContent = nameOf(path) || "/";
    $("viewer-content").replaceChildren(content);
    $("viewer").hidden = false;
    $("viewer-name").focus();
  }

  #closeViewer() {
    keepingFocus(() => {
      $("viewer").hidden = true;
      $("viewer-content").replaceChildren();
    }, this.#opener ?? $("entries"));
  }

  #fail(sentence) {
    $("browse-error").textContent = sentence ?? "";
    $("browse-error").hidden = !sentence;
  }
}

/** The listing that `peerfetch proxy --serve` gives, or null where the JSON is something else. */
function asListing(text) {
  try {
    const found = JSON.parse(text);
    const isEntry = ({ name, href, type }) =>
      [name, href, type].every((value) => typeof value === "string");
    return Array.isArray(found.entries) && found.entries.every(isEntry) ? found : null;
  } catch {
    return null;
  }
}

/** As much of a text as is shown. */
async function beginning(response) {
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    text += decoder.decode(value, { stream: true });
    if (text.length > MAX_TEXT) {
      reader.cancel();
      return `${text.slice(0, MAX_TEXT)}\n…`;
    }
  }
}
