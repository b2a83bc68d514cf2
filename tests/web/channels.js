/** Two ends of a data channel in this process, and sessions on them. */

import { Session } from "../../src/peerfetch_fast/web/lib/session.js";
import { answer } from "../../src/peerfetch_fast/web/lib/server.js";

class Channel {
  readyState = "open";
  bufferedAmount = 0;
  bufferedAmountLowThreshold = 0;
  onmessage = null;
  onbufferedamountlow = null;
  onclose = null;
  /** Messages that wait for a path, null while there is one. */
  held = null;

  send(message) {
    const copy = message.slice().buffer;
    this.bufferedAmount += copy.byteLength;
    // The newest of those under way may arrive first.
    setImmediate(() => (this.held ? this.held.push(copy) : this.#deliver(copy)));
  }

  #deliver(copy) {
    const before = this.bufferedAmount;
    this.bufferedAmount -= copy.byteLength;
    this.other.onmessage?.({ data: copy });
    const low = this.bufferedAmountLowThreshold;
    if (before > low && this.bufferedAmount <= low) this.onbufferedamountlow?.();
  }

  cut() {
    this.held = [];
  }

  mend() {
    const { held } = this;
    this.held = null;
    for (const copy of held) this.#deliver(copy);
  }

  close() {
    for (const end of [this, this.other]) {
      if (end.readyState === "closed") continue;
      end.readyState = "closed";
      setImmediate(() => setImmediate(() => end.onclose?.()));
    }
  }
}

/** What fetchPrepared() takes, with `session` and no other. */
export const only = (session) => ({ next: async () => session, reconnects: () => false });

/**
 * The opener's session, and one that answers its requests by `handler`, and what cuts and mends the path
 * between them; `access` and `resumes` as for Engine.
 */
export function sessions(handler, access = { client: null, server: null }, resumes = false) {
  const [one, other] = [new Channel(), new Channel()];
  [one.other, other.other] = [other, one];
  const maxMessageSize = 262144;
  const common = { maxMessageSize, onstream: null, resumes };
  const client = new Session(one, { ...common, opener: true, access: access.client });
  const onstream = (stream) => void answer(stream, handler);
  const server = new Session(other, { ...common, opener: false, access: access.server, onstream });
  const ends = [one, other];
  const path = { cut: () => ends.forEach((end) => end.cut()), mend: () => ends.forEach((end) => end.mend()) };
  return { client, server, path };
}
