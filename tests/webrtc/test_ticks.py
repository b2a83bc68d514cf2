"""One timer for all connections of a loop."""

from __future__ import annotations

import asyncio
import logging

import pytest

from peerfetch_fast.webrtc.ticks import INTERVAL, ticks
from virtual_time import run_virtual

pytestmark = pytest.mark.virtual_time


async def test_all_who_ask_are_called_each_second_until_they_do_not_want_it() -> None:
    loop = asyncio.get_running_loop()
    first: list[float] = []
    second: list[float] = []

    def one() -> None:
        first.append(loop.time())

    def other() -> None:
        second.append(loop.time())
        if len(second) == 2:
            ticks().remove(one)
            ticks().remove(other)

    began = loop.time()
    ticks().add(one)
    ticks().add(other)
    await asyncio.sleep(10 * INTERVAL)
    assert first == [began + INTERVAL, began + 2 * INTERVAL]
    assert second == first


def test_nothing_is_left_on_a_loop_where_nobody_asks() -> None:
    def never() -> None:
        raise AssertionError("called")

    async def main() -> None:
        ticks().add(never)
        ticks().remove(never)
        ticks().remove(never)
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="everything waits"):  # not even a timer
        run_virtual(main())


async def test_one_that_fails_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    called: list[int] = []

    def fail() -> None:
        raise ValueError("by design")

    def count() -> None:
        called.append(1)

    ticks().add(fail)
    ticks().add(count)
    with caplog.at_level(logging.ERROR):
        await asyncio.sleep(2.5 * INTERVAL)
    assert len(called) == 2
    assert "by design" in caplog.text
    ticks().remove(fail)
    ticks().remove(count)
