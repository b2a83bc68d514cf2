"""Read one file as it is, or the digests of its pieces. Both wait for the disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence

from peerfetch_fast.sharing.manifest import PIECE
from peerfetch_fast.sharing.sending import Digests
from peerfetch_fast.sharing.source import Changed, Item

__all__ = ["DigestReader", "FileReader"]

CHUNK = 1024 * 1024
"""Bytes that are read at a time."""

LINES = 1000
"""Digests that are sent at a time."""


class FileReader:
    """The octets of a file. It is made, and its methods are called, in a thread, one at a time.
    :meth:`read` and making it raise OSError for a file that cannot be sent as it was.

    :param look: octets of :attr:`beginning`.
    """

    def __init__(self, item: Item, look: int) -> None:
        self._item = item
        self._node = item.open()
        self._at, self._stop = 0, item.entry.size
        self.path = item.entry.path
        try:
            self.beginning = os.pread(self._node.descriptor, look, 0)
        except OSError:
            self.close()
            raise

    def between(self, start: int, stop: int) -> None:
        """Read that much of it."""
        self._at, self._stop = start, stop

    def read(self) -> list[bytes]:
        """The next octets; [] at the end."""
        if self._at >= self._stop:
            return []
        data = os.pread(self._node.descriptor, min(CHUNK, self._stop - self._at), self._at)
        if not data:
            raise Changed(0, "it has become shorter while it was sent")
        self._at += len(data)
        if self._at == self._stop:
            self._item.check(self._node)  # before the last octets, behind which all looks whole
        return [data]

    def close(self) -> None:
        self._node.close()


class DigestReader:
    """A line for each piece of some files: its SHA-256, in hexadecimal digits."""

    def __init__(self, items: Sequence[Item], digests: Digests) -> None:
        self._digests = digests
        self._lines = self._all(items)
        self.path = ""

    def read(self) -> list[bytes]:
        """The next lines, for which one piece was read; [] at the end. Raises OSError."""
        lines: list[bytes] = []
        read = 0
        for size, line in self._lines:
            lines.append(line)
            read += size
            if read >= PIECE or len(lines) >= LINES:
                break
        return [b"".join(lines)] if lines else []

    def _all(self, items: Sequence[Item]) -> Iterator[tuple[int, bytes]]:
        for item in items:
            self.path = item.entry.path
            for begin in range(0, item.entry.size, PIECE):
                known = self._digests.get(item, begin // PIECE)
                size = 0 if known else min(PIECE, item.entry.size - begin)
                digest = known or self._digest(item, begin)
                yield size, digest.hex().encode() + b"\n"

    def _digest(self, item: Item, begin: int) -> bytes:
        node = item.open()
        try:
            hashing = hashlib.sha256()
            end = min(begin + PIECE, item.entry.size)
            for at in range(begin, end, CHUNK):
                hashing.update(os.pread(node.descriptor, min(CHUNK, end - at), at))
            item.check(node)
        finally:
            node.close()
        digest = hashing.digest()
        self._digests.keep(item, begin // PIECE, digest)
        return digest

    def close(self) -> None:
        """Nothing is open in between."""
