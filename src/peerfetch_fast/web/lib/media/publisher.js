/** This page's own camera and microphone, sent to a device and kept going. */

import { aborted, again } from "./waiting.js";
import { publish } from "./whep.js";

/** Milliseconds until a connection is made again: at first, and in the end. */
const RETRY = { least: 500, most: 8000 };
/** Milliseconds between two measurements. */
const MEASURE = 1000;
/** Measurements from one question how many watch to the next, but while nothing is sent: then it is asked each time. */
const ASK_EACH = 5;
/** Questions in a row whose answer is nobody, after which nothing is sent until somebody watches. */
const REST_AFTER = 3;

/** Dispatches `change` when `state`, `message` or `resting` has changed, and `figures` each second. */
export class Publisher extends EventTarget {
  #camera;
  #stream = null;
  #running = null;
  #connection = null;
  #timer = null;
  #before = null;
  #measurements = 0;
  #viewers = null;
  /** Questions since somebody watched. */
  #alone = 0;
  /** "stopped", "starting", "sending", or "waiting" where it is tried again. */
  state = "stopped";
  /** Why nothing is sent just now, for people; null where all is well. */
  message = null;
  /** Whether nothing is sent because nobody watches. */
  resting = false;
  /** `{rate, pictures, viewers}`: bytes a second, pictures a second, how many watch; null before they are known. */
  figures = null;

  /** @param camera as of Live, one that is for that */
  constructor(camera) {
    super();
    this.#camera = camera;
  }

  /**
   * Send this stream from now on.
   * @param {MediaStream} stream
   */
  start(stream) {
    this.#stream = stream;
    this.#running = new AbortController();
    this.#timer = setInterval(() => this.#measure(), MEASURE);
    this.#run(this.#running.signal);
  }

  /** Send no more. The stream is the caller's. */
  stop() {
    this.#running?.abort();
    this.#running = null;
    clearInterval(this.#timer);
    this.#turn("stopped");
  }

  /** Send this track in place of the one of its kind, which leaves the stream. */
  async replace(track) {
    for (const before of this.#stream.getTracks().filter(({ kind }) => kind === track.kind)) {
      this.#stream.removeTrack(before);
    }
    this.#stream.addTrack(track);
    const sender = this.#connection?.getSenders().find((one) => one.track?.kind === track.kind);
    await sender?.replaceTrack(track);
  }

  #run(signal) {
    return again(signal, {
      ...RETRY,
      begins: () => this.state === "waiting" || this.#turn("starting"),
      work: () => this.#send(signal),
      ended: "The connection has ended; another one is made.",
      waits: (message) => this.#turn("waiting", message),
    });
  }

  /** By one connection, until that ends. */
  async #send(signal) {
    const { fetch } = this.#camera;
    const { ice_servers: iceServers } = await this.#info(signal);
    const sent = await publish(this.#url("publish"), this.#stream, { iceServers, fetch });
    try {
      if (!signal.aborted) {
        this.#connection = sent.connection;
        this.#turn("sending");
      }
      await Promise.race([sent.closed, aborted(signal)]);
    } finally {
      [this.#connection, this.#before, this.resting, this.#alone] = [null, null, false, 0];
      // Until the device has let go of this one, it takes no other.
      await sent.close();
    }
  }

  async #info(signal) {
    const response = await this.#camera.fetch(this.#url("info"), { signal, cache: "no-store" });
    if (!response.ok) throw new Error((await response.text()).trim() || `The device answers ${response.status}.`);
    return response.json();
  }

  #url(name) {
    return new URL(name, this.#camera.base).href;
  }

  #turn(state, message = null) {
    if (this.state === state && this.message === message) return;
    [this.state, this.message] = [state, message];
    this.dispatchEvent(new Event("change"));
  }

  /** Who watches? What nobody sees takes nothing of a phone's data. */
  async #look(connection) {
    const told = await this.#info(this.#running.signal).catch(() => null); // as when there is no network
    if (!told || this.#connection !== connection) return;
    this.#viewers = told.viewers;
    this.#alone = told.viewers > 0 ? 0 : this.#alone + 1;
    const resting = this.#alone >= REST_AFTER;
    if (resting === this.resting) return;
    this.resting = resting;
    for (const sender of connection.getSenders()) {
      const parameters = sender.getParameters();
      for (const encoding of parameters.encodings) encoding.active = !resting;
      sender.setParameters(parameters).catch(() => {}); // a browser that cannot goes on sending
    }
    this.dispatchEvent(new Event("change"));
  }

  async #measure() {
    const connection = this.#connection;
    if (!connection) return;
    if (this.#measurements++ % ASK_EACH === 0 || this.resting) await this.#look(connection);
    const sent = [...(await connection.getStats()).values()].filter(({ type }) => type === "outbound-rtp");
    if (this.#connection !== connection) return;
    const now = {
      at: performance.now(),
      bytes: sent.reduce((sum, { bytesSent }) => sum + bytesSent, 0),
      pictures: sent.find(({ kind }) => kind === "video")?.framesSent ?? 0,
    };
    const before = this.#before;
    this.#before = now;
    if (!before) return;
    const seconds = (now.at - before.at) / 1000;
    this.figures = {
      rate: (now.bytes - before.bytes) / seconds,
      pictures: (now.pictures - before.pictures) / seconds,
      viewers: this.#viewers,
    };
    this.dispatchEvent(new Event("figures"));
  }
}
