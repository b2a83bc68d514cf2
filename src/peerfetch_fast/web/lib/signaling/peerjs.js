/** Signaling by a PeerJS-compatible server, over a WebSocket. */

import { abortable } from "../client.js";
import { ConnectError } from "../errors.js";
import { gathered } from "../gathering.js";
import { randomHex } from "../random.js";
import { iceServersOf, RENEWAL_RETRY, RENEWED_AT } from "./ice_servers.js";
import { checkedSignal } from "./signals.js";

const HEARTBEAT_INTERVAL = 5000;
/** Characters of the longest message that is read: what a server takes, and who has sent it. */
const MAX_MESSAGE = (256 << 10) + 1024;
/** Milliseconds that an answer over HTTP may take, and bytes of the longest that is read. */
const ASK_TIMEOUT = 10_000;
const MAX_ANSWER = 256 << 10;
/** The release of PeerJS whose messages these are. */
const VERSION = "1.5.4";
/** Milliseconds without a refusal after which a server that knows our id and token has taken us back. */
const RESUMED_AFTER = 1000;
/** Milliseconds that coming back may take: what was begun on a network that is lost would take longer. */
const RESUME_TIMEOUT = 5000;
/** Milliseconds for which a socket is new: open() uses it meanwhile in place of making another. */
const NEW = 3000;

/** The URL of the server's WebSocket, and those of its HTTP interface for the peer. */
function addresses(service, { id, token }) {
  const base = new URL(service, globalThis.location?.href);
  const key = base.searchParams.get("key") ?? "peerjs";
  base.search = base.hash = "";
  base.pathname = base.pathname.replace(/\/$/, "");
  const socket = new URL(base);
  socket.protocol = base.protocol.replace(/^http/, "ws");
  socket.pathname += `${base.pathname === "/" ? "" : "/"}peerjs`;
  socket.search = new URLSearchParams({ key, id, token, version: VERSION });
  const room = new URL(base);
  room.protocol = base.protocol.replace(/^ws/, "http");
  const names = [key, id, token].map(encodeURIComponent).join("/");
  room.pathname += `${base.pathname === "/" ? "" : "/"}${names}/room/`;
  return { socket, room };
}

/** The type and payload of PeerJS's message for a Signal. */
function toMessage({ type, connectionId, sdp, candidate, label, protocol, restart }) {
  const about = { type: "data", connectionId };
  // By the protocol's name the other side sees that we are no old proxy.
  const description = { ...about, metadata: { protocol }, sdp: { type, sdp } };
  if (type === "answer") return ["ANSWER", description];
  if (type === "candidate") return ["CANDIDATE", { ...about, candidate }];
  if (type === "gone") return ["ANSWER", { ...about, gone: true }];
  const channel = restart ? { restart } : { label, reliable: true, serialization: "raw" };
  return ["OFFER", { ...description, ...channel }];
}

/** The Signal of a PeerJS message, null if it is none. */
function fromMessage({ type, src: peer, payload }) {
  if (type === "LEAVE") return checkedSignal({ type: "left", peer });
  if (type === "EXPIRE") return checkedSignal({ type: "absent", peer });
  if (!["OFFER", "ANSWER", "CANDIDATE"].includes(type)) return null;
  const { connectionId, sdp, metadata, label, restart, candidate, gone } = payload ?? {};
  const kind = type === "ANSWER" && gone === true ? "gone" : type.toLowerCase();
  const text = sdp?.type === kind ? sdp.sdp : null;
  const about = { type: kind, peer, connectionId, protocol: metadata?.protocol, label, restart };
  return checkedSignal({ ...about, sdp: text, candidate });
}

/** One WebSocket to a server, which knows us. Made by openSocket(). */
class SignalingSocket {
  #socket;
  #heartbeat;
  #onsignal;

