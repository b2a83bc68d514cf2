/** Shows the pictures of a camera that gives one JPEG after the other (`multipart/x-mixed-replace`). */

/** Bytes of the largest picture, and of what stands before it. */
const MAX_PICTURE = 16 << 20;
const MAX_HEAD = 1024;
const END_OF_HEAD = "\r\n\r\n";

/**
 * The pictures of such a body, each as Uint8Array. Throws RangeError for what is none.
 * @param {ReadableStream<Uint8Array>} body
 */
export async function* jpegsOf(body) {
  const reader = body.getReader();
  let head = "";
  let picture = null;
  let filled = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      for (let at = 0; at < value.length; ) {
        if (picture) {
          const taken = value.subarray(at, at + picture.length - filled);
          picture.set(taken, filled);
          filled += taken.length;
          at += taken.length;
          if (filled < picture.length) break;
          yield picture;
          picture = null;
        } else {
          head += String.fromCharCode(value[at++]);
          if (head.endsWith(END_OF_HEAD)) {
            [picture, filled, head] = [new Uint8Array(lengthIn(head)), 0, ""];
          } else if (head.length > MAX_HEAD) {
            throw new RangeError("no picture in the camera's answer");
          }
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function lengthIn(head) {
  const length = Number(/^content-length: *(\d+)/im.exec(head)?.[1]);
  if (!(length > 0 && length <= MAX_PICTURE)) throw new RangeError(`a picture of ${length} bytes`);
  return length;
}

/**
 * Show an answer of a camera's `mjpeg` until it ends. Throws Error.
 * @param {HTMLImageElement} image
 * @param {Response} response
 * @param meter what is measured: `bytes` and `pictures` are counted up
 */
export async function playJpegs(image, response, meter) {
  let shown = null;
  try {
    for await (const picture of jpegsOf(response.body)) {
      meter.bytes += picture.length;
      const address = URL.createObjectURL(new Blob([picture], { type: "image/jpeg" }));
      image.src = address;
      // Only then the next is read: a device that is faster leaves pictures out.
      await image.decode().catch(() => {});
      if (shown) URL.revokeObjectURL(shown);
      shown = address;
      meter.pictures++;
    }
  } finally {
    if (shown) URL.revokeObjectURL(shown);
  }
}
