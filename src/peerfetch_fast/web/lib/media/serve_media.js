/** A page that shows others its own camera: a handler for `peer.serve`. */

import { PeerfetchError } from "../errors.js";
import { textOf } from "../gathering.js";
import { MAX_CANDIDATES } from "../signaling/signals.js";

/** Connections that one handler has open at once. */
const MAX_CONNECTIONS = 16;

/** Bytes of an offer, or of candidates, as of a device (`webrtc/descriptions.py`). */
const MAX_SDP = 64 << 10;

/** Milliseconds until a connection that has not come about is given up. */
const CONNECT_TIMEOUT = 30_000;

/** Milliseconds for which an answer waits for candidates of STUN and TURN servers. */
const GATHER_TIMEOUT = 1_000;

/**
 * A handler of requests for a stream, in the shape of WHEP: an offer that is posted to `live` is answered with the
 * stream's tracks; what is asked for otherwise is told where that is.
 *
 * @param {MediaStream} stream
 * @param {{ iceServers?: RTCIceServer[] }} [options]
 * @returns {(request: Request) => Promise<Response>}
 */
export function mediaHandler(stream, { iceServers = [] } = {}) {
  const connections = new Map();
  return async (request) => {
    const path = new URL(request.url).pathname;
    const [, id] = /\/live\/([^/]+)$/.exec(path) ?? [];
    if (id !== undefined) return ofConnection(request, connections, id);
    if (!path.endsWith("/live")) {
      return new Response(null, { status: 200, headers: { "peerfetch-media": "live" } });
    }
    if (request.method !== "POST") return new Response(null, { status: 405, headers: { allow: "POST" } });
    const offer = await textOf(request, MAX_SDP);
    if (offer === null) return tooLong();
    if (connections.size >= MAX_CONNECTIONS) return new Response("Too many are watching.", { status: 429 });
    const connection = new RTCPeerConnection({ iceServers });
    const name = crypto.randomUUID();
    connections.set(name, { connection, taken: 0 });
    setTimeout(() => {
      if (["new", "connecting"].includes(connection.connectionState)) end(connections, name);
    }, CONNECT_TIMEOUT);
    connection.addEventListener("connectionstatechange", () => {
      if (["failed", "closed"].includes(connection.connectionState)) end(connections, name);
    });
    try {
      const sdp = await answer(connection, stream, offer);
      const headers = { "content-type": "application/sdp", location: `live/${name}` };
      return new Response(sdp, { status: 201, headers });
    } catch (error) {
      end(connections, name);
      return new Response(`The offer cannot be answered: ${error.message}`, { status: 406 });
    }
  };
}

function end(connections, name) {
  connections.get(name)?.connection.close();
  connections.delete(name);
}

async function ofConnection(request, connections, id) {
  const served = connections.get(id);
  if (served === undefined) return new Response("There is no such connection.", { status: 404 });
  if (request.method === "DELETE") {
    end(connections, id);
    return new Response(null, { status: 200 });
  }
  if (request.method !== "PATCH") return new Response(null, { status: 405, headers: { allow: "PATCH, DELETE" } });
  const fragment = await textOf(request, MAX_SDP);
  if (fragment === null) return tooLong();
  for (const line of fragment.split(/\r?\n/)) {
    if (line.startsWith("a=candidate:") && served.taken++ < MAX_CANDIDATES) {
      // One that the browser does not know refuses nothing.
      await served.connection.addIceCandidate({ candidate: line.slice(2), sdpMLineIndex: 0 }).catch(() => {});
    }
  }
  return new Response(null, { status: 204 });
}

const tooLong = () => new Response(`A description has ${MAX_SDP} bytes at most.`, { status: 413 });

/** The answer, with the stream's tracks where the offer has room for them, and all candidates. */
async function answer(connection, stream, sdp) {
  await connection.setRemoteDescription({ type: "offer", sdp });
  for (const transceiver of connection.getTransceivers()) {
    const track = stream.getTracks().find(({ kind }) => kind === transceiver.receiver.track.kind);
    if (track !== undefined) {
      await transceiver.sender.replaceTrack(track);
      transceiver.direction = "sendonly";
    }
  }
  if (!connection.getTransceivers().some(({ direction }) => direction === "sendonly")) {
    throw new PeerfetchError("it asks for nothing that the stream has");
  }
  await connection.setLocalDescription();
  await new Promise((resolve) => {
    const done = () => connection.iceGatheringState === "complete" && resolve();
    connection.addEventListener("icegatheringstatechange", done);
    setTimeout(resolve, GATHER_TIMEOUT);
    done();
  });
  return connection.localDescription.sdp;
}
