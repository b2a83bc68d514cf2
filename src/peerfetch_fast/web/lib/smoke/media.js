/** Media sources. */

const WIDTH = 1024;
const HEIGHT = 768;
const RATE = 30;
const BARS = ["#c0c0c0", "#c0c000", "#00c0c0", "#00c000", "#c000c0", "#c00000", "#0000c0"];
const TYPES = {
  mp4: 'video/mp4; codecs="avc1.640029, mp4a.40.5"',
  webm: 'video/webm; codecs="vp8, vorbis"',
};

/** Bars of colour, a hand that goes round, and the time. */
function draw(context, milliseconds) {
  const width = WIDTH / BARS.length;
  BARS.forEach((colour, at) => {
    context.fillStyle = colour;
    context.fillRect(at * width, 0, width + 1, HEIGHT);
  });
  context.fillStyle = "#101010";
  context.fillRect(0, HEIGHT - 96, WIDTH, 96);
  context.fillStyle = "#ffffff";
  context.font = "48px monospace";
  context.fillText((milliseconds / 1000).toFixed(2).padStart(9), 32, HEIGHT - 32);
  const angle = (milliseconds / 1000) * Math.PI;
  context.strokeStyle = "#ffffff";
  context.lineWidth = 12;
  context.beginPath();
  context.moveTo(WIDTH / 2, HEIGHT / 2);
  context.lineTo(WIDTH / 2 + 240 * Math.sin(angle), HEIGHT / 2 - 240 * Math.cos(angle));
  context.stroke();
}

async function fill(source, readable, type) {
  const buffer = source.addSourceBuffer(type);
  buffer.mode = "sequence";
  for await (const piece of readable) {
    const done = new Promise((resolve, reject) => {
      buffer.onupdateend = resolve;
      buffer.onerror = () => reject(new Error("the browser cannot play this"));
    });
    buffer.appendBuffer(piece);
    await done;
  }
  if (source.readyState === "open") source.endOfStream();
}

export class Media {
  /** A MediaStream of a moving picture, 1024 by 768 and 30 a second, until its tracks are stopped. */
  createTestPattern() {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [WIDTH, HEIGHT];
    const context = canvas.getContext("2d");
    draw(context, 0);
    const stream = canvas.captureStream(RATE);
    const timer = setInterval(() => {
      if (stream.active) draw(context, performance.now());
      else clearInterval(timer);
    }, 1000 / RATE);
    return stream;
  }

  /**
   * A MediaSource that plays what is read of a Readable, as it is needed. Throws TypeError.
   * @param codec "mp4" (H.264, AAC) or "webm" (VP8, Vorbis)
   */
  createMediaSource(readable, codec) {
    const type = TYPES[codec];
    if (!type) throw new TypeError(`${codec} is none of ${Object.keys(TYPES).join(", ")}`);
    const source = new MediaSource();
    const start = () => {
      fill(source, readable, type).catch((error) => {
        console.error("a media source ended:", error);
        if (source.readyState === "open") source.endOfStream("decode");
      });
    };
    source.addEventListener("sourceopen", start, { once: true });
    return source;
  }
}
