"""What stands in for later Pythons does as they do: the same tests run on both."""

from __future__ import annotations

import asyncio

import pytest

from peerfetch_fast._backports import TIMEOUTS, StrEnum, timeout
from support import virtually


class Colour(StrEnum):
    RED = "red"


def test_a_string_enum_is_its_value() -> None:
    assert Colour.RED == "red" == str(Colour.RED) == f"{Colour.RED}" == f"{Colour.RED:s}"
    assert Colour("red") is Colour.RED


@pytest.mark.parametrize("delay", [-1.0, 0.0, 1.0])
def test_a_timeout_raises_the_builtin_error(delay: float) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with timeout(delay) as patience:
                await asyncio.sleep(2)
        assert patience.expired()
        await asyncio.sleep(2)  # nothing is left that would cancel this

    virtually(main())


def test_what_is_done_in_time_is_left_alone() -> None:
    async def main() -> None:
        for delay in (1.0, None):
            async with timeout(delay) as patience:
                await asyncio.sleep(0.5)
            assert not patience.expired()
            await asyncio.sleep(2)

    virtually(main())


def test_a_timeout_can_be_put_off() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(TimeoutError):
            async with timeout(1) as patience:
                await asyncio.sleep(0.9)
                patience.reschedule(began + 3)
                await asyncio.sleep(10)
        assert loop.time() - began == pytest.approx(3)

    virtually(main())


def test_cancelling_is_no_timeout() -> None:
    async def waiting() -> None:
        async with timeout(1):
            await asyncio.sleep(2)

    async def main() -> None:
        task = asyncio.create_task(waiting())
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    virtually(main())


def test_the_outer_of_two_timeouts_goes_through_the_inner() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with timeout(1) as outer, timeout(2) as inner:
                await asyncio.sleep(3)
        assert (outer.expired(), inner.expired()) == (True, False)

    virtually(main())


def test_timeouts_of_the_library_are_caught() -> None:
    async def main() -> None:
        with pytest.raises(TIMEOUTS):
            await asyncio.wait_for(asyncio.sleep(2), 1)

    virtually(main())
