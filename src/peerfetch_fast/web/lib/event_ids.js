/**
 * The last event id of an EventSource (HTML §9.2.6). When it connects again, browsers put that into the request
 * behind the back of a service worker; so it is noted here as it passes.
 */

import { octets } from "./bytes.js";

/** EventSources of which it is known, and characters of an id. */
const MAX_SOURCES = 256;
const MAX_ID = 4096;

export class EventIds {
  /** By mark, the oldest first. */
  #last = new Map();

  /** The id that the EventSource with this mark was told last, one character an octet; "" for none. */
  of(mark) {
    return this.#last.get(mark) ?? "";
  }

  /** `body`, an event stream for that EventSource. */
  noted(body, mark) {
    const reader = new IdReader(this.of(mark));
    return body.pipeThrough(
      new TransformStream({
        transform: (piece, controller) => {
          reader.feed(piece);
          this.#last.delete(mark);
          this.#last.set(mark, reader.last);
          if (this.#last.size > MAX_SOURCES) this.#last.delete(this.#last.keys().next().value);
          controller.enqueue(piece);
        },
      }),
    );
  }
}

/** Finds the ids in an event stream (HTML §9.2.5). */
class IdReader {
  #line = "";
  #isLong = false;
  /** Whether a LF would belong to the CR before it. */
  #afterReturn = false;
  #buffer;
  last;

  constructor(last) {
    this.last = this.#buffer = last;
  }

  feed(piece) {
    const text = octets(piece);
    const [rest, ...others] = text.slice(this.#afterReturn && text[0] === "\n" ? 1 : 0).split(/\r\n|[\r\n]/).reverse();
    this.#afterReturn = text.endsWith("\r");
    for (const line of others.reverse()) {
      this.#append(line);
      this.#end();
    }
    this.#append(rest);
  }

  #append(part) {
    this.#isLong ||= this.#line.length + part.length > MAX_ID;
    this.#line = this.#isLong ? "" : this.#line + part;
  }

  #end() {
    const [line, isLong] = [this.#line, this.#isLong];
    [this.#line, this.#isLong] = ["", false];
    if (isLong) return;
    if (line === "") this.last = this.#buffer;
    const found = /^(?:\u00ef\u00bb\u00bf)?id(?:: ?([^]*))?$/.exec(line);
    const value = found?.[1] ?? "";
    // What no header can say is as good as unsaid.
    if (found && /^[\t\u0020-\u007e\u0080-\u00ff]*$/.test(value)) this.#buffer = value;
  }
}
