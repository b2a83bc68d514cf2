"""The body of a request on its way to an HTTP server."""

from __future__ import annotations

import asyncio

from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.http.heads import end_to_end
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.http.upstream_connection import UpstreamConnection

__all__ = ["Upload"]

EXPECT_TIMEOUT = 1.0
"""Seconds that a body waits for 100 (Continue) if the client expects it. Servers that do not know
Expect never send it (RFC 9110 §10.1.1)."""

# A body has no defined meaning in requests with these methods, and is rare (RFC 9110 §9.3).
_MOSTLY_WITHOUT_BODY = frozenset(("GET", "HEAD", "DELETE", "OPTIONS"))

# A server could take a trailer for a field of the head, so fields about framing, routing and the
# client are dropped (RFC 9110 §6.5.1).
_NO_TRAILERS = frozenset(
    ("authorization", "content-length", "content-encoding", "content-type", "cookie", "host")
)


class Upload:
    """One request's body.

    :param resend_buffer: octets of the body that are kept, so that it can be sent again.
    :param patience: seconds that the answer may take from when the upload last moved.
    """

    def __init__(self, exchange: Exchange, resend_buffer: int, patience: float) -> None:
        self._exchange = exchange
        self._patience = patience
        self._most = resend_buffer
        self._kept: list[bytes] | None = []
        self._size = 0
        self._share = exchange.account.share()
        self._ended = False
        self._first = b""
        self._task: asyncio.Task[None] | None = None
        self._go: asyncio.Future[None] | None = None
        self.expected = exchange.headers.get("expect", "").lower() == "100-continue"
        """Whether the client waits for 100 (Continue)."""
        self.has_body = exchange.has_body
        self.failure: PeerfetchError | None = None
        """The error of a broken body, by which the request and not the upstream has failed."""

    async def begin(self) -> None:
        """Find out whether a request whose method rarely has a body has one.

        Head and FIN may come in two messages. A request without a body must not become an upload of
        unknown length, which some servers refuse.
        """
        exchange = self._exchange
        if self.has_body and exchange.length is None and exchange.method in _MOSTLY_WITHOUT_BODY:
            self._first = await exchange.read()
            self.has_body = bool(self._first)

    @property
    def length(self) -> int | None:
        """The length of the body in octets; None if it is not known."""
        return self._exchange.length if self.has_body else 0

    @property
    def repeatable(self) -> bool:
        """Whether everything that was read of the body is still kept."""
        return self._kept is not None and self.failure is None

    @property
    def running(self) -> bool:
        """Whether a part of the body is still to be sent."""
        return self._task is not None and not self._task.done()

    # -- sending -----------------------------------------------------------------------------------

    def start(self, connection: UpstreamConnection) -> None:
        """Send the part that has come already; send the rest in a task while the answer is read."""
        if not self.has_body:
            return
        loop = asyncio.get_running_loop()
        connection.keep_spare()
        self._go = loop.create_future() if self.expected else None
        self._task = loop.create_task(self._run(connection))

    def go(self) -> None:
        """Take note that the server has sent 100 (Continue)."""
        if self._go is not None and not self._go.done():
            self._go.set_result(None)

    async def stop(self) -> None:
        """Stop sending the body."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    def forget(self) -> None:
        """Drop the kept part: the body will not be sent again."""
        self._kept = None
        self._share.set(0)

    async def _run(self, connection: UpstreamConnection) -> None:
        try:
            if self._go is not None:
                await asyncio.wait((self._go,), timeout=EXPECT_TIMEOUT)
            for piece in self._kept or ():
                connection.write_pieces(connection.http.write_body(piece))
            while not self._ended and (piece := await self._next()):
                connection.await_more(self._patience)
                connection.write_pieces(connection.http.write_body(piece))
                if connection.writing_paused:
                    await connection.drain()
                    connection.await_more(self._patience)
            connection.write(connection.http.write_end(self._trailers()))
            connection.await_more(self._patience)
        except PeerfetchError as error:
            self.failure = error
            connection.abort()  # so that the body never looks complete
        except OSError:
            pass  # reading the answer raises the same error

    async def _next(self) -> bytes:
        if self._first:
            piece, self._first = self._first, b""
        else:
            piece = await self._exchange.read()
            self._ended = not piece
        self._size += len(piece)
        if self._size > self._most:
            self.forget()
        elif self._kept is not None and piece:
            self._kept.append(piece)
            self._share.set(self._size)
        return piece

    def _trailers(self) -> list[tuple[str, str]]:
        found = self._exchange.trailers
        if found is None:
            return []
        return [pair for pair in end_to_end(found.items()) if pair[0] not in _NO_TRAILERS]
