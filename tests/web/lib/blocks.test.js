import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import {
  Block,
  BlockReader,
  MAX_HEAD,
  blockHeader,
  contentLength,
  decodeRequest,
  decodeResponse,
  parsePriority,
} from "../../../src/peerfetch_fast/web/lib/blocks.js";
import { MessageError } from "../../../src/peerfetch_fast/web/lib/errors.js";

const VECTORS = JSON.parse(
  readFileSync(new URL("../../vectors/peerfetch2.json", import.meta.url), "utf8"),
);
const text = (data) => Buffer.from(data).toString();
const payload = (value) => new TextEncoder().encode(JSON.stringify(value));

for (const vector of VECTORS.blocks) {
  for (const step of [1, 3, 1000]) {
    test(`${vector.name}, ${step} bytes at a time`, () => {
      const stream = Buffer.from(vector.stream, "hex");
      const reader = new BlockReader();
      const found = [];
      for (let at = 0; at < stream.length; at += step) {
        for (const [type, data] of reader.feed(new Uint8Array(stream.subarray(at, at + step)))) {
          const last = found[found.length - 1];
          const goesOn = type === Block.DATA && last?.type === type && step < 1000;
          if (goesOn) last.text += text(data);
          else found.push({ type, text: text(data) });
        }
      }
      const joined = vector.blocks.reduce((all, block) => {
        const last = all[all.length - 1];
        if (step < 1000 && block.type === Block.DATA && last?.type === Block.DATA) {
          last.text += block.text;
        } else {
          all.push({ ...block });
        }
        return all;
      }, []);
      assert.deepEqual(found, joined);
      assert.equal(reader.inside, false);
    });
  }
}

for (const vector of VECTORS.heads) {
  test(`a head: ${vector.name}`, () => {
    const decode = vector.of === "request" ? decodeRequest : decodeResponse;
    const told = JSON.parse(vector.head);
    if (vector.taken) {
      const { target, status } = decode(payload(told));
      assert.deepEqual([target, status], [told.target, told.status]);
    } else {
      assert.throws(() => decode(payload(told)), MessageError);
    }
  });
}

test("a head that is too large is refused before it has come", () => {
  assert.throws(
    () => new BlockReader().feed(blockHeader(Block.HEAD, MAX_HEAD + 1)),
    (error) => error instanceof MessageError && error.status === 431,
  );
  const huge = blockHeader(Block.DATA, 2 ** 60);
  assert.deepEqual(new BlockReader().feed(huge), []);
});

test("heads that are not of the shape are refused", () => {
  for (const head of [
    null,
    [],
    7,
    {},
    { method: "GET", target: "http://elsewhere/" },
    { method: "GET", target: "/a b" },
    { method: "G T", target: "/" },
    { method: "GET", target: "/", headers: {} },
    { method: "GET", target: "/", headers: [["a"]] },
    { method: "GET", target: "/", headers: [["a", "b\nc: d"]] },
    { method: "GET", target: "/", headers: [["a", "\u0100"]] },
    { method: "GET", target: "/", protocol: 7 },
  ]) {
    assert.throws(() => decodeRequest(payload(head)), MessageError, JSON.stringify(head));
  }
  for (const status of [99, 1000, "200", 200.5, null]) {
    assert.throws(() => decodeResponse(payload({ status })), MessageError);
  }
  assert.throws(() => decodeRequest(new Uint8Array([0x22, 0xff, 0x22])), MessageError);
});

test("fields of one connection are dropped, others repeat in order", () => {
  const headers = [
    ["Set-Cookie", " a=1 "],
    ["connection", "close, X-Mine"],
    ["x-mine", "1"],
    ["set-cookie", "b=2"],
    ["TE", "trailers"],
  ];
  assert.deepEqual(decodeResponse(payload({ status: 200, headers })).headers, [
    ["set-cookie", "a=1"],
    ["set-cookie", "b=2"],
  ]);
});

test("Content-Length", () => {
  assert.equal(contentLength([]), null);
  assert.equal(contentLength([["content-length", "5"], ["content-length", "5, 5"]]), 5);
  for (const value of ["", "-1", "5, 6", "1e3", "99999999999999999"]) {
    assert.throws(() => contentLength([["content-length", value]]), MessageError);
  }
});

test("priority as RFC 9218 writes it, with this protocol's defaults", () => {
  assert.deepEqual(parsePriority("u=1, i"), { urgency: 1, incremental: true });
  assert.deepEqual(parsePriority("i=?0,u=7"), { urgency: 7, incremental: false });
  assert.deepEqual(parsePriority("u=9"), { urgency: 3, incremental: true });
});

test("a length with what looks like a blank is none", () => {
  for (const value of ["1\u000b", "\u00a01", "1\f"]) {
    assert.throws(() => contentLength([["content-length", value]]), MessageError);
  }
  assert.equal(contentLength([["content-length", " 1\t,1"]]), 1);
});

test("methods that everybody knows are read in upper case, others as they are", () => {
  const encode = (method) => new TextEncoder().encode(JSON.stringify({ method, target: "/" }));
  assert.equal(decodeRequest(encode("get")).method, "GET");
  assert.equal(decodeRequest(encode("mkCol")).method, "mkCol");
});
