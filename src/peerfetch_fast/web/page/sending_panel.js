/** This page's own camera on its way to a device: what is sent, whether it arrives, and how to end it. */

import { Publisher } from "../lib/media/publisher.js";
import { stayAwake } from "./awake.js";
import { button, element } from "./elements.js";
import { bitRate, clock } from "./format.js";
import { countCameras, isHandheld, ownCamera } from "./own_media.js";
import { sayFigures, shape } from "./pictures.js";

export class SendingPanel {
  #onend;
  #publisher;
  #stream = null;
  #facing = isHandheld() ? "environment" : "user";
  #isOver = false;
  #letSleep = null;
  #began = null;
  #preview = element("video", { autoplay: true, playsInline: true, muted: true });
  #badge = element("span", { className: "badge", role: "status" });
  #said = element("p", { className: "said", role: "status" });
  #figures = element("p", { className: "hint figures" });
  #stop = button("stop-sending", "Stop sending", "quiet recording");
  #turn = button("turn", "Turn the camera");
  #sound = button("own-sound", "Microphone");
  /** All of it. */
  element;

  /**
   * @param camera as of Publisher
   * @param onend called once with a sentence for people, or null where they have ended it
   */
  constructor(camera, onend) {
    this.#onend = onend;
    this.#publisher = new Publisher(camera);
    this.#publisher.addEventListener("change", () => this.#show());
    this.#publisher.addEventListener("figures", () => this.#showFigures());
    const picture = element("div", { className: "picture" }, this.#preview, this.#badge, this.#said);
    this.#preview.addEventListener("resize", () => shape(picture, this.#preview));
    const buttons = element("div", { className: "answers" }, this.#stop, this.#turn, this.#sound);
    this.element = element("div", { className: "camera" }, picture, buttons, this.#figures);
    this.#stop.addEventListener("click", () => this.stop());
    this.#turn.addEventListener("click", () => this.#turnAround());
    this.#sound.addEventListener("click", () => this.#toggleSound());
    this.#preview.setAttribute("aria-label", "What is sent");
    this.#stop.hidden = false;
  }

  /** Ask for the camera, and send what it gives. */
  async start() {
    this.#stop.focus();
    this.#said.textContent = "The browser asks whether this page may use the camera …";
    try {
      const stream = await ownCamera(this.#facing, true);
      if (this.#isOver) return release(stream);
      this.#stream = stream;
      this.#letSleep = stayAwake();
      this.#take(stream);
      this.#publisher.start(stream);
      this.#sound.hidden = stream.getAudioTracks().length === 0;
      this.#turn.hidden = (await countCameras()) < 2;
    } catch (error) {
      this.stop(error.message);
    }
    return undefined;
  }

  /** End it; a sentence for people says why, where it was not they. Idempotent. */
  stop(why = null) {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#publisher.stop();
    this.#letSleep?.();
    if (this.#stream) release(this.#stream);
    this.#preview.srcObject = null;
    this.#onend(why);
  }

  /** Show and watch over what a camera gives. */
  #take(stream) {
    const [video] = stream.getVideoTracks();
    // People know themselves as in a mirror.
    this.#preview.classList.toggle("mirrored", video.getSettings().facingMode === "user");
    this.#preview.srcObject = stream;
    video.addEventListener("mute", () => this.#show());
    video.addEventListener("unmute", () => this.#show());
    video.addEventListener("ended", () => {
      if (this.#stream.getVideoTracks().includes(video)) this.stop("The camera has ended.");
    });
    this.#showSound();
  }

  #show() {
    const { state, message, resting } = this.#publisher;
    const isPaused = this.#stream.getVideoTracks().some(({ muted }) => muted);
    this.element.dataset.state = state;
    this.#badge.textContent = state === "sending" ? (resting ? "Ready: nobody watches" : "Live") : "";
    this.#badge.classList.toggle("resting", resting);
    if (state === "sending") this.#began ??= Date.now();
    if (message) this.#said.textContent = message;
    else if (state === "starting") this.#said.textContent = "It is being connected …";
    else this.#said.textContent = isPaused ? "The camera rests: keep this page in front." : "";
    if (state !== "sending") this.#figures.textContent = "";
  }

  #showFigures() {
    const { state, figures } = this.#publisher;
    if (state !== "sending") return;
    const { rate, pictures, viewers } = figures;
    const parts = [
      `Sent for ${clock(this.#began)}`,
      viewers === null ? null : viewersInWords(viewers),
      bitRate(rate),
      `${Math.round(pictures)} pictures/s`,
    ];
    sayFigures(this.#figures, parts);
  }

  async #turnAround() {
    const other = this.#facing === "user" ? "environment" : "user";
    this.#turn.disabled = true;
    // A phone has one camera at work at a time.
    for (const track of this.#stream.getVideoTracks()) {
      this.#stream.removeTrack(track);
      track.stop();
    }
    try {
      const stream = await ownCamera(other, false);
      if (this.#isOver) return release(stream);
      this.#facing = other;
      await this.#publisher.replace(stream.getVideoTracks()[0]);
      this.#take(this.#stream);
    } catch (error) {
      this.stop(error.message);
    } finally {
      this.#turn.disabled = false;
    }
    return undefined;
  }

  #toggleSound() {
    for (const track of this.#stream.getAudioTracks()) track.enabled = !track.enabled;
    this.#showSound();
  }

  #showSound() {
    const isOn = this.#stream.getAudioTracks().some(({ enabled }) => enabled);
    this.#sound.setAttribute("aria-pressed", String(isOn));
  }
}

const WATCHING = ["nobody watches", "1 watches"];

const viewersInWords = (count) => WATCHING[count] ?? `${count} watch`;

function release(stream) {
  for (const track of stream.getTracks()) track.stop();
}
