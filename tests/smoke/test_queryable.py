"""Queries over asynchronous iterators: what they give, and how far they read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from peerfetch_fast.smoke import Queryable


class Source:
    """Numbers from 0, and what was asked of them."""

    def __init__(self) -> None:
        self.pulled = 0
        self.ended = False
        self.query = Queryable(self._numbers())

    async def _numbers(self) -> AsyncIterator[int]:
        try:
            while True:
                self.pulled += 1
                yield self.pulled - 1
        finally:
            self.ended = True


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Queryable([1, 2]).concat([3]), [1, 2, 3]),
        (Queryable([1, 1, 2]).distinct(), [1, 2]),
        (Queryable([1, 3, 2]).distinct(lambda n: n % 2), [1, 2]),
        (Queryable(["bb", "a", "cc"]).order_by(len), ["a", "bb", "cc"]),
        (Queryable(["a", "bb", "cc"]).order_by_descending(len), ["bb", "cc", "a"]),
        (Queryable([1, 2, 3]).reverse(), [3, 2, 1]),
        (Queryable([]).reverse(), []),
        (Queryable([1, 2]).select(str), ["1", "2"]),
        (Queryable([1, 2]).select_many(lambda n: [n, n]), [1, 1, 2, 2]),
        (Queryable([1, 2, 3]).skip(2), [3]),
        (Queryable([1, 2, 3]).take(2), [1, 2]),
        (Queryable([1, 2, 3]).where(lambda n: n != 2), [1, 3]),
    ],
)
async def test_what_is_lazy_gives_the_values_that_it_names(
    query: Queryable[Any], expected: list[Any]
) -> None:
    assert await query.to_list() == expected


async def test_what_is_eager_gives_one_value() -> None:
    assert await Queryable([1, 2, 3]).aggregate(lambda total, n: total + n, 10) == 16
    assert await Queryable([2, 4]).all(lambda n: n % 2 == 0)
    assert not await Queryable([2, 3]).all(lambda n: n % 2 == 0)
    assert await Queryable([1, 2]).any(lambda n: n == 2)
    assert not await Queryable([]).any()
    assert await Queryable([1, 2]).average(float) == 1.5
    assert await Queryable([1, 2]).count() == 2
    assert await Queryable([5, 6]).element_at(1) == 6
    assert await Queryable([5, 6]).element_at(2) is None
    assert await Queryable([5, 6]).first() == 5
    assert await Queryable([5, 6]).last() == 6
    assert await Queryable([5, 6]).sum(float) == 11


@pytest.mark.parametrize(
    ("work", "pulled"),
    [
        (lambda query: query.take(3).to_list(), 3),
        (lambda query: query.take(0).to_list(), 0),
        (lambda query: query.first(), 1),
        (lambda query: query.element_at(1), 2),
        (lambda query: query.any(lambda n: n == 4), 5),
        (lambda query: query.all(lambda n: n < 2), 3),
    ],
)
async def test_what_has_enough_stops_its_source(
    work: Callable[[Queryable[int]], Awaitable[object]], pulled: int
) -> None:
    source = Source()
    await work(source.query)
    assert source.pulled == pulled
    assert source.ended is (pulled > 0)


async def test_nothing_is_read_before_it_is_asked_for() -> None:
    source = Source()
    values = aiter(source.query.where(lambda n: n % 2 == 1).select(lambda n: n * 10))
    assert source.pulled == 0
    assert await anext(values) == 10
    assert source.pulled == 2
    await values.aclose()
    assert source.ended
