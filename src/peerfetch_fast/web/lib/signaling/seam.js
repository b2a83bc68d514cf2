/**
 * The seam between a negotiation and the signaling service that carries its messages. The implementations
 * are `peerjs.js` (a PeerJS-compatible server), `peernet.js` (a PeerNet server) and `local.js` (this
 * process). An implementation is a class with these members (types: Signaling in peerfetch.d.ts):
 *
 * - `id`: the id by which others reach us; final once open() has resolved, as a service may choose it.
 * - `iceServers`: STUN and TURN servers that the service hands out; known once open() has resolved.
 * - `open(signal)`: connect to the service, anew if the connection may be dead. Throws ConnectError, and the
 *   reason of `signal`, an AbortSignal or null.
 * - `send(signal)`: pass a Signal (see below) to the peer that it names. What is sent while the service is
 *   not open is lost.
 * - `peers()`: the ids of the others who are there and want to be found. Throws ConnectError.
 * - `join()`, where the service has rooms: be one of those from now on; the others, as of `peers()`.
 * - `close()`: take leave of the service, until open() is called again.
 * - `onsignal(signal)`: called with each Signal that checkedSignal() has passed.
 * - `onclose()`: called when the service is lost, but not after close().
 * - `foreign(connection, peer, send)`, in services of programs that speak no protocol of ours: the session with
 *   one whose offer or answer names no protocol, over an RTCPeerConnection that is being made; `send(type,
 *   { sdp })` sends it descriptions, and its own go to `take(signal)` of the session.
 *
 * A Signal is an object whose `type` says what else it has:
 *
 * | type | meaning | fields besides `peer` |
 * |---|---|---|
 * | `offer` | begin a connection, or with `restart` give one another path | connectionId, sdp, protocol, label, restart |
 * | `answer` | the answer to an offer | connectionId, sdp, protocol |
 * | `candidate` | one more ICE candidate | connectionId, candidate |
 * | `gone` | the connection to be restarted is not known any more | connectionId |
 * | `left` | the peer has taken leave | |
 * | `absent` | nobody came to fetch what was sent to the peer | |
 *
 * `peer` is the receiver of a Signal that is sent, and the sender of one that came. `connectionId` is chosen
 * by the side that offers, with at least 122 random bits: a service may take it for a secret. `left` and
 * `absent` concern all connections with the peer.
 */

import { ConnectError } from "../errors.js";
import { LocalService } from "./local.js";
import { PeerJsSignaling } from "./peerjs.js";
import { PeerNetSignaling } from "./peernet.js";

/** Functions that make the Signaling of an id, by the scheme of the service's URL. */
const SERVICES = new Map([
  ...["ws:", "wss:", "http:", "https:"].map((scheme) => [scheme, (url, id) => new PeerJsSignaling(url, id)]),
  ...["peernet+https:", "peernet+http:"].map((scheme) => [
    scheme,
    (url, id, options) => new PeerNetSignaling(url, id, options),
  ]),
  ["local:", (url, id) => LocalService.named(url.pathname).join(id)],
]);

/**
 * Our signaling by `id` at a service, not open yet. Throws ConnectError.
 * @param service the URL of a service, or an object whose `join(id)` gives what this function gives
 * @param id null for one that the service chooses, or a random one
 * @param options `takesOffers`: whether others may connect to us; if not, some services are not told of us
 */
export function joinService(service, id = null, options = {}) {
  if (typeof service?.join === "function") return service.join(id);
  let url;
  try {
    url = new URL(service, globalThis.location?.href);
  } catch {
    throw new ConnectError("signaling", `${service} is no URL of a signaling service.`);
  }
  const join = SERVICES.get(url.protocol);
  if (!join) {
    const known = [...SERVICES.keys()].join(", ");
    throw new ConnectError("signaling", `${url} is of no known signaling service: its scheme may be ${known}.`);
  }
  return join(url, id, options);
}
