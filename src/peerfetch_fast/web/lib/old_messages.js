/**
 * The messages of `peerfetch.1` (docs/compatibility.md): a request is one text message, an answer a text
 * message (the head) and, unless its status is 204, a second one of either kind (the whole body).
 */

import { MessageError } from "./errors.js";

/** The label of the data channel; its protocol is empty. */
export const OLD_LABEL = "http-proxy";
/** Bytes of the longest message on such a channel: more was not seen to arrive. */
export const MAX_OLD_MESSAGE = 3_000_000;
/** Bytes of the longest request: what browsers say that they take in one message. */
export const MAX_REQUEST = 256 << 10;
/** The body of the answer to a ping. */
export const PONG = "pong";
/** A request for a sign of life. */
export const PING = '{"url":"ping","method":"GET"}';

const LONGEST_HEAD = 4096;
/** The characters of a header field's value (RFC 9110 §5.5). */
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/**
 * A request, `{url, method, contentType, body}` with a body of bytes, as old proxies read it. Throws
 * MessageError for a body that the protocol has no place for.
 */
export function encodeRequest({ url, method, contentType, body }) {
  // The newest of them pass every name on to a function that takes only these.
  const fields = `"url":${JSON.stringify(url)},"method":${JSON.stringify(method)}`;
  if (body.length === 0) return `{${fields}}`;
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
    const kind = (contentType ?? "").split(";")[0].trim().toLowerCase();
    if (kind !== "application/json") return `{${fields},"data":${JSON.stringify(text)}}`;
    JSON.parse(text);
    // As it is: numbers above 2 ** 53 would change on their way through this language.
    return `{${fields},"json":${text}}`;
  } catch {
    throw new MessageError("its body is neither text nor JSON");
  }
}

/**
 * The first message of an answer, a text or bytes: `{status, contentType, isWaiting}`, where `isWaiting` says that the
 * answer is yet to come. Throws MessageError.
 */
export function parseHead(message) {
  const length = message.length ?? message.byteLength;
  if (length > LONGEST_HEAD) throw new MessageError(`a head of more than ${LONGEST_HEAD} bytes`);
  const fields = parseObject(typeof message === "string" ? message : new TextDecoder().decode(message));
  const { status } = fields;
  if (!Number.isInteger(status) || status < 200 || status > 599) {
    throw new MessageError("a head without a status from 200 to 599");
  }
  const named = fields["content-type"];
  const contentType = typeof named === "string" && FIELD_VALUE.test(named) ? named : null;
  // An upstream's own 202 has a body, and so its head says what that is.
  const isWaiting = status === 202 && !("content-type" in fields || "content-length" in fields);
  return { status, contentType, isWaiting };
}

function parseObject(text) {
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    throw new MessageError("something else than JSON");
  }
  if (found === null || typeof found !== "object" || Array.isArray(found)) {
    throw new MessageError("something else than a JSON object");
  }
  return found;
}
