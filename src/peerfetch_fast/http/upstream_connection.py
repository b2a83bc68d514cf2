"""Connections to an HTTP server: its place, and a connection with flow control."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from peerfetch_fast.http._receive import ReceiveBuffer
from peerfetch_fast.http.h1 import ClientConnection, Event, Octets
from peerfetch_fast.streams.account import Share

__all__ = ["Place", "UpstreamConnection", "WrongCertificate", "connect"]

READ_AHEAD = 256 * 1024
"""Octets of an answer that are read ahead of the client."""

REMAINS_TIMEOUT = 2.0
"""Seconds for which an answer is still read from a connection that refuses more of the request."""

MAX_REMAINS = 1024 * 1024
"""Octets that are read of such an answer, at most."""


class WrongCertificate(ConnectionError):
    """The upstream's certificate is another than the one that was pinned."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an upstream listens.

    :ivar path: the path of a Unix socket, instead of host and port.
    :ivar tls: the TLS context for ``https``.
    :ivar pin: the SHA-256 digest of the only accepted certificate, checked besides ``tls``.
    """

    host: str = ""
    port: int = 0
    path: str | None = None
    tls: ssl.SSLContext | None = None
    pin: bytes | None = None


async def connect(
    place: Place,
    lost: Callable[[UpstreamConnection], object],
    share: Share,
    buffer: ReceiveBuffer,
    timeout: float,
) -> UpstreamConnection:
    """A connection to ``place``. Raises OSError, ssl.SSLError, TimeoutError, WrongCertificate.

    :param lost: called with the connection once it is closed.
    :param share: counts the bytes that are read ahead.
    :param buffer: the buffer into which it reads.
    :param timeout: seconds that connecting may take.
    """
    loop = asyncio.get_running_loop()

    def make() -> UpstreamConnection:
        return UpstreamConnection(loop, lost, share, buffer)

    if place.path is not None:
        opening = loop.create_unix_connection(make, place.path)
    elif place.tls is not None:
        opening = loop.create_connection(
            make, place.host, place.port, ssl=place.tls, server_hostname=place.host
        )
    else:
        opening = loop.create_connection(make, place.host, place.port)
    _, connection = await asyncio.wait_for(opening, timeout)
    if place.pin is not None:
        shown = connection.certificate or b""
        if not hmac.compare_digest(hashlib.sha256(shown).digest(), place.pin):
            connection.abort()
            raise WrongCertificate("its certificate is not the one that was pinned")
    return connection


class UpstreamConnection(asyncio.BufferedProtocol):
    """One connection, for one request after another.

    :ivar http: the HTTP/1.1 state of the connection.
    :ivar uses: the number of requests that were sent on it.
    :ivar answered: whether anything has come since the request began.
    :ivar closed: whether the connection is closed.
    """

    __slots__ = (
        "_buffer",
        "_deadline",
        "_error",
        "_idle",
        "_loop",
        "_lost",
        "_reader",
        "_reading_paused",
        "_share",
        "_spare",
        "_spare_timer",
        "_timer",
        "_transport",
        "_writer",
        "_writing_paused",
        "answered",
        "closed",
        "http",
        "idle_since",
        "uses",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        lost: Callable[[UpstreamConnection], object],
        share: Share,
        buffer: ReceiveBuffer,
    ) -> None:
        self.http = ClientConnection()
        self.uses = 0
        self.answered = False
        self.closed = False
        self.idle_since = 0.0
        self._loop = loop
        self._lost = lost
        self._share = share
        self._buffer = buffer
        self._transport: asyncio.Transport
        self._idle = True
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._reading_paused = self._writing_paused = False
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._spare: socket.socket | None = None
        self._spare_timer: asyncio.TimerHandle | None = None

    @property
    def certificate(self) -> bytes | None:
        """The upstream's certificate, in DER; None without TLS."""
        tls = self._transport.get_extra_info("ssl_object")
        shown: bytes | None = None if tls is None else tls.getpeercert(True)
        return shown

    # -- its life ----------------------------------------------------------------------------------

    def take(self) -> None:
        """Begin a request."""
        self.uses += 1
        self.answered = self._idle = False

    @property
    def reusable(self) -> bool:
        """Whether request and answer are complete, and nothing has followed them."""
        return (
            not self.closed
            and self.http.reusable
            and not self._transport.is_closing()
            and not self._transport.get_write_buffer_size()
        )

    def rest(self) -> None:
        """Become idle until the next request. Octets that come before it close the connection."""
        self.http.next_cycle()
        self.await_answer(None)
        self._drop_spare()
        self._share.set(0)
        self._idle = True
        self.idle_since = self._loop.time()
        self._resume_reading()

    def close(self) -> None:
        """Close it once what was written has left."""
        self._transport.close()

    def abort(self) -> None:
        """Close it at once, without reading what has come."""
        self._drop_spare()
        self._share.set(0)
        self._transport.abort()

    # -- reading -----------------------------------------------------------------------------------

    def await_answer(self, timeout: float | None) -> None:
        """Let :meth:`next_event` fail when no event comes for ``timeout`` seconds from now."""
        self._deadline = None if timeout is None else self._loop.time() + timeout
        if self._deadline is not None and self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._on_timer)

    def await_more(self, timeout: float) -> None:
        """As :meth:`await_answer`, while the answer has not begun."""
        if self._deadline is not None:
            self._deadline = self._loop.time() + timeout

    def _on_timer(self) -> None:
        self._timer = None
        if self._deadline is None or self.closed:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._on_timer)
        elif self._reader is not None and not self._reader.done():
            self._reader.set_exception(TimeoutError("it did not answer in time"))

    async def next_event(self) -> Event:
        """The next event of the answer.

        Raises WireError, MessageTruncated, ConnectionError, TimeoutError.
        """
        while (event := self.http.next_event()) is None:
            if self._error is not None:
                raise self._error
            self._share.set(0)
            self._resume_reading()
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return event

    def _resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            if not self.closed:
                self._transport.resume_reading()

    def _wake_reader(self) -> None:
        reader = self._reader
        if reader is not None and not reader.done():
            reader.set_result(None)

    # -- writing -----------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send octets. Raises ConnectionError once the connection takes none."""
        self._check_open()
        self._transport.write(data)

    def write_pieces(self, pieces: Sequence[Octets]) -> None:
        """Send octets in pieces. Raises as :meth:`write` does."""
        self._check_open()
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        else:
            self._transport.writelines(pieces)

    def _check_open(self) -> None:
        if self.closed or self._transport.is_closing():
            raise self._error or ConnectionResetError("the connection was closed")

    @property
    def writing_paused(self) -> bool:
        """Whether :meth:`drain` would wait."""
        return self._writing_paused

    async def drain(self) -> None:
        """Wait while the other side is slow. Raises ConnectionError when it is gone."""
        while self._writing_paused and not self.closed:
            self._writer = self._loop.create_future()
            try:
                await self._writer
            finally:
                self._writer = None
        if self.closed:
            raise self._error or ConnectionResetError("the connection was closed")

    def keep_spare(self) -> None:
        """Prepare to read an answer that comes before the upstream stops reading the request.

        Writing then fails, and asyncio's transport closes with its unread octets. The kernel keeps
        them for a duplicate of the descriptor.
        """
        shown = self._transport.get_extra_info("socket")
        if self._spare is None and shown is not None and not self._encrypted:
            self._spare = socket.fromfd(shown.fileno(), shown.family, shown.type)
            self._spare.setblocking(False)

    @property
    def _encrypted(self) -> bool:
        return self._transport.get_extra_info("ssl_object") is not None

    def _drop_spare(self) -> None:
        if self._spare_timer is not None:
            self._spare_timer.cancel()
            self._spare_timer = None
        if self._spare is not None:
            if self.closed:
                self._loop.remove_reader(self._spare)
            self._spare.close()
            self._spare = None

    # -- for the transport -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.BufferedProtocol`."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport is no subclass

    def get_buffer(self, sizehint: int) -> memoryview:
        """See :class:`asyncio.BufferedProtocol`."""
        return memoryview(self._buffer)

    def buffer_updated(self, nbytes: int) -> None:
        """See :class:`asyncio.BufferedProtocol`."""
        data = self._buffer.take(nbytes)
        if self._idle:
            self.abort()  # no request is under way
            return
        self.answered = True
        self.http.receive(data)
        # The reading task may be awake and not have run yet: libuv reads dozens of times in a turn.
        waiting = self.http.waiting
        self._share.set(waiting)
        if not self._reading_paused and waiting > READ_AHEAD:
            self._reading_paused = True
            self._transport.pause_reading()
        if self._reader is not None:
            self._wake_reader()

    def eof_received(self) -> bool:
        """See :class:`asyncio.BufferedProtocol`. The rest of a request may still be wanted."""
        if self._idle or self._encrypted:
            self._transport.close()
            if self._idle:
                return False
        self.http.receive(b"")
        self._wake_reader()
        return not self._encrypted

    def pause_writing(self) -> None:
        """See :class:`asyncio.BufferedProtocol`."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """See :class:`asyncio.BufferedProtocol`."""
        self._writing_paused = False
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """See :class:`asyncio.BufferedProtocol`."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)
        if self._spare is not None and not self.http.eof:
            self._read_remains()
        else:
            self._end(error)
        self._lost(self)

    def _end(self, error: Exception | None) -> None:
        """Take note of the end of the connection."""
        self._drop_spare()
        if error is None and not self.http.eof:
            self.http.receive(b"")
        # A body that is delimited by its connection is complete only if that was closed in order.
        self._error = error or ConnectionResetError("the connection was closed")
        self._wake_reader()

    def _read_remains(self) -> None:
        """Read the rest of the answer from the duplicate of the descriptor."""
        assert self._spare is not None
        left = MAX_REMAINS
        spare = self._spare

        def readable() -> None:
            nonlocal left
            try:
                while left > 0:
                    data = spare.recv(min(left, READ_AHEAD))
                    if not data:
                        self._end(None)
                        return
                    left -= len(data)
                    self.answered = True
                    self.http.receive(data)
            except (BlockingIOError, InterruptedError):
                self._wake_reader()
                return
            except OSError as error:
                self._end(error)
                return
            self._end(ConnectionResetError("the connection was closed"))

        self._loop.add_reader(spare, readable)
        self._spare_timer = self._loop.call_later(
            REMAINS_TIMEOUT, self._end, ConnectionResetError("the connection was closed")
        )
        readable()
