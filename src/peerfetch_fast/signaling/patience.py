"""Waiting that can be cut short, as when another network makes it vain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["Patience"]

T = TypeVar("T")


class Patience:
    """Waits for one thing at a time."""

    def __init__(self) -> None:
        self._timeout: asyncio.Timeout | None = None

    async def wait(self, work: Awaitable[T], until: float | None = None) -> T | None:
        """The result of ``work``; None if :meth:`end` is called before, or that time comes.

        :param until: a time of the event loop, in seconds.

        Raises what ``work`` does, its own TimeoutError included.
        """
        try:
            async with asyncio.timeout_at(until) as timeout:
                self._timeout = timeout
                return await work
        except TimeoutError:
            if not timeout.expired():
                raise
            return None
        finally:
            self._timeout = None

    def end(self) -> None:
        """Wait no longer for what is being waited for."""
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time())
