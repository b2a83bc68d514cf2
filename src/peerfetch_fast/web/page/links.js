/**
 * Links to what a device has: `peer://ID/PATH#PIN`, which stands, without `peer://`, behind the `#` of this
 * page's address. Path and pin may be missing; a `#` in a path is percent-encoded.
 */

import { decoded } from "./format.js";

/** The `#` before a pin, which some programs encode when a link is passed on. */
const PIN = /(?:#|%23)(sha256(?::|%3a).*)$/i;

/** The part behind the pin of a link that invites: a secret that stands in no other link. */
const SECRET = /^(sha256:[0-9a-f]{64})\.([0-9a-f]{32})$/i;

/**
 * `{id, path, pin}` of what was entered, scanned, or stands in the address, and `secret` of a link that invites; null
 * where that is nothing.
 */
export function parseLink(text) {
  const within = /^(?:https?:\/\/[^#]*)?#(.*)$/s.exec(text.trim());
  const link = (within ? within[1] : text.trim()).replace(/^peer(?::|%3a)(?:\/|%2f){2}/i, "");
  if (!link) return null;
  const found = PIN.exec(link) ?? /#(.*)$/s.exec(link);
  const named = found ? link.slice(0, found.index) : link;
  const at = named.search(/[/?]/);
  const path = at < 0 ? "/" : named.slice(at);
  const pin = found?.[1] ? decoded(found[1]) : null;
  const [, pinned = pin, secret] = SECRET.exec(pin ?? "") ?? [];
  return {
    id: decoded(at < 0 ? named : named.slice(0, at)),
    path: path.startsWith("/") ? path : `/${path}`,
    pin: pinned,
    ...(secret && { secret }),
  };
}

/** The fragment, with its `#`, that parseLink reads. The secret of what is shared stays in it: it is the only way there. */
export function fragmentOf({ id, path = "/", pin = null, secret = null }) {
  const last = pin ? `#${pin}${secret && isShare(id) ? `.${secret}` : ""}` : "";
  return `#${encodeURIComponent(id)}${path === "/" ? "" : path}${last}`;
}

/** Whether somebody shares files, or takes them, under that id (docs/sharing.md). */
export const isShare = (id) => /^(share|inbox)-/.test(id);

/** The folder that a path is in; null for the top. */
export function folderOf(path) {
  const [above] = /^.*\/(?=[^/]+\/?$)/.exec(path.split("?")[0]) ?? [null];
  return above;
}
