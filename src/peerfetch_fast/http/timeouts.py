"""The timeouts of one request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

from peerfetch_fast.errors import Awaited, FetchTimeout

__all__ = ["Timeouts"]

T = TypeVar("T")

_WHAT = {
    Awaited.CONNECTION: "a connection",
    Awaited.STREAM: "a free stream",
    Awaited.HEAD: "the answer",
    Awaited.PIECE: "the next piece of the body",
    Awaited.UPLOAD: "room for the next piece of the request's body",
}


@dataclass(slots=True)
class Timeouts:
    """Bounds of the waits of one request, in seconds; None for no bound.

    :param each: the bound of each wait of a kind.
    :param answer: the bound of the time from now until the head of the answer has come.
    """

    each: dict[Awaited, float] = field(default_factory=dict)
    answer: float | None = None
    _answer_at: float | None = field(init=False)

    def __post_init__(self) -> None:
        now = asyncio.get_running_loop().time()
        self._answer_at = None if self.answer is None else now + self.answer

    async def wait(self, kind: Awaited, work: Awaitable[T]) -> T:
        """The result of ``work``. Raises FetchTimeout, and what ``work`` raises."""
        allowed = left = self.each.get(kind)
        if self._answer_at is not None and kind not in (Awaited.PIECE, Awaited.UPLOAD):
            remaining = self._answer_at - asyncio.get_running_loop().time()
            if left is None or remaining < left:
                allowed, left = self.answer, max(0.0, remaining)
        if left is None:
            return await work
        try:
            async with asyncio.timeout(left):
                return await work
        except TimeoutError:
            raise FetchTimeout(f"{_WHAT[kind]} did not come within {allowed:g} s", kind) from None
