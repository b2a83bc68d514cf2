/** Challenges of servers (RFC 9110 §11), and their answers: Basic (RFC 7617) and Digest (RFC 7616). */

import { fromOctets, hex, toWire } from "./bytes.js";
import { md5 } from "./md5.js";
import { sha256 } from "./sha256.js";
import { randomHex } from "./random.js";

/** Challenges of one answer that are read. */
const MAX_CHALLENGES = 16;
/** The separators of the parts of a field. */
const GAP = /[\t ,]*/y;
/** A scheme, or a parameter of one. Without the gap before it, or a run of commas would be read once for each. */
const PART = /([!#$%&'*+.^_`|~\w-]+)(?:[\t ]*=[\t ]*(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+.^_`|~\w-]+)))?/y;
/** By algorithm, the better ones first. */
const HASHES = new Map([
  ["sha-256", sha256],
  ["sha-256-sess", sha256],
  ["md5", md5],
  ["md5-sess", md5],
]);

const quoted = (wire) => `"${wire.replace(/["\\]/g, "\\$&")}"`;
const isAscii = (wire) => /^[\u0020-\u007e]*$/.test(wire);

/** `{scheme, parameters}` of each challenge in a WWW-Authenticate field, names in lower case. */
export function parseChallenges(value) {
  const found = [];
  for (let at = 0; at < value.length && found.length <= MAX_CHALLENGES; ) {
    GAP.lastIndex = at;
    GAP.test(value);
    PART.lastIndex = GAP.lastIndex;
    const part = PART.exec(value);
    if (!part) {
      // Of another shape, such as a token68: on with what is behind the next comma.
      const next = value.indexOf(",", GAP.lastIndex);
      if (next < 0) break;
      at = next + 1;
      continue;
    }
    at = PART.lastIndex;
    const [, name, text, token] = part;
    const given = text?.replace(/\\(.)/g, "$1") ?? token;
    if (given === undefined) found.push({ scheme: name.toLowerCase(), parameters: new Map() });
    else found.at(-1)?.parameters.set(name.toLowerCase(), given);
  }
  return found.slice(0, MAX_CHALLENGES);
}

/**
 * The best of the challenges that can be answered, null if there is none: Digest before Basic, and with the
 * better hash (RFC 7616 §3.7).
 */
export function bestChallenge(value) {
  const rank = ({ scheme, parameters }) => {
    if (!parameters.has("realm")) return 0;
    if (scheme === "basic") return 1;
    const algorithm = (parameters.get("algorithm") ?? "MD5").toLowerCase();
    const qops = (parameters.get("qop") ?? "auth").toLowerCase().split(/[\t ,]+/);
    if (scheme !== "digest" || !parameters.get("nonce") || !qops.includes("auth") || !HASHES.has(algorithm)) return 0;
    return algorithm.startsWith("sha") ? 3 : 2;
  };
  const ranked = parseChallenges(value).map((one) => ({ ...one, rank: rank(one) }));
  const [best] = ranked.sort((one, other) => other.rank - one.rank);
  return best?.rank ? best : null;
}

const longest = (places, target) =>
  Math.max(-1, ...places.filter((place) => target.startsWith(place)).map((place) => place.length));

/** Answers Basic challenges of one realm. */
export class Basic {
  #value;
  /** Directories for which the server has asked (RFC 7617 §2.2). */
  #places = new Set();

  constructor(user, password) {
    this.#value = `Basic ${btoa(toWire(`${user}:${password}`))}`;
  }

  /** The length of the target's path that the challenge covers; -1 if it covers none. */
  reach(target) {
    return longest([...this.#places], target);
  }

  /** Take a challenge to a request for `target`; whether its answer is another now. */
  take(challenge, target) {
    const isNew = this.reach(target) < 0;
    const path = target.split("?")[0];
    this.#places.add(path.slice(0, path.lastIndexOf("/") + 1));
    return isNew;
  }

  authorization() {
    return this.#value;
  }

  note() {}
}

/** Answers Digest challenges of one realm. */
export class Digest {
  #user;
  #password;
  #parameters = new Map();
  #hash;
  #isSession = false;
  #count = 0;
  #clientNonce;
  #places = [];

  constructor(user, password) {
    [this.#user, this.#password] = [toWire(user), toWire(password)];
  }

  /** As of Basic; without a domain it is all of the server's (RFC 7616 §3.3). */
  reach(target) {
    return this.#places.length ? longest(this.#places, target) : 0;
  }

  take({ parameters }) {
    const isNew = !this.#parameters.has("nonce") || parameters.get("stale")?.toLowerCase() === "true";
    const algorithm = (parameters.get("algorithm") ?? "MD5").toLowerCase();
    this.#parameters = parameters;
    this.#isSession = algorithm.endsWith("-sess");
    const hash = HASHES.get(algorithm);
    this.#hash = (wire) => hex(hash(fromOctets(wire)));
    this.#renew(parameters.get("nonce"));
    // What is under another host's name is not ours to answer for.
    const domain = (parameters.get("domain") ?? "").split(/ +/);
    this.#places = domain.filter((place) => /^\/(?!\/)/.test(place));
    return isNew;
  }

  #renew(nonce) {
    this.#parameters.set("nonce", nonce);
    this.#count = 0;
    this.#clientNonce = randomHex(16);
  }

  /** RFC 7616 §3.4. */
  authorization(method, target) {
    const get = (name) => this.#parameters.get(name);
    const [realm, nonce, user, hash] = [get("realm"), get("nonce"), this.#user, this.#hash];
    const count = (++this.#count).toString(16).padStart(8, "0");
    let secret = hash(`${user}:${realm}:${this.#password}`);
    if (this.#isSession) secret = hash(`${secret}:${nonce}:${this.#clientNonce}`);
    const asked = hash(`${method}:${target}`);
    const middle = get("qop") ? `${nonce}:${count}:${this.#clientNonce}:auth` : nonce;
    const fields = [this.#name(), `realm=${quoted(realm)}`, `nonce=${quoted(nonce)}`, `uri=${quoted(target)}`];
    if (get("algorithm")) fields.push(`algorithm=${get("algorithm")}`);
    fields.push(`response="${hash(`${secret}:${middle}:${asked}`)}"`);
    if (get("opaque") !== undefined) fields.push(`opaque=${quoted(get("opaque"))}`);
    if (get("qop")) fields.push("qop=auth", `nc=${count}`, `cnonce="${this.#clientNonce}"`);
    if (this.#hidesName) fields.push("userhash=true");
    return `Digest ${fields.join(", ")}`;
  }

  get #hidesName() {
    return this.#parameters.get("userhash")?.toLowerCase() === "true";
  }

  #name() {
    if (this.#hidesName) return `username="${this.#hash(`${this.#user}:${this.#parameters.get("realm")}`)}"`;
    if (isAscii(this.#user) || !this.#parameters.has("charset")) return `username=${quoted(this.#user)}`;
    const escaped = this.#user.replace(/[^A-Za-z0-9._~-]/g, (octet) => `%${octet.charCodeAt(0).toString(16).padStart(2, "0")}`);
    return `username*=UTF-8''${escaped}`;
  }

  /** Take the nonce that an answer names for the next request (RFC 7616 §3.5). */
  note(authenticationInfo) {
    const next = parseChallenges(`Digest ${authenticationInfo}`)[0]?.parameters.get("nextnonce");
    if (next) this.#renew(next);
  }
}
