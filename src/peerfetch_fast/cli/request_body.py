"""Request bodies of the command line: text, files, pipes, and several of them in a row."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.http.content import Body

__all__ = ["STDIN", "Part", "Unreadable", "make_body", "parts_of_data"]

UPLOAD_PIECE = 256 * 1024
UPLOAD_AHEAD = 4
"""Pieces that are read from a pipe ahead of sending."""

Part = bytes | Path
"""A part of a body: its bytes, or the name of a file, ``-`` for standard input."""

STDIN = Path("-")


class Unreadable(PeerfetchError):
    """A file to send cannot be read."""

    exit_code = 26


def parts_of_data(data: Sequence[str], between: bytes) -> list[Part]:
    """The parts of the body for the values of ``-d`` or ``--json``, joined by ``between``. Files
    are sent unchanged.
    """
    parts: list[Part] = []
    for text in data:
        if parts:
            parts.append(between)
        parts.append(Path(text[1:]) if text.startswith("@") else text.encode())
    return parts


def make_body(
    parts: Sequence[Part], stack: contextlib.ExitStack
) -> tuple[Body, list[tuple[str, str]]]:
    """The body made of ``parts``, whose files ``stack`` closes, and its header fields.

    Raises Unreadable.
    """
    if all(isinstance(part, bytes) for part in parts):
        return b"".join(part for part in parts if isinstance(part, bytes)), []
    opened = [part if isinstance(part, bytes) else _open(part, stack) for part in parts]
    if len(opened) == 1:
        single = opened[0]
        assert isinstance(single, _Opened)
        # A file can be sent again after a lost connection; a pipe cannot.
        if single.length is not None:
            return stack.enter_context(os.fdopen(os.dup(single.descriptor), "rb")), []
        return _typed(single.descriptor), []
    lengths = [len(part) if isinstance(part, bytes) else part.length for part in opened]
    fields = []
    if None not in lengths:
        fields = [("content-length", str(sum(length or 0 for length in lengths)))]
    return _joined(opened), fields


@dataclass(frozen=True, slots=True)
class _Opened:
    name: str
    descriptor: int
    length: int | None
    """The number of bytes in a regular file; None for another kind of file."""


def _open(path: Path, stack: contextlib.ExitStack) -> _Opened:
    try:
        if path == STDIN:
            descriptor = 0
        else:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            stack.callback(os.close, descriptor)
        status = os.fstat(descriptor)
    except OSError as error:
        raise Unreadable(f"cannot read {path}: {error.strerror}") from None
    if stat.S_ISDIR(status.st_mode):
        raise Unreadable(f"cannot read {path}: it is a directory")
    regular = stat.S_ISREG(status.st_mode) and path != STDIN
    return _Opened(str(path), descriptor, status.st_size if regular else None)


async def _joined(parts: Sequence[bytes | _Opened]) -> AsyncIterator[bytes]:
    for part in parts:
        if isinstance(part, bytes):
            yield part
        elif part.length is None:
            async for piece in _typed(part.descriptor):
                yield piece
        else:
            async for piece in _read(part):
                yield piece


async def _read(file: _Opened) -> AsyncIterator[bytes]:
    """As many bytes as the announced length."""
    done, length = 0, file.length or 0
    while done < length:
        size = min(UPLOAD_PIECE, length - done)
        try:
            piece = await asyncio.to_thread(os.read, file.descriptor, size)
        except OSError as error:
            raise Unreadable(f"cannot read {file.name}: {error.strerror}") from error
        if not piece:
            raise Unreadable(f"cannot read {file.name}: it became shorter meanwhile")
        done += len(piece)
        yield piece


async def _typed(descriptor: int) -> AsyncIterator[bytes]:
    """The bytes of a pipe or terminal, read in a thread.

    The writer may take any time, during which the event loop must keep the connection alive. Once
    the answer is there, the program does not wait for the thread.
    """
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[bytes | OSError] = asyncio.Queue()
    room = threading.Semaphore(UPLOAD_AHEAD)

    def read() -> None:
        piece: bytes | OSError = b"more"
        while piece and isinstance(piece, bytes):
            room.acquire()
            try:
                piece = os.read(descriptor, UPLOAD_PIECE)
            except OSError as error:
                piece = error
            try:
                loop.call_soon_threadsafe(pieces.put_nowait, piece)
            except RuntimeError:
                return  # the loop is closed, and the program is ending

    threading.Thread(target=read, daemon=True).start()
    while piece := await pieces.get():
        if isinstance(piece, OSError):
            raise Unreadable(f"cannot read the data: {piece.strerror}") from piece
        room.release()
        yield piece
