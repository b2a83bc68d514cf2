/** Look through a device: where one is, its folders, and what is in them. */

import { sizeOf } from "../lib/decoding.js";
import { appUrl, isReachable } from "./app_page.js";
import { Cameras, isCamera, isWall } from "./cameras.js";
import { $, element, isPlain } from "./elements.js";
import { keepingFocus } from "./focus.js";
import { decoded, nameOf } from "./format.js";
import { folderOf, fragmentOf } from "./links.js";
import { Listing, asListing, kindOfName } from "./listing.js";
import { ownCode } from "./own_code.js";
import { Uploads } from "./uploads.js";
import { Said } from "./urls.js";
import { Viewer, beginning, kindOfType, media, text } from "./viewer.js";

const ACCEPT = "application/json, text/html;q=0.5, */*;q=0.1";

/** A path for people: that of an old proxy is the slash and a whole URL. */
const shown = (path) => decoded(path).replace(/^\/(?=https?:\/\/)/, "");
const sentence = (error) =>
  error instanceof Said ? error.message : `That did not work: ${error.message}.`.replace(/\.\.$/, ".");

export class Browser {
  #peer = null;
  #urls = null;
  #pin = null;
  #about = {};
  #loading = new AbortController();
  #downloads;
  #listing;
  #viewer;
  #cameras;
  /** Whether the device has told of cameras, once it has. */
  #hasCameras = null;
  /** The path where one is. */
  #path = null;
  #onaccess;
  #uploads = new Uploads($("folder-sent"));
  /** What can be had of the folder that is shown beside its files, or done with it, as its listing says. */
  #offers = [];

