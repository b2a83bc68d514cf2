// Work is linear in what a hostile peer sends: steps are counted, over inputs of growing size.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Assembler } from "../../../src/peerfetch_fast/web/lib/assembler.js";
import { BlockReader, blockHeader, decodeResponse } from "../../../src/peerfetch_fast/web/lib/blocks.js";
import { parseChallenges } from "../../../src/peerfetch_fast/web/lib/challenges.js";
import { CookieJar, parseDate } from "../../../src/peerfetch_fast/web/lib/cookies.js";
import { Engine } from "../../../src/peerfetch_fast/web/lib/engine.js";
import { SETTINGS } from "../../../src/peerfetch_fast/web/lib/settings.js";
import { FrameReader } from "../../../src/peerfetch_fast/web/lib/websocket.js";
import { Frame, encodeFrame } from "../../../src/peerfetch_fast/web/lib/wire.js";
import { assertLinear, steps } from "../steps.js";

const bytes = (...parts) => Uint8Array.from(parts.flat());
const repeated = (part, times) => Uint8Array.from({ length: part.length * times }, (_, i) => part[i % part.length]);
const joined = (parts) => Uint8Array.from(parts.flatMap((part) => [...part]));

test("the steps within a function are counted each time, not only the first", () => {
  const counts = [100, 1000, 10_000].map((n) => steps(() => parseChallenges("=,".repeat(n))));
  assert.ok(counts[2] > 9 * counts[1] && counts[1] > 9 * counts[0], `${counts}`);
});

/** Feed `data` in pieces of `size`. */
function fed(reader, data, size) {
  for (let at = 0; at < data.length; at += size) reader.feed(data.subarray(at, at + size));
}

const frame = (type, length) => joined([blockHeader(type, length), new Uint8Array(length)]);

const FRAMES = {
  "a message": (n) => frame(2, n),
  "empty fragments": (n) => joined([[0x12, 0], repeated([0x10, 0], n)]),
  "fragments of a byte": (n) => joined([[0x12, 1, 0], repeated([0x10, 1, 7], n)]),
  "empty messages": (n) => repeated([2, 0], n),
  "control frames": (n) => repeated(frame(9, 125), Math.ceil(n / 125)),
  "a frame of an unknown type": (n) => frame(0x3f, n),
  "frames of unknown types": (n) => repeated([0x3f, 0], n),
};
for (const [name, make] of Object.entries(FRAMES)) {
  for (const size of [1, 100, Infinity]) {
    test(`the reader of WebSocket frames: ${name}, ${size} bytes at a time`, () => {
      assertLinear((n) => fed(new FrameReader(), make(n), size));
    });
  }
}

const BLOCKS = {
  "a head": (n) => frame(1, n),
  "empty heads": (n) => repeated([1, 0], n),
  "a body": (n) => frame(0, n),
  "empty pieces": (n) => repeated([0, 0], n),
  "pieces of a byte": (n) => repeated([0, 1, 7], n),
  "a block of an unknown type": (n) => frame(0x3f, n),
};
for (const [name, make] of Object.entries(BLOCKS)) {
  for (const size of [1, 100, Infinity]) {
    test(`the reader of blocks: ${name}, ${size} bytes at a time`, () => {
      assertLinear((n) => fed(new BlockReader(), make(n), size));
    });
  }
}

const HEADERS = {
  "blanks within a value": (n) => [["a", `x${" ".repeat(n)}x`]],
  "blanks around a value": (n) => [["a", " ".repeat(n)]],
  "many fields": (n) => Array.from({ length: n }, () => ["a", ""]),
  "many names in Connection": (n) => [["connection", "a,".repeat(n)], ["a", ""]],
};
for (const [name, make] of Object.entries(HEADERS)) {
  test(`heads: ${name}`, () => {
    assertLinear((n) => {
      const head = { status: 200, headers: make(n) };
      decodeResponse(new TextEncoder().encode(JSON.stringify(head)));
    });
  });
}

test("a head of lists within lists is refused or read, and no more", () => {
  const head = `{"status":200,"x":${"[".repeat(20_000)}${"]".repeat(20_000)}}`;
  try {
    assert.equal(decodeResponse(new TextEncoder().encode(head)).status, 200);
  } catch (error) {
    assert.equal(error.name, "MessageError");
  }
});

/** Orders in which n pieces of a byte arrive, of which the first comes last. */
const ORDERS = {
  descending: (n) => Array.from({ length: n }, (_, i) => n - 1 - i),
  "every second, then the others": (n) => [
    ...Array.from({ length: n / 2 }, (_, i) => 2 * i + 1),
    ...Array.from({ length: n / 2 }, (_, i) => 2 * (n / 2 - 1 - i)),
  ],
  "from both ends": (n) => Array.from({ length: n }, (_, i) => (i % 2 ? n - 1 - (i >> 1) : 1 + (i >> 1))).slice(0, -1),
};
for (const [name, order] of Object.entries(ORDERS)) {
  test(`pieces of a stream: ${name}`, () => {
    assertLinear((n) => {
      const assembler = new Assembler();
      for (const offset of order(n)) assert.notEqual(assembler.put(offset, Uint8Array.of(offset & 0xff)), null);
      assembler.put(0, Uint8Array.of(0));
      for (let data; (data = assembler.take()); );
    });
  });
}

