from __future__ import annotations

import asyncio
from typing import Any

import pytest

from peerfetch_fast.errors import LinkClosed
from peerfetch_fast.streams.link import MemoryLink, memory_pair

pytestmark = pytest.mark.virtual_time


class Receiver:
    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.lows = 0
        self.closed: list[Exception | None] = []

    def message_received(self, message: bytes | str) -> None:
        assert not self.closed
        self.messages.append(message)

    def parts_received(self, *_: Any) -> None:
        raise AssertionError("a link in memory has no parts")

    def buffered_low(self) -> None:
        self.lows += 1

    def link_closed(self, error: Exception | None) -> None:
        self.closed.append(error)


def attached(**options: Any) -> tuple[MemoryLink, MemoryLink, Receiver, Receiver]:
    one, other = memory_pair(**options)
    receivers = Receiver(), Receiver()
    one.attach(receivers[0])
    other.attach(receivers[1])
    return one, other, *receivers


async def test_messages_go_both_ways_in_order() -> None:
    one, other, at_one, at_other = attached()
    for number in range(10):
        one.send(b"%d" % number)
    other.send("text")
    await asyncio.sleep(1)
    assert at_other.messages == [b"%d" % number for number in range(10)]
    assert at_one.messages == ["text"]


async def test_a_seed_shuffles_what_is_under_way_and_loses_nothing() -> None:
    async def order(seed: int) -> list[bytes]:
        one, _, _, at_other = attached(seed=seed)
        for number in range(20):
            one.send(b"%d" % number)
        await asyncio.sleep(1)
        return at_other.messages

    sent = [b"%d" % number for number in range(20)]
    first = await order(1)
    assert first != sent
    assert sorted(first) == sorted(sent)
    assert await order(1) == first
    assert await order(2) != first


async def test_a_message_arrives_after_the_delay() -> None:
    one, _, _, at_other = attached(delay=2.0)
    one.send(b"x")
    assert one.buffered_amount == 1
    await asyncio.sleep(1.9)
    assert at_other.messages == []
    await asyncio.sleep(0.2)
    assert at_other.messages == [b"x"]
    assert one.buffered_amount == 0


async def test_low_water_is_told_on_the_way_down_only() -> None:
    one, _, at_one, _ = attached()
    one.low_water = 10
    one.send(b"x" * 10)
    await asyncio.sleep(1)
    assert at_one.lows == 0
    one.send(b"x" * 11)
    await asyncio.sleep(1)
    assert at_one.lows == 1


async def test_messages_before_attach_are_kept() -> None:
    one, other = memory_pair()
    one.send(b"early")
    await asyncio.sleep(1)
    receiver = Receiver()
    other.attach(receiver)
    assert receiver.messages == [b"early"]


@pytest.mark.parametrize("error", [None, LinkClosed("cut")])
async def test_closing_closes_both_ends_once(error: Exception | None) -> None:
    one, other, at_one, at_other = attached(delay=1.0)
    one.send(b"lost")
    one.cut(error)
    one.close()
    other.close()
    other.send(b"lost too")
    await asyncio.sleep(3)
    assert at_one.closed == at_other.closed == [error]
    assert at_one.messages == at_other.messages == []
