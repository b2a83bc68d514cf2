"""Work in threads that nobody waits for."""

from __future__ import annotations

import asyncio
import threading

import pytest

from peerfetch_fast.aside import aside
from support import until


async def test_what_it_returns_and_raises() -> None:
    assert await aside(lambda: 7, "seven") == 7
    with pytest.raises(ValueError, match="no number"):
        await aside(lambda: int("no number"), "seven")


async def test_who_wants_it_no_more_does_not_wait() -> None:
    began, goes_on, over = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        goes_on.wait(60)
        over.set()

    waiting = asyncio.ensure_future(aside(work, "slow"))
    await until(began.is_set)
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert waiting.cancelled()
    assert not over.is_set()
    goes_on.set()
    await until(over.is_set)
