/**
 * The cookies of one device's own origin, as RFC 6265bis (draft 20) has them. Browsers take none from the
 * answers of a service worker, and those they do take would go to the server of the page as well.
 */

import { fromWire, toWire } from "./bytes.js";

/** Cookies that are kept; the oldest make room. */
const MAX_COOKIES = 180;
/** Octets of name and value, and of an attribute's value (§5.6). */
const MAX_PAIR = 4096;
const MAX_ATTRIBUTE = 1024;
/** Milliseconds that a cookie lasts at most (§5.5). */
const MAX_AGE = 400 * 86_400_000;

const CONTROL = /[\u0000-\u0008\u000a-\u001f\u007f]/;
const MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split(" ");

/** Milliseconds since 1970 of a cookie-date (§5.1.1), null if it is none. */
export function parseDate(text) {
  let time, day, month, year;
  for (const token of text.split(/[\t\u0020-\u002f\u003b-\u0040\u005b-\u0060\u007b-\u007e]+/)) {
    let found;
    if (!time && (found = /^(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\D|$)/.exec(token))) {
      time = found.slice(1).map(Number);
    } else if (day === undefined && (found = /^(\d{1,2})(?:\D|$)/.exec(token))) {
      day = Number(found[1]);
    } else if (month === undefined && MONTHS.includes(token.slice(0, 3).toLowerCase())) {
      month = MONTHS.indexOf(token.slice(0, 3).toLowerCase());
    } else if (year === undefined && (found = /^(\d{2,4})(?:\D|$)/.exec(token))) {
      year = Number(found[1]);
      if (year <= 99) year += year >= 70 ? 1900 : 2000;
    }
  }
  if (!time || day === undefined || month === undefined || year === undefined) return null;
  const [hour, minute, second] = time;
  if (year < 1601 || hour > 23 || minute > 59 || second > 59) return null;
  const date = new Date(Date.UTC(year, month, day, hour, minute, second));
  return date.getUTCDate() === day ? date.getTime() : null; // no 31st of February
}

/** The default path (§5.1.4) for a cookie that is set at `path`. */
const directory = (path) => path.slice(0, Math.max(1, path.lastIndexOf("/")));

/** Whether a cookie for `cookiePath` belongs to a request for `path` (§5.1.4). */
function pathMatches(path, cookiePath) {
  if (!path.startsWith(cookiePath)) return false;
  return path.length === cookiePath.length || cookiePath.endsWith("/") || path[cookiePath.length] === "/";
}

/** A Set-Cookie value as a cookie, null for one to be ignored. It is the device's own: Domain says nothing. */
function parse(text, path, now) {
  if (CONTROL.test(text)) return null;
  const [pair, ...attributes] = text.split(";");
  const at = pair.indexOf("=");
  const [name, value] = [pair.slice(0, at).trim(), pair.slice(at + 1).trim()];
  if (at < 0 || name === "" || name.length + value.length > MAX_PAIR) return null;
  const cookie = { name, value, path: directory(path), expires: null, httpOnly: false };
  let maxAge = null;
  let [secure, domain] = [false, false];
  for (const attribute of attributes) {
    const [key, ...rest] = attribute.split("=");
    const given = rest.join("=").trim();
    if (given.length > MAX_ATTRIBUTE) continue;
    const known = key.trim().toLowerCase();
    if (known === "path") cookie.path = given.startsWith("/") ? given : directory(path);
    else if (known === "expires") cookie.expires = parseDate(given) ?? cookie.expires;
    else if (known === "max-age" && /^-?\d+$/.test(given)) maxAge = Number(given);
    else if (known === "httponly") cookie.httpOnly = true;
    else if (known === "secure") secure = true;
    else if (known === "domain") domain = given !== "";
  }
  // Max-Age goes before Expires.
  if (maxAge !== null) cookie.expires = maxAge > 0 ? now + maxAge * 1000 : 0;
  if (cookie.expires !== null) cookie.expires = Math.min(cookie.expires, now + MAX_AGE);
  const prefix = name.toLowerCase();
  if (prefix.startsWith("__secure-") && !secure) return null;
  if (prefix.startsWith("__host-") && (!secure || domain || cookie.path !== "/")) return null;
  return cookie;
}

const isText = (text) => typeof text === "string" && /^[\t\u0020-\u007e\u0080-\u00ff]*$/.test(text);
const isCookie = (kept) =>
  [kept?.name, kept?.value, kept?.path].every(isText) &&
  (kept.expires === null || typeof kept.expires === "number");

/** Put a cookie among those that are kept, the oldest first. */
function place(kept, cookie, now, byScript) {
  const at = kept.findIndex(({ name, path }) => name === cookie.name && path === cookie.path);
  if (at >= 0 && byScript && kept[at].httpOnly) return;
  const over = cookie.expires !== null && cookie.expires <= now;
  // In the place of the old one: what was created earlier stays earlier (§5.7).
  if (at >= 0) kept.splice(at, 1, ...(over ? [] : [cookie]));
  else if (!over) kept.push(cookie);
  if (kept.length > MAX_COOKIES) kept.shift();
}

/** Where all tabs of the origin keep the same cookies. Every call reads anew what others have changed. */
export class CookieJar {
  #storage;
  #key;
  #clock;

  /**
   * @param storage as localStorage
   * @param key under which it holds them
   * @param clock milliseconds since 1970
   */
  constructor(storage, key, clock = Date.now) {
    this.#storage = storage;
    this.#key = key;
    this.#clock = clock;
  }

  /** Take a Set-Cookie value, or several, of an answer to a request for `path`. */
  set(texts, path) {
    this.#put([texts].flat(), path, false);
  }

  /** As document.cookie = text in a document at `path`. */
  setByScript(text, path) {
    if (text.length <= 2 * (MAX_PAIR + MAX_ATTRIBUTE)) this.#put([toWire(text)], path, true);
  }

  /** The Cookie field of a request for `path`; "" for none. */
  header(path) {
    return this.#matching(path).map(({ name, value }) => `${name}=${value}`).join("; ");
  }

  /** The value of document.cookie in a document at `path`. */
  visible(path) {
    const shown = this.#matching(path).filter(({ httpOnly }) => !httpOnly);
    return fromWire(shown.map(({ name, value }) => `${name}=${value}`).join("; "));
  }

  /** Forget the cookies of a session (without Expires and Max-Age), which is over. */
  endSession() {
    const kept = this.#load();
    const lasting = kept.filter(({ expires }) => expires !== null);
    if (lasting.length < kept.length) this.#save(lasting);
  }

  #put(texts, path, byScript) {
    const now = this.#clock();
    // Read and written once: an answer can have thousands of them.
    const kept = this.#load();
    for (const text of texts) {
      const cookie = parse(text, path, now);
      if (cookie && !(byScript && cookie.httpOnly)) place(kept, cookie, now, byScript);
    }
    this.#save(kept);
  }

  #matching(path) {
    const found = this.#load().filter((cookie) => pathMatches(path, cookie.path));
    return found.sort((one, other) => other.path.length - one.path.length); // stable
  }

  #load() {
    let kept;
    try {
      kept = JSON.parse(this.#storage.getItem(this.#key));
    } catch {
      kept = null; // the app's scripts can write there
    }
    const now = this.#clock();
    const fresh = ({ expires }) => expires === null || expires > now;
    return Array.isArray(kept) ? kept.filter((one) => isCookie(one) && fresh(one)) : [];
  }

  #save(cookies) {
    try {
      this.#storage.setItem(this.#key, JSON.stringify(cookies));
    } catch {
      // The app has filled its storage: as if the browser had no room for a cookie.
    }
  }
}
