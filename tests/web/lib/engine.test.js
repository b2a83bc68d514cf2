// The stream engine of the browser client, in virtual time, against the vectors that Python's passes.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Engine } from "../../../src/peerfetch_fast/web/lib/engine.js";
import { SessionError, StreamError } from "../../../src/peerfetch_fast/web/lib/errors.js";
import { SETTINGS } from "../../../src/peerfetch_fast/web/lib/settings.js";
import {
  Frame,
  VARINT_MAX,
  decodeFrames,
  encodeFrame,
  readVarint,
  varint,
} from "../../../src/peerfetch_fast/web/lib/wire.js";

const VECTORS = JSON.parse(
  readFileSync(new URL("../../vectors/peerfetch2.json", import.meta.url), "utf8"),
);
const SMALL = { ...SETTINGS, maxData: 1 << 20, maxStreamData: 1 << 18, maxStreams: 16 };

const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex"));
const hex = (data) => Buffer.from(data).toString("hex");
const text = (data) => Buffer.from(data).toString();
const ascii = (string) => new TextEncoder().encode(string);
const NAMES = new Map(Object.entries(Frame).map(([name, type]) => [type, name]));

/** A frame in the words of the vectors. */
function describe({ type, fields, data }) {
  const [stream, second, third] = fields;
  switch (NAMES.get(type)) {
    case "PING":
    case "PONG":
      return { type: NAMES.get(type), data: hex(data) };
    case "ACCESS":
      return { type: "ACCESS", proof: hex(data) };
    case "PAKE":
      return { type: "PAKE", share: hex(data) };
    case "SETTINGS":
      return { type: "SETTINGS", settings: pairs(fields) };
    case "GOAWAY":
      return { type: "GOAWAY", stream, code: second, reason: text(data) };
    case "STREAM":
    case "STREAM_FIN":
      return { type: "STREAM", stream, offset: second, data: hex(data), fin: type === 0x09 };
    case "RESET_STREAM":
      return { type: "RESET_STREAM", stream, code: second, final_size: third };
    case "STOP_SENDING":
      return { type: "STOP_SENDING", stream, code: second };
    case "MAX_DATA":
    case "MAX_STREAMS":
      return { type: NAMES.get(type), maximum: Number(stream) };
    case "MAX_STREAM_DATA":
      return { type: "MAX_STREAM_DATA", stream, maximum: second };
    default:
      return { type, data: hex(data) };
  }
}

const pairs = (fields) => fields.flatMap((f, i) => (i % 2 ? [] : [[f, fields[i + 1]]]));
const engine = (opener = false, settings = SMALL) => new Engine({ opener, now: 0, settings });
const channelled = (options) => new Engine({ opener: true, now: 0, ...options });

function drain(one) {
  const frames = [];
  for (let message; (message = one.nextMessage()); ) {
    frames.push(...[...decodeFrames(message.slice())].map(describe));
  }
  return frames;
}

/** Numbers from a seed (mulberry32), so that a failure can be had again. */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function exchange(one, other) {
  for (let moved = true; moved; ) {
    moved = false;
    for (const [from, to] of [
      [one, other],
      [other, one],
    ]) {
      for (let message; (message = from.nextMessage()); moved = true) to.receive(message.slice(), 0);
    }
  }
}

function pair(settings = SMALL) {
  const ends = [engine(true, settings), engine(false, settings)];
  exchange(...ends);
  ends.forEach((end) => end.takeEvents());
  return ends;
}

const opened = (one) => one.takeEvents().filter(([name]) => name === "opened").map((e) => e[1]);

function readAll(stream) {
  const parts = [];
  for (let data; (data = stream.read()) && data.length; ) parts.push(data);
  return Buffer.concat(parts);
}

for (const vector of VECTORS.varints) {
  test(`varint ${vector.value}`, () => {
    const value = BigInt(vector.value);
    assert.equal(hex(varint(value)), vector.bytes);
    const [read, end] = readVarint(bytes(vector.bytes));
    assert.equal(BigInt(read), value);
    assert.equal(end, vector.bytes.length / 2);
    assert.equal(readVarint(bytes(vector.bytes.slice(0, -2))), null);
  });
}

