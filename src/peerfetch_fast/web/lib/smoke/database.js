/** Records in IndexedDB. */

import { hex } from "../bytes.js";
import { Queryable } from "./queryable.js";
import { Readable } from "./readable.js";

/** Records that are read of a store at once. */
const BATCH = 64;
/** Attempts to make a store while other tabs make theirs. */
const MAX_UPGRADES = 16;

export class KeyRequiredError extends Error {
  constructor() {
    super("A record needs a key: give it one, such as database.key().");
    this.name = "KeyRequiredError";
  }
}

const asked = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** Resolves when a transaction is carried out. */
const committed = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error("the transaction was aborted"));
  });

/** Changes are staged, and carried out all or none by commit(). */
export class Database {
  #name;
  #opened = null;
  #staged = { insert: [], update: [], delete: [] };
  #turn = Promise.resolve();

  constructor(name) {
    this.#name = name;
  }

  static async drop(name) {
    await asked(indexedDB.deleteDatabase(name));
  }

  async name() {
    return this.#name;
  }

  async version() {
    return this.#inTurn((database) => database.version);
  }

  /** The names of the stores. */
  async stores() {
    return this.#inTurn((database) => [...database.objectStoreNames]);
  }

  /** A new key: a random UUID. */
  key() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    return hex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  }

  /** Have `record` inserted by the next commit. Throws KeyRequiredError. */
  insert(store, record) {
    this.#stage("insert", store, record?.key, record);
  }

  /** Have the record of the same key replaced, if there is one. Throws KeyRequiredError. */
  update(store, record) {
    this.#stage("update", store, record?.key, record);
  }

  /** Have a record deleted, by itself or by its key. Throws KeyRequiredError. */
  delete(store, recordOrKey) {
    const key = typeof recordOrKey === "string" ? recordOrKey : recordOrKey?.key;
    this.#stage("delete", store, key, null);
  }

  #stage(kind, store, key, record) {
    if (typeof key !== "string") throw new KeyRequiredError();
    this.#staged[kind].push({ store, key, record: record && structuredClone(record) });
  }

  /**
   * Carry out what is staged, all or nothing: insertions, then updates, then deletions. Throws DOMException, as
   * where a key is there already; then nothing is staged any more.
   */
  async commit() {
    const staged = this.#staged;
    this.#staged = { insert: [], update: [], delete: [] };
    const stores = new Set(Object.values(staged).flatMap((some) => some.map(({ store }) => store)));
    if (stores.size === 0) return;
    await this.#queue(async () => {
      const database = await this.#withStores(stores);
      const transaction = database.transaction([...stores], "readwrite");
      const done = committed(transaction);
      try {
        for (const { store, record } of staged.insert) transaction.objectStore(store).add(record);
        for (const { store, key, record } of staged.update) replace(transaction.objectStore(store), key, record);
        for (const { store, key } of staged.delete) transaction.objectStore(store).delete(key);
      } catch (error) {
        done.catch(() => {});
        transaction.abort();
        throw error;
      }
      await done;
    });
  }

  async get(store, key) {
    return this.#inStore(store, (found) => found.get(key), undefined);
  }

  async exists(store, key) {
    return (await this.#inStore(store, (found) => found.getKey(key), undefined)) !== undefined;
  }

  async count(store) {
    return this.#inStore(store, (found) => found.count(), 0);
  }

  /** The records of a store in the order of their keys, read as they are asked for. */
  query(store) {
    return new Queryable(this.#records(store));
  }

  readable(store) {
    const records = this.#records(store);
    const pull = async (controller) => {
      const { done, value } = await records.next();
      if (done) controller.close();
      else controller.enqueue(value);
    };
    return new Readable({ pull, cancel: () => records.return() });
  }

  async *#records(store) {
    for (let range = null; ; ) {
      const batch = await this.#inStore(store, (found) => found.getAll(range, BATCH), []);
      yield* batch;
      if (batch.length < BATCH) return;
      range = IDBKeyRange.lowerBound(batch.at(-1).key, true);
    }
  }

  /** Delete a store with all its records. */
  async drop(store) {
    await this.#queue(async () => {
      const database = await this.#open();
      if (!database.objectStoreNames.contains(store)) return;
      await await this.#upgrade((next) => {
        if (next.objectStoreNames.contains(store)) next.deleteObjectStore(store);
      });
    });
  }

  async dispose() {
    await this.#queue(() => this.#close());
  }

  /** Ask one store something; `missing` where there is no such store. */
  #inStore(store, ask, missing) {
    return this.#inTurn((database) => {
      if (!database.objectStoreNames.contains(store)) return missing;
      return asked(ask(database.transaction(store).objectStore(store)));
    });
  }

  #inTurn(work) {
    return this.#queue(async () => work(await this.#open()));
  }

  /** Do `work` once what came before is done. */
  #queue(work) {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }

  async #withStores(stores) {
    const database = await this.#open();
    const missing = [...stores].filter((store) => !database.objectStoreNames.contains(store));
    if (missing.length === 0) return database;
    return this.#upgrade((next) => {
      for (const store of missing) {
        if (!next.objectStoreNames.contains(store)) next.createObjectStore(store, { keyPath: "key" });
      }
    });
  }

  /** The database with another set of stores. @param change may be called again, on what another tab has made */
  async #upgrade(change) {
    for (let attempt = 1; ; attempt++) {
      const { version } = await this.#open();
      this.#close();
      try {
        return await this.#open(version + 1, change);
      } catch (error) {
        // Another tab was faster.
        if (error.name !== "VersionError" || attempt === MAX_UPGRADES) throw error;
      }
    }
  }

  async #open(version, change = () => {}) {
    if (this.#opened) return this.#opened;
    const request = indexedDB.open(this.#name, version);
    request.onupgradeneeded = () => change(request.result);
    const database = await asked(request);
    // Another tab makes a store: it would wait for us.
    database.onversionchange = database.onclose = () => this.#opened === database && this.#close();
    this.#opened = database;
    return database;
  }

  #close() {
    this.#opened?.close();
    this.#opened = null;
  }
}

function replace(store, key, record) {
  const found = store.getKey(key);
  found.onsuccess = () => found.result !== undefined && store.put(record);
}
