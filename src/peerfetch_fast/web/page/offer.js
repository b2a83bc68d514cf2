/** The receiver's view of a share: its contents, its sender, and saving them (docs/sharing.md). */

import { CheckedReader, PIECE } from "../lib/checked.js";
import { randomHex } from "../lib/random.js";
import { resumingReader } from "../lib/resume.js";
import { zipLayout } from "../lib/zip_parts.js";
import { stayAwake } from "./awake.js";
import { $, element, icon, isPlain } from "./elements.js";
import { saveIntoFolder } from "./folder.js";
import { bytes, rate, shown } from "./format.js";
import { Manifest, ROOT, targetOf } from "./manifest.js";
import { MAX_BLOB } from "./urls.js";

const INTERVAL = 250;
/** Files that are shown: who shares more wants them all. */
const MOST_SHOWN = 500;
/** How much of the rate is what was measured last. */
const SMOOTH = 0.2;

/** The peer as the worker and downloads use it: it says who asks, and what is saved is checked. */
class Sharing {
  /** `{path, size}` of what is offered. */
  entries = [];
  #headers = [["share-receiver", randomHex(16)], ["share-name", encodeURIComponent(browserName())]];
  #peer;

  constructor(peer) {
    this.#peer = peer;
  }

  get id() {
    return this.#peer.id;
  }

  get state() {
    return this.#peer.state;
  }

  fetch(target, init = {}) {
    return this.#peer.fetch(target, { ...init, headers: [...new Headers(init.headers ?? {}), ...this.#headers] });
  }

  /** A reader of what `reader` reads of `target` from `offset` on, where a piece begins, checked by its digests. */
  async checked(target, reader, offset = 0) {
    const all = target.startsWith(`${ROOT}/zip`);
    const path = all ? "" : target.replace(`${ROOT}/files`, "");
    const of = `${ROOT}/digests${path}`;
    const init = {};
    const response = await this.fetch(of, init);
    if (!response.ok) throw new TypeError(`there are no digests of it (${response.status})`);
    const name = path.slice(1).split("/").map(decodeURIComponent).join("/");
    const layout = all
      ? zipLayout(this.entries)
      : [{ skip: 0, size: (this.entries.find((entry) => entry.path === name)?.size ?? 0) - offset }];
    return new CheckedReader(reader, layout, resumingReader(this, of, init, response), offset / PIECE);
  }

  /** Tell the one who shares how it goes; whether they hear is of no importance here. */
  tell(event) {
    this.fetch(`${ROOT}/events`, { method: "POST", body: JSON.stringify(event) }).catch(() => {});
  }
}

export class Offer {
  isShown = false;
  /** Whether there is no connection now. */
  isLost = false;
  #sharing = null;
  #urls = null;
  #manifest = null;
  /** The files that are being saved, as Space's transfers. */
  #transfer = null;
  #timer = null;
  #relax = () => {};

