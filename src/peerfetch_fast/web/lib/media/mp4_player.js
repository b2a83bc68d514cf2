/** Plays a live MP4 in a video element, close to its end (Media Source Extensions). */

/** Seconds behind the newest picture from which the player jumps, and to which. */
const TOO_FAR = 1;
const BEHIND = 0.12;
/** Seconds behind from which it plays faster, so that nobody notices, and how much. */
const FAR = 0.3;
const FASTER = 1.08;
/** Seconds after pictures were left out for which that is told. */
const TOLD = 5;
/** Seconds that are kept behind what is shown, once there are twice as many. */
const KEPT = 5;

const MediaSourceClass = globalThis.ManagedMediaSource ?? globalThis.MediaSource;

/** Whether this browser plays answers of this type. */
export const canPlay = (type) => MediaSourceClass?.isTypeSupported(type) === true;

/**
 * Play an answer of a camera's `live.mp4` until it ends. Throws Error.
 * @param {HTMLVideoElement} video
 * @param {Response} response
 * @param meter what is measured: `bytes` is counted up, `delay` is in seconds, `slow` says whether pictures were left
 *   out because the network carries no more
 */
export async function playMp4(video, response, meter) {
  const type = response.headers.get("content-type") ?? "video/mp4";
  const reader = response.body.getReader();
  let address = null;
  try {
    if (!canPlay(type)) throw new Error(`This browser does not play ${type}.`);
    const source = new MediaSourceClass();
    const opened = new Promise((resolve) => source.addEventListener("sourceopen", resolve, { once: true }));
    address = URL.createObjectURL(source);
    // ManagedMediaSource is there only for what is not shown on other screens.
    video.disableRemotePlayback = true;
    video.src = address;
    await opened;
    const buffer = source.addSourceBuffer(type);
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      meter.bytes += value.length;
      await append(buffer, value, video);
      await keepUp(video, buffer, meter);
    }
  } finally {
    reader.cancel().catch(() => {});
    meter.slow = false;
    if (address) URL.revokeObjectURL(address);
  }
}

async function append(buffer, piece, video) {
  try {
    buffer.appendBuffer(piece);
  } catch (error) {
    if (error.name !== "QuotaExceededError") throw error;
    // There is no room for what was shown.
    await forget(buffer, video.currentTime - 1);
    buffer.appendBuffer(piece);
  }
  await updated(buffer);
}

async function forget(buffer, until) {
  if (until <= 0) return;
  buffer.remove(0, until);
  await updated(buffer);
}

function updated(buffer) {
  return new Promise((resolve, reject) => {
    const done = ({ type }) => {
      buffer.removeEventListener("updateend", done);
      buffer.removeEventListener("error", done);
      if (type === "error") reject(new Error("This browser cannot decode the picture."));
      else resolve();
    };
    buffer.addEventListener("updateend", done);
    buffer.addEventListener("error", done);
  });
}

/** Show what is newest, and forget what was shown long ago. */
async function keepUp(video, buffer, meter) {
  const { buffered } = buffer;
  if (buffered.length === 0) return;
  const last = buffered.length - 1;
  const end = buffered.end(last);
  const behind = end - video.currentTime;
  // Where pictures were left out, what comes after them stands by itself.
  // Nobody notices a jump before the first picture is shown.
  const limit = video.played.length === 0 ? FAR : TOO_FAR;
  if (behind > limit || video.currentTime < buffered.start(last)) {
    video.currentTime = Math.max(end - BEHIND, buffered.start(last));
  }
  const rate = behind > FAR ? FASTER : 1;
  if (video.playbackRate !== rate) video.playbackRate = rate;
  meter.delay = Math.max(end - video.currentTime, 0);
  meter.slow = last > 0 && end - buffered.start(last) < TOLD;
  if (video.currentTime - buffered.start(0) > 2 * KEPT) await forget(buffer, video.currentTime - KEPT);
}
