/** Whose origin a request names (docs/protocol.md, "Origins"). */

const NAMING = new Set(["origin", "referer", "destination"]);

/** The word for the origin of a peer's server, whatever either end calls it. */
export const peerOrigin = (id) => `peer://${id}`;

/** The part after `origin` of a reference to something of it; null for all others. */
function below(value, origin) {
  if (!value.startsWith(origin)) return null;
  const rest = value.slice(origin.length);
  return rest === "" || "/?#".includes(rest[0]) ? rest : null;
}

/** The value of a request's field, its name in lower case, with `origin` as `to`. */
export function renamed(name, value, origin, to) {
  if (!NAMING.has(name)) return value;
  const rest = below(value, origin);
  // An Origin has nothing behind it (RFC 6454 §7).
  return rest === null || (rest && name === "origin") ? value : to + rest;
}

/** The field that says under which name a person sees the server. */
export function seenField({ host, protocol }) {
  return ["forwarded", `host="${host}";proto=${protocol.replace(":", "")}`];
}

/**
 * The fields of an app's request, as its server is to have them. A service worker is not shown Origin and
 * Referer: they are made here as the Fetch standard makes them ("append a request `Origin` header").
 * @param request `{method, headers, mode, referrer}`, the headers as pairs
 * @param location where the app is seen, and nothing but this app
 */
export function presented({ method, headers, mode, referrer }, location, peerId) {
  const { origin } = location;
  const made = [];
  if (/^https?:/.test(referrer)) made.push(["referer", referrer]);
  if (method !== "GET" && method !== "HEAD") {
    // Only a page of the app's own can make a request with CORS that comes here; a form may be anybody's.
    const initiator = mode === "cors" ? origin : referrer ? new URL(referrer).origin : "null";
    made.push(["origin", initiator]);
  }
  const replaced = new Set(["forwarded", "origin", "referer"]);
  const kept = headers.map(([name, value]) => [name.toLowerCase(), value]);
  const all = [...kept.filter(([name]) => !replaced.has(name)), ...made];
  const to = peerOrigin(peerId);
  return [
    ...all.map(([name, value]) => [name, renamed(name, value, origin, to)]),
    seenField(location),
  ];
}
