/** A node: what a page offers to others and asks of them. */

import { Media } from "./media.js";
import { Network } from "./network.js";
import { PageHub } from "./page_hub.js";
import { Rest } from "./rest.js";
import { Sockets } from "./sockets.js";
import { System } from "./system.js";

export class Node {
  /**
   * @param options `hub`, by default the page's; `accessToken`, which all nodes that meet must know; `identity`, a
   *   name under which this browser keeps the node's certificate
   */
  constructor({ hub = new PageHub(0), ...options } = {}) {
    this.hub = hub;
    this.network = new Network(hub, options);
    this.system = new System(this.network);
    this.sockets = new Sockets(this.network);
    this.rest = new Rest(this.network);
    this.media = new Media();
  }

  /** This node's address at its hub, once the hub has said it. */
  address() {
    return this.hub.address();
  }

  /** End all of it but the hub, which other nodes may use. */
  dispose() {
    this.rest.dispose();
    this.sockets.dispose();
    this.network.dispose();
  }
}
