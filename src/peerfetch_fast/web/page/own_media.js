/** The camera and the microphone of the one who looks at the page, and why they are not to be had. */

/** Whether it is a phone's, or a tablet's: those have a finger on them. */
export const isHandheld = () => matchMedia("(pointer: coarse)").matches;

/**
 * The camera, with the microphone where there is one.
 * @param facing "environment" or "user", for what has a camera on either side
 * @param {boolean} sound
 * @returns {Promise<MediaStream>}
 * Throws Error, whose message is a sentence for people.
 */
export async function ownCamera(facing, sound) {
  const video = { facingMode: facing, width: { ideal: 1280 }, height: { ideal: 720 } };
  const audio = { echoCancellation: true, noiseSuppression: true };
  try {
    return await devices().getUserMedia({ video, audio: sound && audio });
  } catch (error) {
    if (error.name === "NotFoundError" && sound) return ownCamera(facing, false);
    throw new Error(refusal(error, "camera"), { cause: error });
  }
}

/** The microphone's track, without what is heard from this page. Throws as ownCamera(). */
export async function ownMicrophone() {
  try {
    const stream = await devices().getUserMedia({ audio: { echoCancellation: true, noiseSuppression: true } });
    return stream.getAudioTracks()[0];
  } catch (error) {
    throw new Error(refusal(error, "microphone"), { cause: error });
  }
}

/** How many cameras there are. */
export async function countCameras() {
  const all = await devices().enumerateDevices();
  return all.filter(({ kind }) => kind === "videoinput").length;
}

function devices() {
  if (!navigator.mediaDevices) throw new DOMException("no secure context", "SecurityError");
  return navigator.mediaDevices;
}

function refusal({ name, message }, what) {
  switch (name) {
    case "NotAllowedError":
      return `This page may not use the ${what}: allow it in the browser's settings of this page, and try again.`;
    case "NotFoundError":
      return `There is no ${what} here.`;
    case "NotReadableError":
    case "AbortError":
      return `The ${what} cannot be had just now: perhaps another program uses it.`;
    case "SecurityError":
      return `Browsers give the ${what} to pages by HTTPS alone.`;
    default:
      return `The ${what} cannot be used: ${message}`;
  }
}
