/** Read a link from a QR code by the camera, where the browser has BarcodeDetector. */

import { $ } from "./elements.js";

const INTERVAL = 200;
const FORMAT = "qr_code";

/** Whether this browser has a camera to ask for, and reads QR codes. */
export async function canScan() {
  if (!navigator.mediaDevices || !("BarcodeDetector" in globalThis)) return false;
  // Some have the interface and nothing behind it.
  return (await BarcodeDetector.getSupportedFormats()).includes(FORMAT);
}

/**
 * The text of the first QR code that the camera sees; null when the user gave up. Throws an Error that
 * says what the user can do.
 */
export async function scan() {
  const dialog = $("scanner");
  const camera = $("camera");
  const media = await openCamera();
  try {
    camera.srcObject = media;
    await camera.play();
    dialog.showModal();
    const detector = new BarcodeDetector({ formats: [FORMAT] });
    while (dialog.open) {
      const [found] = await detector.detect(camera);
      if (found) return found.rawValue;
      await new Promise((resolve) => setTimeout(resolve, INTERVAL));
    }
    return null;
  } catch {
    throw new Error("This browser cannot read the camera's picture: enter the link.");
  } finally {
    if (dialog.open) dialog.close();
    for (const track of media.getTracks()) track.stop();
    camera.srcObject = null;
  }
}

async function openCamera() {
  try {
    return await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    const isMissing = error.name === "NotFoundError";
    throw new Error(
      isMissing
        ? "There is no camera: enter the link."
        : "The camera cannot be used: allow it for this page, or enter the link.",
    );
  }
}
