/**
 * peerfetch: HTTP straight to a device, over a WebRTC data channel. Types: peerfetch.d.ts.
 *
 *     import { connect } from "./peerfetch.js";
 *     const peer = await connect("peer://ID", { signaling: "wss://signaling.example" });
 *     const response = await peer.fetch("/api/hello");
 */

export { ConnectError } from "./lib/errors.js";
export { listen } from "./lib/listener.js";
export { PeerFetch } from "./lib/old.js";
export { connect } from "./lib/peer.js";
