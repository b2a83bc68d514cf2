"""Take TCP connections, and see to it that they come to the point: a request, in time.

What is spoken on them is aiohttp's business; each is passed on to a protocol of its server.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
import sys
from collections.abc import Callable
from typing import cast

from peerfetch_fast.descriptors import descriptor_limit
from peerfetch_fast.signaling.doorman import Doorman
from peerfetch_fast.signaling.refusals import Refusal
from peerfetch_fast.signaling.settings import ServerSettings

__all__ = ["Guest", "Listener"]

_log = logging.getLogger(__name__)

MAX_TURNED_AWAY = 64
"""Connections beyond the bounds that are still told why; those beyond these are cut."""

TELLING_TIME = 2.0
"""Seconds that one of them may take to ask, and any to take in that it was too slow."""

ACCEPT_PAUSE = 0.5
"""Seconds until the next look at who waits, when the system has no descriptor left."""

_BACKLOG = 512
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n"
    b"The request took too long to come here.\n"
)


class Guest(asyncio.Protocol):
    """One connection: passes on what happens to it, with deadlines.

    :ivar refusal: why it is only in to be told so; None for the others.
    """

    def __init__(self, listener: Listener, refusal: Refusal | None) -> None:
        self.refusal = refusal
        self.inner: asyncio.Protocol | None = None
        self.opening: asyncio.Task[None] | None = None
        """What makes the connection ready to be spoken on, until it is."""
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._began = False
        self._deadline: asyncio.TimerHandle | None = None
        self.incoming = 0
        """Bytes that have come since the last message that was whole."""

    def head_came(self) -> None:
        """The whole head of a request is here."""
        self._listener.doorman.spoken(self)
        self._set_deadline(None)
        self.message_came()

    def message_came(self) -> None:
        """What had come is whole, and read."""
        self._listener.read(self)

    def answered(self) -> None:
        """The request is answered: time to take that, and to bring the next one's head."""
        self._began = False
        if self._transport is not None and not self._transport.is_closing():
            self._set_deadline(2 * self._listener.head_timeout)

    def abort(self) -> None:
        """Cut the connection at once."""
        if self._transport is not None:
            self._transport.abort()
        elif self.opening is not None:
            self.opening.cancel()

    def _set_deadline(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(seconds, self._on_deadline)

    def _on_deadline(self) -> None:
        self._deadline = None
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._listener.on_refused(Refusal.NO_REQUEST)
        if not self._began or transport.get_write_buffer_size():
            transport.abort()
            return
        transport.write(_TOO_SLOW)
        transport.close()
        asyncio.get_running_loop().call_later(TELLING_TIME, transport.abort)

    # -- as the event loop has it ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it
        self.inner = self._listener.welcome(self)
        self.inner.connection_made(transport)
        patience = self._listener.head_timeout if self.refusal is None else TELLING_TIME
        self._set_deadline(patience)

    def data_received(self, data: bytes) -> None:
        assert self.inner is not None
        self._began = True
        self._listener.came(self, len(data))
        self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        assert self.inner is not None
        return self.inner.eof_received()

    def pause_writing(self) -> None:
        assert self.inner is not None
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        assert self.inner is not None
        self.inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        assert self.inner is not None
        self._set_deadline(None)
        self._listener.read(self)
        self.inner.connection_lost(error)
        self._listener.farewell(self)


class Listener:
    """Listens on one address.

    :param make_protocol: makes the protocol that speaks on a connection.
    :param on_refused: told of each connection that is refused.
    """

    def __init__(
        self,
        make_protocol: Callable[[], asyncio.Protocol],
        settings: ServerSettings,
        on_refused: Callable[[Refusal], None],
    ) -> None:
        self.on_refused = on_refused
        self.head_timeout = settings.head_timeout
        limit = descriptor_limit()
        most = min(settings.max_connections, max(limit - settings.descriptor_reserve, limit // 2))
        self.doorman: Doorman[Guest] = Doorman(
            most, settings.max_per_address, settings.trusted_proxies
        )
        self._make_protocol = make_protocol
        self._tls: ssl.SSLContext | None = None
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._turned_away: set[Guest] = set()
        self._guests: dict[asyncio.Protocol, Guest] = {}
        self._empty = asyncio.Event()
        self._incoming = 0
        self._max_incoming = settings.max_incoming_total

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are listened on."""
        host, port = self._sockets[0].getsockname()[:2]
        return host, port

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Listen; port 0 takes any free one. Raises OSError."""
        self._tls = tls
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, _, _, _, address in dict.fromkeys(found):
                self._sockets.append(_listening(family, address))
        except OSError:
            for listening in self._sockets:
                listening.close()
            raise
        self._accepting = [loop.create_task(self._accept(each)) for each in self._sockets]

    async def close(self) -> None:
        """Listen no more. Connections stay; those whose handshake still goes on do not."""
        tasks = [*self._accepting, *self._opening]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for listening in self._sockets:
            listening.close()

    async def cut(self) -> None:
        """Cut the connections that are left: by TLS, some wait for a good-bye that never comes."""
        for guest in [*self._guests.values()]:
            guest.abort()
        while self._guests:
            self._empty.clear()
            await self._empty.wait()

    def guest(self, protocol: asyncio.Protocol) -> Guest | None:
        """Whose connection ``protocol`` speaks on; None if that is gone."""
        return self._guests.get(protocol)

    def welcome(self, guest: Guest) -> asyncio.Protocol:
        """The protocol for a connection that is open."""
        protocol = self._make_protocol()
        self._guests[protocol] = guest
        return protocol

    def farewell(self, guest: Guest) -> None:
        """A connection is gone. Idempotent."""
        self.doorman.leave(guest)
        self._turned_away.discard(guest)
        if guest.inner is not None:
            self._guests.pop(guest.inner, None)
            self._empty.set()

    def came(self, guest: Guest, size: int) -> None:
        """So many bytes have come, of a message that may not be whole for long. If there are too
        many of all connections, the one that most are of is cut.
        """
        guest.incoming += size
        self._incoming += size
        if self._incoming > self._max_incoming:
            most = max(self._guests.values(), key=lambda each: each.incoming)
            self.on_refused(Refusal.TOO_MUCH_INCOMING)
            self.read(most)
            most.abort()

    def read(self, guest: Guest) -> None:
        """All that has come on a connection is read, or forgotten."""
        self._incoming -= guest.incoming
        guest.incoming = 0

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listening)
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    _log.warning("no connection can be taken just now: %s", error.strerror)
                    await asyncio.sleep(ACCEPT_PAUSE)
                continue  # of any other kind are those of a client that has gone again
            self._decide(connection, address[0])

    def _decide(self, connection: socket.socket, address: str) -> None:
        refusal = self.doorman.refusal(address)
        silent = None if refusal is None else self.doorman.longest_silent(refusal, address)
        if silent is not None:
            self.on_refused(Refusal.NO_REQUEST)
            silent.abort()
            self.farewell(silent)
            refusal = self.doorman.refusal(address)
        if refusal is not None:
            self.on_refused(refusal)
            if len(self._turned_away) >= MAX_TURNED_AWAY:
                connection.close()
                return
        guest = Guest(self, refusal)
        if refusal is None:
            self.doorman.enter(guest, address)
        else:
            self._turned_away.add(guest)
        task = asyncio.get_running_loop().create_task(self._open(guest, connection))
        guest.opening = task
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, guest: Guest, connection: socket.socket) -> None:
        """Have the connection spoken on, after a TLS handshake if there is to be one."""
        loop = asyncio.get_running_loop()
        connection.setblocking(False)
        patience = None if self._tls is None else self.head_timeout
        try:
            await loop.connect_accepted_socket(
                lambda: guest, connection, ssl=self._tls, ssl_handshake_timeout=patience
            )
        except OSError as error:  # as ssl.SSLError and ConnectionError are
            _log.debug("a connection did not come about: %s", error)
        finally:
            guest.opening = None
            if guest.inner is None:
                connection.close()
                self.farewell(guest)


def _listening(family: int, address: tuple[object, ...]) -> socket.socket:
    """A socket that listens. Raises OSError."""
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # where it would let others take the address over
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            with contextlib.suppress(OSError, AttributeError):
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.setblocking(False)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