for (const vector of VECTORS.frames) {
  test(`frames: ${vector.name}`, () => {
    const message = bytes(vector.message);
    const frames = [...decodeFrames(message)];
    assert.deepEqual(frames.map(describe), vector.frames);
    const again = frames.map(({ type, fields, data }) => hex(encodeFrame(type, fields, data)));
    assert.equal(again.join(""), vector.message);
  });
}

for (const vector of VECTORS.errors) {
  test(`error: ${vector.name}`, () => {
    const one = engine();
    drain(one);
    assert.throws(
      () => vector.receive.forEach((message) => one.receive(bytes(message), 0)),
      (error) => error instanceof SessionError && error.code === vector.code,
    );
    const [goaway, ...more] = drain(one);
    assert.equal(goaway.type, "GOAWAY");
    assert.equal(goaway.code, vector.code);
    assert.ok(goaway.reason);
    assert.deepEqual(more, []);
    one.receive(bytes(""), 0); // what still comes is ignored
  });
}

test("SETTINGS come first and once", () => {
  assert.deepEqual(drain(engine()), [
    { type: "SETTINGS", settings: [[1, 1 << 20], [2, 1 << 18], [3, 16]] },
  ]);
});

test("any order of messages gives the same bytes, both ways, and credit for more", () => {
  for (let seed = 0; seed < 60; seed++) {
    const next = random(seed);
    const ends = [engine(true), engine(false)];
    const wire = [[], []];
    const streams = [];
    const sources = new Map();
    const got = new Map();
    const write = (stream) => {
      const data = new Uint8Array(Math.floor(next() ** 3 * 40_000)).map(() => next() * 256);
      if (next() < 0.1 && stream.sent > 0) return stream.end();
      stream.write(data);
      sources.get(stream).push(data);
    };
    for (let turn = 0; turn < 400; turn++) {
      if (streams.length < 16 && next() < 0.2) {
        const end = next() < 0.5 ? 0 : 1;
        const stream = ends[end].open();
        if (stream) {
          streams.push(stream);
          sources.set(stream, []);
          stream.setPriority(Math.floor(next() * 8), next() < 0.5);
        }
      }
      const stream = streams[Math.floor(next() * streams.length)];
      if (stream?.canWrite && stream.unsent < 100_000) write(stream);
      ends.forEach((end, i) => {
        const message = next() < 0.7 && end.nextMessage();
        if (message) wire[i].push(message.slice());
        const count = wire[1 - i].length;
        if (count && next() < 0.6) {
          const [picked] = wire[1 - i].splice(Math.floor(next() * count), 1);
          end.receive(picked, 0);
        }
        for (const stream of end.streams.values()) {
          const own = stream.id % 2 === i;
          const data = !own && next() < 0.8 ? stream.read() : null;
          if (data?.length) got.set(stream.id, [...(got.get(stream.id) ?? []), data]);
        }
      });
    }
    streams.forEach((stream) => stream.canWrite && stream.end());
    for (let moved = true; moved; ) {
      moved = false;
      ends.forEach((end, i) => {
        for (let message; (message = end.nextMessage()); moved = true) {
          wire[i].push(message.slice());
        }
        while (wire[1 - i].length) {
          moved = true;
          const at = Math.floor(next() * wire[1 - i].length);
          end.receive(wire[1 - i].splice(at, 1)[0], 0);
        }
        for (const stream of end.streams.values()) {
          if (stream.id % 2 === i) {
            stream.read(); // the end of the other direction
            continue;
          }
          for (let data; (data = stream.read())?.length; moved = true) {
            got.set(stream.id, [...(got.get(stream.id) ?? []), data]);
          }
          if (stream.canWrite && stream.atEnd) {
            stream.end();
            moved = true;
          }
        }
      });
    }
    for (const [stream, written] of sources) {
      const received = Buffer.concat(got.get(stream.id) ?? []);
      assert.ok(received.equals(Buffer.concat(written)), `seed ${seed}, stream ${stream.id}`);
      assert.equal(stream.read().length, 0);
      assert.ok(stream.atEnd);
    }
    exchange(...ends);
    assert.equal(ends[0].streams.size + ends[1].streams.size, 0, `seed ${seed}`);
    assert.equal(ends[0]._fragments + ends[1]._fragments, 0);
  }
});