  /** @param handlers `onsignal` and `onclose`: see Signaling in seam.js */
  constructor(socket, { onsignal, onclose }) {
    this.#socket = socket;
    this.#onsignal = onsignal;
    this.#heartbeat = setInterval(() => this.#put({ type: "HEARTBEAT" }), HEARTBEAT_INTERVAL);
    socket.onmessage = ({ data }) => this.receive(parse(data));
    socket.onclose = () => {
      clearInterval(this.#heartbeat);
      onclose();
    };
  }

  send(signal) {
    const [type, payload] = toMessage(signal);
    this.#put({ type, dst: signal.peer, payload });
  }

  close() {
    clearInterval(this.#heartbeat);
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }

  #put(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  receive(message) {
    const signal = fromMessage(message);
    if (signal) this.#onsignal(signal);
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
 * Connect to a server as `id`. Throws ConnectError, and the reason of `signal`.
 * @param resumes whether the server may know the id and the token: PeerJS's own then says nothing
 */
async function openSocket(url, { id, resumes, signal, handlers }) {
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
        reject(new ConnectError("taken", `The id ${id} is taken.`));
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
    const made = new SignalingSocket(socket, handlers);
    if (first.type === "OPEN") Object.assign(made, iceServersOf(first.payload));
    else made.receive(first);
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

/** See Signaling in seam.js: one id at one server, by one WebSocket or, one after the other, several. */
export class PeerJsSignaling {
  #addresses;
  #socket = null;
  #opening = null;
  #openedAt = -Infinity;
  #hasBeenOpen = false;
  /** How often close() was called: what was being opened then is not wanted any more. */
  #closed = 0;
  id;
  /** PeerJS's own servers hand none out. */
  iceServers = [];
  #renewal = null;
  onsignal = () => {};
  onclose = () => {};

  /** @param url of the server, with `?key=…` if it has a key of its own */
  constructor(url, id) {
    this.id = id ?? randomHex(16);
    this.#addresses = addresses(url, { id: this.id, token: randomHex(16) });
  }

  /** A socket that is new is not opened again. */
  open(signal = null) {
    if (this.#socket && performance.now() - this.#openedAt < NEW) return Promise.resolve();
    this.#opening ??= this.#open(signal).finally(() => (this.#opening = null));
    return this.#opening;
  }

  async #open(signal) {
    const [before, closed] = [this.#socket, this.#closed];
    const handlers = { onsignal: (came) => this.onsignal(came), onclose: () => this.#lost() };
    const options = { id: this.id, resumes: this.#hasBeenOpen, signal, handlers };
    try {
      const opened = await openSocket(this.#addresses.socket, options);
      if (this.#closed !== closed) return opened.close();
      this.#socket?.close();
      this.#socket = opened;
      if (opened.iceServers) this.#useServers(opened);
      this.#openedAt = performance.now();
      this.#hasBeenOpen = true;
    } catch (error) {
      if (before && !this.#socket && this.#closed === closed) this.onclose();
      throw error;
    }
  }

  /** Logins that expire come anew with the next OPEN, while we stay here. */
  #useServers({ iceServers, ttl }) {
    this.iceServers = iceServers;
    clearTimeout(this.#renewal);
    if (ttl !== null) this.#renewAfter(RENEWED_AT * ttl * 1000);
  }

  #renewAfter(delay) {
    const again = () => this.#socket && this.#renewAfter(RENEWAL_RETRY);
    this.#renewal = setTimeout(() => this.open().catch(again), delay);
  }

  #lost() {
    this.#socket = null;
    // The server closes the old socket before the one that replaces it is known to be open.
    if (!this.#opening) this.onclose();
  }

  send(signal) {
    this.#socket?.send(signal);
  }

  /** The others in the plug and play room of our network. */
  peers() {
    return this.#members("members", async (url) => ask(url));
  }

  /** Be found by them from now on. A server that was restarted knows of nobody: call it from time to time. */
  join() {
    return this.#members("join", async (url) => (await ask(url, "POST"))?.clientsIds);
  }

  async #members(what, asked) {
    const { room } = this.#addresses;
    const id = (await ask(new URL("id", room)))?.roomId;
    const members = typeof id === "string" ? await asked(new URL(`${encodeURIComponent(id)}/${what}`, room)) : null;
    if (!Array.isArray(members)) {
      throw new ConnectError("signaling", `The signaling server ${room.host} does not tell who is there.`);
    }
    return members.filter((member) => typeof member === "string" && member !== this.id);
  }

  close() {
    this.#closed++;
    clearTimeout(this.#renewal);
    this.#socket?.close();
    this.#socket = null;
  }
}

/** The JSON at a URL of the server, null if there is none. Throws ConnectError. */
async function ask(url, method = "GET") {
  try {
    const response = await fetch(url, { method, cache: "no-store", signal: AbortSignal.timeout(ASK_TIMEOUT) });
    if (!response.ok) return null;
    const answer = await gathered(response.body, MAX_ANSWER);
    return answer && JSON.parse(new TextDecoder().decode(answer));
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw new ConnectError("signaling", `The signaling server ${url.host} cannot be reached.`);
  }
}
