"""Bytes that callers have left at a PeerNet server: all, and those of each network. Sans-I/O."""

from __future__ import annotations

from collections import Counter

from peerfetch_fast.budget import Budget
from peerfetch_fast.signaling.peernet.problems import Problem, Status
from peerfetch_fast.signaling.peernet.settings import PeerNetSettings

__all__ = ["FULL", "Shares"]

FULL = "the server is full: try again later"

RETRY_AFTER = 5.0
"""Seconds after which there may be room."""


class Shares:
    """The bytes of all, of which no network takes more than its share."""

    def __init__(self, settings: PeerNetSettings) -> None:
        self._all = Budget(settings.max_bytes)
        self._most = settings.max_bytes_per_address
        self._held: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """Bytes that are taken."""
        return self._held.total()

    def take(self, network: str, size: int) -> None:
        """Take bytes for a network. Raises Problem if it has no more, or nobody has."""
        if self._held[network] + size > self._most:
            raise Problem(
                Status.RESOURCE_EXHAUSTED,
                f"more than {self._most} bytes were left here from your address: let them expire",
                retry_after=RETRY_AFTER,
            )
        if not self._all.take(size):
            raise Problem(Status.UNAVAILABLE, FULL, retry_after=RETRY_AFTER)
        self._held[network] += size

    def give_back(self, network: str, size: int) -> None:
        """Return bytes that were taken for a network."""
        self._all.give_back(size)
        self._held[network] -= size
        if not self._held[network]:
            del self._held[network]
