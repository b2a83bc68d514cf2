/** A connection to a PeerJS-compatible signaling server. */

import { ConnectError } from "./errors.js";
import { abortable } from "./client.js";

const HEARTBEAT_INTERVAL = 5000;
/** Characters of the longest message that is read: what a server takes, and who has sent it. */
const MAX_MESSAGE = (256 << 10) + 1024;
/** The release of PeerJS whose messages these are. */
const VERSION = "1.5.4";
/** Milliseconds without a refusal after which a server that knows us has taken us up again. */
const RESUMED_AFTER = 1000;
/** Milliseconds that one may take: what was begun on a network that is no more would take longer. */
const RESUME_TIMEOUT = 5000;
/** Milliseconds for which a connection is new: who wants another meanwhile shall use that. */
const NEW = 3000;

/** `bytes` random bytes as hexadecimal digits. */
export function randomHex(bytes) {
  const random = crypto.getRandomValues(new Uint8Array(bytes));
  return [...random].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function webSocketUrl(signaling, parameters) {
  let url;
  try {
    url = new URL(signaling, globalThis.location?.href);
  } catch {
    throw new ConnectError("signaling", `${signaling} is no URL of a signaling server.`);
  }
  const key = url.searchParams.get("key") ?? "peerjs";
  url.protocol = url.protocol.replace(/^http/, "ws");
  url.pathname = `${url.pathname.replace(/\/$/, "")}/peerjs`;
  url.search = new URLSearchParams({ key, ...parameters });
  url.hash = "";
  return url;
}

/** A connection of one id to a server. Made by openSignaling(). */
class Signaling {
  #socket;
  #heartbeat;
  #onmessage;

  /** @param handlers `onmessage` and `onclose`: see SignalingClient */
  constructor(socket, { onmessage, onclose }) {
    this.#socket = socket;
    this.#onmessage = onmessage;
    this.#heartbeat = setInterval(() => this.#put({ type: "HEARTBEAT" }), HEARTBEAT_INTERVAL);
    socket.onmessage = ({ data }) => this.receive(parse(data));
    socket.onclose = () => {
      clearInterval(this.#heartbeat);
      onclose();
    };
  }

  send(type, dst, payload) {
    this.#put({ type, dst, payload });
  }

  close() {
    clearInterval(this.#heartbeat);
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }

  #put(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  receive({ type, src, payload }) {
    if (typeof type === "string" && typeof src === "string") {
      const isObject = payload !== null && typeof payload === "object";
      this.#onmessage(type, src, isObject ? payload : {});
    }
  }
}

function parse(data) {
  if (typeof data !== "string" || data.length > MAX_MESSAGE) return {};
  try {
    const message = JSON.parse(data);
    return message !== null && typeof message === "object" ? message : {};
  } catch {
    return {};
  }
}

/**
 * Connect to a signaling server as `id`. Throws ConnectError.
 * @param resumes whether the server may know the id and the token: PeerJS's own then says nothing
 */
async function openSignaling(signaling, { id, token, resumes, signal, handlers }) {
  const url = webSocketUrl(signaling, { id, token, version: VERSION });
  // A browser does not tell a page whose origin was refused.
  const { origin = "null", host } = globalThis.location ?? {};
  const refused = host && host !== url.host ? `, or does not allow pages of ${origin}` : "";
  const unreachable = `The signaling server ${url.host} cannot be reached${refused}.`;
  let socket;
  try {
    socket = new WebSocket(url);
  } catch {
    throw new ConnectError("signaling", unreachable); // a page of HTTPS and a ws:// URL, say
  }
  const timers = [];
  const opened = new Promise((resolve, reject) => {
    socket.onmessage = ({ data }) => {
      const message = parse(data);
      if (message.type === "ID-TAKEN") {
        reject(new ConnectError("signaling", `The id ${id} is taken.`));
      } else if (message.type === "ERROR") {
        reject(new ConnectError("signaling", "The signaling server refused us."));
      } else if (message.type === "OPEN" || (resumes && message.src)) {
        resolve(message);
      }
    };
    const fail = () => reject(new ConnectError("signaling", unreachable));
    if (resumes) {
      timers.push(setTimeout(fail, RESUME_TIMEOUT));
      socket.onopen = () => timers.push(setTimeout(resolve, RESUMED_AFTER, {}));
    }
    socket.onclose = fail;
  });
  try {
    const first = await abortable(opened, signal);
    const made = new Signaling(socket, handlers);
    if (first.type !== "OPEN") made.receive(first);
    return made;
  } catch (error) {
    socket.onmessage = socket.onclose = null;
    socket.close();
    throw error;
  } finally {
    timers.forEach(clearTimeout);
    socket.onopen = null;
  }
}

/** One id at one server, by one connection or, one after the other, several. */
export class SignalingClient {
  #url;
  #id;
  #token = randomHex(16);
  #connection = null;
  #opening = null;
  #openedAt = -Infinity;
  #hasBeenOpen = false;
  #closed = 0;
  /** Called with (type, src, payload) of what other peers send, and whenever the server is lost. */
  onmessage = () => {};
  onclose = () => {};

  /** @param url of a PeerJS-compatible server */
  constructor(url, id) {
    this.#url = url;
    this.#id = id;
  }

  /**
   * Connect, anew if there is a connection that is not new: after a change of network it may be lost
   * without knowing. Throws ConnectError, and the reason of `signal`.
   */
  open(signal = null) {
    if (this.#connection && performance.now() - this.#openedAt < NEW) return Promise.resolve();
    this.#opening ??= this.#open(signal).finally(() => (this.#opening = null));
    return this.#opening;
  }

  async #open(signal) {
    const [before, closed] = [this.#connection, this.#closed];
    const handlers = {
      onmessage: (...message) => this.onmessage(...message),
      onclose: () => this.#lost(),
    };
    const about = { id: this.#id, token: this.#token, resumes: this.#hasBeenOpen };
    try {
      const opened = await openSignaling(this.#url, { ...about, signal, handlers });
      if (this.#closed !== closed) return opened.close();
      this.#connection?.close();
      this.#connection = opened;
      this.#openedAt = performance.now();
      this.#hasBeenOpen = true;
    } catch (error) {
      if (before && !this.#connection && this.#closed === closed) this.onclose();
      throw error;
    }
  }

  #lost() {
    this.#connection = null;
    // The server closes what another takes the place of, before that is known to be open.
    if (!this.#opening) this.onclose();
  }

  /** What is sent while there is no connection is lost. */
  send(type, dst, payload) {
    this.#connection?.send(type, dst, payload);
  }

  /** Take leave of the server, until open() is called again. */
  close() {
    this.#closed++;
    this.#connection?.close();
    this.#connection = null;
  }
}
