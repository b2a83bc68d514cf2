"""The pooled connections of one session to an HTTP server."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from peerfetch_fast.http._receive import ReceiveBuffer
from peerfetch_fast.http.upstream_connection import Place, UpstreamConnection, connect
from peerfetch_fast.settings import UpstreamSettings
from peerfetch_fast.streams.account import Account

__all__ = ["Pool", "Waiting"]


@dataclass
class Waiting:
    """The number of idle connections in all pools."""

    count: int = 0


class Pool:
    """The idle connections of one session.

    A connection can have state: a login (NTLM, Negotiate), or an answer without a request. So no
    peer gets a connection that another peer has used.

    :param place: the upstream's place.
    :param settings: the bounds on idle connections and their time.
    :param waiting: the number of idle connections in all pools for that place.
    :param account: the account of the session.
    :param buffer: the buffer into which all connections read.
    """

    def __init__(
        self,
        place: Place,
        settings: UpstreamSettings,
        waiting: Waiting,
        account: Account,
        buffer: ReceiveBuffer,
    ) -> None:
        self._place = place
        self._settings = settings
        self._waiting = waiting
        self._account = account
        self._buffer = buffer
        self._idle: deque[UpstreamConnection] = deque()
        self._all: set[UpstreamConnection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._emptied: asyncio.Future[None] | None = None

    async def take(self, *, fresh: bool = False) -> UpstreamConnection:
        """A connection for one request. The caller gives it :meth:`back` afterwards.

        :param fresh: whether the connection must be new.

        Raises OSError, ssl.SSLError, TimeoutError.
        """
        while self._idle and not fresh:
            connection = self._idle.pop()  # the upstream will close this one last
            self._waiting.count -= 1
            if not connection.closed:
                connection.take()
                return connection
        connection = await connect(
            self._place,
            self._lose,
            self._account.share(),
            self._buffer,
            self._settings.connect_timeout,
        )
        if self._closed:
            connection.abort()
            raise ConnectionAbortedError("the session has ended")
        self._all.add(connection)
        connection.take()
        return connection

    def back(self, connection: UpstreamConnection) -> None:
        """Keep a connection for the next request, or close it if reuse is not safe."""
        full = self._waiting.count >= self._settings.max_idle
        if not connection.reusable or self._closed or full:
            connection.abort()
            return
        connection.rest()
        self._idle.append(connection)
        self._waiting.count += 1
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._settings.idle_timeout, self._sweep)

    def _sweep(self) -> None:
        """Close the connections that have been idle for too long."""
        loop = asyncio.get_running_loop()
        self._timer = None
        oldest = loop.time() - self._settings.idle_timeout
        while self._idle and (self._idle[0].closed or self._idle[0].idle_since <= oldest):
            connection = self._idle.popleft()
            self._waiting.count -= 1
            if not connection.closed:
                connection.close()
        if self._idle:
            when = self._idle[0].idle_since + self._settings.idle_timeout
            self._timer = loop.call_at(when, self._sweep)

    def _lose(self, connection: UpstreamConnection) -> None:
        self._all.discard(connection)
        if self._emptied is not None and not self._all and not self._emptied.done():
            self._emptied.set_result(None)

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.count -= len(self._idle)
        self._idle.clear()
        for connection in list(self._all):
            connection.abort()

    async def wait_closed(self) -> None:
        """Return when all connections are closed, after :meth:`close`."""
        if self._all:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied
