"""The bytes that benchmarks send: any stretch of them can be checked by one comparison."""

from __future__ import annotations

import random
from pathlib import Path

__all__ = ["LONGEST", "PERIOD", "Arrivals", "Pattern"]

PERIOD = 1_000_003
"""Bytes after which the pattern repeats: a prime, so that no lost or doubled packet, message or
buffer of the usual sizes goes unnoticed."""

LONGEST = 256 * 1024
"""Bytes of the longest stretch that is sent or checked at once."""


AHEAD = 4096
"""Messages that one may overtake."""


class Pattern:
    """A file of ``PERIOD`` random bytes and the first ``LONGEST`` of them again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bytes = path.read_bytes()

    @classmethod
    def create(cls, path: Path) -> Pattern:
        """Write the pattern to ``path``."""
        noise = random.Random(PERIOD).randbytes(PERIOD)
        path.write_bytes(noise + noise[:LONGEST])
        return cls(path)

    def write(self, path: Path, size: int) -> None:
        """Write a file of ``size`` bytes that follows the pattern."""
        period = self._bytes[:PERIOD]
        with path.open("wb") as file:
            for at in range(0, size, PERIOD):
                file.write(period[: size - at])

    def piece(self, at: int, length: int) -> bytes:
        """The bytes at ``at`` of a stream that follows the pattern."""
        at %= PERIOD
        return self._bytes[at : at + length]

    def holds(self, data: bytes, at: int) -> bool:
        """Whether ``data`` is what a stream that follows the pattern has at ``at``."""
        return all(
            self._bytes.startswith(data[skip : skip + LONGEST], (at + skip) % PERIOD)
            for skip in range(0, len(data), LONGEST)
        )


class Arrivals:
    """Messages of one size that together follow the pattern, and come in any order.

    :ivar count: bytes that came.
    """

    def __init__(self, pattern: Pattern) -> None:
        self.count = 0
        self._pattern = pattern
        self._size = 0
        self._next = 0
        self._overtaken: dict[int, None] = {}

    def take(self, message: bytes) -> bool:
        """Whether ``message`` is one that has not come yet."""
        holds, size = self._pattern.holds, len(message)
        self._size = self._size or size
        if not size or size != self._size:
            return False
        if holds(message, self._next):
            self._next += size
        elif (at := next((at for at in self._overtaken if holds(message, at)), None)) is not None:
            del self._overtaken[at]
        else:
            ahead = range(self._next + size, self._next + AHEAD * size, size)
            at = next((at for at in ahead if holds(message, at)), None)
            if at is None:
                return False
            self._overtaken.update(dict.fromkeys(range(self._next, at, size)))
            self._next = at + size
        self.count += size
        return True
