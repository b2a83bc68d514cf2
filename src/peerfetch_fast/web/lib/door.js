/**
 * The ways in to a server of this page: a link, and beside it a code, which is made anew when it was guessed at, or when
 * another has its number (docs/protocol.md, section 9; docs/sharing.md).
 */

import { newCertificate } from "./certificate.js";
import { drawCode } from "./codes.js";
import { Code } from "./identity.js";
import { randomBelow, randomHex } from "./random.js";
import { openServer } from "./serve.js";

/** Numbers that are tried until one is found that nobody else has. */
const ATTEMPTS = 8;
/** Peers that may try a code at once. */
const MAX_GUESSERS = 8;
/** Milliseconds until there is another code after one was guessed at too often, or could not be made. */
const PAUSE = 2000;

/** Made by openDoor(); closed by close(). */
class Door {
  /** The code that the other side types; null for as long as there is none. */
  code = null;
  #server;
  #options;
  #waiting = null;
  #timer = null;
  #closed = false;
  #oncode;

  constructor(server, options) {
    this.#server = server;
    this.#options = options;
    this.#oncode = options.oncode;
  }

  get id() {
    return this.#server.id;
  }

  get fingerprint() {
    return this.#server.fingerprint;
  }

  /** Proved by who has the link. */
  get token() {
    return this.#options.token;
  }

  /** Let in by a code from now on. Throws ConnectError. */
  async _wait() {
    const { certificate, signaling, iceServers, directOnly, token } = this.#options;
    const told = JSON.stringify({ peer_id: this.id, token });
    const handler = () => new Response(told, { headers: { "content-type": "application/json" } });
    for (let attempt = 0; ; attempt++) {
      const { code: words, id } = drawCode(randomBelow, attempt);
      const code = new Code(words, () => this.#burn());
      try {
        const about = { id, certificate, code, maxPeers: MAX_GUESSERS, ontaken: () => this.#burn() };
        const waiting = await openServer(handler, { signaling, iceServers, directOnly, ...about });
        if (this.#closed) return waiting.close();
        this.#waiting = waiting;
        this.code = words;
        return this.#oncode(words);
      } catch (error) {
        if (error.reason !== "taken" || attempt + 1 === ATTEMPTS) throw error;
      }
    }
  }

  #burn() {
    this.code = null;
    this.#oncode(null);
    this.#renew();
  }

  #renew() {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#waiting?.close();
      this.#waiting = null;
      this._wait().catch(() => this.#renew());
    }, PAUSE);
  }

  /** Let nobody in any more. */
  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#waiting?.close();
    this.#server.close();
  }
}

/**
 * Serve by `handler` whoever has the link or the code. Throws ConnectError.
 * @param kind what its id begins with: `share`
 * @param options `signaling`, `iceServers` and `directOnly` as of serve(), `oncode`, called with the code when there is another, and
 *   with null while there is none
 */
export async function openDoor(kind, handler, { signaling, iceServers, directOnly, oncode = () => {} } = {}) {
  const [certificate, token] = [await newCertificate(), randomHex(16)];
  const about = { id: `${kind}-${randomHex(12)}`, certificate, accessToken: token };
  const server = await openServer(handler, { signaling, iceServers, directOnly, ...about });
  const door = new Door(server, { certificate, signaling, iceServers, directOnly, token, oncode });
  try {
    await door._wait();
  } catch (error) {
    door.close();
    throw error;
  }
  return door;
}
