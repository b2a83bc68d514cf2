"""How long a request may wait for what."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

from peerfetch_fast.errors import FetchTimeout, Wait

__all__ = ["Timeouts"]

T = TypeVar("T")

_WHAT = {
    Wait.CONNECTION: "a connection",
    Wait.STREAM: "a free stream",
    Wait.HEAD: "the answer",
    Wait.PIECE: "the next piece of the body",
    Wait.UPLOAD: "room for the next piece of the request's body",
}


@dataclass(slots=True)
class Timeouts:
    """Bounds of the waits of one request, in seconds; None for none.

    :param each: what each wait of a kind may take.
    :param answer: what all of it may take until the head of the answer is there, from now on.
    """

    each: dict[Wait, float] = field(default_factory=dict)
    answer: float | None = None
    _answer_at: float | None = field(init=False)

    def __post_init__(self) -> None:
        now = asyncio.get_running_loop().time()
        self._answer_at = None if self.answer is None else now + self.answer

    async def wait(self, kind: Wait, work: Awaitable[T]) -> T:
        """What ``work`` returns. Raises FetchTimeout, and what ``work`` raises."""
        allowed = left = self.each.get(kind)
        if self._answer_at is not None and kind not in (Wait.PIECE, Wait.UPLOAD):
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
