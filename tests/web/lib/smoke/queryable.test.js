import assert from "node:assert/strict";
import test from "node:test";

import { Queryable } from "../../../../src/peerfetch_fast/web/lib/smoke/queryable.js";

/** Numbers from 0, and what was asked of them. */
function source(count = Infinity) {
  const log = { pulled: 0, ended: false };
  async function* numbers() {
    try {
      for (let at = 0; at < count; at++) {
        log.pulled++;
        yield at;
      }
    } finally {
      log.ended = true;
    }
  }
  return { query: new Queryable(numbers()), log };
}

const of = (...values) => new Queryable(values);

test("what is lazy gives the values that it names", async () => {
  const people = [
    { name: "b", age: 2 },
    { name: "a", age: 2 },
    { name: "c", age: 1 },
  ];
  const cases = [
    [of(1, 2).concat(of(3)), [1, 2, 3]],
    [of(1, 1, 2).distinct(), [1, 2]],
    [of(1, 3, 2).distinct((n) => n % 2), [1, 2]],
    [of(...people).orderBy((one) => one.age).select((one) => one.name), ["c", "b", "a"]],
    [of(...people).orderByDescending((one) => one.age).select((one) => one.name), ["b", "a", "c"]],
    [of(3, undefined, 1).orderBy((n) => n), [1, 3, undefined]],
    [of(1, 2, 3).reverse(), [3, 2, 1]],
    [of().reverse(), []],
    [of("a", "b").select((value, index) => value + index), ["a0", "b1"]],
    [of(1, 2).selectMany((n) => [n, n]), [1, 1, 2, 2]],
    [of(1, 2, 3).skip(2), [3]],
    [of(1, 2, 3).take(2), [1, 2]],
    [of(1, 2, 3).where((n) => n !== 2), [1, 3]],
  ];
  for (const [query, expected] of cases) assert.deepEqual(await query.toArray(), expected);
});

test("what is eager gives one value", async () => {
  assert.equal(await of(1, 2, 3).aggregate((sum, n) => sum + n, 10), 16);
  assert.equal(await of(2, 4).all((n) => n % 2 === 0), true);
  assert.equal(await of(2, 3).all((n) => n % 2 === 0), false);
  assert.equal(await of(1, 2).any((n) => n === 2), true);
  assert.equal(await of().any(), false);
  assert.equal(await of(1, 2).average((n) => n), 1.5);
  assert.equal(await of(1, 2).count(), 2);
  assert.equal(await of(5, 6).elementAt(1), 6);
  assert.equal(await of(5, 6).elementAt(2), undefined);
  assert.equal(await of(5, 6).first(), 5);
  assert.equal(await of(5, 6).last(), 6);
  assert.equal(await of(5, 6).sum((n) => n), 11);
});

test("nothing is read before it is asked for, and one value at a time", async () => {
  const { query, log } = source();
  const values = query.where((n) => n % 2 === 1).select((n) => n * 10)[Symbol.asyncIterator]();
  assert.equal(log.pulled, 0);
  assert.equal((await values.next()).value, 10);
  assert.equal(log.pulled, 2);
});

for (const [name, work, pulled] of [
  ["take(3)", (query) => query.take(3).toArray(), 3],
  ["take(0)", (query) => query.take(0).toArray(), 0],
  ["first()", (query) => query.first(), 1],
  ["elementAt(1)", (query) => query.elementAt(1), 2],
  ["any()", (query) => query.any((n) => n === 4), 5],
  ["all()", (query) => query.all((n) => n < 2), 3],
]) {
  test(`${name} stops its source`, async () => {
    const { query, log } = source();
    await work(query);
    assert.equal(log.pulled, pulled);
    assert.equal(log.ended, pulled > 0);
  });
}
