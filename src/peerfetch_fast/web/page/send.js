/** Share files from this page: a link at once, and who receives. */

import { openDoor } from "../lib/door.js";
import { qrCode } from "../lib/qr.js";
import { stayAwake } from "./awake.js";
import { pathOf } from "./dropped.js";
import { $, element } from "./elements.js";
import { bytes } from "./format.js";
import { fragmentOf } from "./links.js";
import { browserName } from "./offer.js";
import { SharedFiles } from "./shared_files.js";

const INTERVAL = 250;
/** Modules around a QR code, and pixels of one. */
const QR_BORDER = 4;
const QR_SCALE = 6;
/** Buttons, and what each has files picked with. */
const INPUTS = [["send-files", "send-input"], ["send-folder", "send-folder-input"], ["send-camera", "send-camera-input"]];
const WORDS = { looks: "looks at it", receives: "receives", done: "has all", failed: "does not have all" };

export class Sender {
  #door = null;
  #shared = null;
  #timer = null;
  #relax = () => {};
  #link = "";
  /** `{title, files, total}` of what is shared. */
  #about = null;
  #onshown;
  #direct;

  /**
   * @param onshown called with true when files are shared, and with false when they are not any more
   * @param direct whether relays are left out: a DirectOnly
   */
  constructor(onshown, direct) {
    this.#onshown = onshown;
    this.#direct = direct;
    for (const [button, input] of INPUTS) {
      $(button).addEventListener("click", () => $(input).click());
      $(input).addEventListener("change", () => {
        this.share([...$(input).files]);
        $(input).value = "";
      });
    }
    $("send-folder").hidden = !("webkitdirectory" in HTMLInputElement.prototype);
    // Where there is no camera app, it would be another picker.
    $("send-camera").hidden = !("capture" in HTMLInputElement.prototype);
    $("send-stop").addEventListener("click", () => this.stop());
    $("send-link").addEventListener("click", () => $("send-link").select());
    $("send-copy").textContent = navigator.share ? "Share link" : "Copy link";
    $("send-copy").hidden = !(navigator.share || navigator.clipboard);
    $("send-copy").addEventListener("click", () => this.#pass());
  }

  /** Share these files, in place of what was shared. */
  async share(files) {
    if (files.length === 0) return;
    this.#close();
    const named = withPaths(files);
    const total = files.reduce((sum, { size }) => sum + size, 0);
    const title = named.length === 1 ? named[0].path : folderName(named) ?? `${named.length} files`;
    const shared = (this.#shared = new SharedFiles(named, { title, by: browserName() }));
    this.#about = { title, files: named.length, total };
    $("send-name").textContent = title;
    const count = `${named.length} ${named.length === 1 ? "file" : "files"}`;
    $("send-note").textContent = count === title ? bytes(total) : `${count}, ${bytes(total)}`;
    $("send-link").value = $("send-code").textContent = "";
    $("send-error").hidden = $("send-qr").hidden = $("send-command-row").hidden = true;
    $("send-receivers").replaceChildren();
    this.#onshown(true);
    try {
      const handler = (request, peer) => shared.answer(request, peer);
      const oncode = (code) => this.#shared === shared && this.#showCode(code);
      const door = await openDoor("share", handler, { oncode, directOnly: this.#direct.isWanted });
      if (this.#shared !== shared) return door.close();
      this.#door = door;
      this.#link = `${location.origin}/${fragmentOf(this.way)}`;
      $("send-link").value = this.#link;
      drawQr($("send-qr"), this.#link);
      $("send-qr").hidden = false;
    } catch (error) {
      $("send-error").textContent = error.message;
      $("send-error").hidden = false;
      return;
    }
    this.#relax = stayAwake();
    this.#timer = setInterval(() => this.#show(), INTERVAL);
  }

  #showCode(code) {
    $("send-code").textContent = code ?? "Somebody has guessed at the code, or has its number. There is another one soon …";
    $("send-command").textContent = `peerfetch get ${code} --signaling ${location.origin.replace("http", "ws")}`;
    $("send-command-row").hidden = code === null;
  }

  /** The way to what is shared, `{id, pin, secret}`; null while there is none. */
  get way() {
    const door = this.#door;
    return door && { id: door.id, pin: door.fingerprint, secret: door.token };
  }

  /** What somebody in this network is told of it. Throws TypeError while nothing is shared. */
  get offer() {
    if (!this.#door) throw new TypeError("nothing is shared");
    const { id, pin, secret } = this.way;
    return { ...this.#about, by: browserName(), peer_id: id, pin, token: secret };
  }

  /** Share nothing any more. */
  stop() {
    this.#close();
    this.#onshown(false);
  }

  #close() {
    clearInterval(this.#timer);
    this.#relax();
    this.#door?.close();
    this.#door = this.#shared = null;
    document.title = "peerfetch";
  }

  #show() {
    const { receivers } = this.#shared;
    const rows = receivers.map(({ name, sent, total, state, why }) => {
      const text = element("span", { className: "name", textContent: `${name} ${WORDS[state]}${why ? `: ${why}` : ""}` });
      const size = element("span", { className: "size", textContent: bytes(sent) + (total ? ` of ${bytes(total)}` : "") });
      const row = element("li", {}, text, size);
      if (state === "receives" && total) {
        row.append(element("progress", { max: total, value: Math.min(sent, total), ariaLabel: name }));
      }
      return row;
    });
    $("send-receivers").replaceChildren(...rows);
    const busy = receivers.filter(({ state, total }) => state === "receives" && total);
    const [sent, total] = ["sent", "total"].map((what) => busy.reduce((sum, one) => sum + one[what], 0));
    document.title = total ? `${Math.min(99, Math.floor((sent / total) * 100))} % – peerfetch` : "Sharing – peerfetch";
    const done = receivers.filter(({ state }) => state === "done").length;
    const said = receivers.length ? `${done} of ${receivers.length} have all.` : "Nobody has opened the link yet.";
    if ($("send-said").textContent !== said) $("send-said").textContent = said;
  }

  async #pass() {
    try {
      if (navigator.share) return await navigator.share({ url: this.#link });
      await navigator.clipboard.writeText(this.#link);
      $("send-copy").textContent = "Link copied";
      setTimeout(() => ($("send-copy").textContent = "Copy link"), 2000);
    } catch {
      // the person, or the browser, would rather not
    }
    return undefined;
  }
}

/** Draw it with the light border that it needs, in colours that every camera tells apart. */
function drawQr(canvas, text) {
  const rows = qrCode(text);
  const size = rows.length + 2 * QR_BORDER;
  canvas.width = canvas.height = size * QR_SCALE;
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = "black";
  rows.forEach((row, r) =>
    row.forEach((dark, c) => {
      if (dark) context.fillRect((c + QR_BORDER) * QR_SCALE, (r + QR_BORDER) * QR_SCALE, QR_SCALE, QR_SCALE);
    }),
  );
}

/** Each file with a path of its own: that in the folder that was picked, or its name. */
function withPaths(files) {
  const taken = new Set();
  return files.map((file) => {
    const wanted = pathOf(file);
    let path = wanted;
    for (let number = 2; taken.has(path); number++) path = wanted.replace(/(\.[^./]*)?$/, ` (${number})$1`);
    taken.add(path);
    return { path, file };
  });
}

/** The folder that all the files are in; null if there is none. */
function folderName(named) {
  const [top] = named[0].path.split("/");
  return named.every(({ path }) => path.startsWith(`${top}/`)) ? top : null;
}
