/** Tracks that one end of a socket sends to the other, on connections of their own. */

import { randomHex } from "../random.js";
import { Channel } from "./channel.js";
import { receiveMedia, sendMedia } from "./media_link.js";

/** The port of their channels; programs name theirs otherwise. */
const PORT = "~tracks";
const PREFIX = "/~peerfetch/";

/** The two ends of each socket, by the name that it was opened with. */
export class Tracks {
  #network;
  /** By peer and name, what takes the tracks that come. */
  #takers = new Map();

  constructor(network) {
    this.#network = network;
    network._bind(PORT, { channel: (peer, channel, target) => this.#came(peer, channel, target) });
  }

  /** The target at which a new socket is opened. */
  static target() {
    return PREFIX + randomHex(16);
  }

  /** Give `take` what comes for the socket that was opened at a target; what ends that. */
  take(peer, target, take) {
    const key = `${peer.id} ${target}`;
    this.#takers.set(key, take);
    return () => this.#takers.delete(key);
  }

  async #came(peer, channel, target) {
    const take = this.#takers.get(`${peer.id} ${target}`);
    if (!take) return channel.close();
    try {
      await receiveMedia(channel, await this.#network._configuration(), take);
    } catch (error) {
      console.info("peerfetch: tracks of a socket did not come:", error);
    }
  }

  /** Send tracks, each with its stream, to the other end of the socket; what ends that. */
  send(peer, target, tracks) {
    let link = null;
    let isOver = false;
    const work = async () => {
      const channel = await Channel.open(peer, PORT, target);
      const configuration = await this.#network._configuration();
      if (isOver) channel.close();
      else link = sendMedia(channel, tracks, configuration);
    };
    work().catch((error) => console.warn("peerfetch: tracks of a socket cannot be sent:", error));
    return () => {
      isOver = true;
      link?.close();
    };
  }
}
