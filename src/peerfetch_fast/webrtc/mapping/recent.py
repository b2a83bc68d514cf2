"""What was found out of a network a short while ago, so that not each connection asks anew."""

from __future__ import annotations

import time
from typing import Generic, TypeVar

__all__ = ["FOUND_FOR", "MAX_KEPT", "SILENT_FOR", "Recent"]

T = TypeVar("T")

FOUND_FOR = 600.0
"""Seconds for which it is kept where a router is."""

SILENT_FOR = 60.0
"""Seconds for which it is kept that nobody has answered."""

MAX_KEPT = 64
"""Networks of which something is kept; of more, the one that was kept first is forgotten."""


class Recent(Generic[T]):
    """Values by network, each for a time."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, T]] = {}

    def get(self, network: str) -> T | None:
        """What is kept of a network; None where nothing is any more."""
        until, value = self._kept.get(network, (0.0, None))
        return value if time.monotonic() < until else None

    def keep(self, network: str, value: T, seconds: float) -> None:
        """Keep ``value`` for so many seconds."""
        self.forget(network)
        while len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[network] = time.monotonic() + seconds, value

    def forget(self, network: str) -> None:
        """Keep nothing of a network. Idempotent."""
        self._kept.pop(network, None)

    def clear(self) -> None:
        """Keep nothing of any."""
        self._kept.clear()
