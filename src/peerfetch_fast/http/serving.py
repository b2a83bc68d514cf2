"""An HTTP/1.1 server for programs on this machine, built on the sans-I/O code of
:mod:`~peerfetch_fast.http.h1`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from peerfetch_fast.errors import MessageTruncated, WireError
from peerfetch_fast.http.h1 import End, Request, ServerConnection
from peerfetch_fast.http.h1.connection import Event, Headers, Octets
from peerfetch_fast.http.tunnel import reset_socket

__all__ = ["Asked", "LocalConnection", "LocalServer"]

logger = logging.getLogger(__name__)

READ_AHEAD = 256 * 1024
"""Bytes of a connection that are held before they are read."""

MAX_CONNECTIONS = 512
"""Connections at once. Further ones get 503."""

IDLE_TIMEOUT = 75.0
"""Seconds until the head of a connection's next request must have come; as in nginx."""

HALF_CLOSED_TIMEOUT = 5.0
"""Seconds without progress of the answer after which a program that has ended its direction counts
as gone. Nothing else distinguishes it from a program that still reads."""

LINGER_TIMEOUT = 2.0
"""Seconds for which the rest of a request is read and dropped after its answer. If the connection
were closed at once, the program's system could discard the answer (RFC 9112 §9.6)."""

Handler = Callable[["Asked"], Awaitable[None]]


class Asked:
    """A request, and its answer.

    :ivar request: its head.
    :ivar trailers: its trailers, once the body was read to its end.
    :ivar started: whether the head of the answer was written.
    """

    def __init__(self, connection: LocalConnection, request: Request) -> None:
        self._connection = connection
        self._end: End | None = None
        self._pieces: list[bytes] = []
        self._until_close = False
        self.request = request
        self.trailers: Headers = []
        self.started = False

    @property
    def read_all(self) -> bool:
        """Whether the whole request is known to have come, without waiting."""
        if self._end is None and not self._pieces:
            with contextlib.suppress(WireError, MessageTruncated):  # read() raises it
                self._take(self._connection.http.next_event())
        return self._end is not None

    def _take(self, event: Event | None) -> None:
        if isinstance(event, End):
            self._end, self.trailers = event, event.trailers
        elif isinstance(event, bytes):
            self._pieces.append(event)

    async def read(self) -> bytes:
        """The next piece of the body, b"" at its end; after an upgrade, the next octets.

        Raises WireError, and MessageTruncated where the connection ended first.
        """
        while not self._pieces and self._end is None:
            event = await self._connection.event()
            if event is None:
                return b""  # after an upgrade
            self._take(event)
        return self._pieces.pop() if self._pieces else b""

    def inform(self, status: int, headers: Headers) -> None:
        """Send an informational answer, with a status from 100 to 199, before the answer itself."""
        if not self.started:
            self._connection.send(self._connection.http.write_informational(status, headers))

    def start(self, status: int, headers: Headers) -> None:
        """Send the head of the answer. Raises MessageError for a head that cannot be sent."""
        head = self._connection.http.write_response(status, headers, close=not self.read_all)
        self.started = True
        self._until_close = self.request.version == 10 and not any(
            name == "content-length" for name, _ in headers
        )
        self._connection.send(head)

    def switch(self, headers: Headers) -> None:
        """Switch to another protocol; ``headers`` are all fields of the 101."""
        self._end = None
        self.started = self._until_close = True
        self._connection.send(self._connection.http.write_response(101, headers))

    async def write(self, data: Octets) -> None:
        """Send a piece of the body, or octets after an upgrade, waiting while the program reads
        slowly. Raises MessageError beyond the announced length.
        """
        self._connection.send(*self._connection.http.write_body(data))
        await self._connection.drain()

    def end(self, trailers: Headers | None = None) -> None:
        """End the answer. Raises MessageTruncated below the announced length."""
        self._connection.send(self._connection.http.write_end(trailers))

    def respond(self, status: int, sentence: str) -> None:
        """Send a whole answer with a sentence for the user."""
        body = f"{sentence}\n".encode()
        fields = [("content-type", "text/plain; charset=utf-8")]
        self.start(status, [*fields, ("content-length", str(len(body)))])
        if self.request.method != "HEAD":
            self._connection.send(*self._connection.http.write_body(body))
        self.end()

    def abort(self) -> None:
        """Break the answer off, so that it cannot look whole."""
        # An answer with a known end shows the truncation itself, and its sent part arrives.
        if self._until_close:
            self._connection.reset()


