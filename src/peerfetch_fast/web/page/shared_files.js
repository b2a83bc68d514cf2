/** The share of a page, as the resources of docs/sharing.md: a function from Request to Response. */

import { hex } from "../lib/bytes.js";
import { PIECE, digestOf } from "../lib/checked.js";
import { textOf } from "../lib/gathering.js";
import { decoded, shown } from "./format.js";
import { ROOT } from "./manifest.js";
import { zipOf } from "./zip.js";

/** Bytes of the request that names files, and files in it. */
const MAX_ASKED = 1 << 20;
const MAX_WANTED = 4096;
const MAX_EVENT = 4096;
/** Receivers that are remembered. */
const MAX_RECEIVERS = 256;
const [FILE, DATA, DIGEST, FAILED, END] = [1, 2, 3, 4, 5];

const encoder = new TextEncoder();
const octetsOf = async (file, start, end) => new Uint8Array(await file.slice(start, end).arrayBuffer());
const refusal = (status, sentence) => new Response(`${sentence}\n`, { status, headers: { "content-type": "text/plain" } });
/** The name that a receiver gives itself. */
const nameFrom = (field) => {
  try {
    return shown(decodeURIComponent(field.slice(0, 512))).slice(0, 64).trim();
  } catch {
    return "";
  }
};

export class SharedFiles {
  #files;
  #title;
  #by;
  #zip = null;
  #receivers = new Map();

  /** @param files `{path, file}` of each, with different paths */
  constructor(files, { title, by }) {
    this.#files = new Map(files.map((entry) => [entry.path, entry]));
    [this.#title, this.#by] = [title, by];
  }

  /** The receivers so far: `{name, sent, total, state, why}`. */
  get receivers() {
    return [...this.#receivers.values()];
  }

  async answer(request, peer) {
    const path = new URL(request.url).pathname;
    const receiver = this.#receiver(request, peer);
    if (path === `${ROOT}/events` && request.method === "POST") return this.#take(request, receiver);
    if (path === `${ROOT}/stream` && request.method === "POST") return this.#stream(request, receiver);
    if (request.method !== "GET" && request.method !== "HEAD") return refusal(405, "This can be read, and nothing else.");
    if (path === ROOT) return this.#manifest();
    if (path === `${ROOT}/zip` || path.startsWith(`${ROOT}/zip/`)) return this.#sendZip(request, receiver);
    const found = /^\/~share\/(files|digests)(?:\/(.+))?$/.exec(path);
    if (!found) return refusal(404, "A share has no such resource.");
    const [, kind, named] = found;
    if (kind === "digests" && !named) return this.#digests([...this.#files.values()]);
    const entry = this.#files.get(decoded(named ?? ""));
    if (!entry) return refusal(404, "No such file is shared.");
    return kind === "digests" ? this.#digests([entry]) : this.#sendFile(request, receiver, entry.file);
  }

  #receiver(request, peer) {
    const claimed = request.headers.get("share-receiver") ?? "";
    const key = /^[0-9a-f]{32}$/.test(claimed) ? claimed : `peer ${peer.id}`;
    const receiver = this.#receivers.get(key) ?? { name: "Somebody", sent: 0, total: null, state: "looks", why: "" };
    this.#receivers.delete(key);
    this.#receivers.set(key, receiver);
    if (receiver.name === "Somebody") receiver.name = nameFrom(request.headers.get("share-name") ?? "") || "Somebody";
    if (this.#receivers.size > MAX_RECEIVERS) this.#receivers.delete(this.#receivers.keys().next().value);
    return receiver;
  }

  #manifest() {
    const entries = [...this.#files.values()];
    const total = entries.reduce((sum, { file }) => sum + file.size, 0);
    const head = { v: 1, piece: PIECE, title: this.#title, by: this.#by, entries: entries.length, files: entries.length, total };
    const lines = [head, ...entries.map(about)].map((line) => `${JSON.stringify(line)}\n`);
    return new Response(new Blob(lines).stream(), { headers: { "content-type": "application/x-ndjson", "cache-control": "no-store" } });
  }

  async #take(request, receiver) {
    let event;
    try {
      event = JSON.parse(await textOf(request, MAX_EVENT));
    } catch {
      event = null;
    }
    if (event === null || typeof event !== "object") return refusal(400, "An event is a small object of JSON.");
    if (event.event === "start") {
      const total = Number.isSafeInteger(event.total) ? event.total - (Number.isSafeInteger(event.before) ? event.before : 0) : null;
      Object.assign(receiver, { state: "receives", sent: 0, total });
    } else if (event.event === "done" || event.event === "failed") {
      Object.assign(receiver, { state: event.event, why: typeof event.why === "string" ? shown(event.why).slice(0, 200) : "" });
    }
    return new Response(null, { status: 204 });
  }

  async #stream(request, receiver) {
    let wanted = [];
    try {
      const text = (await textOf(request, MAX_ASKED)) ?? "";
      wanted = text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
    } catch {
      wanted = [];
    }
    const isOne = (one) => typeof one?.path === "string" && Number.isSafeInteger(one.offset) && one.offset >= 0;
    if (!wanted.length || wanted.length > MAX_WANTED || !wanted.every(isOne)) {
      return refusal(400, `Name 1 to ${MAX_WANTED} files, each by a line of JSON: path and offset.`);
    }
    return new Response(this.#counted(this.#records(wanted), receiver), { headers: { "content-type": "application/octet-stream" } });
  }

  async *#records(wanted) {
    for (const { path, offset } of wanted) {
      try {
        const entry = this.#files.get(path);
        if (!entry) throw new TypeError("it is not offered any more");
        yield record(FILE, encoder.encode(JSON.stringify(about(entry))));
        yield* pieces(entry.file, offset);
      } catch (error) {
        yield record(FAILED, encoder.encode(error.message));
      }
    }
    yield record(END, new Uint8Array());
  }

  #digests(entries) {
    async function* lines() {
      for (const { file } of entries) {
        for (let at = 0; at < file.size; at += PIECE) {
          yield encoder.encode(`${hex(await digestOf(await octetsOf(file, at, at + PIECE)))}\n`);
        }
      }
    }
    return new Response(this.#counted(lines(), null), { headers: { "content-type": "text/plain" } });
  }

  #sendFile(request, receiver, file) {
    async function* from(start, end) {
      for (let at = start; at < end; at += 1 << 20) yield await octetsOf(file, at, Math.min(at + (1 << 20), end));
    }
    const type = "application/octet-stream";
    return this.#ranged(request, receiver, { size: file.size, tag: `${file.size}-${file.lastModified}`, type, from });
  }

