/**
 * The logins by which a person gets into the device's server: asked for once for each realm, and held in memory.
 */

import { fromWire } from "./bytes.js";
import { Basic, Digest, bestChallenge } from "./challenges.js";

/** Times that one request is sent again without anybody being asked, as after nonces that are stale. */
const MAX_SILENT = 3;
/** Characters of a realm that a person is shown. */
const MAX_REALM = 100;

/** A realm's name, which came one character an octet, for a person to read. */
const readable = (realm) => fromWire(realm).replace(/\p{C}/gu, "").slice(0, MAX_REALM);

export class Logins {
  #ask;
  /** By scheme and realm. */
  #known = new Map();
  /** Questions that wait for a person, likewise. */
  #asking = new Map();
  /** The questions that the person has cancelled, until the next page is opened. */
  #declined = new Set();
  #declines = 0;
  #queue = Promise.resolve();

  /**
   * @param ask asks the person: from `{realm, isWrong}`, the second if what was said before is wrong, to a promise
   *   of `{user, password}`, or null for one who does not want to
   */
  constructor(ask) {
    this.#ask = ask;
  }

  /** The Authorization field for a request, null for none. */
  authorization(method, target) {
    return this.#for(target)?.authorization(method, target) ?? null;
  }

  #for(target) {
    const [best] = [...this.#known.values()].sort((one, other) => other.reach(target) - one.reach(target));
    return best?.reach(target) >= 0 ? best : null;
  }

  /**
   * The answer to a request that is sent, as often as is needed, with what lets it in.
   * @param send from the value of Authorization, or null, to a promise of a Response
   * @param about `{method, target, isPage}`: whether a person has asked for a page
   */
  async answered(send, { method, target, isPage }) {
    if (isPage) this.#declined.clear();
    for (let [silent, login] = [0, this.#for(target)]; ; ) {
      const response = await send(login?.authorization(method, target) ?? null);
      const info = response.headers.get("authentication-info");
      if (login && info) login.note(info);
      const challenge = response.status === 401 && bestChallenge(response.headers.get("www-authenticate") ?? "");
      if (!challenge) return response;
      const key = `${challenge.scheme} ${challenge.parameters.get("realm")}`;
      const known = this.#known.get(key);
      // Another request may have learned what this one did not know yet.
      const isOld = known && known !== login;
      if (known && (known.take(challenge, target) || isOld)) {
        if (++silent > MAX_SILENT) return response;
      } else {
        silent = 0;
        if (!(await this.#learn(key, challenge, target, Boolean(known)))) return response;
      }
      login = this.#known.get(key);
      response.body?.cancel();
    }
  }

  /** Ask the person, one question at a time; whether there is an answer. */
  async #learn(key, challenge, target, isWrong) {
    if (this.#declined.has(key)) return false;
    this.#known.delete(key);
    if (!this.#asking.has(key)) {
      const question = { realm: readable(challenge.parameters.get("realm")), isWrong };
      // Who declines is not asked at once what else waits.
      const declines = this.#declines;
      const asked = this.#queue.then(async () => {
        const said = this.#declines === declines ? await this.#ask(question) : null;
        if (!said) this.#declines++;
        return said;
      });
      this.#queue = asked.catch(() => {});
      this.#asking.set(key, asked.finally(() => this.#asking.delete(key)));
    }
    const said = await this.#asking.get(key);
    if (!said) {
      this.#declined.add(key);
      return false;
    }
    if (!this.#known.has(key)) {
      const kind = challenge.scheme === "basic" ? Basic : Digest;
      this.#known.set(key, new kind(said.user, said.password));
    }
    this.#known.get(key).take(challenge, target);
    return true;
  }
}
