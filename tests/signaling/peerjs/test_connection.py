from __future__ import annotations

import asyncio
from typing import Any

import pytest

from peerfetch_fast.signaling.peerjs.connection import Budget, Connection
from peerfetch_fast.signaling.peerjs.realm import cost
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings


class Socket:
    """As much of a WebSocket as the sending half needs; a dead one takes nothing."""

    def __init__(self, alive: bool) -> None:
        self.sent: list[str] = []
        self.closed: tuple[int, bytes] | None = None
        self._alive = alive

    async def send_str(self, text: str) -> None:
        await asyncio.sleep(0)
        if not self._alive:
            raise ConnectionResetError
        self.sent.append(text)

    async def close(self, *, code: int, message: bytes) -> None:
        self.closed = (code, message)


def connect(alive: bool, budget: Budget) -> tuple[Socket, Connection]:
    socket: Any = Socket(alive)
    return socket, Connection(socket, None, SignalingServerSettings(), budget)


def test_a_budget_is_shared_and_never_overdrawn() -> None:
    budget = Budget(100)
    assert budget.take(60)
    assert not budget.take(41)
    assert budget.take(40)
    assert not budget.take(1)
    budget.give_back(60)
    assert budget.take(60)


async def test_what_waits_is_sent_in_order_before_the_close() -> None:
    socket, connection = connect(True, Budget(10_000))
    assert connection.send(b"1")
    assert connection.send("ü".encode())
    connection.close(4000, "enough")
    assert connection.send(b"too late")  # no sign of a slow reader
    await connection.run()
    assert socket.sent == ["1", "ü"]
    assert socket.closed == (4000, b"enough")


async def test_a_client_has_its_own_bound_and_shares_another() -> None:
    settings = SignalingServerSettings()
    largest = b"x" * (settings.max_outgoing - cost(b""))
    budget = Budget(settings.max_outgoing + cost(b""))
    _, full = connect(True, budget)
    assert full.send(largest)
    assert not full.send(b"")
    _, other = connect(True, budget)
    assert other.send(b"")
    assert not other.send(b"")


async def test_the_shared_bytes_come_back_however_it_ends() -> None:
    for alive in (True, False):
        budget = Budget(10_000)
        _, connection = connect(alive, budget)
        for _ in range(5):
            assert connection.send(b"x" * 100)
        assert not budget.take(10_000)
        connection.close(1000, "")
        await connection.run()
        assert budget.take(10_000)


class Deaf(Socket):
    """A WebSocket whose client reads nothing, and its transport."""

    def __init__(self) -> None:
        super().__init__(True)
        self._lost = asyncio.Event()

    async def send_str(self, text: str) -> None:
        await self._lost.wait()
        raise ConnectionResetError

    def abort(self) -> None:
        self._lost.set()


@pytest.mark.virtual_time
async def test_who_takes_nothing_is_cut_after_the_close_timeout() -> None:
    socket: Any = Deaf()
    settings = SignalingServerSettings(close_timeout=3.0)
    connection = Connection(socket, socket, settings, Budget(10_000))
    running = asyncio.ensure_future(connection.run())
    connection.send(b"x")
    await asyncio.sleep(100)  # it may be as slow as it wants
    loop = asyncio.get_running_loop()
    began = loop.time()
    connection.close(1000, "")
    await running
    assert loop.time() - began == pytest.approx(3.0)
