"""The records in which the contents of files are sent (docs/sharing.md).

Sans-I/O. A record is a type, the length of what follows (four octets, the first is the highest),
and that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from peerfetch_fast.errors import SharingError

__all__ = [
    "DATA",
    "DIGEST",
    "END",
    "FAILED",
    "FILE",
    "RecordReader",
    "Wanted",
    "record_head",
]

FILE = 1
"""A file begins: its entry of the manifest, as it is now."""
DATA = 2
"""The next octets of it."""
DIGEST = 3
"""SHA-256 of the piece that ends here."""
FAILED = 4
"""The file does not come (any further), and why: UTF-8."""
END = 5
"""All that was asked for was sent."""

HEAD = 5
"""Octets of type and length."""

MAX_RECORD = 64 * 1024
"""Octets of a record other than DATA."""

_KINDS = range(FILE, END + 1)


def record_head(kind: int, size: int) -> bytes:
    """The header before ``size`` octets of a record."""
    return bytes((kind,)) + size.to_bytes(4)


class Wanted(NamedTuple):
    """A file that is asked for, from ``offset`` on: what records are the answer to."""

    path: str
    offset: int


class RecordReader:
    """Takes records apart. The octets of DATA are passed on as they come, and never kept."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._kind = 0
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes | memoryview]]:
        """The records that ``data`` ends, and what of DATA is in it. Raises SharingError."""
        view = memoryview(data)
        while view:
            if not self._kind:
                view = self._take_head(view)
                if self._kind != DATA and not self._left and self._kind:
                    yield self._whole()
            elif self._kind == DATA:
                part, view = view[: self._left], view[self._left :]
                self._left -= len(part)
                if not self._left:
                    self._kind = 0
                yield DATA, part
            else:
                part, view = view[: self._left], view[self._left :]
                self._held += part
                self._left -= len(part)
                if not self._left:
                    yield self._whole()

    def _take_head(self, view: memoryview) -> memoryview:
        missing = HEAD - len(self._held)
        self._held += view[:missing]
        if len(self._held) == HEAD:
            kind, size = self._held[0], int.from_bytes(self._held[1:])
            self._held.clear()
            if kind not in _KINDS or (kind != DATA and size > MAX_RECORD):
                raise SharingError("what came is not in the form of a share")
            self._left = size
            self._kind = kind if kind != DATA or size else 0
        return view[missing:]

    def _whole(self) -> tuple[int, bytes]:
        kind, held = self._kind, bytes(self._held)
        self._held.clear()
        self._kind = 0
        return kind, held