test("pieces in any order come out in the order of their offsets", () => {
  for (const order of Object.values(ORDERS)) {
    const assembler = new Assembler();
    let waiting = 0;
    for (const offset of order(1000)) waiting += assembler.put(offset, Uint8Array.of(offset & 0xff));
    if (assembler.received === 0) waiting += assembler.put(0, Uint8Array.of(0));
    assert.equal(waiting, 0);
    const out = [];
    for (let data; (data = assembler.take()); ) out.push(...data);
    assert.deepEqual(out, Array.from({ length: assembler.received }, (_, i) => i & 0xff));
  }
});

test("pieces that overlap are refused wherever they are put", () => {
  const assembler = new Assembler();
  for (let offset = 1000; offset > 0; offset -= 5) assert.equal(assembler.put(offset, new Uint8Array(4)), 1);
  for (let offset = 5; offset <= 1003; offset += 5) {
    assert.equal(assembler.put(offset + 3, new Uint8Array(1)), null);
    assert.equal(assembler.put(offset - 1, new Uint8Array(2)), null);
    assert.equal(assembler.put(offset, new Uint8Array(4)), null);
  }
});

test("whole pieces that nobody reads yet", () => {
  assertLinear((n) => {
    const assembler = new Assembler();
    for (let i = 0; i < n; i++) assembler.put(1024 * i, new Uint8Array(1024));
    for (let data; (data = assembler.take()); );
  });
});

const stream = (id, offset, data = []) => encodeFrame(Frame.STREAM, [id, offset], Uint8Array.from(data));
const MESSAGES = {
  "empty STREAM": (n) => repeated(stream(1, 0), n),
  "STREAM of a byte": (n) => joined(Array.from({ length: n }, (_, i) => stream(1, i, [7]))),
  "STREAM of a byte, descending": (n) => joined(Array.from({ length: n }, (_, i) => stream(1, 2 * (n - i), [7]))),
  "streams, opened and cancelled": (n) =>
    joined([
      stream(511, 0),
      ...Array.from({ length: n }, (_, i) => encodeFrame(Frame.STOP_SENDING, [2 * (i % 256) + 1, 7])),
    ]),
  PONG: (n) => repeated(encodeFrame(Frame.PONG, [], new Uint8Array(8)), n),
  MAX_DATA: (n) => joined(Array.from({ length: n }, (_, i) => encodeFrame(Frame.MAX_DATA, [i]))),
  MAX_STREAM_DATA: (n) => joined(Array.from({ length: n }, (_, i) => encodeFrame(Frame.MAX_STREAM_DATA, [1, i]))),
  MAX_STREAMS: (n) => joined(Array.from({ length: n }, (_, i) => encodeFrame(Frame.MAX_STREAMS, [i]))),
  GOAWAY: (n) => joined(Array.from({ length: n }, (_, i) => encodeFrame(Frame.GOAWAY, [2 * n - 2 * i, 0]))),
  "RESET_STREAM, again": (n) => joined([stream(1, 0), repeated(encodeFrame(Frame.RESET_STREAM, [1, 7, 9]), n)]),
  "unknown frames": (n) => repeated([0x3f, 0], n),
};
for (const [name, make] of Object.entries(MESSAGES)) {
  test(`messages: ${name}`, () => {
    assertLinear((n) => {
      const settings = { ...SETTINGS, fragments: 1 << 20 };
      const engine = new Engine({ opener: true, now: 0, settings });
      engine.receive(encodeFrame(Frame.SETTINGS, [3, 100_000]), 0);
      for (let i = 0; i < 256; i++) engine.open().write(Uint8Array.of(1));
      engine.receive(make(n), 0);
      engine.takeEvents();
      while (engine.nextMessage());
    });
  });
}

class Storage {
  #kept = new Map();
  reads = 0;
  getItem(key) {
    this.reads++;
    return this.#kept.get(key) ?? null;
  }
  setItem(key, value) {
    this.#kept.set(key, value);
  }
}

test("cookies of one answer are read and written once, however many", () => {
  const jarOf = (storage) => new CookieJar(storage, "key", () => 0);
  const cookies = (n) => Array.from({ length: n }, (_, i) => `a${i}=b; Path=/`);
  assertLinear((n) => jarOf(new Storage()).set(cookies(n), "/"));
  const storage = new Storage();
  jarOf(storage).set(cookies(3000), "/");
  assert.equal(storage.reads, 1);
  assert.equal(jarOf(storage).header("/").split("; ").length, 180);
  assert.ok(jarOf(storage).header("/").endsWith("a2999=b"));
});

test("dates and attributes of cookies", () => {
  assertLinear((n) => parseDate("1:1:1 ".repeat(n)));
  assertLinear((n) => new CookieJar(new Storage(), "key").set(`a=b${";".repeat(n)}`, "/"));
});

test("challenges: what stands between them is passed over at once, however much it is", () => {
  assertLinear((n) => parseChallenges("=,".repeat(n)));
  // What a regular expression does is not counted: it is to be asked once, and not once for each comma.
  for (const between of [",", ", ", "\t,", " "]) {
    const read = (n) => steps(() => parseChallenges(`a=b${between.repeat(n)}=${between.repeat(n)}`));
    const few = read(500);
    assert.equal(read(8000), few);
  }
});
