/**
 * The devices that this browser has been connected to: by which certificate it knows them, as ssh keeps its
 * known hosts. And the access tokens that were entered in this tab, so that it can be loaded again.
 */

const KEY = "~peerfetch devices";
const TOKEN = "~peerfetch token ";
/** Devices that are remembered; the one that was not seen for longest is forgotten. */
export const MAX_DEVICES = 200;

export class Devices {
  #storage;
  #session;

  /** @param storage a Storage, or null where the browser keeps nothing; `session` is this tab's */
  constructor(storage, session) {
    this.#storage = storage;
    this.#session = session;
  }

  /**
   * `{id, pin, seen, named}` of each, seen in milliseconds since 1970, the latest first; named: it has let this browser
   * in by name.
   */
  list() {
    return Object.entries(this.#read())
      .map(([id, { pin, seen, named = false }]) => ({ id, pin, seen, named: named === true }))
      .sort((one, other) => other.seen - one.seen);
  }

  /** As in list(); null for a device that is not known. */
  get(id) {
    return this.list().find((device) => device.id === id) ?? null;
  }

  /** @param named whether it has let this browser in by name just now */
  remember(id, pin, named = false) {
    const kept = this.list().filter((device) => device.id !== id);
    const known = this.get(id);
    const isNamed = named || (known?.pin === pin && known.named);
    this.#write([{ id, pin, seen: Date.now(), named: isNamed }, ...kept].slice(0, MAX_DEVICES));
  }

  forget(id) {
    this.#write(this.list().filter((device) => device.id !== id));
    this.setToken(id, null);
  }

  token(id) {
    try {
      return this.#session?.getItem(TOKEN + id) ?? null;
    } catch {
      return null;
    }
  }

  setToken(id, token) {
    try {
      if (token) this.#session?.setItem(TOKEN + id, token);
      else this.#session?.removeItem(TOKEN + id);
    } catch {
      // It is asked for again.
    }
  }

  #read() {
    try {
      const found = JSON.parse(this.#storage?.getItem(KEY) ?? "{}");
      const isDevice = (one) => typeof one?.pin === "string" && Number.isFinite(one.seen);
      return Object.fromEntries(Object.entries(found ?? {}).filter(([, one]) => isDevice(one)));
    } catch {
      return {};
    }
  }

  #write(devices) {
    const kept = Object.fromEntries(devices.map(({ id, ...about }) => [id, about]));
    try {
      this.#storage?.setItem(KEY, JSON.stringify(kept));
    } catch {
      // The storage is full or forbidden: the device is met as for the first time.
    }
  }
}

/** A storage of the browser, or null where it lets this page have none. */
export function storage(name) {
  try {
    return globalThis[name] ?? null;
  } catch {
    return null;
  }
}
