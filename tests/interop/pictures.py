"""The clock of the test picture, as a page shows it."""

from __future__ import annotations

__all__ = ["HEARING", "PLAYING", "SMALL", "age_of"]

SMALL = "test:?width=320&height=180&rate=15"

PLAYING = "--autoplay-policy=no-user-gesture-required"
"""The option by which Chromium plays sound though nobody has touched the page."""

_AGE = """(() => {
  const shown = %s;
  const [width, height] = [shown.videoWidth || shown.width, shown.videoHeight || shown.height];
  const context = new OffscreenCanvas(width, height).getContext("2d");
  const side = Math.floor(width / 32);
  context.drawImage(shown, 0, 0);
  const { data } = context.getImageData(0, height - Math.ceil(side / 2), side * 32, 1);
  let clock = 0;
  for (let bit = 0; bit < 32; bit++) {
    clock = clock * 2 + (data[(bit * side + (side >> 1)) * 4] > 128 ? 1 : 0);
  }
  return Date.now() %% 2 ** 32 - clock;
})()"""


def age_of(element: str) -> str:
    """The script that reads the clock back from its squares: the milliseconds since what is shown.

    :param element: the script that gives the video or canvas.
    """
    return _AGE % element


HEARING = """
globalThis.beeps = [];
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...more) {
  if (to instanceof AudioDestinationNode) hear(this);
  return connect.call(this, to, ...more);
};
globalThis.hearStream = (stream) => {
  hear(new MediaStreamAudioSourceNode(new AudioContext(), { mediaStream: stream }));
};
function hear(node) {
  const { context } = node;
  const analyser = new AnalyserNode(context, { fftSize: 8192 });
  const samples = new Float32Array(analyser.fftSize);
  connect.call(node, analyser);
  let until = 0;
  let begins = 0;
  let quiet = 1e9;
  let crossings = 0;
  let last = 0;
  const look = setInterval(() => {
    if (context.state === "closed") return clearInterval(look);
    analyser.getFloatTimeDomainData(samples);
    const end = Math.round(context.currentTime * context.sampleRate);
    const now = Date.now();
    for (let at = Math.max(samples.length - (end - until), 0); at < samples.length; at++) {
      const sample = samples[at];
      const number = end - samples.length + at;
      if (Math.abs(sample) > 0.05) {
        if (quiet > 4800) {
          begins = number;
          crossings = 0;
          beeps.push({ at: now - ((end - number) / context.sampleRate) * 1000, tone: 0 });
        }
        if (sample > 0 && last < 0) crossings += 1;
        last = sample;
        quiet = 0;
        const seconds = (number - begins) / context.sampleRate;
        if (seconds > 0.05) beeps.at(-1).tone = crossings / seconds;
      } else quiet += 1;
    }
    until = end;
    return undefined;
  }, 5);
}
"""
"""The script by which ``beeps`` tells when a page plays the test picture's, and their tone: by its
own means, or in a stream that ``hearStream`` was called with."""
