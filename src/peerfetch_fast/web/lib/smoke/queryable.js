/** Queries over what comes one by one. */

/** Orders as `<` does; values that are not ordered, such as undefined, go last. */
function compare(left, right) {
  if (left < right) return -1;
  if (left > right) return 1;
  return (left === undefined) - (right === undefined);
}

/** A sequence that is read once, and no further than it is asked for. */
export class Queryable {
  #source;

  /** @param source an iterable, asynchronous or not */
  constructor(source) {
    this.#source = source;
  }

  async *[Symbol.asyncIterator]() {
    yield* this.#source;
  }

  /** A Queryable of what a generator function makes of the values. */
  #by(generator) {
    return new Queryable(generator(this));
  }

  concat(other) {
    return this.#by(async function* (values) {
      yield* values;
      yield* other;
    });
  }

  distinct(key = (value) => value) {
    return this.#by(async function* (values) {
      const seen = new Set();
      for await (const value of values) {
        const found = key(value);
        if (seen.has(found)) continue;
        seen.add(found);
        yield value;
      }
    });
  }

  orderBy(key) {
    return this.#ordered(key, 1);
  }

  orderByDescending(key) {
    return this.#ordered(key, -1);
  }

  #ordered(key, sign) {
    return this.#by(async function* (values) {
      const all = [];
      for await (const value of values) all.push([key(value), value]);
      all.sort(([left], [right]) => sign * compare(left, right));
      for (const [, value] of all) yield value;
    });
  }

  reverse() {
    return this.#by(async function* (values) {
      const all = await values.toArray();
      for (let at = all.length - 1; at >= 0; at--) yield all[at];
    });
  }

  select(project) {
    return this.#by(async function* (values) {
      let index = 0;
      for await (const value of values) yield project(value, index++);
    });
  }

  selectMany(project) {
    return this.#by(async function* (values) {
      let index = 0;
      for await (const value of values) yield* project(value, index++);
    });
  }

  skip(count) {
    return this.where((_, index) => index >= count);
  }

  take(count) {
    return this.#by(async function* (values) {
      let left = count;
      if (left <= 0) return;
      for await (const value of values) {
        yield value;
        if (--left <= 0) return; // which ends the source too
      }
    });
  }

  where(matches) {
    return this.#by(async function* (values) {
      let index = 0;
      for await (const value of values) if (matches(value, index++)) yield value;
    });
  }

  async aggregate(func, initial) {
    let result = initial;
    let index = 0;
    for await (const value of this) result = func(result, value, index++);
    return result;
  }

  async all(matches) {
    let index = 0;
    for await (const value of this) if (!matches(value, index++)) return false;
    return true;
  }

  async any(matches = () => true) {
    let index = 0;
    for await (const value of this) if (matches(value, index++)) return true;
    return false;
  }

  async average(number) {
    let [sum, count] = [0, 0];
    for await (const value of this) sum += number(value, count++);
    return sum / count;
  }

  count() {
    return this.aggregate((count) => count + 1, 0);
  }

  async elementAt(index) {
    let at = 0;
    for await (const value of this) if (at++ === index) return value;
    return undefined;
  }

  first() {
    return this.elementAt(0);
  }

  last() {
    return this.aggregate((_, value) => value, undefined);
  }

  sum(number) {
    return this.aggregate((sum, value, index) => sum + number(value, index), 0);
  }

  async toArray() {
    const all = [];
    for await (const value of this) all.push(value);
    return all;
  }
}
