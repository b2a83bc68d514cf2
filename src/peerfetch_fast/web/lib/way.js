/** The way that a connection takes: directly or through a relay, and why no better one. */

const MAPPED = new Set(["srflx", "prflx"]);

/** What is told of a connection, and the candidates of the pair that is used; null where none is known. */
async function selected(connection) {
  let reports;
  try {
    reports = await connection.getStats();
  } catch {
    return null; // it is closed, or of a stack that has no statistics
  }
  const all = [...reports.values()];
  const transport = all.find(({ type, selectedCandidatePairId: id }) => type === "transport" && id);
  const isUsed = ({ type, selected: isIt, nominated, state }) =>
    type === "candidate-pair" && (isIt ?? (nominated && state === "succeeded"));
  const pair = reports.get(transport?.selectedCandidatePairId) ?? all.find(isUsed);
  const [local, remote] = [reports.get(pair?.localCandidateId), reports.get(pair?.remoteCandidateId)];
  return local && remote ? { all, local, remote } : null;
}

const place = ({ address, ip, port }) => `${address ?? ip} ${port}`;

/** The URL of a relay of ours without what only the browser needs to know; null where it does not tell. */
const relayOf = ({ url = "" }) => url.replace(/\?.*$/, "") || null;

/**
 * `{way, relay, address, why}` as peerfetch.d.ts has them; null where the browser does not tell.
 * @param asks whether there is a server that tells our public address
 * @param relays places of the other side's relays that we know, as in `192.0.2.1 4000`
 */
export async function wayOf(connection, { asks, relays = new Set() }) {
  const found = await selected(connection);
  if (!found) return null;
  const { all, local, remote } = found;
  const kinds = (side) => all.filter(({ type }) => type === side).map(({ candidateType }) => candidateType);
  const isRelayed = [local, remote].some(({ candidateType }) => candidateType === "relay") || relays.has(place(remote));
  return {
    way: isRelayed ? "relayed" : "direct",
    relay: local.candidateType === "relay" ? relayOf(local) : null,
    address: remote.address ?? remote.ip ?? null,
    why: reason({ isRelayed, local, remote, asks }, kinds("local-candidate"), kinds("remote-candidate")),
  };
}

/** Why it is no better way: as webrtc/ice/reasons.py says it. */
function reason({ isRelayed, local, remote, asks }, ours, theirs) {
  const isMapped = (kind) => MAPPED.has(kind);
  if (!isRelayed) {
    const isNear = local.candidateType === "host" && remote.candidateType === "host";
    return isNear ? null : "the two are in different networks, and their routers let it through";
  }
  if (!asks) return "no STUN server is known here, which would tell our public address";
  if (!ours.some(isMapped)) return "no STUN server has answered, or there is no router: UDP may be blocked here";
  if (!theirs.some(isMapped)) return "the other side has told no public address: UDP may be blocked there";
  return "no direct way was answered: a router gives each destination another port";
}
