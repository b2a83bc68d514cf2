/**
 * The service worker's work on the documents of an app: it tells HTML as browsers do, and puts the shim
 * (page/shim.js) into it. Loaded by worker.js.
 */

/** Octets that tell what a document without a type is (MIME Sniffing §5.2), and that are looked at for its head. */
const SNIFFED = 1445;
const PROLOGUE_SIZE = 8192;
/** Where no type was given (MIME Sniffing §7). */
const UNKNOWN = new Set(["", "unknown/unknown", "application/unknown", "*/*"]);
const SIGNATURE =
  /^(?:<!--|<(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p)[ >])/i;
/** Characters of the longest signature, with the one behind it. */
const SIGNATURE_SIZE = 15;

// What may stand before the head's content, of which a script could not be put before the doctype.
const TAG = String.raw`(?:[\t\n\f\r /](?:[^"'>]|"[^"]*"|'[^']*')*)?>`;
const BEFORE = String.raw`[\t\n\f\r ]|<!--[^]*?-->|<!(?!--)[^>]*>|<\?[^>]*>|<html${TAG}`;
const PROLOGUE = new RegExp(String.raw`^(?:\u00ef\u00bb\u00bf)?(?:${BEFORE})*(<head${TAG})?`, "i");

const essence = (headers) => (headers.get("content-type") ?? "").split(";")[0].trim().toLowerCase();

/**
 * The body of the answer to a navigation, with the shim in it if it is HTML; `headers` are changed with it.
 * @param shim the URL of the script
 */
async function withShim(body, headers, shim) {
  let type = essence(headers);
  const isSniffed = UNKNOWN.has(type) && !/^\s*nosniff\s*$/i.test(headers.get("x-content-type-options") ?? "");
  if (!isSniffed && type !== "text/html" && type !== "application/xhtml+xml") return body;
  const reader = body.getReader();
  const start = new Beginning(reader);
  if (isSniffed) {
    await start.fill(SNIFFED, (text) => withoutBlanks(text).length >= SIGNATURE_SIZE);
    if (!SIGNATURE.test(withoutBlanks(start.text))) return joined([start.bytes], reader, start.error);
    headers.set("content-type", (type = "text/html"));
  }
  await start.fill(PROLOGUE_SIZE, (text) => placeIn(text) !== null);
  const at = isUtf16(start.bytes, headers) ? null : placeOf(start.text, type);
  if (at === null) return joined([start.bytes], reader, start.error);
  headers.delete("content-length");
  const xmlns = type === "text/html" ? "" : ' xmlns="http://www.w3.org/1999/xhtml"';
  const tag = new TextEncoder().encode(`<script${xmlns} src="${shim}"></script>`);
  return joined([start.bytes.subarray(0, at), tag, start.bytes.subarray(at)], reader, start.error);
}

const withoutBlanks = (text) => text.replace(/^[\t\n\f\r ]+/, "");

function isUtf16(bytes, headers) {
  const mark = (bytes[0] << 8) | bytes[1];
  return mark === 0xfeff || mark === 0xfffe || /;\s*charset\s*=\s*"?utf-16/i.test(headers.get("content-type"));
}

/** Where in a document the shim belongs; null while more of it has to come to tell. */
function placeIn(text) {
  if (text.length < 3) return null; // of a byte order mark, say
  const [whole, head] = PROLOGUE.exec(text);
  const rest = text.slice(whole.length, whole.length + 6).toLowerCase();
  const isOpen = ["<html", "<head"].some((tag) => tag.startsWith(rest) || /^[\t\n\f\r /]/.test(rest.split(tag)[1]));
  return !head && (isOpen || /^<[!?]/.test(rest)) ? null : whole.length;
}

/** The same once no more comes; null where there is no place. */
function placeOf(text, type) {
  const [whole, head] = PROLOGUE.exec(text);
  // XML takes a script only within its root.
  return head || type === "text/html" ? whole.length : null;
}

/** The first pieces of a body. */
class Beginning {
  #reader;
  #isOver = false;
  bytes = new Uint8Array(0);
  error = null;

  constructor(reader) {
    this.#reader = reader;
  }

  /** One character an octet, so that indices are the same in any encoding that extends ASCII. */
  get text() {
    return new TextDecoder("latin1").decode(this.bytes.subarray(0, PROLOGUE_SIZE));
  }

  /** Read until `isEnough(text)`, at most so many bytes and what comes with them. */
  async fill(size, isEnough) {
    while (!this.#isOver && this.bytes.length < size && !isEnough(this.text)) {
      try {
        const { done, value } = await this.#reader.read();
        if (done) {
          this.#isOver = true;
        } else {
          const more = new Uint8Array(this.bytes.length + value.length);
          more.set(this.bytes);
          more.set(value, this.bytes.length);
          this.bytes = more;
        }
      } catch (error) {
        this.error = error;
        this.#isOver = true;
      }
    }
  }
}

/** The chunks that were read already, and then the rest; `error` if it has come to that. */
function joined(pieces, reader, error) {
  return new ReadableStream(
    {
      start(controller) {
        for (const piece of pieces) if (piece.length) controller.enqueue(piece);
        if (error) controller.error(error);
      },
      async pull(controller) {
        const { done, value } = await reader.read();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}
