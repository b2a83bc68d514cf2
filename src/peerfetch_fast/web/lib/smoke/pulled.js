/** Queries of which the other side asks for each record: one message for one record (`prefetch: 0`). */

import { jsonOf, recordOf } from "./records.js";

/** The marks that are sent: by the reading side, and by the other side at the end. A record follows a plus sign. */
const NEXT = "next";
const END = "end";
const ERROR = "error";

/** Send the records of an iterable, each when it is asked for, until the channel ends. */
export function sendPulled(channel, records) {
  const iterator = records[Symbol.asyncIterator]();
  channel.addEventListener("close", () => iterator.return?.().catch?.(() => {}));
  channel._read(async (message) => {
    if (message !== NEXT) return channel.close();
    try {
      const { done, value } = await iterator.next();
      if (channel.readyState !== "open") return;
      channel.send(done ? END : `+${jsonOf(value)}`);
      if (done) channel.close();
    } catch (error) {
      console.error("a query failed:", error);
      if (channel.readyState === "open") channel.send(ERROR);
      channel.close();
    }
  });
}

/** The records of the other side, as they are asked for. @param opening a promise of the channel */
export async function* receivePulled(opening) {
  const channel = await opening;
  let take;
  channel.addEventListener("close", () => take?.(ERROR));
  channel._read((message) => take?.(message));
  try {
    for (;;) {
      const answered = new Promise((resolve) => (take = resolve));
      if (channel.readyState !== "open") throw new Error("the query was broken off");
      channel.send(NEXT);
      const message = await answered;
      if (message === END) return;
      if (typeof message !== "string" || message[0] !== "+") throw new Error("the query was broken off");
      yield recordOf(message.slice(1));
    }
  } finally {
    channel.close();
  }
}
