"""What ``await`` opens and ``async with`` closes."""

from __future__ import annotations

import asyncio
from types import TracebackType

import pytest

from peerfetch_fast import Opening

pytestmark = pytest.mark.virtual_time


class Door:
    def __init__(self) -> None:
        self.left: list[type[BaseException] | None] = []

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.left.append(kind)


def opening(door: Door) -> Opening[Door]:
    async def work() -> Door:
        await asyncio.sleep(1)
        return door

    return Opening(work())


async def test_awaiting_leaves_closing_to_the_caller() -> None:
    door = Door()
    assert await opening(door) is door
    assert door.left == []


async def test_a_block_closes_what_it_has_opened() -> None:
    door = Door()
    async with opening(door) as opened:
        assert opened is door
        assert door.left == []
    assert door.left == [None]
    with pytest.raises(ValueError, match="inside"):
        async with opening(door):
            raise ValueError("inside")
    assert door.left == [None, ValueError]


async def test_it_can_be_a_task_and_be_cancelled() -> None:
    door = Door()
    assert await asyncio.create_task(opening(door)) is door
    task = asyncio.create_task(opening(door))
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_is_not_wanted_is_not_opened() -> None:
    opening(Door()).close()  # a coroutine that is only dropped warns, which fails a test
