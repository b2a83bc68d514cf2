"""The kinds of body that a request can carry."""

from __future__ import annotations

import asyncio
import io
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterable
from pathlib import Path
from typing import BinaryIO, Protocol

from peerfetch_fast.errors import InvalidRequest

__all__ = ["Body", "Bytes", "Content", "File", "Pieces", "make_content"]

Body = bytes | bytearray | memoryview | str | Path | BinaryIO | AsyncIterable[bytes]

PIECE = 256 * 1024
"""Bytes of a file that are read at once."""


class Content(Protocol):
    """The body of a request."""

    length: int | None
    """Its length in bytes; None if that is not known beforehand."""

    repeatable: bool
    """Whether it can be sent a second time."""

    def pieces(self) -> AsyncGenerator[bytes | memoryview, None]:
        """Its bytes, from the beginning."""


class Bytes:
    """A body in memory."""

    repeatable = True

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self.data = data
        self.length: int | None = data.nbytes if isinstance(data, memoryview) else len(data)

    async def pieces(self) -> AsyncGenerator[bytes | memoryview, None]:
        view = memoryview(self.data).cast("B")
        for start in range(0, len(view), PIECE):
            yield view[start : start + PIECE]


class Pieces:
    """A body from an iterator, which can be read once."""

    repeatable = False

    def __init__(self, source: AsyncIterable[bytes]) -> None:
        self._source = source
        self.length: int | None = None

    async def pieces(self) -> AsyncGenerator[bytes | memoryview, None]:
        try:
            async for piece in self._source:
                yield piece
        finally:
            # An unfinished generator keeps its resources open until it is garbage-collected.
            close = getattr(self._source, "aclose", None)
            if close is not None:
                await close()


class File:
    """A file, read in a thread and never held as a whole.

    An open file is sent from its current position, and stays open.

    Raises OSError for a path that leads to no file.
    """

    def __init__(self, source: Path | BinaryIO) -> None:
        self._source = source
        self._start = 0
        self.length: int | None = None
        self.repeatable = False
        if isinstance(source, Path):
            status = os.stat(source)
            if stat.S_ISREG(status.st_mode):
                self.length, self.repeatable = status.st_size, True
        elif source.seekable():
            self._start = source.tell()
            self.length = max(0, source.seek(0, io.SEEK_END) - self._start)
            self.repeatable = True

    async def pieces(self) -> AsyncGenerator[bytes | memoryview, None]:
        if isinstance(self._source, Path):
            file: BinaryIO = await asyncio.to_thread(self._source.open, "rb")
        else:
            file = self._source
        try:
            if self.repeatable:
                file.seek(self._start)
            left = self.length
            # Bytes that are appended meanwhile are beyond the announced length.
            while left is None or left:
                most = PIECE if left is None else min(PIECE, left)
                piece = await asyncio.to_thread(file.read, most)
                if not piece:
                    break
                if left is not None:
                    left -= len(piece)
                yield piece
        finally:
            if file is not self._source:
                file.close()


def make_content(body: Body) -> Content:
    """The content for ``body``.

    Raises InvalidRequest for an object of another type, OSError for a file that cannot be read.
    """
    if isinstance(body, str):
        try:
            return Bytes(body.encode())
        except UnicodeEncodeError:
            raise InvalidRequest("a lone surrogate is no text that can be sent") from None
    if isinstance(body, (bytes, bytearray, memoryview)):
        return Bytes(body)
    if isinstance(body, io.TextIOBase):
        raise InvalidRequest("the file was opened as text: open it with mode 'rb'")
    if isinstance(body, Path) or (hasattr(body, "read") and hasattr(body, "seekable")):
        return File(body)  # type: ignore[arg-type]
    if isinstance(body, AsyncIterable):
        return Pieces(body)
    raise InvalidRequest(
        "body must be bytes, str, a Path, a file opened with mode 'rb', or an async iterable of "
        "bytes"
    )
