/** Read a link from a QR code by the camera, where the browser has BarcodeDetector. */

const INTERVAL = 200;

export const canScan = "BarcodeDetector" in globalThis && Boolean(navigator.mediaDevices);

/** The text of the first QR code that the camera sees; null when the user gave up. */
export async function scan() {
  const dialog = document.querySelector("#scanner");
  const camera = document.querySelector("#camera");
  const media = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  try {
    camera.srcObject = media;
    await camera.play();
    dialog.showModal();
    const detector = new BarcodeDetector({ formats: ["qr_code"] });
    while (dialog.open) {
      const [found] = await detector.detect(camera);
      if (found) return found.rawValue;
      await new Promise((resolve) => setTimeout(resolve, INTERVAL));
    }
    return null;
  } finally {
    if (dialog.open) dialog.close();
    for (const track of media.getTracks()) track.stop();
    camera.srcObject = null;
  }
}
