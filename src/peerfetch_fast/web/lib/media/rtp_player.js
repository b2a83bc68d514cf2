/** Shows a camera by WebRTC in a video element. */

import { watch } from "./whep.js";

/** Measurements from one question whether all pictures are sent to the next. */
const ASK_EACH = 5;

/**
 * Show what comes by a connection of its own until that ends. Throws Error where none comes about.
 * @param {HTMLVideoElement} video
 * @param {string} url the camera's `live`
 * @param options as of watch(), `signal`, `meter`, which `measure()` is set on, and `onlive`, called with what
 *   watch() gives once it is connected
 */
export async function playRtp(video, url, { signal, meter, onlive, ...options }) {
  const live = await watch(url, options);
  try {
    signal.throwIfAborted();
    signal.addEventListener("abort", live.close, { once: true });
    video.removeAttribute("src");
    video.srcObject = live.stream;
    let asked = 0;
    meter.measure = async () => {
      asked += 1;
      if (asked % ASK_EACH === 0) meter.slow = await isSlow(live);
      await measure(live.connection, meter);
    };
    onlive(live);
    await Promise.race([live.closed, aborted(signal)]);
  } finally {
    meter.measure = null;
    meter.delay = null;
    meter.slow = false;
    video.srcObject = null;
    live.close();
  }
}

/** Whether the device sends key frames alone, as the network between carries no more. */
async function isSlow(live) {
  const told = await live.told().catch(() => null); // the connection may be gone
  return told?.pictures === "key";
}

const aborted = (signal) =>
  new Promise((resolve) => {
    signal.addEventListener("abort", resolve, { once: true });
  });

/** Bring the meter up to date: bytes so far, and the seconds from the network to the screen since the last time. */
async function measure(connection, meter) {
  const reports = [...(await connection.getStats()).values()];
  const tracks = reports.filter(({ type }) => type === "inbound-rtp");
  const video = tracks.find(({ kind }) => kind === "video");
  if (!video) return;
  const pair = reports.find(({ type, nominated }) => type === "candidate-pair" && nominated);
  const bytes = tracks.reduce((sum, track) => sum + track.bytesReceived, 0);
  const { jitterBufferDelay = 0, jitterBufferEmittedCount = 0 } = video;
  const before = meter.rtp ?? { bytes: 0, delay: 0, count: 0 };
  // Another connection counts anew.
  meter.bytes += Math.max(bytes - before.bytes, 0);
  const count = jitterBufferEmittedCount - before.count;
  const waited = count > 0 ? (jitterBufferDelay - before.delay) / count : null;
  if (waited >= 0 && waited !== null) meter.delay = waited + (pair?.currentRoundTripTime ?? 0) / 2;
  meter.rtp = { bytes, delay: jitterBufferDelay, count: jitterBufferEmittedCount };
}
