/** The room of a network: who shares there, who takes files, and asking them (docs/sharing.md). */

import { fetchPrepared, prepare } from "./client.js";
import { ConnectError } from "./errors.js";
import { textOf } from "./gathering.js";
import { isPeerId } from "./peer.js";
import { withSession } from "./pair.js";
import { randomHex } from "./random.js";

const ROOT = "/~room";
/** Letters of the name by which somebody is seen. */
const MAX_NAME = 40;
/** Bytes of a request, and of its answer. */
const MAX_BODY = 4096;
const MEMBER = /^(gives|takes)-([A-Za-z0-9-]{1,40})-[0-9a-f]{8}$/;

/** `{id, kind, name}` of somebody who gives or takes; null for the id of another. */
export function memberOf(id) {
  const [, kind, name] = MEMBER.exec(id) ?? [];
  return kind ? { id, kind, name } : null;
}

/** A new id by which somebody is seen in the room as `name`; `kind` is `gives` or `takes`. */
export function memberId(kind, name) {
  const plain = name.replace(/[^A-Za-z0-9]+/g, "-").slice(0, MAX_NAME).replace(/^-|-$/g, "");
  return `${kind}-${plain || "somebody"}-${randomHex(4)}`;
}

/** Ask one who gives: `{id, pin, secret}` of what is shared, once they let us. Throws ConnectError; options as of pair(). */
export async function askFor(id, by, options) {
  const { status, text } = await post(id, "ask", { by }, options);
  const told = status === 200 ? objectOf(text) : null;
  if (!told || !isWay(told)) throw refusal(id, text);
  return { id: told.peer_id, pin: told.pin, secret: told.token };
}

/** Offer one who takes what we share, `{by, title, files, total, peer_id, pin, token}`. Throws ConnectError. */
export async function offerTo(id, offer, options) {
  const { status, text } = await post(id, "offer", offer, options);
  if (status !== 204) throw refusal(id, text);
}

/**
 * The answer to one in the room.
 * @param actions `ask(name)`: what askFor() gives, null where the person would rather not; `offer(told)`: whether they
 *   want it. What is missing is not there for others.
 */
export async function answerRoom(request, { ask = null, offer = null }) {
  const path = new URL(request.url).pathname;
  const asks = ask && path === `${ROOT}/ask`;
  if (request.method !== "POST" || !(asks || (offer && path === `${ROOT}/offer`))) {
    return new Response("Nothing else is to be had here.\n", { status: 404 });
  }
  const told = objectOf(await textOf(request, MAX_BODY));
  if (!told || !(asks || isOffer(told))) return new Response("This is in no form that is known here.\n", { status: 400 });
  const by = shown(told.by) || "Somebody";
  if (!asks) {
    const isWanted = await offer({ ...told, by, title: shown(told.title) });
    return isWanted ? new Response(null, { status: 204 }) : new Response("They would rather not.\n", { status: 403 });
  }
  const way = await ask(by);
  if (!way) return new Response("They would rather not.\n", { status: 403 });
  const found = { peer_id: way.id, pin: way.pin, token: way.secret };
  return new Response(JSON.stringify(found), { headers: { "content-type": "application/json", "cache-control": "no-store" } });
}

const post = (id, what, told, options) =>
  withSession(id, options, async (session) => {
    const sessions = { next: async () => session, reconnects: () => false };
    const init = { method: "POST", body: JSON.stringify(told), headers: { "content-type": "application/json" } };
    const response = await fetchPrepared(sessions, await prepare(`${ROOT}/${what}`, init, id), id);
    return { status: response.status, text: (await textOf(response, MAX_BODY)) ?? "" };
  });

function objectOf(text) {
  try {
    const found = JSON.parse(text);
    return found !== null && typeof found === "object" ? found : null;
  } catch {
    return null;
  }
}

/** Without what would be no text to people. */
const shown = (text) =>
  typeof text === "string" ? text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, "").slice(0, 64).trim() : "";

const isWay = ({ peer_id: id, pin, token }) =>
  isPeerId(id) && /^share-/.test(id) && /^sha256:[0-9a-f]{64}$/.test(pin) && /^[0-9a-f]{32}$/.test(token);

const isCount = (value) => Number.isSafeInteger(value) && value >= 0;
const isOffer = (told) => isWay(told) && isCount(told.files) && isCount(told.total);

function refusal(id, text) {
  const words = shown(text.slice(0, 300)) || "they did not say why.";
  return new ConnectError("access", `${memberOf(id)?.name ?? id} refuses: ${words}`);
}
