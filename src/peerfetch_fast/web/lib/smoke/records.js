/** Records in a body, one JSON text a line, as they are pulled. */

import { Queryable } from "./queryable.js";

export const RECORDS = "application/x-ndjson";

/** Bytes and milliseconds for which records are put together. */
const BATCH = 16 << 10;
const BATCH_TIME = 4;
/** Characters of the longest record that is read. */
const MAX_RECORD = 16 << 20;

const encoder = new TextEncoder();
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds, null));

/**
 * A stream of bytes that pulls `records` as it is read, and ends their iterator when it is cancelled.
 * @param done called once: with null at the end, else with what has happened
 */
export function recordStream(records, done = () => {}) {
  const iterator = records[Symbol.asyncIterator]();
  /** The record that was asked for and has not come in the time of the batch before. */
  let asked = null;
  const pull = async (controller) => {
    let text = "";
    const late = pause(BATCH_TIME);
    try {
      while (text.length < BATCH) {
        asked ??= iterator.next();
        const found = await (text ? Promise.race([asked, late]) : asked);
        if (!found) break;
        asked = null;
        if (found.done) {
          if (text) controller.enqueue(encoder.encode(text));
          controller.close();
          return done(null);
        }
        text += `${jsonOf(found.value)}\n`;
      }
      controller.enqueue(encoder.encode(text));
    } catch (error) {
      await iterator.return?.().catch?.(() => {});
      done(error);
      throw error;
    }
  };
  const cancel = async (reason) => {
    done(reason ?? new Error("the receiver has read enough"));
    await iterator.return?.();
  };
  return new ReadableStream({ pull, cancel }, { highWaterMark: 0 });
}

/** A record as JSON. Throws TypeError for what has none, such as a function. */
export function jsonOf(record) {
  const text = JSON.stringify(record);
  if (text === undefined) throw new TypeError("a record that is no JSON");
  return text;
}

/** The record in a text of the other side. Throws SyntaxError. */
export function recordOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new SyntaxError("the other side sent a record that is no JSON");
  }
}

/** The records in a body. Ending the iteration cancels the body, and so the other side's query. */
export function recordsIn(body) {
  return new Queryable(lines(body));
}

async function* lines(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let rest = [];
  let size = 0;
  let isWhole = false;
  try {
    while (!isWhole) {
      const { done, value } = await reader.read();
      isWhole = done;
      const parts = (done ? decoder.decode() : decoder.decode(value, { stream: true })).split("\n");
      size += parts[0].length;
      if (size > MAX_RECORD) throw new RangeError(`a record of more than ${MAX_RECORD} characters`);
      rest.push(parts[0]);
      for (const part of parts.slice(1)) {
        const text = rest.join("");
        [rest, size] = [[part], part.length];
        if (text) yield recordOf(text);
      }
    }
    const last = rest.join("");
    if (last) yield recordOf(last);
  } finally {
    if (!isWhole) await reader.cancel().catch(() => {});
  }
}
