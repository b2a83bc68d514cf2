/** Bodies that go on where they were when the connection breaks and is made again (RFC 9110 §14.2, §13.1.5). */

import { SessionError } from "./errors.js";

/** Milliseconds by which a date must be past for a file not to be changed again within it (§8.8.2.2). */
const SETTLED = 1000;
/** Milliseconds between attempts while there is no connection. */
const PAUSE = 1000;

/**
 * A reader of the body of `response`, `{read, cancel}` as a ReadableStream's.
 *
 * @param peer the Peer that gave it
 * @param target what was asked for, with `init`; its `signal` ends waiting, too
 */
export function resumingReader(peer, target, init, response) {
  const reader = response.body.getReader();
  const range = resumable(init, response);
  return range ? new ResumingReader({ peer, target, init }, reader, range) : reader;
}

class ResumingReader {
  #source;
  #reader;
  #range;

  constructor(source, reader, range) {
    this.#source = source;
    this.#reader = reader;
    this.#range = range;
  }

  async read() {
    for (;;) {
      try {
        const found = await this.#reader.read();
        if (!found.done) this.#range.next += found.value.length;
        return found;
      } catch (error) {
        if (!(error.cause instanceof SessionError) || this.#source.init.signal?.aborted) throw error;
        // All was there but the end of the stream.
        if (this.#range.next > this.#range.last) return { done: true, value: undefined };
        await this.#resume(error);
      }
    }
  }

  cancel(reason) {
    return this.#reader.cancel(reason);
  }

  async #resume(broken) {
    const { peer, init } = this.#source;
    for (let lost = broken; ; ) {
      if (peer.state === "closed") throw lost;
      try {
        this.#reader = await this.#ask();
        return;
      } catch (error) {
        if (error instanceof Changed || init.signal?.aborted) throw error;
        lost = error;
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }

  /** The body of what is missing. Throws Changed where the device has something else now. */
  async #ask() {
    const { peer, target, init } = this.#source;
    const { next, last, validator, size } = this.#range;
    const headers = new Headers(init.headers);
    headers.set("range", `bytes=${next}-${last}`);
    headers.set("if-range", validator);
    const response = await peer.fetch(target, { ...init, headers });
    const found = contentRange(response);
    if (response.status === 206 && found?.first === next && found.last === last && found.size === size) {
      return response.body.getReader();
    }
    await response.body?.cancel();
    throw new Changed("what was being sent is not there any more as it was: begin again");
  }
}

class Changed extends TypeError {}

/** `{next, last, size, validator}` of a body that can be taken up again; null for any other. */
function resumable({ method = "GET" }, { status, headers }) {
  const validator = strongValidator(headers);
  // What was compressed on its way is counted otherwise here than there.
  if (method !== "GET" || !validator || headers.has("content-encoding")) return null;
  if (status === 206) {
    const found = contentRange({ headers });
    return found && { next: found.first, last: found.last, size: found.size, validator };
  }
  const size = Number(headers.get("content-length") ?? NaN);
  if (status !== 200 || !Number.isSafeInteger(size)) return null;
  return { next: 0, last: size - 1, size, validator };
}

function contentRange({ headers }) {
  const found = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/.exec(headers.get("content-range") ?? "");
  if (!found) return null;
  return { first: Number(found[1]), last: Number(found[2]), size: found[3] === "*" ? null : Number(found[3]) };
}

/** The validator for If-Range: an entity tag that is not weak, or a date that lies behind. */
function strongValidator(headers) {
  const etag = headers.get("etag");
  if (etag) return etag.startsWith("W/") ? null : etag;
  const modified = headers.get("last-modified");
  const settled = Date.parse(headers.get("date")) - Date.parse(modified) > SETTLED;
  return settled ? modified : null;
}