test("random bytes never raise anything but a session error", () => {
  const next = random(7);
  for (let turn = 0; turn < 5000; turn++) {
    const one = engine(next() < 0.5);
    const message = new Uint8Array(next() * 40).map(() => next() * (next() < 0.5 ? 24 : 256));
    try {
      one.receive(message, 0);
    } catch (error) {
      assert.ok(error instanceof SessionError, error.stack);
      assert.equal(one.error, error);
    }
  }
});

test("a writer is stopped by credit, and goes on when the reader reads", () => {
  const [one, other] = pair();
  const stream = one.open();
  stream.write(new Uint8Array(SMALL.maxStreamData + 1000));
  exchange(one, other);
  assert.equal(stream.unsent, 1000);
  const [incoming] = opened(other);
  assert.equal(readAll(incoming).length, SMALL.maxStreamData);
  exchange(one, other);
  assert.equal(stream.unsent, 0);
});

test("small pieces behind a slow reader are joined and stay whole", () => {
  const [one, other] = pair();
  const stream = one.open();
  const expected = [];
  for (let i = 0; i < 3000; i++) {
    const piece = ascii(`${i} `).slice(0, i % 50 === 0 ? 0 : undefined);
    const large = i % 700 === 0 ? new Uint8Array(2000).fill(i) : piece;
    stream.write(large);
    expected.push(large);
    exchange(one, other);
  }
  stream.end();
  exchange(one, other);
  const [incoming] = opened(other);
  assert.ok(readAll(incoming).equals(Buffer.concat(expected)));
  assert.ok(incoming.atEnd);
});

test("urgent streams go first and incremental ones share", () => {
  const [one, other] = pair();
  const slow = [one.open(), one.open()];
  slow.forEach((stream) => stream.write(new Uint8Array(100_000)));
  const urgent = one.open();
  urgent.setPriority(0, false);
  urgent.write(new Uint8Array(20_000));
  const order = drain(one).map((frame) => frame.stream);
  assert.deepEqual(order.slice(0, 6), [4, 4, 0, 2, 0, 2]);
  assert.equal(other.error, null);
});

test("reset and stop reach the other side and close the stream", () => {
  const [one, other] = pair();
  const stream = one.open();
  stream.write(ascii("half"));
  exchange(one, other);
  stream.cancel(0x10c);
  exchange(one, other);
  const events = other.takeEvents();
  assert.ok(events.some(([name]) => name === "aborted"));
  const incoming = events[0][1];
  assert.throws(() => incoming.read(), StreamError);
  assert.throws(() => incoming.write(ascii("x")), StreamError);
  assert.equal(one.streams.size + other.streams.size, 0);
});

test("the number of streams is bounded, and raised as they close", () => {
  const [one, other] = pair();
  const streams = Array.from({ length: 16 }, () => one.open());
  assert.equal(one.open(), null);
  streams.forEach((stream) => stream.end());
  exchange(one, other);
  opened(other).forEach((stream) => {
    readAll(stream);
    stream.end();
  });
  exchange(one, other);
  streams.forEach(readAll);
  assert.ok(one.takeEvents().some(([name]) => name === "streams"));
  assert.ok(one.open());
});

test("PING finds the dead, counted from the PING", () => {
  const [one, other] = pair();
  assert.equal(one.deadline(), 1.5);
  one.handleTimeout(100);
  exchange(one, other);
  assert.equal(one.roundTrip, -100);
  one.handleTimeout(200);
  // Half a second to answer in, before another path is looked for.
  assert.equal(one.deadline(), 200.5);
  one.handleTimeout(200.5);
  assert.equal(one.deadline(), 203.5);
  assert.throws(() => one.handleTimeout(203.5), SessionError);
});

test("that nothing comes though it should is told once for each PING", () => {
  const [one, other] = pair();
  const quiet = (now) => {
    one.handleTimeout(now);
    return one.takeEvents().filter(([name]) => name === "quiet").length;
  };
  assert.deepEqual([1.5, 1.9, 2, 3].map(quiet), [0, 0, 1, 0]);
  one.heard(3);
  assert.deepEqual([4.5, 5].map(quiet), [0, 1]);
  exchange(one, other);
  // Who is asked to ask does so once, and hears of it as soon.
  one.heard(9);
  one.ask(10);
  one.ask(10.1);
  assert.equal(drain(one).filter(({ type }) => type === "PING").length, 1);
  assert.deepEqual([10.4, 11].map(quiet), [0, 1]);
});

