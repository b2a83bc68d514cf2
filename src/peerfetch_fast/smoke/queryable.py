"""Queries over what comes one by one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any, Generic, TypeVar

__all__ = ["Queryable"]

T = TypeVar("T")
U = TypeVar("U")


async def _each(source: AsyncIterable[T] | Iterable[T]) -> AsyncGenerator[T, None]:
    """The values of a source, which ends when this does."""
    if not isinstance(source, AsyncIterable):
        for value in source:
            yield value
        return
    values = aiter(source)
    try:
        async for one in values:
            yield one
    finally:
        close = getattr(values, "aclose", None)
        if close is not None:
            await close()


class Queryable(Generic[T]):
    """A sequence that is read once, and no further than it is asked for.

    To end it before its last value, use ``async with aclosing(aiter(query)) as values``, or a
    method that stops by itself, such as :meth:`take`.
    """

    def __init__(self, source: AsyncIterable[T] | Iterable[T]) -> None:
        self._source = source

    def __aiter__(self) -> AsyncGenerator[T, None]:
        return _each(self._source)

    # -- lazy --------------------------------------------------------------------------------------

    def concat(self, other: AsyncIterable[T] | Iterable[T]) -> Queryable[T]:
        """These values, then those of ``other``."""

        async def values() -> AsyncIterator[T]:
            for source in (self, other):
                async with aclosing(_each(source)) as each:
                    async for value in each:
                        yield value

        return Queryable(values())

    def distinct(self, key: Callable[[T], Any] | None = None) -> Queryable[T]:
        """The first value of each key, which is hashable; by default the value itself."""
        seen: set[Any] = set()

        def is_new(value: T) -> bool:
            found = value if key is None else key(value)
            if found in seen:
                return False
            seen.add(found)
            return True

        return self.where(is_new)

    def order_by(self, key: Callable[[T], Any], *, descending: bool = False) -> Queryable[T]:
        """The values in the order of their keys; equal ones as they came."""

        async def values() -> AsyncIterator[T]:
            for value in sorted(await self.to_list(), key=key, reverse=descending):
                yield value

        return Queryable(values())

    def order_by_descending(self, key: Callable[[T], Any]) -> Queryable[T]:
        """The values in the reverse order of their keys; equal ones as they came."""
        return self.order_by(key, descending=True)

    def reverse(self) -> Queryable[T]:
        """The values from the last to the first."""

        async def values() -> AsyncIterator[T]:
            for value in reversed(await self.to_list()):
                yield value

        return Queryable(values())

    def select(self, project: Callable[[T], U]) -> Queryable[U]:
        """The result of ``project`` for each value."""

        async def values() -> AsyncIterator[U]:
            async with aclosing(aiter(self)) as each:
                async for value in each:
                    yield project(value)

        return Queryable(values())

    def select_many(self, project: Callable[[T], Iterable[U]]) -> Queryable[U]:
        """All that ``project`` makes of each value."""

        async def values() -> AsyncIterator[U]:
            async with aclosing(aiter(self)) as each:
                async for value in each:
                    for one in project(value):
                        yield one

        return Queryable(values())

    def skip(self, count: int) -> Queryable[T]:
        """All but the first ``count`` values."""
        left = count

        def is_behind(_: T) -> bool:
            nonlocal left
            left -= 1
            return left < 0

        return self.where(is_behind)

    def take(self, count: int) -> Queryable[T]:
        """The first ``count`` values; then the source ends."""

        async def values() -> AsyncIterator[T]:
            left = count
            if left <= 0:
                return
            async with aclosing(aiter(self)) as each:
                async for value in each:
                    yield value
                    left -= 1
                    if not left:
                        return

        return Queryable(values())

    def where(self, matches: Callable[[T], bool]) -> Queryable[T]:
        """The values that match."""

        async def values() -> AsyncIterator[T]:
            async with aclosing(aiter(self)) as each:
                async for value in each:
                    if matches(value):
                        yield value

        return Queryable(values())

    # -- eager -------------------------------------------------------------------------------------

    async def aggregate(self, func: Callable[[U, T], U], initial: U) -> U:
        """``func`` of what it gave for the values before, and each value."""
        result = initial
        async for value in self:
            result = func(result, value)
        return result

    async def all(self, matches: Callable[[T], bool]) -> bool:
        """Whether every value matches; reads up to the first that does not."""
        return not await self.any(lambda value: not matches(value))

    async def any(self, matches: Callable[[T], bool] = lambda _: True) -> bool:
        """Whether a value matches; reads up to the first that does."""
        return bool(await self.where(matches).take(1).count())

    async def average(self, number: Callable[[T], float]) -> float:
        """The mean of the values' numbers; nan of none."""
        total, count = 0.0, 0
        async for value in self:
            total += number(value)
            count += 1
        return total / count if count else float("nan")

    async def count(self) -> int:
        """How many values there are."""
        return await self.aggregate(lambda count, _: count + 1, 0)

    async def element_at(self, index: int) -> T | None:
        """The value at an index from 0, None if there are not so many."""
        return await self.skip(index).first()

    async def first(self) -> T | None:
        """The first value, None if there is none; no other is read."""
        async with aclosing(aiter(self)) as each:
            async for value in each:
                return value
        return None

    async def last(self) -> T | None:
        """The last value, None if there is none."""
        found: T | None = None
        async for value in self:
            found = value
        return found

    async def sum(self, number: Callable[[T], float]) -> float:
        """The sum of the values' numbers."""
        return await self.aggregate(lambda total, value: total + number(value), 0.0)

    async def to_list(self) -> list[T]:
        """All values."""
        return [value async for value in self]