  /**
   * @param makeDownloads makes the Downloads of what is saved, from a function that says where they are shown
   * @param onaccess called when the device wants to be told its access token first
   */
  constructor(makeDownloads, onaccess) {
    this.#downloads = makeDownloads((path) => this.#where(path));
    this.#onaccess = onaccess;
    const save = (path, size) => this.#save(path, size);
    this.#listing = new Listing({
      open: (path) => this.go(path),
      view: (path, kind) => this.#goView(path, kind),
      save,
      href: (path) => this.#link(path),
      shown: () => this.#downloads.arrange(),
    });
    this.#viewer = new Viewer({ close: () => this.#close(), save, turn: (path) => this.#turn(path) });
    $("folder-zip").addEventListener("click", () => this.#saveFolder());
    $("folder-send").addEventListener("click", () => $("folder-input").click());
    $("folder-input").addEventListener("change", () => {
      this.send([...$("folder-input").files]);
      $("folder-input").value = "";
    });
    this.#cameras = new Cameras({
      href: (path) => this.#link(path),
      open: (path) => this.go(path),
      close: (path) => this.#leave(path),
      path: () => this.#path,
    });
    $("path-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const path = $("path").value.trim();
      this.go(path.startsWith("/") ? path : `/${path}`);
    });
  }

  /** Show `path` of `peer`, whose links name `pin`; `about` is what its own page is told: see appUrl(). */
  async start(peer, urls, { path, pin, ...about }) {
    [this.#peer, this.#urls, this.#pin, this.#about] = [peer, urls, pin, about];
    this.#uploads.use(peer);
    this.#hasCameras = this.#cameras.load(peer);
    await this.open(path);
  }

  stop() {
    this.#loading.abort();
    this.#peer = this.#path = null;
    this.#about = {};
    this.#cameras.stop();
    this.#uploads.use(null);
    this.#downloads.leave();
    this.#viewer.hide();
    this.#listing.clear();
    this.#fail(null);
  }

  /** Whether files can be sent into the folder that is shown. */
  get takesFiles() {
    return this.#offers.includes("~inbox") && !$("folder").hidden;
  }

  /** Send files into it. */
  async send(files) {
    const { folder } = this.#listing;
    await this.#uploads.send(`${folder}~inbox`, files);
    if (this.#listing.folder === folder && !$("folder").hidden) await this.#load(folder);
  }

  #saveFolder() {
    const { folder } = this.#listing;
    const name = nameOf(folder.replace(/\/$/, "")) || "files";
    return this.#save(`${folder}~share/zip/${encodeURIComponent(name)}.zip`, null);
  }

  /** Go to `path`, so that Back leads here. */
  async go(path) {
    history.pushState(null, "", this.#link(path));
    await this.open(path);
  }

  /** Show what is at `path`: a folder's list, or the thing itself. */
  async open(path) {
    this.#fail(null);
    if (this.#cameras.has(path)) return this.#clear(path);
    if (path === this.#listing.folder) return this.#backToList();
    const file = this.#listing.file(path);
    if (file) return this.#view(path, kindOfName(file.name));
    return this.#load(path);
  }

  /** Ask for what is at `path`, and show it. */
  async #load(path) {
    this.#loading.abort();
    const { signal } = (this.#loading = new AbortController());
    if (this.#peer._isOld && path === "/") return this.#askForUrl();
    $("entries").ariaBusy = "true";
    try {
      const response = await this.#peer.fetch(path, { signal, headers: { accept: ACCEPT } });
      await this.#show(path, response);
    } catch (error) {
      if (signal.aborted) return undefined;
      this.#clear(path);
      this.#fail(sentence(error));
    } finally {
      $("entries").ariaBusy = null;
    }
    return undefined;
  }

  async #show(asked, response) {
    const type = response.headers.get("content-type") ?? "";
    const isPage = /^text\/html\b/i.test(type);
    if (response.status === 401 && response.headers.get("www-authenticate") === "Peerfetch") {
      return this.#onaccess();
    }
    // An app may have a login of its own.
    const isAnswered = response.ok || (isPage && [401, 403].includes(response.status));
    if (!isAnswered && asked === "/" && (await this.#hasCameras)) return this.#clear(asked);
    if (!isAnswered) throw await refusal(asked, response, type);
    const url = new URL(response.url.replace(/^peer:\/\/[^/]*/, "http://peer.invalid"));
    const path = url.pathname + url.search;
    if (type.startsWith("application/json")) {
      const body = await response.text();
      const listing = asListing(body);
      if (!listing) return this.#showContent(path, body.length, text(body));
      return this.#showListing(asked, path, listing);
    }
    await response.body?.cancel();
    if (isPage && asked === "/" && isWall(response) && (await this.#hasCameras)) return this.#clear(asked);
    if (isPage && isCamera(response)) return this.#openCamera(path);
    if (isPage && !this.#peer._isOld && !/\.html?$/i.test(url.pathname)) return this.#openApp(asked);
    return this.#view(path, kindOfType(type), sizeOf(response.headers));
  }

  #showListing(asked, path, listing) {
    // A folder's address ends with a slash, to which its server leads.
    if (path !== asked) history.replaceState(null, "", this.#link(path));
    this.#showPath(path);
    this.#offer(listing.offers);
    keepingFocus(() => {
      this.#viewer.hide();
      $("folder").hidden = false;
      this.#listing.show(this.#peer, this.#urls, path, listing);
    }, $("entries"));
  }

  #offer(offers) {
    this.#offers = Array.isArray(offers) ? offers : [];
    $("folder-zip").hidden = !this.#offers.includes("~share/zip");
    $("folder-send").hidden = !this.#offers.includes("~inbox");
    $("folder-actions").hidden = $("folder-zip").hidden && $("folder-send").hidden;
  }

  /** A camera of which the device has not told. */
  async #openCamera(path) {
    await this.#hasCameras;
    history.replaceState(history.state, "", this.#link(path));
    this.#cameras.add(path);
    this.#clear(path);
  }

  /** An app of the device, which has an origin of its own where that is possible. */
  async #openApp(path) {
    const { named, ...about } = this.#about;
    const { id } = this.#peer;
    const url = appUrl(id, path, this.#pin, about);
    if (url && (await isReachable(url))) {
      // To the device, that origin is another browser of this person.
      const { code } = named ? await ownCode(this.#peer).catch(() => ({})) : {};
      return location.replace(appUrl(id, path, this.#pin, { ...about, code }));
    }
    this.#clear(path);
    const why = url
      ? `This server does not answer as ${new URL(url).host}, where it would be shown.`
      : "Browsers show it only where this page was opened by HTTPS, or on the machine of the server.";
    $("entries-note").textContent = `This device has an app of its own. ${why}`;
    return undefined;
  }

  /** An old proxy has no listings, and takes whole URLs only. */
  #askForUrl() {
    this.#clear("/");
    $("path-details").open = true;
    $("path").value = "";
    $("entries-note").textContent =
      "This device runs an old proxy. Enter the URL that it shall fetch, as the device sees it: " +
      "http://localhost:8778/api, for example.";
  }

  /** Nothing is shown of where one was. */
  #clear(path) {
    this.#showPath(path, this.#cameras.has(path));
    this.#offer([]);
    keepingFocus(() => {
      this.#viewer.hide();
      $("folder").hidden = false;
      this.#listing.clear();
    }, $("entries"));
    this.#downloads.arrange();
  }

  #backToList() {
    const opener = this.#listing.row(this.#viewer.path)?.querySelector("a.entry");
    this.#showPath(this.#listing.folder);
    keepingFocus(() => {
      this.#viewer.hide();
      $("folder").hidden = false;
    }, opener ?? $("entries"));
    opener?.scrollIntoView({ block: "nearest" });
    this.#downloads.arrange();
  }

  #showPath(path, isContent = false) {
    this.#path = path;
    this.#cameras.turnTo(path);
    $("path").value = shown(path);
    const isUrl = shown(path) !== decoded(path);
    // Of one thing, its name is the title below.
    const place = isContent ? folderOf(path) ?? "/" : path;
    const parts = isUrl ? [shown(path)] : place.split("?")[0].split("/").filter(Boolean);
    const crumbs = ["", ...parts].map((part, i) => {
      const isFolder = i < parts.length || place.endsWith("/");
      const below = isUrl ? path : `/${parts.slice(0, i).join("/")}${isFolder ? "/" : ""}`;
      const to = i === 0 ? "/" : below;
      const properties = { href: this.#link(to), textContent: i ? decoded(part) : "Device" };
      const link = element("a", properties);
      link.addEventListener("click", (event) => {
        if (!isPlain(event)) return;
        event.preventDefault();
        this.go(to);
      });
      return element("li", {}, link);
    });
    if (!isContent) crumbs.at(-1).firstChild.setAttribute("aria-current", "page");
    keepingFocus(() => $("crumbs").replaceChildren(...crumbs), $("entries"));
  }

  async #goView(path, kind) {
    history.pushState({ folder: this.#listing.folder }, "", this.#link(path));
    await this.#view(path, kind);
  }

  /** The next picture, in the place of this one. */
  async #turn(path) {
    history.replaceState(history.state, "", this.#link(path));
    await this.#view(path, "image");
  }

  /** Show or play one thing. */
  async #view(path, kind, size = this.#listing.file(path)?.size ?? null) {
    this.#fail(null);
    this.#loading.abort();
    const { signal } = (this.#loading = new AbortController());
    try {
      if (kind === "file") return this.#showContent(path, size, unshown());
      if (kind === "text") {
        const response = await this.#peer.fetch(path, { signal });
        if (!response.ok) throw await refusal(path, response, "");
        return this.#showContent(path, size, text(await beginning(response)));
      }
      const url = await this.#urls.view(this.#peer, path);
      if (signal.aborted) return undefined;
      const content = media(kind, url, nameOf(path), () => {
        this.#fail("This browser cannot show that file. It can be downloaded.");
        // What has begun to play can be set back to where it went well.
        if (!content.currentTime) content.remove();
      });
      return this.#showContent(path, size, content);
    } catch (error) {
      if (signal.aborted) return undefined;
      this.#showContent(path, size, unshown());
      return this.#fail(sentence(error));
    }
  }

  #showContent(path, size, content) {
    const neighbours = content.tagName === "IMG" ? this.#listing.pictures : [];
    this.#showPath(path, true);
    this.#viewer.show(path, content, { size, neighbours });
    $("folder").hidden = true;
    this.#downloads.arrange();
  }

  #close() {
    return this.#leave(this.#viewer.path);
  }

  /** From one thing to the folder that it is in: the way back, where one came from there. */
  #leave(path) {
    const { folder } = this.#listing;
    if (folder === null || history.state?.folder !== folder) return this.go(folderOf(path) ?? "/");
    // The list comes with that; before it, nobody shall go elsewhere.
    return history.back();
  }

  #where(path) {
    if (this.#peer === null) return null;
    if (this.#viewer.path === path) return $("viewer-download");
    return $("folder").hidden ? null : this.#listing.row(path);
  }

  async #save(path, size) {
    this.#downloads.begin(path);
    try {
      await this.#urls.save(this.#peer, path, size);
    } catch (error) {
      this.#downloads.fail(path, sentence(error));
    }
  }

  #link(path) {
    return fragmentOf({ id: this.#peer.id, path, pin: this.#pin });
  }

  #fail(words) {
    $("browse-error").textContent = words ?? "";
    $("browse-error").hidden = !words;
  }
}

const unshown = () =>
  element("p", { textContent: "This kind of file is not shown here. It can be downloaded." });

/** Why a device does not give what is at `path`, for people. */
async function refusal(path, response, type) {
  const { status } = response;
  const words = {
    401: "The device asks for a login that this page cannot give",
    403: `The device does not let ${shown(path)} be read`,
    404: `There is nothing at ${shown(path)} on this device`,
    502: "What the device forwards to does not answer",
    503: "The device is busy, or not ready",
  };
  if (words[status]) return new Said(`${words[status]} (${status}).`);
  const told = /^text\/plain/i.test(type) ? (await response.text()).slice(0, 300).trim() : "";
  return new Said(`The device answered ${status}${told ? `: ${told}` : "."}`);
}