/** The opener, of a channel that can move, after SETTINGS that keep a silent session for `theirs`. */
function resuming(theirs = 60_000, settings = {}) {
  const one = channelled({ resumes: true, settings: { ...SETTINGS, ...settings } });
  const fields = theirs ? [4, theirs] : [];
  one.receive(encodeFrame(Frame.SETTINGS, fields), 0);
  return one;
}

/** Names of the events until `now`, of those that are about silence. */
function told(one, now) {
  one.handleTimeout(now);
  return one.takeEvents().flatMap(([name]) => (name === "quiet" || name === "silence" ? [name] : []));
}

test("a channel that can move is announced with the time for which sessions are kept", () => {
  const announced = (options) => drain(channelled(options))[0].settings;
  const settings = { ...SETTINGS, resumeTimeout: 1.5 };
  assert.deepEqual(announced({ resumes: true, settings }).slice(3), [[4, 1500]]);
  assert.equal(announced({ resumes: true, settings: { ...settings, resumeTimeout: 0 } }).length, 3);
  assert.equal(announced({}).length, 3);
});

test("silence on a channel that can move is told, and ended by any sign of life", () => {
  const one = resuming();
  one.open();
  assert.deepEqual([1.5, 2, 4.9, 5, 59.9].map((now) => told(one, now)), [[], ["quiet"], [], ["silence"], []]);
  assert.equal(one.silent, true);
  assert.equal(one.deadline(), 60);
  one.heard(59.9);
  assert.deepEqual([one.silent, told(one, 60)], [false, ["silence"]]);
  assert.deepEqual([61.4, 64.9].map((now) => told(one, now)), [[], ["quiet", "silence"]]);
  one.receive(encodeFrame(Frame.MAX_DATA, [1]), 65);
  assert.equal(one.silent, false);
});

test("a silent session is kept for as long as both sides keep it", () => {
  for (const [theirs, settings, end] of [
    [60_000, {}, 60],
    [20_000, {}, 20],
    [60_000, { resumeTimeout: 30 }, 30],
    [VARINT_MAX, { resumeTimeout: 300 }, 300],
    [0, {}, 5],
    [1000, {}, 5],
    [60_000, { resumeTimeout: 0 }, 5],
  ]) {
    const one = resuming(theirs, settings);
    one.open();
    for (const now of [1.5, 4.9, 5, end - 0.1]) if (now < end) one.handleTimeout(now);
    assert.equal(one.error, null);
    assert.throws(() => one.handleTimeout(end), SessionError);
  }
  const fixed = engine();
  fixed.receive(encodeFrame(Frame.SETTINGS, [4, 60_000]), 0);
  fixed.handleTimeout(1.5);
  assert.throws(() => fixed.handleTimeout(5), SessionError);
});

test("a session without streams asks seldom where the channel looks after its path", () => {
  const one = resuming();
  assert.equal(one.deadline(), 15);
  one.open();
  assert.equal(one.deadline(), 1.5);
  // One that ends has nothing left that would be lost.
  const ending = resuming();
  ending.goaway();
  ending.handleTimeout(15);
  assert.throws(() => ending.handleTimeout(18.5), SessionError);
});

test("a round trip is measured when asked for, and shortens no life", () => {
  const [one, other] = pair();
  const sent = (now) => {
    one.measure(now);
    return drain(one).filter(({ type }) => type === "PING").length;
  };
  one.measure(0.1);
  exchange(one, other); // answered at 0
  assert.equal(one.roundTrip, -0.1);
  // Not again at once, nor while an answer is due.
  assert.deepEqual([1, 1.5, 3].map(sent), [0, 1, 0]);
  assert.equal(one.deadline(), 2);
  one.handleTimeout(4.9);
  assert.equal(one.deadline(), 5);
  assert.throws(() => one.handleTimeout(5), SessionError);
  const begun = engine(true);
  begun.measure(1);
  assert.ok(!drain(begun).some(({ type }) => type === "PING"));
});

