/** Answer the requests that the other side opens streams for. */

import { Block, contentLength, decodeRequest, endToEnd, jsonBlock, parsePriority } from "./blocks.js";
import { MessageError, StreamCode } from "./errors.js";
import { gathered } from "./gathering.js";
import { MessageReader, extractBody, sendBody } from "./message.js";

/** Milliseconds that the head of a request may take once its stream is open. */
const HEAD_TIMEOUT = 10_000;
/** Bytes of a request body that is read at once where the browser has no streaming ones. */
const MAX_WHOLE_BODY = 8 << 20;

const canStreamRequests = (() => {
  let streams = false;
  try {
    const request = new Request("http://peer.invalid/", {
      method: "POST",
      body: new ReadableStream(),
      get duplex() {
        streams = true;
        return "half";
      },
    });
    return streams && !request.headers.has("content-type");
  } catch {
    return false;
  }
})();

const NO_ACCESS = new MessageError("This side asks for an access token.", 401);

/** Answer, unread, that whoever asks has to prove that they know the access token. */
export function refuseAccess(stream) {
  // RFC 9110 §11.6.1 wants a challenge with every 401.
  refuse(stream, NO_ACCESS, false, [["www-authenticate", "Peerfetch"]]);
}

/**
 * Answer what comes on `stream` by `handler`, a function from Request to Response.
 * @param upgrade called with the head of a request for another protocol, the stream and its reader, all of
 *   which are its from then on; it returns whether it takes them. None is taken by default.
 */
export async function answer(stream, handler, upgrade = () => false) {
  if (!stream.admitted) return refuseAccess(stream);
  const controller = new AbortController();
  let answered = false;
  const abort = () => controller.abort();
  stream.onaborted = abort;
  try {
    const reader = new MessageReader(stream);
    const head = await readHead(stream, reader);
    const { method, target, protocol, headers } = head;
    const priority = headers.find(([name]) => name === "priority");
    if (priority) stream.setPriority(parsePriority(priority[1]));
    if (protocol && upgrade(head, stream, reader)) return;
    if (protocol) throw new MessageError(`This side does not speak ${protocol}.`, 501);
    reader.expect(contentLength(headers));
    const request = await toRequest(method, target, headers, reader, stream, controller.signal);
    let response;
    try {
      response = await handler(request);
    } catch (error) {
      console.error("the handler of", method, target, "failed:", error);
      throw new MessageError("The handler of this request failed.", 500);
    }
    if (!(response instanceof Response) || response.type === "error") {
      throw new MessageError("The handler of this request gave no Response.", 500);
    }
    answered = true;
    await sendResponse(stream, response, method);
    stream.stop(StreamCode.NO_ERROR);
  } catch (error) {
    refuse(stream, error, answered);
  } finally {
    if (stream.onaborted === abort) stream.onaborted = null;
  }
}

async function readHead(stream, reader) {
  const late = setTimeout(() => stream.cancel(StreamCode.REQUEST_INCOMPLETE), HEAD_TIMEOUT);
  try {
    return decodeRequest(await reader.head());
  } finally {
    clearTimeout(late);
  }
}

async function toRequest(method, target, pairs, reader, stream, signal) {
  const headers = new Headers(pairs);
  const init = { method, headers, signal };
  const hasBody = contentLength(pairs) !== 0 && !reader.atEnd;
  if (hasBody && method !== "GET" && method !== "HEAD") {
    const ended = (error) => {
      if (error) stream.stop(StreamCode.REQUEST_CANCELLED);
      return error;
    };
    const body = reader.body(ended);
    if (canStreamRequests) Object.assign(init, { body, duplex: "half" });
    else init.body = await whole(body);
  }
  try {
    // Joined, since a target of two slashes would be resolved as a host.
    return new Request((globalThis.location?.origin ?? "http://peer.invalid") + target, init);
  } catch {
    throw new MessageError(`This side does not answer ${method} requests.`, 501);
  }
}

async function whole(body) {
  const found = await gathered(body, MAX_WHOLE_BODY);
  if (found) return found;
  throw new MessageError(`This browser takes bodies of ${MAX_WHOLE_BODY} bytes at most.`, 413);
}

async function sendResponse(stream, response, method) {
  const headers = endToEnd([...response.headers]);
  stream.queue(jsonBlock(Block.HEAD, { status: response.status, headers }));
  if (!response.body || method === "HEAD") {
    await response.body?.cancel();
    return stream.end();
  }
  const length = contentLength(headers);
  const body = await extractBody(response.body);
  await sendBody(stream, { ...body, length });
}

/** Answer with an error while nothing was answered yet; break off what has begun. */
function refuse(stream, error, answered, more = []) {
  if (error instanceof MessageError && stream.canWrite && !answered) {
    const body = new TextEncoder().encode(`${error.message}\n`);
    const headers = [
      ["content-type", "text/plain; charset=utf-8"],
      ["content-length", String(body.length)],
      ...more,
    ];
    stream.queue(jsonBlock(Block.HEAD, { status: error.status, headers }));
    sendBody(stream, { length: body.length, blob: new Blob([body]) }).catch(() => {});
    stream.stop(StreamCode.NO_ERROR);
  } else {
    stream.cancel(StreamCode.INTERNAL_ERROR);
  }
}
