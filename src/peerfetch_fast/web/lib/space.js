/**
 * The page's end of the service worker: it asks for what a device's URLs name, and the page, which holds
 * the connection, answers. One MessagePort a request; the worker asks for each piece.
 */

import { setCookiesOf } from "./client.js";
import { presented } from "./origins.js";

/** Milliseconds between signs of life to the worker, which browsers stop when it looks idle. */
const KEEP_ALIVE = 5000;

export class Space extends EventTarget {
  #worker;
  #cookies;
  #peers = new Map();
  #alive;
  /**
   * Transfers that run: `{path, size, port, done, ended, whole}`; `download` events tell of those to be
   * saved.
   */
  transfers = new Set();

  /**
   * @param worker the service worker's container, navigator.serviceWorker
   * @param cookies the CookieJar of the device whose own origin this is; null elsewhere
   */
  constructor(worker, cookies = null) {
    super();
    this.#worker = worker;
    this.#cookies = cookies;
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
      const response = await peer.fetch(target, { method, headers, body, signal, redirect });
      if (cookies && setCookiesOf(response).length) cookies.set(setCookiesOf(response), path);
      port.postMessage({
        type: "head",
        status: response.status,
        headers: [...response.headers],
        empty: !response.body,
      });
      if (response.body) this.#pump(response, { target, download }, port, controller);
    } catch (error) {
      port.postMessage({ type: "failed", message: error.message });
    }
  }

  #pump(response, { target, download }, port, controller) {
    const reader = response.body.getReader();
    const size = Number(response.headers.get("content-length")) || null;
    const transfer = { path: target, size, port, done: 0, ended: false, whole: false };
    const end = () => {
      transfer.ended = true;
      this.transfers.delete(transfer);
      if (this.transfers.size === 0) clearInterval(this.#alive);
      port.close();
    };
    if (this.transfers.size === 0) {
      const worker = this.#worker;
      this.#alive = setInterval(() => worker.controller?.postMessage("alive"), KEEP_ALIVE);
    }
    this.transfers.add(transfer);
    if (download) this.dispatchEvent(new CustomEvent("download", { detail: transfer }));
    port.onmessage = async ({ data }) => {
      if (data === "cancel") {
        controller.abort();
        return end();
      }
      try {
        const piece = await copyOfNext(reader);
        if (!piece) {
          port.postMessage({ type: "end" });
          transfer.whole = true;
          return end();
        }
        transfer.done += piece.length;
        port.postMessage({ type: "piece", piece }, [piece.buffer]);
      } catch (error) {
        port.postMessage({ type: "failed", message: error.message });
        end();
      }
    };
  }
}

/** A copy of the next piece, which the worker may have for itself; null at the end. */
async function copyOfNext(reader) {
  const { done, value } = await reader.read();
  return done ? null : value.slice();
}
