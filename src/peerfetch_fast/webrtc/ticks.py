"""One timer for all connections of a loop: to wake for each costs more than to look at it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

__all__ = ["INTERVAL", "Ticks", "ticks"]

logger = logging.getLogger(__name__)

INTERVAL = 0.25
"""Seconds between two ticks."""


class Ticks:
    """Calls whoever asks for it four times a second. Made by :func:`ticks`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: dict[Callable[[], object], None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, call: Callable[[], object]) -> None:
        """Call ``call`` from now on; what it raises is logged."""
        self._calls[call] = None
        if self._timer is None:
            self._timer = self._loop.call_later(INTERVAL, self._tick)

    def remove(self, call: Callable[[], object]) -> None:
        """Do not call it any more. Idempotent."""
        self._calls.pop(call, None)
        if not self._calls and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = self._loop.call_later(INTERVAL, self._tick)
        for call in list(self._calls):
            if call in self._calls:  # another may have removed it
                try:
                    call()
                except Exception:
                    logger.exception("a connection was not looked after")


_all: dict[asyncio.AbstractEventLoop, Ticks] = {}


def ticks() -> Ticks:
    """The ticks of the running loop."""
    loop = asyncio.get_running_loop()
    for other in [other for other in _all if other.is_closed()]:
        del _all[other]
    if loop not in _all:
        _all[loop] = Ticks(loop)
    return _all[loop]
