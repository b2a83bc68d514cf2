/**
 * The relays of a connection: none is used where that is asked for (`directOnly`). Of ours none is made, and
 * those of the other side are not followed. A browser cannot be told not to answer them, so that what way was
 * taken is looked at before anything is said, and whenever it changes.
 */

import { wayOf } from "./way.js";

/** Milliseconds that a direct way may take after one by a relay was found, and between two looks. */
const PATIENCE = 5000;
const INTERVAL = 100;
/** Relays of the other side that are remembered. */
const MAX_RELAYS = 64;

const CANDIDATE = /^(?:a=)?candidate:\S+ \d+ \S+ \d+ (\S+) (\d+) typ relay\b/i;
const isRelay = (url) => /^turns?:/i.test(url);

/** What is said, behind a sentence, where no way was found. */
export const leftOut = (directOnly) => (directOnly ? " Relays were left out, as directOnly asks." : "");

/** Made for one connection. */
export class Relays {
  #directOnly;
  #places = new Set();

  constructor(directOnly) {
    this.#directOnly = directOnly;
  }

  /** The ICE servers that are asked. */
  servers(iceServers) {
    if (!this.#directOnly) return iceServers;
    const direct = iceServers.map((server) => ({ urls: [server.urls].flat().filter((url) => !isRelay(url)) }));
    return direct.filter(({ urls }) => urls.length > 0);
  }

  /** A description of the other side, without the candidates that are not to be followed. */
  description(sdp) {
    const lines = sdp.split("\n");
    return lines.filter((line) => this.follows(line)).join("\n");
  }

  /** Whether a candidate of the other side, or a line of its description, is to be taken. */
  follows(candidate) {
    const found = CANDIDATE.exec(candidate);
    if (!found) return true;
    const [, address, port] = found;
    if (this.#places.size < MAX_RELAYS) this.#places.add(`${address} ${port}`);
    return !this.#directOnly;
  }

  /** `{way, relay, address, why}` of the connection (peerfetch.d.ts); null where that is not known. */
  way(connection) {
    const asks = (connection.getConfiguration?.()?.iceServers ?? []).length > 0;
    return wayOf(connection, { asks, relays: this.#places });
  }

  /** Resolves with whether the way is one that may be taken, once it is known; `isOver` ends the wait. */
  async agree(connection, isOver) {
    if (!this.#directOnly) return true;
    const late = performance.now() + PATIENCE;
    for (;;) {
      const way = await this.way(connection);
      if (way?.way === "direct") return true;
      if (isOver() || performance.now() >= late) return false;
      await new Promise((resolve) => setTimeout(resolve, INTERVAL));
    }
  }

  /** Call `end` once the connection has taken another way, which may not be taken. */
  watch(connection, end) {
    const transport = connection.sctp?.transport?.iceTransport;
    if (!this.#directOnly || !transport) return;
    transport.onselectedcandidatepairchange = async () => {
      const way = await this.way(connection);
      if (way?.way === "relayed") end();
    };
  }
}
