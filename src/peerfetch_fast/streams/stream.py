"""A stream of a session, as coroutines read and write it.

Stream and Session are parts of each other, and use each other's private names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from peerfetch_fast._framing import READABLE, RESET, STOPPED, WRITABLE, EngineStream

if TYPE_CHECKING:
    from peerfetch_fast.streams.session import Session

__all__ = ["Stream"]

YIELD_AFTER = 64 * 1024
"""Bytes after which a reader that never had to wait gives the loop's other tasks a turn."""

_FOR_WRITER = WRITABLE | STOPPED
_ABORTED = STOPPED | RESET


class Stream:
    """One bidirectional stream of bytes. Made by :meth:`Session.open_stream` and
    :meth:`Session.accept`.

    One task may read and another write at the same time; not two of either.
    """

    __slots__ = ("_core", "_reader", "_session", "_unyielded", "_writer", "on_aborted")

    def __init__(self, session: Session, core: EngineStream) -> None:
        self._session = session
        self._core = core
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._unyielded = 0
        self.on_aborted: Callable[[], object] | None = None
        """Called once when the other side resets the stream or stops reading, or the session is
        lost.
        """
        core.owner = self

    @property
    def id(self) -> int:
        """The stream id (RFC 9000 §2.1, with the lowest bit saying who opened it)."""
        return self._core.id

    @property
    def session(self) -> Session:
        """The session that the stream belongs to."""
        return self._session

    @property
    def at_end(self) -> bool:
        """Whether everything that the other side sent, its FIN included, was read."""
        return self._core.at_end

    @property
    def can_write(self) -> bool:
        """Whether this side has neither ended nor reset its direction."""
        return self._core.can_write

    def set_priority(self, urgency: int, incremental: bool) -> None:
        """RFC 9218 §4: ``urgency`` from 0 (first) to 7; incremental streams of an urgency share.

        Raises ValueError for another urgency.
        """
        self._core.set_priority(urgency, incremental)

    def read_nowait(self, most: int = -1) -> bytes | None:
        """The bytes that :meth:`read` would return at once, or None."""
        data = self._core.read(most)
        if self._session._engine.unsettled:
            self._session._settle()
        return data

    async def read(self, most: int = -1) -> bytes:
        """The next bytes (at most ``most``), b"" at the end.

        Raises StreamReset when the other side gave up, SessionClosed, LinkClosed or
        ProtocolError when the session ended first.
        """
        if self._unyielded > YIELD_AFTER:
            self._unyielded = 0
            await asyncio.sleep(0)  # before the read, so that a cancellation here loses nothing
        while (data := self._core.read(most)) is None:
            self._unyielded = 0
            self._reader = self._session._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        self._unyielded += len(data)
        if self._session._engine.unsettled:
            self._session._settle()
        return data

    def write_nowait(self, data: bytes | bytearray | memoryview) -> None:
        """Queue ``data`` whatever is queued already; raises as :meth:`write` does."""
        self._core.write(data)
        self._session._schedule_flush()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue ``data`` and wait while more than ``Settings.send_buffer`` bytes are unsent.

        Raises StreamStopped when the other side no longer reads, SessionClosed, LinkClosed or
        ProtocolError when the session ended, RuntimeError after :meth:`end` or :meth:`reset`.
        """
        core = self._core
        core.write(data)
        self._session._schedule_flush()
        while core.unsent > self._session.settings.send_buffer:
            self._writer = self._session._loop.create_future()
            try:
                await self._writer
            finally:
                self._writer = None
            if not core.can_write or self._session.error is not None:
                core.write(b"")  # raises what has happened

    def end(self) -> None:
        """End this side's direction (FIN) after what was written. Idempotent; raises as write()."""
        self._core.end()
        self._session._schedule_flush()

    def reset(self, code: int) -> None:
        """Give up sending; what is unsent is dropped. Idempotent, never raises."""
        self._core.reset(code)
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)
        self._session._schedule_flush()

    def stop(self, code: int) -> None:
        """Give up reading; the other side is asked to stop. Idempotent, never raises."""
        self._core.stop(code)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
        self._session._schedule_flush()

    def cancel(self, code: int) -> None:
        """Give up both directions."""
        self.reset(code)
        self.stop(code)

    def _wake(self, flags: int) -> None:
        if flags & READABLE:
            reader = self._reader
            if reader is not None and not reader.done():
                reader.set_result(None)
        if flags & _FOR_WRITER:
            writer = self._writer
            if writer is not None and not writer.done():
                writer.set_result(None)
        if flags & _ABORTED and self.on_aborted is not None:
            aborted, self.on_aborted = self.on_aborted, None
            aborted()

    def __repr__(self) -> str:
        return f"<Stream {self.id}>"
