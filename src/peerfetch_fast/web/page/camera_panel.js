/** One camera, enlarged: its picture, its sound, and what can be done with it. */

import { Live } from "../lib/media/live.js";
import { Recording } from "../lib/media/recording.js";
import { button, element } from "./elements.js";
import { bitRate, clock } from "./format.js";
import { isHandheld, ownMicrophone } from "./own_media.js";
import { sayFigures, shape, sizeOf } from "./pictures.js";
import { SendingPanel } from "./sending_panel.js";

/** Milliseconds between looks at how long a recording is. */
const TICK = 500;
/** Quality of a picture that is taken. */
const QUALITY = 0.92;

export class CameraPanel {
  #camera;
  #name;
  #live;
  #recording = null;
  /** What is sent to it from here. */
  #sending = null;
  /** Why that did not come about. */
  #refusal = null;
  #isStarted = false;
  #timer = null;
  #picture = element("div", { className: "picture" });
  #said = element("p", { className: "said", role: "status" });
  #figures = element("p", { className: "hint figures" });
  #sound = button("sound", "Sound");
  #talk = button("talk", "Talk");
  #snapshot = button("snapshot", "Snapshot");
  #record = button("record", "Record");
  #full = button("fullscreen", "Full screen");
  #send = button("send", isHandheld() ? "Send this phone's camera" : "Send this computer's camera", "");
  /** What is shown while nothing is sent from here. */
  #shown;
  /** All of it. */
  element;

  /**
   * @param camera as of Live
   * @param name of the camera, for people
   */
  constructor(camera, name) {
    [this.#camera, this.#name] = [camera, name];
    this.#picture.append(this.#said);
    const all = [this.#send, this.#sound, this.#talk, this.#snapshot, this.#record, this.#full];
    const buttons = element("div", { className: "answers" }, ...all);
    this.#shown = element("div", { className: "camera" }, this.#picture, buttons, this.#figures);
    this.element = element("div", {}, this.#shown);
    this.#live = new Live(camera, this.#picture, { label: name, sound: true });
    this.#live.addEventListener("change", () => this.#show());
    this.#live.addEventListener("figures", () => this.#showFigures());
    this.#sound.addEventListener("click", () => this.#live.setMuted(!this.#live.muted));
    this.#talk.addEventListener("click", () => this.#toggleTalk());
    this.#snapshot.addEventListener("click", () => this.#take());
    this.#record.addEventListener("click", () => this.#toggleRecording());
    this.#full.addEventListener("click", () => this.#fill());
    this.#send.addEventListener("click", () => this.#sendOwn());
    this.#picture.addEventListener("dblclick", () => this.#fill());
  }

  start() {
    this.#isStarted = true;
    this.#live.start();
    this.#show();
  }

  /** What is being recorded is saved, and what is sent ends. */
  stop() {
    this.#isStarted = false;
    this.#live.stop();
    this.#recording?.stop();
    this.#sending?.stop();
  }

  /** Send the camera of who looks on, in place of the picture. */
  #sendOwn() {
    this.#live.stop();
    this.#sending = new SendingPanel(this.#camera, (why) => {
      this.#sending = null;
      this.element.replaceChildren(this.#shown);
      if (!this.#isStarted) return;
      this.#refusal = why;
      this.start();
      this.#send.focus();
    });
    this.element.replaceChildren(this.#sending.element);
    this.#sending.start();
  }

  #show() {
    const { state, message, hasSound, canTalk, canPublish, muted, talking, way, element: shown } = this.#live;
    this.#shown.dataset.state = state;
    if (state === "live") {
      this.#refusal = null;
      shape(this.#picture, shown);
    }
    const said = this.#refusal ?? message;
    this.#said.textContent = said ?? (state === "starting" ? "The picture is on its way …" : "");
    this.#send.hidden = !canPublish || state === "live";
    this.#sound.hidden = !hasSound;
    this.#sound.setAttribute("aria-pressed", String(!muted));
    this.#talk.hidden = !canTalk;
    this.#talk.setAttribute("aria-pressed", String(talking));
    this.#snapshot.hidden = !shown;
    this.#record.hidden = way === null || way === "JPEG";
    const canFill = this.#picture.requestFullscreen ?? shown?.webkitEnterFullscreen;
    this.#full.hidden = !shown || !canFill;
  }

  #showFigures() {
    const { figures, state, way, isUnplayable } = this.#live;
    const { delay, rate, pictures, slow } = figures;
    const parts = [
      slow ? "Slow network: a picture now and then" : null,
      isUnplayable ? "This browser plays key frames alone" : null,
      delay === null ? null : `Delay ${Math.round(delay * 1000)} ms`,
      bitRate(rate),
      `${Math.round(pictures)} pictures/s`,
      way,
    ];
    sayFigures(this.#figures, state === "live" ? parts : []);
    if (state === "live") shape(this.#picture, this.#live.element);
  }

  async #toggleTalk() {
    if (this.#live.talking) return this.#live.hush();
    try {
      await this.#live.talk(await ownMicrophone());
    } catch (error) {
      this.#said.textContent = error.message;
    }
    return undefined;
  }

  async #take() {
    const shown = this.#live.element;
    const { width, height } = sizeOf(shown);
    if (!width) return;
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    canvas.getContext("2d").drawImage(shown, 0, 0);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
    save(blob, `${this.#fileName(new Date())}.jpg`);
  }

  async #toggleRecording() {
    if (this.#recording) return this.#recording.stop();
    const recording = (this.#recording = new Recording(this.#camera));
    const name = `${this.#fileName(new Date())}.mp4`;
    this.#timer = setInterval(() => this.#showRecording(), TICK);
    this.#showRecording();
    try {
      save(await recording.ended, name);
    } catch (error) {
      this.#said.textContent = `It was not recorded: ${error.message}`;
    } finally {
      clearInterval(this.#timer);
      this.#recording = null;
      this.#showRecording();
    }
    return undefined;
  }

  #showRecording() {
    const recording = this.#recording;
    this.#record.classList.toggle("recording", recording !== null);
    if (!recording) {
      this.#record.textContent = "Record";
      return;
    }
    this.#record.textContent = `Stop ${clock(recording.began)}`;
  }

  #fill() {
    const shown = this.#live.element;
    if (document.fullscreenElement) document.exitFullscreen();
    else if (this.#picture.requestFullscreen) this.#picture.requestFullscreen().catch(() => {});
    else shown?.webkitEnterFullscreen?.();
  }

  /** Of a picture or a recording, without what file systems do not take. */
  #fileName(now) {
    const two = (number) => String(number).padStart(2, "0");
    const date = [now.getFullYear(), two(now.getMonth() + 1), two(now.getDate())].join("-");
    const time = [now.getHours(), now.getMinutes(), now.getSeconds()].map(two).join("-");
    return `${this.#name.replace(/[^\p{L}\p{N} _.-]+/gu, "-")} ${date} ${time}`;
  }
}

/** Have the browser save it. */
function save(blob, download) {
  const link = element("a", { href: URL.createObjectURL(blob), download });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
