/** The sound of a camera whose frames are decoded here (WebCodecs), played as soon as it comes. */

/** Of a packet, as the camera has encoded it (Opus). */
const RATE = 48_000;
/** Packets that the decoder may have before it; more of them are left out. */
const MAX_DECODING = 50;
/** Seconds for which it is known what is heard, without hearing of it. */
const KNOWN = 0.5;
/** Milliseconds within which browsers begin to be heard, where they may. */
const BEGIN = 1000;

/** Whether this browser can: in a secure context alone. */
export const canHear = () => "AudioDecoder" in globalThis && "AudioWorkletNode" in globalThis;

export class Sound {
  #context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
  #player = null;
  #decoder = null;
  #channels = 0;
  #heard = { heard: null, at: 0 };
  /** Whether it is silent, and nothing is decoded. */
  #isMuted = true;

  constructor() {
    // It may be closed by then.
    this.#begin().catch((error) => console.info("peerfetch: no sound:", error.message));
  }

  async #begin() {
    await this.#context.audioWorklet.addModule(new URL("./sound_worklet.js", import.meta.url));
    if (this.#context.state === "closed") return;
    const options = { numberOfInputs: 0, outputChannelCount: [2] };
    this.#player = new AudioWorkletNode(this.#context, "peerfetch-sound", options);
    this.#player.port.onmessage = ({ data }) => (this.#heard = data);
    this.#player.connect(this.#context.destination);
  }

  /**
   * Be heard from now on, or not. Whether that is so: browsers let pages be heard only once a person has done
   * something there.
   */
  async setMuted(isMuted) {
    this.#isMuted = isMuted;
    if (isMuted) {
      await this.#context.suspend();
      return false;
    }
    // It is fulfilled when that is allowed, which may be never.
    await Promise.race([this.#context.resume(), new Promise((resolve) => setTimeout(resolve, BEGIN))]);
    return this.#context.state === "running";
  }

  /** Take packets with so many channels; 0 for none. */
  configure(channels) {
    this.#channels = channels;
    this.#end();
  }

  #end() {
    if (this.#decoder && this.#decoder.state !== "closed") this.#decoder.close();
    this.#decoder = null;
  }

  /** Take a packet, with its time in microseconds by the camera's clock. */
  decode(timestamp, data) {
    if (this.#isMuted || !this.#player || this.#channels === 0) return;
    if (!this.#decoder || this.#decoder.state === "closed") this.#decoder = this.#made();
    if (this.#decoder.decodeQueueSize > MAX_DECODING) return;
    this.#decoder.decode(new EncodedAudioChunk({ type: "key", timestamp, data }));
  }

  #made() {
    // One that cannot decode a packet is closed, and another one is made for the next.
    const decoder = new AudioDecoder({ output: (data) => this.#play(data), error: () => {} });
    decoder.configure({ codec: "opus", sampleRate: RATE, numberOfChannels: this.#channels });
    return decoder;
  }

  #play(data) {
    const channels = Array.from({ length: data.numberOfChannels }, (_, planeIndex) => {
      const samples = new Float32Array(data.numberOfFrames);
      data.copyTo(samples, { planeIndex, format: "f32-planar" });
      return samples;
    });
    const message = { time: data.timestamp / 1e6, channels };
    data.close();
    this.#player.port.postMessage(message, channels.map(({ buffer }) => buffer));
  }

  /** What is heard now, in microseconds by the camera's clock; null while there is nothing to be heard. */
  now() {
    const { heard, at } = this.#heard;
    const since = this.#context.currentTime - at;
    if (heard === null || this.#context.state !== "running" || since > KNOWN) return null;
    return (heard + since - (this.#context.outputLatency || this.#context.baseLatency || 0)) * 1e6;
  }

  close() {
    this.#end();
    this.#context.close().catch(() => {});
  }
}
