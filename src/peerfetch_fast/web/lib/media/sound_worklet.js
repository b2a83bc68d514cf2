/** Plays sound that comes in pieces, a moment after it has come: runs where the browser makes sound (AudioWorklet). */

/** Seconds of sound that wait before it begins: at first, and where that was too few. */
const WAITING = { least: 0.06, most: 0.4 };
/** By how much more there wait after each gap, and how much less, a second, while there is none. */
const MORE = 1.5;
const LESS = 0.005;
/** Seconds that are kept. */
const KEPT = 2;
/** Seconds more than shall wait, from which some are left out. */
const TOO_MANY = 0.25;
/** How much slower or faster it is played at most, so that hardly anybody hears it, to keep as much waiting. */
const BEND = { slower: 0.005, faster: 0.03 };
/** Seconds by which a piece may be off from where it belongs, and which may be missing, and are silence. */
const OFF = 0.004;
const MISSING = 0.2;
/** Seconds between two reports of what is heard. */
const REPORT = 0.05;

class Player extends AudioWorkletProcessor {
  #length = KEPT * sampleRate;
  #channels = [new Float32Array(this.#length), new Float32Array(this.#length)];
  /** Where is read, and until where there is sound, counted in samples from the beginning. */
  #read = 0;
  #end = 0;
  /** The time, by the camera's clock, of the latter; null before there is any. */
  #endTime = null;
  #waiting = WAITING.least;
  #isPlaying = false;
  #reportedAt = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => this.#take(data);
  }

  /** A piece: its time in seconds by the camera's clock, and its samples by channels. */
  #take({ time, channels }) {
    const gap = this.#endTime === null ? 0 : time - this.#endTime;
    if (gap > OFF && gap < MISSING) this.#put(null, Math.round(gap * sampleRate));
    else if (Math.abs(gap) > OFF) this.#begin();
    this.#put(channels, channels[0].length);
    this.#endTime = time + channels[0].length / sampleRate;
    const waits = (this.#end - this.#read) / sampleRate;
    if (waits > this.#waiting + TOO_MANY) this.#read = this.#end - Math.round(this.#waiting * sampleRate);
  }

  /** The camera's clock is another one, or more is missing than can be waited for. */
  #begin() {
    this.#read = this.#end;
    this.#isPlaying = false;
  }

  /** Keep samples, or as much silence. */
  #put(channels, count) {
    for (let channel = 0; channel < 2; channel++) {
      const kept = this.#channels[channel];
      const from = channels && (channels[channel] ?? channels[0]);
      for (let number = 0; number < count; number++) {
        kept[(this.#end + number) % this.#length] = from ? from[number] : 0;
      }
    }
    this.#end += count;
    this.#read = Math.max(this.#read, this.#end - this.#length);
  }

  process(inputs, [output]) {
    const count = output[0].length;
    const waits = (this.#end - this.#read) / sampleRate;
    if (!this.#isPlaying && waits >= this.#waiting) this.#isPlaying = true;
    if (this.#isPlaying) {
      const step = 1 + Math.min(Math.max((waits - this.#waiting) / 4, -BEND.slower), BEND.faster);
      if (this.#read + count * step + 1 > this.#end) {
        this.#waiting = Math.min(this.#waiting * MORE, WAITING.most);
        this.#isPlaying = false;
      } else {
        this.#fill(output, step);
        this.#waiting = Math.max(this.#waiting - (LESS * count) / sampleRate, WAITING.least);
      }
    }
    if (currentTime - this.#reportedAt >= REPORT) this.#report();
    return true;
  }

  #fill(output, step) {
    for (let channel = 0; channel < output.length; channel++) {
      const kept = this.#channels[channel % 2];
      for (let number = 0; number < output[channel].length; number++) {
        const at = this.#read + number * step;
        const before = Math.floor(at);
        const one = kept[before % this.#length];
        output[channel][number] = one + (at - before) * (kept[(before + 1) % this.#length] - one);
      }
    }
    this.#read += output[0].length * step;
  }

  /** Which time is heard, or null, and when by the clock of the sound that is. */
  #report() {
    this.#reportedAt = currentTime;
    const heard = this.#isPlaying ? this.#endTime - (this.#end - this.#read) / sampleRate : null;
    this.port.postMessage({ heard, at: currentTime });
  }
}

registerProcessor("peerfetch-sound", Player);
