/** Raw streams to TCP ports of the other side (docs/protocol.md, "TCP"). */

import { Block, blockHeader, jsonBlock } from "./blocks.js";
import { StreamCode } from "./errors.js";
import { MessageReader } from "./message.js";

/**
 * Open a tunnel to the port that the other side of `session` serves under `name`: `{readable, writable}`.
 * Throws TypeError where it is refused, StreamError, SessionError, MessageError.
 */
export async function openTunnel(session, name) {
  if (!/^[\w.-]{1,64}$/.test(name)) throw new TypeError(`${name} is no name of a port`);
  const stream = await session.open();
  const abort = () => stream.cancel(StreamCode.UPSTREAM_ERROR);
  const head = { method: "CONNECT", target: `/${name}`, headers: [], protocol: "tcp" };
  const reader = new MessageReader(stream);
  try {
    stream.queue(jsonBlock(Block.HEAD, head));
    const { status } = await reader.finalHead();
    if (status > 299) throw new TypeError(`the peer refused a tunnel to ${name}, with status ${status}`);
  } catch (error) {
    abort();
    throw error;
  }
  const readable = reader.body((error) => {
    if (error) abort();
    return error;
  });
  const writable = new WritableStream({
    async write(piece) {
      if (!(piece instanceof Uint8Array)) throw new TypeError("a tunnel takes Uint8Arrays");
      if (piece.length === 0) return;
      stream.queue(blockHeader(Block.DATA, piece.length));
      await stream.write(piece);
    },
    close: () => stream.end(),
    abort,
  });
  return { readable, writable };
}
