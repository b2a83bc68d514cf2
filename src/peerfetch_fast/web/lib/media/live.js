/** A live picture of a camera: begun, kept going, spared where nobody sees it, and measured. */

import { canDecode, playFrames } from "./frames_player.js";
import { playJpegs } from "./jpeg_player.js";
import { canPlay, playMp4 } from "./mp4_player.js";
import { Attempt, playRtp } from "./rtp_player.js";
import { Sound, canHear } from "./sound.js";
import { again } from "./waiting.js";

/** Milliseconds until it is begun again: at first, and in the end. */
const RETRY = { least: 500, most: 15_000 };
/** Milliseconds between two measurements. */
const MEASURE = 1000;
/** Milliseconds without a byte from which it is said that the picture has stopped. */
const SILENCE = 4000;
/** Milliseconds for which a tab that is hidden goes on showing: who comes back at once sees no gap. */
const HIDDEN = 5000;
/** Milliseconds for which WebRTC is not tried again once no connection came about. */
const RTP_AGAIN = 60_000;

/**
 * Dispatches `change` when `state`, `message`, `way`, `hasSound`, `canTalk` or `muted` has changed, and `figures` each
 * second.
 */
export class Live extends EventTarget {
  #camera;
  #place;
  #options;
  #wanted = false;
  #running = null;
  #isInSight = false;
  #isHidden = false;
  #hiding = null;
  #observer;
  #meter = { bytes: 0, pictures: 0, delay: null, slow: false, measure: null, rtp: null };
  #measured = null;
  #heardAt = 0;
  #timer = null;
  #rtpFailedAt = -RTP_AGAIN;
  #isUndecodable = false;
  /** The connection that there is by WebRTC, and the track of the microphone that is sent. */
  #rtp = null;
  #microphone = null;
  /** What is heard of frames that are decoded here. */
  #sound = null;
  /** What is shown until there is something in `element`. */
  #covering = null;
  /** What shows the picture, a video, a canvas or an img; null before there is one. */
  element = null;
  /** "stopped", "starting", "live", or "waiting" where there is none just now. */
  state = "stopped";
  /** Why there is none, for people; null where all is well. */
  message = null;
  hasSound = false;
  /** Whether this browser does not play what the camera gives, of which key frames are shown alone then. */
  isUnplayable = false;
  /** Whether what is said here can be heard there. */
  canTalk = false;
  /** Whether pictures of this page's own can be sent there: nobody else sends any. */
  canPublish = false;
  /** "WebRTC", "MP4", "WebCodecs" or "JPEG"; null before it is known. */
  way = null;
  /**
   * `{delay, rate, pictures, slow}`: seconds (null if unknown), bytes a second, pictures a second; whether the device
   * leaves pictures out, as the network carries no more.
   */
  figures = null;

