"""The packets of pictures on their way to one viewer, no faster than its network takes them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

__all__ = ["FASTEST", "Outbox"]

BURST = 16
"""Packets that leave at once."""

FASTEST = 75_000_000.0
"""Bits a second at most: a key frame is no hundred packets at once, which a network's buffers would
drop."""

_BITS = 8 * 1_200
"""Of a packet, as it counts here."""


class Outbox:
    """Sends packets in their order. Close it after use.

    :param send: sends packets at once.
    :ivar rate: bits a second, at most.
    """

    def __init__(self, send: Callable[[list[bytes]], object]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self.rate = FASTEST
        self._waiting: deque[bytes] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._free_at = 0.0

    @property
    def delay(self) -> float:
        """Seconds until what waits has left."""
        return len(self._waiting) * _BITS / self.rate

    def put(self, packets: list[bytes]) -> None:
        """Send these, behind those that wait."""
        if not self._waiting and len(packets) <= BURST and self._has_room():
            self._take(packets)
            return
        self._waiting.extend(packets)
        if self._timer is None:
            self._run()

    def put_first(self, packets: list[bytes]) -> None:
        """Send these before those that wait."""
        self._waiting.extendleft(reversed(packets))
        if self._timer is None:
            self._run()

    def close(self) -> None:
        """Send nothing more. Idempotent."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _has_room(self) -> bool:
        return self._loop.time() >= self._free_at

    def _take(self, packets: list[bytes]) -> None:
        # What was not sent while there was room is no credit for later.
        begins = max(self._free_at, self._loop.time())
        self._free_at = begins + len(packets) * _BITS / self.rate
        self._send(packets)

    def _run(self) -> None:
        if self._waiting and self._has_room():
            self._take_waiting()
        self._wait()

    def _wait(self) -> None:
        self._timer = self._loop.call_at(self._free_at, self._due) if self._waiting else None

    def _due(self) -> None:
        # Loops that count in milliseconds call a little too soon: to ask the time would be to be
        # called again and again.
        self._take_waiting()
        self._wait()

    def _take_waiting(self) -> None:
        waiting = self._waiting
        self._take([waiting.popleft() for _ in range(min(BURST, len(waiting)))])
