/** A camera by WebRTC: an offer is posted to it, inside the session that carries the request. */

const SDP = "application/sdp";
const FRAGMENT = "application/trickle-ice-sdpfrag";

/** Milliseconds that a connection may take to come about. */
const CONNECT_TIMEOUT = 10_000;

/**
 * Watch a camera.
 *
 * @param {string | URL} url where offers are posted: the camera's `live`
 * @param {{ iceServers?: RTCIceServer[], fetch: typeof fetch, talk?: boolean }} options `talk`:
 *   whether sound may be sent there, by `replaceTrack` of the sender that is returned
 * @returns {Promise<{ stream: MediaStream, connection: RTCPeerConnection, microphone: RTCRtpSender,
 *   close: () => Promise<void>, closed: Promise<void> }>} once it is connected
 */
export async function watch(url, { iceServers = [], fetch, talk = false }) {
  const connection = new RTCPeerConnection({ iceServers });
  const video = connection.addTransceiver("video", { direction: "recvonly" });
  const audio = connection.addTransceiver("audio", { direction: talk ? "sendrecv" : "recvonly" });
  const negotiated = await negotiate(connection, url, fetch);
  const stream = new MediaStream([video.receiver.track, audio.receiver.track]);
  return { ...negotiated, stream, microphone: audio.sender };
}

/**
 * Publish a stream, as of this page's camera and microphone.
 *
 * @param {string | URL} url where it is to go: `publish` of a camera that is for that
 * @param {MediaStream} stream
 * @param {{ iceServers?: RTCIceServer[], fetch: typeof fetch }} options
 * @returns {Promise<{ connection: RTCPeerConnection, close: () => Promise<void>, closed: Promise<void> }>}
 *   once it is connected
 */
export async function publish(url, stream, { iceServers = [], fetch }) {
  const connection = new RTCPeerConnection({ iceServers });
  for (const track of stream.getTracks()) {
    const transceiver = connection.addTransceiver(track, { direction: "sendonly", streams: [stream] });
    if (track.kind === "video") {
      // What is passed on to others undecoded is H.264.
      const { codecs } = RTCRtpReceiver.getCapabilities("video");
      const chosen = codecs.filter(({ mimeType }) => mimeType === "video/H264");
      if (chosen.length > 0) transceiver.setCodecPreferences?.(chosen);
    }
  }
  return negotiate(connection, url, fetch);
}

/** Post the offer of a connection, and wait until it is connected; it is closed where it is not. */
async function negotiate(connection, url, fetch) {
  const candidates = new Candidates(connection, fetch);
  let place = null;
  const close = async () => {
    connection.close();
    // It may be gone with the session.
    if (place !== null) await fetch(String(place), { method: "DELETE" }).catch(() => {});
  };
  try {
    await connection.setLocalDescription();
    const headers = { "content-type": SDP };
    const response = await fetch(url, { method: "POST", headers, body: connection.localDescription.sdp });
    const text = await response.text();
    if (response.status !== 201) {
      throw new Error(text.trim() || `The camera answers ${response.status}.`);
    }
    place = new URL(response.headers.get("location"), response.url || new URL(url, location.href));
    await connection.setRemoteDescription({ type: "answer", sdp: text });
    candidates.sendTo(place);
    await connected(connection);
    const told = async () => (await fetch(String(place))).json();
    return { connection, close, told, closed: ended(connection) };
  } catch (error) {
    close();
    throw error;
  }
}

/** Sends the candidates that are found after the offer. */
class Candidates {
  #fetch;
  #waiting = [];
  #place = null;

  constructor(connection, fetch) {
    this.#fetch = fetch;
    connection.addEventListener("icecandidate", ({ candidate }) => {
      this.#waiting.push(candidate?.candidate ? `a=${candidate.candidate}` : "a=end-of-candidates");
      this.#send();
    });
  }

  sendTo(place) {
    this.#place = place;
    this.#send();
  }

  #send() {
    if (this.#place === null || this.#waiting.length === 0) {
      return;
    }
    const body = this.#waiting.map((line) => `${line}\r\n`).join("");
    this.#waiting = [];
    const headers = { "content-type": FRAGMENT };
    const fetch = this.#fetch; // a window's own is called by no other object
    fetch(this.#place, { method: "PATCH", headers, body }).catch(() => {});
  }
}

function connected(connection) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error("No media connection to the camera came about.")),
      CONNECT_TIMEOUT,
    );
    const look = () => {
      const state = connection.connectionState;
      if (state === "connected") {
        clearTimeout(timer);
        resolve();
      } else if (state === "failed" || state === "closed") {
        clearTimeout(timer);
        reject(new Error("No media connection to the camera came about."));
      }
    };
    connection.addEventListener("connectionstatechange", look);
    look();
  });
}

/** Resolves once a connection carries nothing any more. */
function ended(connection) {
  return new Promise((resolve) => {
    connection.addEventListener("connectionstatechange", () => {
      if (["disconnected", "failed", "closed"].includes(connection.connectionState)) {
        resolve();
      }
    });
  });
}
