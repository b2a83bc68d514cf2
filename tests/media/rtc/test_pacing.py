"""Packets leave in their order, and no faster than is allowed."""

from __future__ import annotations

import asyncio

import pytest

from peerfetch_fast.media.rtc.pacing import BURST, FASTEST, Outbox

BITS = 9_600


class Network:
    """Notes what is sent, and when."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, bytes]] = []
        self.outbox = Outbox(self.take)

    def take(self, packets: list[bytes]) -> None:
        now = asyncio.get_running_loop().time()
        assert len(packets) <= BURST
        self.sent += [(now, packet) for packet in packets]

    @property
    def packets(self) -> list[bytes]:
        return [packet for _, packet in self.sent]


def numbered(count: int, name: str = "") -> list[bytes]:
    return [f"{name}{number}".encode() for number in range(count)]


@pytest.mark.virtual_time
async def test_a_large_picture_leaves_at_the_rate() -> None:
    network = Network()
    network.outbox.rate = 1_000_000
    network.outbox.put(numbered(100))
    assert len(network.sent) == BURST
    assert network.outbox.delay == pytest.approx((100 - BURST) * BITS / 1e6)
    await asyncio.sleep(2)
    assert network.packets == numbered(100)
    first, last = network.sent[0][0], network.sent[-1][0]
    assert last - first == pytest.approx(96 * BITS / 1e6)
    assert network.outbox.delay == 0
    network.outbox.close()


@pytest.mark.virtual_time
async def test_an_ordinary_picture_leaves_at_once_and_what_was_not_sent_is_no_credit() -> None:
    network = Network()
    assert network.outbox.rate == FASTEST
    for _ in range(3):
        began = len(network.sent)
        network.outbox.put(numbered(BURST))
        assert len(network.sent) == began + BURST
        await asyncio.sleep(1)
    network.outbox.rate = 1_000_000
    network.outbox.put(numbered(BURST))
    network.outbox.put(numbered(1, "next"))
    assert network.packets[-1] == b"15"
    await asyncio.sleep(1)
    assert network.packets[-1] == b"next0"
    network.outbox.close()


@pytest.mark.virtual_time
async def test_what_is_repeated_goes_before_what_waits() -> None:
    network = Network()
    network.outbox.rate = 1_000_000
    network.outbox.put(numbered(40))
    network.outbox.put_first(numbered(3, "again"))
    await asyncio.sleep(1)
    at = network.packets.index(b"again0")
    assert network.packets[at : at + 3] == numbered(3, "again")
    assert network.packets[:at] + network.packets[at + 3 :] == numbered(40)
    assert at == BURST
    network.outbox.close()


@pytest.mark.virtual_time
async def test_nothing_leaves_once_it_is_closed() -> None:
    network = Network()
    network.outbox.put(numbered(100))
    network.outbox.close()
    await asyncio.sleep(1)
    assert len(network.sent) == BURST
