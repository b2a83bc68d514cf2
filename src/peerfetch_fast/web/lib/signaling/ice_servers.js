/** STUN and TURN servers that a signaling service names (docs/protocol.md, "ICE servers"). */

/** Servers, URLs of one, and characters of a URL and of a login that are taken. */
const MAX_SERVERS = 16;
const MAX_URLS = 16;
const MAX_TEXT = 512;
/** Seconds that logins last at least, so that nobody is asked for others all the time, and at most. */
const MIN_TTL = 60;
const MAX_TTL = 86_400 * 7;
/** The part of their time after which logins are asked for anew. */
export const RENEWED_AT = 0.8;
/** Milliseconds from an attempt at that which failed to the next. */
export const RENEWAL_RETRY = 15_000;

const isText = (value) => typeof value === "string" && value.length <= MAX_TEXT;
const isUrl = (value) => isText(value) && /^(?:stun|turns?):[^\s/?#@]+(?:\?transport=(?:udp|tcp))?$/i.test(value);

function serverOf(given) {
  const urls = [given?.urls].flat().slice(0, MAX_URLS).filter(isUrl);
  if (urls.length === 0) return null;
  const { username, credential } = given;
  if (urls.every((url) => /^stun:/i.test(url))) return { urls };
  return isText(username) && isText(credential) ? { urls, username, credential } : null;
}

/**
 * What the payload of OPEN says: `{iceServers, ttl}`, the first such as every browser takes, the second in
 * seconds, null for what does not expire.
 */
export function iceServersOf(payload) {
  const given = Array.isArray(payload?.iceServers) ? payload.iceServers : [];
  const iceServers = given.slice(0, MAX_SERVERS).map(serverOf).filter(Boolean);
  const { ttl } = payload ?? {};
  const isFinite = iceServers.length > 0 && typeof ttl === "number" && ttl > 0;
  return { iceServers, ttl: isFinite ? Math.min(Math.max(ttl, MIN_TTL), MAX_TTL) : null };
}
