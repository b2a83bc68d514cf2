/**
 * peerfetch: HTTP straight to a device, over a WebRTC data channel. Types: peerfetch.d.ts.
 *
 *     import { connect } from "./peerfetch.js";
 *     const peer = await connect("peer://ID", { signaling: "wss://signaling.example" });
 *     const response = await peer.fetch("/api/hello");
 */

export { ConnectError, PeerfetchError, SessionError } from "./lib/errors.js";
export { PeerFetch } from "./lib/old.js";
export { mediaHandler } from "./lib/media/serve_media.js";
export { serve } from "./lib/serve.js";
export { pair } from "./lib/pair.js";
export { connect } from "./lib/peer.js";