test("without SETTINGS the session ends after ten seconds", () => {
  const one = engine();
  drain(one);
  assert.throws(() => one.handleTimeout(10), (error) => error.code === 8);
});

test("an orderly end lets open streams finish and rejects later ones", () => {
  const [one, other] = pair();
  const first = one.open();
  first.write(ascii("x"));
  exchange(one, other);
  const late = one.open();
  late.write(ascii("late"));
  other.goaway();
  exchange(one, other);
  assert.throws(() => late.read(), (error) => error.code === 0x10b);
  assert.throws(() => one.open(), SessionError);
  one.goaway();
  const [incoming] = opened(other);
  incoming.end();
  first.end();
  exchange(one, other);
  readAll(first);
  readAll(incoming);
  exchange(one, other);
  assert.ok(one.finished);
  assert.ok(other.finished);
});

test("an abort does not say that what was accepted was not processed", () => {
  // Or it would be asked for again, whatever it is.
  const [one, other] = pair();
  const stream = one.open();
  stream.write(ascii("deed"));
  exchange(one, other);
  other.abort(0, "closed");
  one.receive(other.nextMessage(), 0);
  assert.equal(stream.read(), null);
  assert.throws(() => one.open(), SessionError);
});

test("a responder with an access token proves itself only to those who did so before", () => {
  const proofs = { proof: new Uint8Array(32).fill(2), expected: new Uint8Array(32).fill(1) };
  const make = () => new Engine({ opener: false, now: 0, settings: SMALL, access: proofs });
  const access = (byte) => encodeFrame(Frame.ACCESS, [], new Uint8Array(32).fill(byte));
  const proofsIn = (frames) => frames.filter(({ type }) => type === "ACCESS");

  const right = make();
  assert.deepEqual(proofsIn(drain(right)), []);
  assert.equal(right.admitted, false);
  assert.equal(right.open(), null);
  right.receive(access(1), 0);
  assert.ok(right.owes);
  assert.deepEqual(proofsIn(drain(right)), [{ type: "ACCESS", proof: "02".repeat(32) }]);
  assert.equal(right.admitted, true);
  assert.ok(right.takeEvents().some(([name]) => name === "streams"));
  assert.ok(right.open());

  // A wrong proof gets no answer at all; ending the session is left to whoever takes his time over it.
  const wrong = make();
  wrong.receive(encodeFrame(Frame.SETTINGS, []), 0);
  wrong.receive(access(3), 0);
  assert.deepEqual([wrong.admitted, wrong.proofWrong], [false, true]);
  assert.ok(wrong.takeEvents().some(([name]) => name === "streams"));
  assert.equal(wrong.open(), null);
  assert.deepEqual(proofsIn(drain(wrong)), []);
  assert.throws(() => wrong.receive(access(1), 0), (error) => error.code === 10);
  assert.equal(wrong.admitted, false);

  // Not even one's own proof, sent back.
  const mirrored = make();
  mirrored.receive(access(2), 0);
  assert.equal(mirrored.proofWrong, true);

  const late = make();
  late.receive(encodeFrame(Frame.SETTINGS, []), 0);
  assert.throws(() => late.handleTimeout(10), (error) => error.code === 0x20);
});

test("with an access token nothing is opened before the other side's proof", () => {
  const proofs = { proof: new Uint8Array(32).fill(1), expected: new Uint8Array(32).fill(2) };
  const make = () => new Engine({ opener: true, now: 0, settings: SMALL, access: proofs });
  const access = (byte) => encodeFrame(Frame.ACCESS, [], new Uint8Array(32).fill(byte));
  const one = make();
  assert.deepEqual(drain(one)[1], { type: "ACCESS", proof: "01".repeat(32) });
  assert.equal(one.open(), null);
  one.receive(access(2), 0);
  assert.ok(one.takeEvents().some(([name]) => name === "streams"));
  assert.ok(one.open());
  assert.throws(() => one.receive(access(2), 0), (error) => error.code === 10);
  assert.throws(() => make().receive(access(3), 0), (error) => error.code === 0x20);
  const late = make();
  late.receive(encodeFrame(Frame.SETTINGS, []), 0);
  assert.throws(() => late.handleTimeout(10), (error) => error.code === 0x20);
  engine(true).receive(access(3), 0); // without a token it is ignored
});