  #sendZip(request, receiver) {
    this.#zip ??= zipOf([...this.#files.values()]);
    const { size, from } = this.#zip;
    return this.#ranged(request, receiver, { size, tag: `zip-${size}`, type: "application/zip", from });
  }

  /** An answer with the whole of it, or from where a range asks for it. */
  #ranged(request, receiver, { size, tag, type, from }) {
    const etag = `"${tag}"`;
    const headers = { "content-type": type, etag, "accept-ranges": "bytes", "x-content-type-options": "nosniff" };
    const held = request.headers.get("if-range");
    const asked = held === null || held === etag ? /^bytes=(\d{1,15})-$/.exec(request.headers.get("range") ?? "") : null;
    const start = asked ? Number(asked[1]) : 0;
    if (asked && start >= size) return new Response(null, { status: 416, headers: { "content-range": `bytes */${size}` } });
    if (asked) headers["content-range"] = `bytes ${start}-${size - 1}/${size}`;
    headers["content-length"] = String(size - start);
    const body = request.method === "HEAD" || size === 0 ? null : this.#counted(from(start, size), receiver);
    return new Response(body, { status: asked ? 206 : 200, headers });
  }

  /** A stream of what `parts` gives, which counts for `receiver`. Between empty parts it can be ended. */
  #counted(parts, receiver) {
    let isCancelled = false;
    return new ReadableStream(
      {
        pull: async (controller) => {
          let { done, value } = await parts.next();
          while (!done && value.length === 0 && !isCancelled) ({ done, value } = await parts.next());
          if (isCancelled) return undefined;
          if (done) return controller.close();
          controller.enqueue(value);
          if (receiver) {
            receiver.sent += value.length;
            if (receiver.state === "looks") receiver.state = "receives";
          }
          return undefined;
        },
        cancel: () => {
          isCancelled = true;
          return parts.return();
        },
      },
      { highWaterMark: 1 },
    );
  }
}

const about = ({ path, file }) => ({ path, size: file.size, modified: Math.max(file.lastModified, 0), mode: 0o644 });

function record(kind, data) {
  const made = new Uint8Array(5 + data.length);
  made[0] = kind;
  new DataView(made.buffer).setUint32(1, data.length);
  made.set(data, 5);
  return made;
}

/** A file from `offset` on, and the digest of each piece that ends there or later. */
async function* pieces(file, offset) {
  const first = Math.floor(Math.max(offset - 1, 0) / PIECE) * PIECE;
  for (let begin = first; begin < file.size; begin += PIECE) {
    const piece = await octetsOf(file, begin, begin + PIECE);
    const rest = piece.subarray(Math.min(Math.max(offset - begin, 0), piece.length));
    if (rest.length) yield record(DATA, rest);
    yield record(DIGEST, await digestOf(piece));
  }
}
