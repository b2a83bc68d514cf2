/** The manifest of what somebody shares (docs/sharing.md). */

import { shown } from "./format.js";

/** Where a share has it; the other resources are below. */
export const ROOT = "/~share";
const VERSION = 1;
/** Lines that are read: more are offered as an archive. */
const MAX_ENTRIES = 250_000;
/** Characters of a line. */
const MAX_LINE = 1 << 16;
/** Characters that are shown of the title, and of who shares. */
const MAX_TITLE = 200;
const MAX_BY = 64;
/** Characters of a path, and of all paths. */
const MAX_PATH = 4096;
const MAX_PATHS = 1 << 26;

/** Where the file is that the manifest names by `path`. */
export const targetOf = (path) => `${ROOT}/files/${path.split("/").map(encodeURIComponent).join("/")}`;

const isCount = (value) => Number.isSafeInteger(value) && value >= 0;

export class Manifest {
  /** `{path, size, modified}`; directories have no size. */
  entries = [];
  #kept = 0;

  /** Reads it from a stream. Throws TypeError for what is none. */
  static async read(stream) {
    const manifest = new Manifest();
    const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      if (rest.length > MAX_LINE) throw new TypeError("What is offered cannot be read: a line is too long.");
      for (const line of lines) manifest.#line(line);
    }
    if (rest || !isCount(manifest.total) || manifest.entries.length !== manifest.count) {
      throw new TypeError("What is offered was cut short: load the page again.");
    }
    return manifest;
  }

  #line(line) {
    const found = JSON.parse(line);
    if (this.count === undefined) return this.#heading(found);
    const { path, size, modified } = found ?? {};
    const isDirectory = typeof path === "string" && path.endsWith("/");
    if (!isPath(path) || !(isDirectory || isCount(size)) || this.entries.length >= this.count) {
      throw new TypeError("What is offered cannot be read, or has a name that is not safe.");
    }
    this.#kept += path.length;
    if (this.#kept > MAX_PATHS) throw new TypeError("The paths of what is offered are too long: share an archive instead.");
    return this.entries.push({ path, modified, ...(!isDirectory && { size }) });
  }

  #heading({ v, title, by, entries, files, total, text }) {
    const isWhole = typeof title === "string" && typeof by === "string" && isCount(files) && isCount(total);
    if (v !== VERSION || !isWhole || !(entries <= MAX_ENTRIES) || !["string", "undefined"].includes(typeof text)) {
      throw new TypeError("What is offered cannot be read by this version of the page.");
    }
    const [said, who] = [shown(title).slice(0, MAX_TITLE), shown(by).slice(0, MAX_BY)];
    Object.assign(this, { title: said, by: who, count: entries, files, total, text });
  }
}

/** Whether a file may be written there, below a folder that was picked. */
export function isPath(path) {
  if (typeof path !== "string" || path.length > MAX_PATH || path.includes("\0")) return false;
  return path.replace(/\/$/, "").split("/").every((name) => name !== "" && name !== "." && name !== "..");
}
