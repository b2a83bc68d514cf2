/** The throughput of the last minute, drawn twice a second while there is something to see. */

import { $ } from "./elements.js";
import { rate } from "./format.js";

const INTERVAL = 500;
const SAMPLES = 120;
/** Bytes per second that are worth a picture: signs of life are less. */
const WORTH = 20_000;
/** Such samples within the minute that are more than a folder and its small pictures. */
const LEAST = 4;

export class Graph {
  #canvas = $("graph");
  #samples = [];
  #timer = null;

  /** @param statistics a function that gives peer.statistics */
  start(statistics) {
    this.stop();
    this.#samples = [];
    this.#timer = setInterval(() => this.#tick(statistics()), INTERVAL);
  }

  stop() {
    clearInterval(this.#timer);
    $("speed").hidden = true;
  }

  #tick(statistics) {
    const { receiveRate: down = 0, sendRate: up = 0, roundTrip = null } = statistics ?? {};
    this.#samples.push({ down, up });
    if (this.#samples.length > SAMPLES) this.#samples.shift();
    const worth = this.#samples.filter((sample) => sample.down > WORTH || sample.up > WORTH);
    const isWorth = worth.length >= LEAST;
    $("speed").hidden = !isWorth;
    if (!isWorth) return;
    $("rate-down").textContent = rate(down);
    $("rate-up").textContent = rate(up);
    $("round-trip").textContent =
      roundTrip === null ? "–" : `${Math.max(1, Math.round(roundTrip * 1000))} ms`;
    this.#draw();
  }

  #draw() {
    const canvas = this.#canvas;
    const scale = devicePixelRatio;
    const [width, height] = [canvas.clientWidth * scale, canvas.clientHeight * scale];
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const context = canvas.getContext("2d");
    const colors = getComputedStyle(canvas);
    context.clearRect(0, 0, width, height);
    context.lineWidth = 1;
    context.strokeStyle = colors.getPropertyValue("--line");
    context.strokeRect(0.5, 0.5, width - 1, height - 1);
    const most = Math.max(1e5, ...this.#samples.flatMap(({ down, up }) => [down, up]));
    const x = (i) => ((SAMPLES - this.#samples.length + i) / (SAMPLES - 1)) * width;
    const y = (value) => height - 2 - (value / most) * (height - 6 * scale);
    for (const [name, color] of [["up", "--up"], ["down", "--accent"]]) {
      context.beginPath();
      this.#samples.forEach((sample, i) => context.lineTo(x(i), y(sample[name])));
      context.lineWidth = 2 * scale;
      context.strokeStyle = context.fillStyle = colors.getPropertyValue(color);
      context.stroke();
      context.lineTo(x(this.#samples.length - 1), height);
      context.lineTo(x(0), height);
      context.globalAlpha = 0.15;
      context.fill();
      context.globalAlpha = 1;
    }
    context.fillStyle = colors.getPropertyValue("--soft");
    context.font = `${11 * scale}px system-ui, sans-serif`;
    context.fillText(rate(most), 6 * scale, 14 * scale);
  }
}
