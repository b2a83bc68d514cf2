/** Pictures made small in a thread of their own, by the worker shrink.js. */

let worker = null;

function start() {
  worker = new Worker(new URL("shrink.js", import.meta.url));
  // It could not be loaded; the next picture tries again.
  worker.addEventListener("error", () => (worker = null));
  return worker;
}

/** An ImageBitmap of the Blob `picture`, `width` pixels wide. Throws where it is no picture. */
export function shrunk(picture, width) {
  const at = worker ?? start();
  const { port1: answer, port2: port } = new MessageChannel();
  return new Promise((resolve, reject) => {
    const over = new AbortController();
    const failed = (words) => reject(new TypeError(words));
    answer.addEventListener("message", ({ data: { bitmap, error } }) => {
      over.abort();
      answer.close();
      if (bitmap) resolve(bitmap);
      else failed(error);
    });
    at.addEventListener("error", () => failed("the worker cannot be loaded"), { signal: over.signal });
    answer.start();
    at.postMessage({ picture, width }, [port]);
  });
}
