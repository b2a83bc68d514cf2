/** Pair by a code: who types it learns which device it is from, and the device lets them in by name. */

import { fetchPrepared, prepare } from "./client.js";
import { parseCode, parseDigits } from "./codes.js";
import { ConnectError } from "./errors.js";
import { dial } from "./negotiation.js";
import { CONNECT_TIMEOUT, certificateOf, isPeerId } from "./peer.js";
import { joinService } from "./signaling/seam.js";

/** Bytes of what the device says of itself. */
const MAX_ABOUT = 4096;

/** See peerfetch.d.ts. */
export async function pair(typed, options = {}) {
  const { at = null } = options;
  const { code, id } = at === null ? parseCode(typed) : { code: parseDigits(typed), id: at };
  return withSession(id, { ...options, code }, async (session) => ({
    ...(await ask(session, id)),
    pin: session.fingerprint,
  }));
}

/** Have a device that waits in a room show its digits; options as of pair(). */
export const knock = (id, options = {}) => withSession(id, { ...options, identity: null }, () => undefined);

/** What `use` makes of a session with who waits as `id`, which ends with it; options as of pair(). */
export async function withSession(id, options, use) {
  const { iceServers = [], code = null, identity = null, signal = null, RTCPeerConnection, directOnly } = options;
  const late = new AbortController();
  const timer = setTimeout(
    () => late.abort(new ConnectError("timeout", "The device that waits for a code did not answer in time.")),
    CONNECT_TIMEOUT,
  );
  const abort = () => late.abort(signal.reason);
  if (signal?.aborted) abort();
  signal?.addEventListener("abort", abort);
  const signaling = joinService(options.signaling ?? globalThis.location?.origin, null, {
    takesOffers: false,
  });
  let session = null;
  try {
    await signaling.open(late.signal);
    const certificate = await certificateOf(identity);
    const about = { iceServers, code, certificate, RTCPeerConnection, directOnly, signal: late.signal };
    session = await dial(signaling, id, { ...about, pin: null, onstream: null });
    return await use(session);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
    signaling.close();
    void session?.close();
  }
}

/** The id of the device itself, and the token of what is shared. Throws ConnectError for what is none. */
async function ask(session, id) {
  const sessions = { next: async () => session, reconnects: () => false };
  const response = await fetchPrepared(sessions, await prepare("/", {}, id), id);
  const reader = response.body.getReader();
  let told = "";
  const decoder = new TextDecoder();
  for (;;) {
    const { done, value } = await reader.read();
    if (done || told.length > MAX_ABOUT) break;
    told += decoder.decode(value, { stream: true });
  }
  try {
    const { peer_id: found, token } = JSON.parse(told);
    if (response.ok && isPeerId(found)) return { id: found, ...(typeof token === "string" && { token }) };
  } catch {
    // It is no JSON.
  }
  throw new ConnectError("code", "The device did not say how it is reached: make a new code there.");
}
