/** Sound that comes in pieces, as the browser makes it, quantum by quantum. */

import assert from "node:assert/strict";
import { test } from "node:test";

const RATE = 48_000;
const QUANTUM = 128;
/** Seconds of a packet of Opus. */
const PIECE = 0.02;

let Player = null;
Object.assign(globalThis, {
  sampleRate: RATE,
  currentTime: 0,
  AudioWorkletProcessor: class {
    port = { postMessage: (message) => (this.reported = message) };
  },
  registerProcessor: (name, made) => (Player = made),
});
await import("../../../../src/peerfetch_fast/web/lib/media/sound_worklet.js");

/** A player whose sound is the time, in seconds by the camera's clock, of each sample. */
class Scene {
  player = new Player();
  /** Quanta that were silent. */
  silent = 0;
  played = [];
  /** Samples that are to be played. */
  due = 0;

  put(time, seconds = PIECE) {
    const samples = Float32Array.from({ length: seconds * RATE }, (_, number) => time + number / RATE);
    this.player.port.onmessage({ data: { time, channels: [samples] } });
  }

  /** Play so many seconds. */
  play(seconds) {
    for (this.due += seconds * RATE; this.due >= QUANTUM; this.due -= QUANTUM) {
      const output = [new Float32Array(QUANTUM), new Float32Array(QUANTUM)];
      this.player.process([], [output]);
      assert.deepEqual(output[0], output[1]);
      if (output[0].every((sample) => sample === 0)) this.silent++;
      else this.played.push(output[0][QUANTUM - 1]);
      globalThis.currentTime += QUANTUM / RATE;
    }
  }

  /** Take and play pieces for so many seconds, from this one on. */
  run(seconds, from) {
    for (let at = from; at < from + seconds - PIECE / 2; at += PIECE) {
      this.put(at);
      this.play(PIECE);
    }
  }

  /** How much waits, as the player reports it. */
  behind(end) {
    return end - this.player.reported.heard;
  }
}

test("it begins once a little waits, and goes on without a gap", () => {
  const scene = new Scene();
  scene.put(1);
  scene.put(1 + PIECE);
  scene.play(PIECE);
  assert.equal(scene.played.length, 0);
  scene.run(5, 1 + 2 * PIECE);
  const last = scene.played.at(-1);
  const begun = scene.silent;
  scene.run(5, 6 + 2 * PIECE);
  assert.equal(scene.silent, begun);
  assert.ok(Math.abs(scene.played.at(-1) - last - 5) < 0.01);
  const behind = scene.behind(11 + 2 * PIECE);
  assert.ok(behind > 0.03 && behind < 0.1, `${behind} s wait`);
});

test("where it runs dry, more waits from then on, and less with time", () => {
  const scene = new Scene();
  scene.run(2, 0);
  scene.play(0.2);
  assert.ok(scene.silent > 0);
  scene.run(2, 2);
  const more = scene.behind(4);
  assert.ok(more > 0.07, `${more} s wait`);
  scene.run(60, 4);
  const less = scene.behind(64);
  assert.ok(less < more, `${less} s wait`);
});

test("what comes all at once is left out but for its end", () => {
  const scene = new Scene();
  for (let at = 0; at < 3; at += PIECE) scene.put(at);
  scene.run(1, 3);
  assert.ok(scene.played[0] > 2.8);
  assert.ok(scene.behind(4) < 0.35);
});

test("a clock that is a little faster or slower changes nothing that one hears", () => {
  for (const drift of [0.999, 1.001]) {
    const scene = new Scene();
    for (let at = 0; at < 60; at += PIECE) {
      scene.put(at);
      scene.play(PIECE * drift);
      if (at < 1) scene.silent = 0;
    }
    assert.equal(scene.silent, 0);
    assert.ok(scene.behind(60) < 0.15);
  }
});

test("what is missing is silence, and a clock that jumps begins anew", () => {
  const scene = new Scene();
  scene.run(1, 0);
  scene.run(1, 1.1);
  assert.ok(scene.played.at(-1) > 1.9);
  scene.run(1, 500);
  assert.ok(scene.played.at(-1) > 500.8);
  scene.run(1, 20);
  assert.ok(scene.played.at(-1) > 20.8 && scene.played.at(-1) < 21);
});