  /**
   * @param camera `{base, fetch}`: the URL of its path, with a slash at the end, and how such URLs are asked for
   * @param {Element} place where the picture is put, before what else is there
   * @param options `label`, what is seen, for people who do not, where nothing beside it says that; `sound`, whether
   *   there shall be any: then by WebRTC, which takes a connection of its own, else in the session, frame by frame
   */
  constructor(camera, place, { label = "", sound = false } = {}) {
    super();
    [this.#camera, this.#place, this.#options] = [camera, place, { label, sound }];
    this.muted = !sound;
    this.#observer = new IntersectionObserver((entries) => {
      this.#isInSight = entries.at(-1).isIntersecting;
      this.#consider();
    });
  }

  /** Show it from now on, while it can be seen. */
  start() {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#observer.observe(this.#place);
    document.addEventListener("visibilitychange", this.#onvisibility);
    this.#timer = setInterval(() => this.#measure(), MEASURE);
    this.#onvisibility();
  }

  stop() {
    if (!this.#wanted) return;
    this.#wanted = false;
    this.hush();
    this.#observer.disconnect();
    document.removeEventListener("visibilitychange", this.#onvisibility);
    clearTimeout(this.#hiding);
    clearInterval(this.#timer);
    this.#consider();
  }

  /** Turn the sound off or on. */
  setMuted(muted) {
    this.muted = muted;
    if (this.element?.localName === "video") this.element.muted = muted;
    this.#hear();
    this.#changed();
  }

  /** Browsers let pages be heard only where a person has done something on them. */
  async #hear() {
    const sound = this.#sound;
    if (!sound || (await sound.setMuted(this.muted)) || this.muted || sound !== this.#sound) return;
    this.setMuted(true);
  }

  /** Whether what is said here is heard there. */
  get talking() {
    return this.#microphone !== null;
  }

  /** Have what is said here heard there, by this track of a microphone, which is stopped afterwards. */
  async talk(track) {
    this.#microphone = track;
    await this.#rtp?.microphone.replaceTrack(this.#microphone);
    this.#changed();
  }

  /** Be silent again. */
  hush() {
    if (!this.#microphone) return;
    this.#microphone.stop();
    this.#microphone = null;
    this.#rtp?.microphone.replaceTrack(null).catch(() => {}); // the connection may be gone
    this.#changed();
  }

  #onvisibility = () => {
    clearTimeout(this.#hiding);
    if (document.visibilityState === "visible") return this.#turnHidden(false);
    this.#hiding = setTimeout(() => this.#turnHidden(true), HIDDEN);
    return undefined;
  };

  #turnHidden(isHidden) {
    this.#isHidden = isHidden;
    this.#consider();
  }

  #consider() {
    const isSeen = this.#wanted && this.#isInSight && !this.#isHidden;
    if (isSeen && !this.#running) {
      this.#running = new AbortController();
      this.#run(this.#running.signal);
    } else if (!isSeen && this.#running) {
      this.#running.abort();
      this.#running = null;
      this.#turn("stopped");
    }
  }

  #run(signal) {
    return again(signal, {
      ...RETRY,
      begins: () => this.state === "waiting" || this.#turn("starting"),
      work: () => this.#play(signal),
      ended: "The camera has ended; it is asked again.",
      waits: (message) => this.#turn("waiting", message),
    });
  }

  async #play(signal) {
    this.isUnplayable = false;
    const learned = this.#learn(signal);
    learned.catch(() => {}); // then what follows fails too
    if (!this.#options.sound) return this.#playInSession(signal);
    const info = await learned;
    const attempt = this.#attempt(info);
    let live = await attempt?.soon();
    if (!live && !signal.aborted) live = await this.#playMeanwhile(attempt, signal);
    if (signal.aborted) return attempt?.abandon();
    return live && this.#playRtp(live, info, signal);
  }

  /** What the camera says of itself. */
  async #learn(signal) {
    const info = await (await this.#ask("info", signal)).json();
    this.canPublish = info.publish === true && !info.published;
    if (this.canPublish) this.#turn("waiting", "Nobody sends a picture here yet");
    else this.#changed();
    return info;
  }

  /** At a connection by WebRTC; null where there is none to be had. */
  #attempt(info) {
    const isTried = performance.now() - this.#rtpFailedAt >= RTP_AGAIN;
    const can = info.webrtc && globalThis.RTCPeerConnection && (info.video?.codec ?? "h264") === "h264";
    if (!isTried || !can) return null;
    const onfail = () => (this.#rtpFailedAt = performance.now());
    const options = { iceServers: info.ice_servers, talk: info.talk === true, fetch: this.#camera.fetch, onfail };
    return new Attempt(this.#url("live"), options);
  }

  /** Show it in the session until a connection by WebRTC comes about, which is given. */
  async #playMeanwhile(attempt, signal) {
    const meanwhile = new AbortController();
    const end = () => meanwhile.abort();
    signal.addEventListener("abort", end, { once: true });
    let live = null;
    attempt?.live.then((found) => {
      live = found;
      if (live) end();
    }, () => {});
    try {
      await this.#playInSession(meanwhile.signal);
    } catch (error) {
      if (!live) throw error;
    } finally {
      signal.removeEventListener("abort", end);
      if (!live) attempt?.abandon();
    }
    return live;
  }

  async #playInSession(signal) {
    const can = canDecode() && !this.#isUndecodable && (!this.#options.sound || canHear());
    this.canTalk = false;
    if (can && (await this.#playFrames(signal))) return undefined;
    const response = await this.#ask("live.mp4", signal);
    if (response.status === 406) {
      await response.body?.cancel();
      return this.#playJpegs(signal);
    }
    const type = await accepted(response);
    if (!canPlay(type)) {
      // Of H.265, say: the device gives its key frames as JPEG too.
      await response.body?.cancel();
      this.isUnplayable = true;
      return this.#playJpegs(signal);
    }
    this.hasSound = /opus|mp4a/.test(type);
    return playMp4(this.#show("video", "MP4"), response, this.#meter);
  }

  async #playRtp(live, info, signal) {
    this.#rtp = live;
    this.canTalk = info.talk === true;
    for (const track of live.stream.getAudioTracks()) {
      // It is muted until something comes.
      if (!track.muted) this.hasSound = true;
      track.addEventListener("unmute", () => this.#turnSound(live));
    }
    if (this.#microphone) live.microphone.replaceTrack(this.#microphone);
    const video = this.#show("video", "WebRTC");
    this.#changed();
    try {
      await playRtp(video, live, signal, this.#meter);
    } finally {
      this.#rtp = null;
    }
  }

  /** Frame by frame; whether that was possible. */
  async #playFrames(signal) {
    const response = await this.#ask("frames", signal);
    await accepted(response);
    this.#sound = this.#options.sound ? new Sound() : null;
    const onformat = ({ audio }) => {
      this.hasSound = this.#sound !== null && audio !== null;
      this.#changed();
    };
    const options = { sound: this.#sound, onpicture: () => this.#turn("live"), onformat };
    this.#hear();
    try {
      await playFrames(this.#show("canvas", "WebCodecs"), response, this.#meter, options);
    } catch (error) {
      if (!(error instanceof DOMException) || signal.aborted) throw error;
      console.info("peerfetch: no WebCodecs for the camera:", error.message);
      this.#isUndecodable = true;
      return false;
    } finally {
      this.#sound?.close();
      this.#sound = null;
    }
    return true;
  }

  #turnSound(live) {
    if (this.#rtp !== live) return;
    this.hasSound = true;
    this.#changed();
  }

  async #playJpegs(signal) {
    const response = await this.#ask("mjpeg", signal);
    await accepted(response);
    this.hasSound = false;
    return playJpegs(this.#show("img", "JPEG"), response, this.#meter);
  }

  #url(name) {
    return new URL(name, this.#camera.base).href;
  }

  #ask(name, signal) {
    return this.#camera.fetch(this.#url(name), { signal, cache: "no-store" });
  }

  /** The element in which it is shown. */
  #show(tag, way) {
    this.way = way;
    if (this.element?.localName !== tag) {
      const made = document.createElement(tag);
      const { label } = this.#options;
      if (tag === "img") {
        made.alt = label;
        made.addEventListener("load", () => this.#turn("live"));
      } else if (tag === "video") {
        Object.assign(made, { autoplay: true, playsInline: true, muted: this.muted });
        made.addEventListener("timeupdate", () => this.#turn("live"));
        made.addEventListener("loadeddata", () => this.#begin(made));
      } else {
        made.setAttribute("role", "img");
      }
      if (label && tag !== "img") made.setAttribute("aria-label", label);
      this.#covering?.remove();
      // What is shown stays until there is another picture.
      this.#covering = tag === "video" ? this.element : null;
      if (!this.#covering) this.element?.remove();
      this.#place.prepend(made);
      this.element = made;
    }
    return this.element;
  }

  /** Browsers play with sound only where a person has done something on the page. */
  async #begin(video) {
    this.#covering?.remove();
    try {
      await video.play();
    } catch (error) {
      if (error.name !== "NotAllowedError" || video.muted) return;
      this.setMuted(true);
      video.play().catch(() => {});
    }
  }

  #turn(state, message = null) {
    if (this.#running === null && state === "live") return;
    if (this.state === state && this.message === message) return;
    [this.state, this.message] = [state, message];
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }

  async #measure() {
    const meter = this.#meter;
    const { element } = this;
    await meter.measure?.();
    if (element?.localName === "video") meter.pictures = element.getVideoPlaybackQuality().totalVideoFrames;
    const now = { at: performance.now(), bytes: meter.bytes, pictures: meter.pictures, way: this.way };
    const before = this.#measured ?? now;
    this.#measured = now;
    if (now.bytes !== before.bytes) this.#heardAt = now.at;
    if (this.state === "live" && now.at - this.#heardAt > SILENCE) {
      this.#turn("waiting", "Nothing comes from the camera just now.");
    }
    if (before === now || before.way !== now.way) return;
    const seconds = Math.max(now.at - before.at, 1) / 1000;
    this.figures = {
      delay: meter.delay,
      slow: meter.slow,
      rate: (now.bytes - before.bytes) / seconds,
      pictures: Math.max(now.pictures - before.pictures, 0) / seconds,
    };
    this.dispatchEvent(new Event("figures"));
  }
}

/** The type of an answer with pictures. Throws Error for another. */
async function accepted(response) {
  if (response.ok) return response.headers.get("content-type") ?? "";
  throw new Error((await response.text()).trim() || `The camera answers ${response.status}.`);
}
