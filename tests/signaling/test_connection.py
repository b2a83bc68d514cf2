from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from peerfetch_fast.signaling.connection import Budget, Connection
from peerfetch_fast.signaling.realm import cost
from peerfetch_fast.signaling.settings import ServerSettings

Run = Callable[[Coroutine[Any, Any, None]], None]


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
    return socket, Connection(socket, None, ServerSettings(), budget)


def test_a_budget_is_shared_and_never_overdrawn() -> None:
    budget = Budget(100)
    assert budget.take(60)
    assert not budget.take(41)
    assert budget.take(40)
    assert not budget.take(1)
    budget.give_back(60)
    assert budget.take(60)


def test_what_waits_is_sent_in_order_before_the_close(run: Run) -> None:
    async def main() -> None:
        socket, connection = connect(True, Budget(10_000))
        assert connection.send(b"1")
        assert connection.send("ü".encode())
        connection.close(4000, "enough")
        assert connection.send(b"too late")  # no sign of a slow reader
        await connection.run()
        assert socket.sent == ["1", "ü"]
        assert socket.closed == (4000, b"enough")

    run(main())


def test_a_client_has_its_own_bound_and_shares_another(run: Run) -> None:
    async def main() -> None:
        settings = ServerSettings()
        largest = b"x" * (settings.max_outgoing - cost(b""))
        budget = Budget(settings.max_outgoing + cost(b""))
        _, full = connect(True, budget)
        assert full.send(largest)
        assert not full.send(b"")
        _, other = connect(True, budget)
        assert other.send(b"")
        assert not other.send(b"")

    run(main())


def test_the_shared_bytes_come_back_however_it_ends(run: Run) -> None:
    async def main() -> None:
        for alive in (True, False):
            budget = Budget(10_000)
            _, connection = connect(alive, budget)
            for _ in range(5):
                assert connection.send(b"x" * 100)
            assert not budget.take(10_000)
            connection.close(1000, "")
            await connection.run()
            assert budget.take(10_000)

    run(main())
