/** Named events, kept until somebody listens. */

/** Events of one name that are kept; those that come after them are dropped, but for what ends something. */
const MAX_KEPT = 256;

export class Events {
  #handlers = new Map();
  #kept = new Map();
  #wakes = new Map();

  on(event, handler) {
    this.#add(event, { handler, once: false });
  }

  once(event, handler) {
    this.#add(event, { handler, once: true });
  }

  remove(event, handler) {
    const left = this.#of(event).filter((one) => one.handler !== handler);
    this.#handlers.set(event, left);
  }

  /** Call those who listen; an error that nobody listens for is reported as one that nobody has caught. */
  emit(event, data) {
    const handlers = this.#of(event);
    if (handlers.length === 0) return event === "error" ? uncaught(data) : this.#keep(event, data);
    this.#handlers.set(event, handlers.filter(({ once }) => !once));
    for (const { handler } of handlers) {
      try {
        handler(data);
      } catch (error) {
        uncaught(error);
      }
    }
  }

  /** Resolves once somebody listens. */
  async _heard(event) {
    while (this.#of(event).length === 0) {
      await new Promise((resolve) => this.#wakes.set(event, [...(this.#wakes.get(event) ?? []), resolve]));
    }
  }

  dispose() {
    this.#handlers.clear();
    this.#kept.clear();
  }

  #of(event) {
    return this.#handlers.get(event) ?? [];
  }

  #add(event, entry) {
    this.#handlers.set(event, [...this.#of(event), entry]);
    const kept = this.#kept.get(event) ?? [];
    const count = entry.once ? 1 : kept.length;
    for (const data of kept.splice(0, count)) queueMicrotask(() => this.emit(event, data));
    for (const wake of this.#wakes.get(event)?.splice(0) ?? []) wake();
  }

  #keep(event, data) {
    const kept = this.#kept.get(event) ?? [];
    this.#kept.set(event, kept);
    if (kept.length < MAX_KEPT) kept.push(data);
  }
}

function uncaught(error) {
  if (globalThis.reportError) return globalThis.reportError(error);
  queueMicrotask(() => {
    throw error;
  });
}
