"""The bytes that benchmarks send: any stretch of them can be checked by one comparison."""

from __future__ import annotations

import random
from pathlib import Path

__all__ = ["LONGEST", "PERIOD", "Pattern"]

PERIOD = 1_000_003
"""Bytes after which the pattern repeats: a prime, so that no lost or doubled packet, message or
buffer of the usual sizes goes unnoticed."""

LONGEST = 256 * 1024
"""Bytes of the longest stretch that is sent or checked at once."""


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
