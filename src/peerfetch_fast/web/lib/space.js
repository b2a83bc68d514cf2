/**
 * The page's end of the service worker: it asks for what a device's URLs name, and the page, which holds
 * the connection, answers. One MessagePort a request; the worker asks for each piece.
 */

import { setCookiesOf } from "./client.js";
import { isEncoded, sizeOf, undecodable } from "./decoding.js";
import { EventIds } from "./event_ids.js";
import { presented } from "./origins.js";
import { resumingReader } from "./resume.js";

/** Milliseconds between signs of life to the worker, which browsers stop when it looks idle. */
const KEEP_ALIVE = 5000;

export class Space extends EventTarget {
  #worker;
  #cookies;
  #logins;
  #eventIds = new EventIds();
  #peers = new Map();
  #alive;
  /**
   * Transfers that run: `{path, size, port, status, done, ended, whole, cancelled, cancel}`; `download`
   * events tell of those to be saved, `attachment` ones of pages that were asked for and are files to be
   * saved.
   */
  transfers = new Set();

  /**
   * @param worker the service worker's container, navigator.serviceWorker
   * @param cookies the CookieJar of the device whose own origin this is; null elsewhere
   * @param logins the Logins there
   */
  constructor(worker, cookies = null, logins = null) {
    super();
    this.#worker = worker;
    this.#cookies = cookies;
    this.#logins = logins;
    worker.addEventListener("message", ({ data, ports }) => {
      const peer = data?.type === "request" && this.#peers.get(data.peer);
      if (peer) this.#answer(peer, data, ports[0]);
    });
    worker.startMessages();
    addEventListener("pagehide", () => {
      for (const { port } of this.transfers) {
        port.postMessage({ type: "failed", message: "its page was closed" });
      }
    });
  }

  /** From now on this page answers for `peer`. */
  add(peer) {
    this.#peers.set(peer.id, peer);
  }

  remove(peer) {
    this.#peers.delete(peer.id);
  }

  async #answer(peer, request, port) {
    const { method, target, body, redirect, download } = request;
    const controller = new AbortController();
    const chosen = new Promise((resolve) => {
      port.onmessage = ({ data }) => {
        if (data === "go") resolve();
        if (data === "cancel") controller.abort();
      };
    });
    // Other pages may hold a connection to the same device; the worker takes the first that answers.
    port.postMessage({ type: "mine" });
    await chosen;
    try {
      const { signal } = controller;
      const cookies = request.credentials === "omit" ? null : this.#cookies;
      const path = target.split("?")[0];
      const cookie = cookies?.header(path);
      // Elsewhere than on its own origin a device is only looked at, and is not told from where.
      const headers = request.initiator
        ? presented({ ...request, ...request.initiator }, location, peer.id)
        : request.headers;
      if (cookie) headers.push(["cookie", cookie]);
      // What is coded cannot go on at a byte of the file.
      if (download) headers.push(["accept-encoding", "identity"]);
      const mark = isMarked(request) ? request.mark : null;
      const last = mark && this.#eventIds.of(mark);
      if (last) headers.push(["last-event-id", last]);
      const init = { method, headers, body, signal, redirect };
      const send = (authorization) => {
        init.headers = authorization ? [...headers, ["authorization", authorization]] : headers;
        return peer.fetch(target, init);
      };
      const isPage = request.initiator?.mode === "navigate";
      const response = this.#maySignIn(request)
        ? await this.#logins.answered(send, { method, target, isPage })
        : await send(null);
      if (cookies && setCookiesOf(response).length) cookies.set(setCookiesOf(response), path);
      const shown = shownHeaders(response);
      const isSaved = /^\s*attachment\b/i.test(response.headers.get("content-disposition") ?? "");
      if (isPage && isSaved) this.dispatchEvent(new Event("attachment"));
      const reader = response.body && (await this.#reader(peer, request, init, response));
      // What the worker answers to that, the pump hears.
      port.postMessage({ type: "head", status: response.status, headers: shown, empty: !reader });
      if (!reader) return;
      const transfer = { path: target, size: sizeOf(response.headers), port, status: response.status, done: 0 };
      this.#pump(reader, transfer, { download, controller });
    } catch (error) {
      port.postMessage({ type: "failed", message: error.message });
    }
  }

  /** The reader of the body, which goes on after breaks, and checks the bytes if the peer has digests. */
  async #reader(peer, request, init, response) {
    const { target, download } = request;
    if (isMarked(request)) return this.#eventIds.noted(response.body, request.mark).getReader();
    const reader = resumingReader(peer, target, init, response);
    return download && response.ok && peer.checked ? peer.checked(target, reader) : reader;
  }

  /** Whether a person may be asked who they are. An app that says so by itself goes without. */
  #maySignIn({ credentials, headers }) {
    return this.#logins && credentials !== "omit" && headers.every(([name]) => name !== "authorization");
  }

  #pump(reader, transfer, { download, controller }) {
    const { port } = transfer;
    const end = () => {
      transfer.ended = true;
      this.transfers.delete(transfer);
      if (this.transfers.size === 0) clearInterval(this.#alive);
      port.close();
    };
    const cancel = () => {
      if (transfer.ended) return;
      transfer.cancelled = true;
      port.postMessage({ type: "failed", message: "it was cancelled" });
      controller.abort();
      end();
    };
    Object.assign(transfer, { ended: false, whole: false, cancelled: false, cancel });
    if (this.transfers.size === 0) {
      const worker = this.#worker;
      this.#alive = setInterval(() => worker.controller?.postMessage("alive"), KEEP_ALIVE);
    }
    this.transfers.add(transfer);
    if (download) this.dispatchEvent(new CustomEvent("download", { detail: transfer }));
    port.onmessage = async ({ data }) => {
      if (data === "cancel") {
        // By the browser, or by the person in the browser's list of downloads.
        transfer.cancelled = true;
        controller.abort();
        return end();
      }
      try {
        const piece = await copyOfNext(reader);
        if (transfer.ended) return undefined;
        if (!piece) {
          port.postMessage({ type: "end" });
          transfer.whole = true;
          return end();
        }
        transfer.done += piece.length;
        return port.postMessage({ type: "piece", piece }, [piece.buffer]);
      } catch (error) {
        if (transfer.ended) return undefined;
        port.postMessage({ type: "failed", message: error.message });
        return end();
      }
    };
  }
}

/** Whether it is for an EventSource that can be told from others (page/adopt.js), and whose browser shows no id itself. */
function isMarked({ mark, headers }) {
  return mark && headers.every(([name]) => name !== "last-event-id");
}

/** The headers of an answer whose body is decoded. Throws TypeError where that was not possible. */
function shownHeaders({ headers, body }) {
  const coding = body && undecodable(headers);
  if (coding) throw new TypeError(`its answer is packed as ${coding}, which this browser cannot unpack`);
  const ofTheCoded = new Set(isEncoded(headers) ? ["content-encoding", "content-length"] : []);
  return [...headers].filter(([name]) => !ofTheCoded.has(name));
}

/** A copy of the next piece, which the worker may have for itself; null at the end. */
async function copyOfNext(reader) {
  const { done, value } = await reader.read();
  return done ? null : value.slice();
}