class LocalServer:
    """Listens for programs; ``handler`` answers the requests of a connection one after another.

    The handler is cancelled when the program goes away.
    """

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.connections: set[LocalConnection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, port: int, host: str = "127.0.0.1") -> int:
        """Listen and return the port; with 0, any free one. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: LocalConnection(self), host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening, and cut the open connections."""
        if self._server is not None:
            self._server.close()
        running = [connection.task for connection in self.connections]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)


class LocalConnection(asyncio.Protocol):
    """One connection: octets in, requests out, and their answers back."""

    transport: asyncio.Transport
    task: asyncio.Task[None]

    def __init__(self, server: LocalServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self.http = ServerConnection()
        self._came: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._reading_paused = self._writing_paused = False
        self._dropping = False
        self._lost = False
        self._sent_at = 0.0
        self._half_closed: asyncio.TimerHandle | None = None

    # -- what the transport tells ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is no subclass
        self._server.connections.add(self)
        self.task = self._loop.create_task(self._run())
        self.task.add_done_callback(self._done)

    def data_received(self, data: bytes) -> None:
        if self._dropping:
            return
        self.http.receive(data)
        if self.http.waiting > READ_AHEAD and not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self.http.receive(b"")
        self._wake()
        self._sent_at = self._loop.time()
        self._watch_half_closed()
        return True  # the program may still read

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        if self._half_closed is not None:
            self._half_closed.cancel()
        self.task.cancel()

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _wake(self) -> None:
        if self._came is not None and not self._came.done():
            self._came.set_result(None)

    def _watch_half_closed(self) -> None:
        now = self._loop.time()
        if self.transport.get_write_buffer_size():
            self._sent_at = now  # a program that is gone would have answered with a reset
        at = self._sent_at + HALF_CLOSED_TIMEOUT
        if now >= at:
            self.reset()
        else:
            self._half_closed = self._loop.call_at(at, self._watch_half_closed)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._server.connections.discard(self)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a local connection failed", exc_info=error)

    # -- for what is asked -------------------------------------------------------------------------

    async def event(self) -> Event | None:
        """The next event; None at the end of the connection. Raises WireError, MessageTruncated."""
        while (event := self.http.next_event()) is None:
            if self.http.eof:
                return None
            if self._reading_paused:
                self._reading_paused = False
                self.transport.resume_reading()
            self._came = self._loop.create_future()
            try:
                await self._came
            finally:
                self._came = None
        return event

    def send(self, *pieces: Octets) -> None:
        """Write the pending octets, unless the program is gone."""
        self._sent_at = self._loop.time()
        if not self._lost and any(pieces):
            self.transport.writelines(pieces)

    async def drain(self) -> None:
        """Wait while the program does not read what was sent."""
        while self._writing_paused and not self._lost:
            self._drained = self._loop.create_future()
            try:
                await self._drained
            finally:
                self._drained = None

    def reset(self) -> None:
        """Cut the connection."""
        reset_socket(self.transport)

    async def _run(self) -> None:
        try:
            while await self._answer_one():
                pass
            self.transport.close()
        except BaseException:
            self.reset()
            raise

    async def _answer_one(self) -> bool:
        """Answer a request; return whether another may follow."""
        try:
            async with asyncio.timeout(IDLE_TIMEOUT):
                event = await self.event()
        except (WireError, MessageTruncated) as error:
            if isinstance(error, WireError):
                await self._refuse(error.status, f"The request is broken: {error}.")
            return False
        except TimeoutError:
            return False
        if not isinstance(event, Request):
            return False
        if len(self._server.connections) > MAX_CONNECTIONS:
            await self._refuse(503, f"More than {MAX_CONNECTIONS} connections are open.")
            return False
        asked = Asked(self, event)
        await self._server.handler(asked)
        if not asked.read_all:
            await self._linger()
            return False
        if not self.http.reusable:
            return False
        self.http.next_cycle()
        return True

    async def _refuse(self, status: int, sentence: str) -> None:
        body = f"{sentence}\n".encode()
        fields = [("content-type", "text/plain; charset=utf-8"), ("content-length", str(len(body)))]
        self.send(self.http.write_response(status, fields, close=True), body)
        await self._linger()

    async def _linger(self) -> None:
        """Read and drop the rest of the request, so that the answer is not discarded."""
        if self.http.eof:
            return
        self._dropping = True
        self.transport.write_eof()
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resume_reading()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_TIMEOUT):
                while not self.http.eof:
                    self._came = self._loop.create_future()
                    await self._came
