/** A connection to a PeerJS-compatible signaling server. */

import { ConnectError } from "./errors.js";
import { abortable } from "./client.js";

const HEARTBEAT_INTERVAL = 5000;
/** Characters of the longest message that is read: what a server takes, and who has sent it. */
const MAX_MESSAGE = (256 << 10) + 1024;
/** The release of PeerJS whose messages these are. */
const VERSION = "1.5.4";

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

/** One id at one server. Made by openSignaling(). */
class Signaling {
  #socket;
  #heartbeat;
  /** Called with (type, src, payload) of what other peers send, and once when the server is lost. */
  onmessage = () => {};
  onclose = () => {};

  constructor(socket, id) {
    this.id = id;
    this.#socket = socket;
    this.#heartbeat = setInterval(() => this.#put({ type: "HEARTBEAT" }), HEARTBEAT_INTERVAL);
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = () => {
      clearInterval(this.#heartbeat);
      this.onclose();
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

  #receive(data) {
    const { type, src, payload } = parse(data);
    if (typeof type === "string" && typeof src === "string") {
      const isObject = payload !== null && typeof payload === "object";
      this.onmessage(type, src, isObject ? payload : {});
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

/** Connect to a signaling server as `id`. Throws ConnectError. */
export async function openSignaling(signaling, id, token, signal = null) {
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
  const opened = new Promise((resolve, reject) => {
    socket.onmessage = ({ data }) => {
      const { type } = parse(data);
      if (type === "OPEN") {
        resolve();
      } else if (type === "ID-TAKEN") {
        reject(new ConnectError("signaling", `The id ${id} is taken.`));
      } else if (type === "ERROR") {
        reject(new ConnectError("signaling", "The signaling server refused us."));
      }
    };
    socket.onclose = () => reject(new ConnectError("signaling", unreachable));
  });
  try {
    await abortable(opened, signal);
    return new Signaling(socket, id);
  } catch (error) {
    socket.onmessage = socket.onclose = null;
    socket.close();
    throw error;
  }
}