  /** @param onleave called when the person wants no more of it */
  constructor(onleave) {
    $("offer-leave").addEventListener("click", onleave);
    $("offer-save").addEventListener("click", () => this.#saveAll());
    $("offer-folder").addEventListener("click", () => this.#saveIntoFolder());
    $("offer-cancel").addEventListener("click", () => this.#transfer?.cancel());
  }

  /** Show what `peer` shares. */
  begin(peer, urls) {
    this.isShown = true;
    this.#urls = urls;
    this.#sharing = new Sharing(peer);
    urls.space?.add(this.#sharing);
    document.title = "peerfetch";
    $("offer-by").textContent = "Looking what is shared …";
    for (const id of ["offer-name", "offer-note", "offer-text"]) $(id).textContent = "";
    for (const id of ["offer-text", "offer-error", "offer-transfer", "offer-folder", "offer-insecure", "offer-cancel"]) {
      $(id).hidden = true;
    }
    $("offer-files").replaceChildren();
    $("offer-save").disabled = true;
  }

  /** @param isAccepted whether the person has said already that they want it */
  async load(isAccepted = false) {
    const sharing = this.#sharing;
    try {
      const response = await sharing.fetch(ROOT);
      if (!response.ok) throw new TypeError((await response.text()).slice(0, 300).trim());
      const manifest = await Manifest.read(response.body);
      if (this.#sharing !== sharing) return;
      this.#manifest = manifest;
      sharing.entries = manifest.entries;
      this.#show(manifest);
      if (isAccepted && manifest.files && !$("offer-save").disabled) await this.#saveAll();
    } catch (error) {
      if (this.#sharing === sharing) this.#fail(error.message);
    }
  }

  stop() {
    if (!this.isShown) return;
    this.#transfer?.cancel();
    this.#end();
    this.isShown = false;
    this.#sharing = this.#manifest = this.#transfer = null;
  }

  #show({ title, by, files, total, text, entries }) {
    $("offer-by").textContent = `${by || "Somebody"} shares`;
    $("offer-name").textContent = title;
    document.title = `${title} – peerfetch`;
    $("offer-text").hidden = text === undefined;
    $("offer-text").textContent = text ?? "";
    $("offer-note").textContent = files ? `${files} ${files === 1 ? "file" : "files"}, ${bytes(total)}` : "";
    const tooLarge = !this.#urls.streaming && total > MAX_BLOB;
    $("offer-insecure").hidden = !tooLarge;
    $("offer-insecure").textContent =
      `Without HTTPS this page saves ${bytes(MAX_BLOB)} at most, and this is ${bytes(total)}: save smaller files one by ` +
      "one, open the link by HTTPS, or receive it with “peerfetch get” and this page's address.";
    $("offer-save").hidden = files === 0;
    $("offer-save").disabled = tooLarge;
    $("offer-save").textContent = files === 1 ? "Save" : "Save all";
    $("offer-folder").hidden = !("showDirectoryPicker" in globalThis) || files === 0;
    const rows = entries.filter(({ size }) => size !== undefined).slice(0, MOST_SHOWN);
    $("offer-files").replaceChildren(...rows.map((entry) => this.#row(entry)));
    if (files > MOST_SHOWN) {
      $("offer-files").append(element("li", { className: "hint", textContent: `and ${files - MOST_SHOWN} more` }));
    }
  }

  #row({ path, size }) {
    const folder = `${this.#manifest.title}/`;
    const name = path.startsWith(folder) ? path.slice(folder.length) : path;
    const target = targetOf(path);
    const link = element("a", { className: "entry", href: "#", title: `Save ${shown(path)}` });
    link.append(
      element("span", { className: "thumb" }, icon("file")),
      element("span", { className: "name", textContent: shown(name) }),
      element("span", { className: "size", textContent: bytes(size) }),
    );
    link.addEventListener("click", (event) => {
      event.preventDefault();
      if (isPlain(event)) this.#save(target, size);
    });
    return element("li", {}, link);
  }

  #saveAll() {
    const { entries, files, title } = this.#manifest;
    const single = files === 1 && entries.find(({ size }) => size !== undefined);
    if (single) return this.#save(targetOf(single.path), single.size);
    return this.#save(`${ROOT}/zip/${encodeURIComponent(`${title.replaceAll("/", "_")}.zip`)}`, null);
  }

  async #save(target, size) {
    this.#fail(null);
    $("offer-said").textContent = "Downloading";
    try {
      await this.#urls.save(this.#sharing, target, size);
    } catch (error) {
      this.#fail(error.message);
    }
  }

  async #saveIntoFolder() {
    this.#fail(null);
    let folder;
    try {
      folder = await globalThis.showDirectoryPicker({ mode: "readwrite" });
    } catch {
      return; // the person would rather not
    }
    const { transfer, done } = saveIntoFolder(folder, this.#manifest, this.#sharing);
    this.add(transfer);
    await done.catch((error) => this.#fail(error.message));
  }

  /** Show a transfer, `{size, done, status, ended, whole, cancelled, cancel}`, as it goes. */
  add(transfer) {
    if (transfer.status >= 400) return this.#fail(`The other side answered ${transfer.status}: is it still shared?`);
    this.#end();
    this.#transfer = transfer;
    const sharing = this.#sharing;
    const { size } = transfer;
    sharing.tell({ event: "start", total: size ?? this.#manifest.total, before: 0 });
    $("offer-transfer").hidden = $("offer-cancel").hidden = false;
    $("offer-save").disabled = $("offer-folder").disabled = true;
    if (size) $("offer-bar").max = size;
    this.#relax = stayAwake();
    let [then, before, speed] = [performance.now(), 0, 0];
    const update = () => {
      const now = performance.now();
      const measured = ((transfer.done - before) * 1000) / Math.max(now - then, 1);
      speed = speed ? SMOOTH * measured + (1 - SMOOTH) * speed : measured;
      [then, before] = [now, transfer.done];
      $("offer-bar").value = transfer.done;
      $("offer-progress").textContent = this.#words(transfer, speed);
      if (size) document.title = `${Math.floor((transfer.done / size) * 100)} % – ${this.#manifest.title}`;
      if (transfer.ended) this.#over(transfer, sharing);
    };
    this.#timer = setInterval(update, INTERVAL);
    return update();
  }

  #words({ done, size, ended, whole, cancelled }, speed) {
    const part = `${bytes(done)}${size ? ` of ${bytes(size)}` : ""}`;
    if (ended && whole) return `${part}, saved and verified`;
    if (ended) return `${part}, ${cancelled ? "cancelled" : "cut short"}`;
    if (this.isLost) return `${part}. The connection is lost; it goes on when that is back`;
    const rest = size && speed > 1 ? `, ${lasting((size - done) / speed)} left` : "";
    return `${part}, ${rate(speed)}${rest}. Keep this tab open`;
  }

  #over({ whole, cancelled, done }, sharing) {
    this.#end();
    $("offer-said").textContent = $("offer-progress").textContent;
    document.title = `${whole ? "✓ " : ""}${this.#manifest?.title ?? "peerfetch"} – peerfetch`;
    if (whole) return sharing.tell({ event: "done", bytes: done });
    const why = cancelled ? "cancelled" : "cut short";
    if (!cancelled) this.#fail("It was cut short, or came damaged: the file that was saved is not whole. Try again.");
    return sharing.tell({ event: "failed", why });
  }

  #end() {
    clearInterval(this.#timer);
    this.#relax();
    this.#transfer = null;
    $("offer-cancel").hidden = true;
    $("offer-save").disabled = $("offer-folder").disabled = false;
  }

  #fail(words) {
    $("offer-error").textContent = words ?? "";
    $("offer-error").hidden = !words;
  }
}

/** This receiver's name, as the sender sees it: "Firefox on Android". */
export function browserName() {
  const told = navigator.userAgent;
  const browser = [["Firefox", /firefox|fxios/i], ["Edge", /edg/i], ["Chrome", /chrom|crios/i], ["Safari", /safari/i]];
  const system = [
    ["Android", /android/i], ["iPhone", /iphone/i], ["iPad", /ipad/i],
    ["Windows", /windows/i], ["Mac", /mac os/i], ["Linux", /linux/i],
  ];
  const named = (names, other) => names.find(([, pattern]) => pattern.test(told))?.[0] ?? other;
  return `${named(browser, "a browser")} on ${named(system, "a device")}`;
}

function lasting(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}
