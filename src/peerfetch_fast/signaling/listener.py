"""Accept TCP connections, and cut those that bring no request in time.

aiohttp handles HTTP on them: each connection is passed on to a protocol of its server.
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
from typing import Protocol, cast

from peerfetch_fast.descriptors import descriptor_limit
from peerfetch_fast.signaling.doorman import Doorman
from peerfetch_fast.signaling.peerjs.refusals import Refusal
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings

__all__ = ["Challenge", "Guest", "Listener"]

_log = logging.getLogger(__name__)

MAX_TURNED_AWAY = 64
"""Connections beyond the bounds that still get an answer with the reason. Further ones are cut."""

TELLING_TIME = 2.0
"""Seconds that such a connection may take to send its request, and that any connection has to read
that it was too slow."""

MAX_HELLO = 4096
"""Bytes of a ClientHello that are looked at."""

ACCEPT_PAUSE = 0.5
"""Seconds until the next attempt to accept, when the system has no descriptor left."""

_BACKLOG = 512
_NO_SUCH_FAMILY = frozenset((errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL))
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n"
    b"The request took too long to come here.\n"
)


class Challenge(Protocol):
    """Speaks TLS with clients that ask for a protocol of its own, at times."""

    alpn: bytes
    """The protocol as it stands in a ClientHello."""
    tls: ssl.SSLContext | None
    """The protocol for these clients; None while there is none."""


class Guest(asyncio.Protocol):
    """One connection: passes its events on to a protocol, with deadlines.

    :ivar refusal: the reason why it is refused and only gets an answer; None for the others.
    """

    def __init__(self, listener: Listener, refusal: Refusal | None) -> None:
        self.refusal = refusal
        self.inner: asyncio.Protocol | None = None
        self.opening: asyncio.Task[None] | None = None
        """The task of the TLS handshake, until it is done."""
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._began = False
        self._undecided = False
        self._diverted = False
        self._deadline: asyncio.TimerHandle | None = None
        self.incoming = 0
        """Bytes that have come since the last complete message."""

    def head_came(self) -> None:
        """Take note that the whole head of a request has come."""
        self._listener.doorman.spoken(self)
        self._set_deadline(None)
        self.message_came()

    def message_came(self) -> None:
        """Take note that all received bytes were part of complete messages."""
        self._listener.read(self)

    def answered(self) -> None:
        """Take note that the request is answered, its body with it, and start the deadline for the
        next head.
        """
        self._began = False
        self.message_came()
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
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        self._undecided = self.refusal is None and self._listener.diverts
        # aiohttp's protocols cannot be taken off a connection again: none is made before its time.
        self.inner = self._listener.welcome(self, asyncio.Protocol() if self._undecided else None)
        self.inner.connection_made(transport)
        patience = self._listener.head_timeout if self.refusal is None else TELLING_TIME
        self._set_deadline(patience)

    def data_received(self, data: bytes) -> None:
        assert self.inner is not None
        self._began = True
        if self._undecided:
            self._decide(data)
        if not self._diverted:
            self._listener.came(self, len(data))
        self.inner.data_received(data)

    def _decide(self, first: bytes) -> None:
        """Hand the connection to who speaks what came on it first."""
        assert self._transport is not None
        self._undecided = False
        other = self._listener.divert(first)
        if other is not None:
            self._diverted = True
            self._set_deadline(None)
            self._listener.doorman.spoken(self)
        self.inner = self._listener.welcome(self, other)
        self.inner.connection_made(self._transport)

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

    :param make_protocol: makes the protocol for a connection.
    :param on_refused: called for each connection that is refused.
    :param divert: returns the protocol that takes over a connection that begins with these octets;
        None for a connection to our server.
    :param challenge: speaks TLS in our place with clients that ask for its protocol.
    """

    def __init__(
        self,
        make_protocol: Callable[[], asyncio.Protocol],
        settings: SignalingServerSettings,
        on_refused: Callable[[Refusal], None],
        divert: Callable[[bytes], asyncio.Protocol | None] | None = None,
        challenge: Challenge | None = None,
    ) -> None:
        self.on_refused = on_refused
        self.head_timeout = settings.head_timeout
        limit = descriptor_limit()
        most = min(settings.max_connections, max(limit - settings.descriptor_reserve, limit // 2))
        self.doorman: Doorman[Guest] = Doorman(
            most, settings.max_per_address, settings.trusted_proxies
        )
        self._make_protocol = make_protocol
        self._divert = divert
        self._challenge = challenge
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
        """The host and the port of the listening socket."""
        host, port = self._sockets[0].getsockname()[:2]
        return host, port

    async def start(self, host: str | None, port: int, tls: ssl.SSLContext | None) -> None:
        """Listen; port 0 takes any free one. Raises OSError."""
        self._tls = tls
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, _, _, _, address in dict.fromkeys(found):
                try:
                    self._sockets.append(_listening(family, address))
                except OSError as error:
                    # All addresses of a machine without IPv6 are those of IPv4.
                    if host is not None or error.errno not in _NO_SUCH_FAMILY:
                        raise
        except OSError:
            for listening in self._sockets:
                listening.close()
            raise
        self._accepting = [loop.create_task(self._accept(each)) for each in self._sockets]

    async def close(self) -> None:
        """Stop listening. Open connections stay; those in their TLS handshake are cut."""
        tasks = [*self._accepting, *self._opening]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for listening in self._sockets:
            listening.close()

    async def cut(self) -> None:
        """Cut the remaining connections: with TLS, some wait in vain for a close_notify."""
        for guest in [*self._guests.values()]:
            guest.abort()
        while self._guests:
            self._empty.clear()
            await self._empty.wait()

    def guest(self, protocol: asyncio.Protocol) -> Guest | None:
        """The connection of ``protocol``; None if it is gone."""
        return self._guests.get(protocol)

    def welcome(self, guest: Guest, protocol: asyncio.Protocol | None) -> asyncio.Protocol:
        """The protocol for a connection that is open; by default one of our server's."""
        if guest.inner is not None:
            self._guests.pop(guest.inner, None)
        protocol = protocol or self._make_protocol()
        self._guests[protocol] = guest
        return protocol

    @property
    def diverts(self) -> bool:
        """Whether connections may be taken over."""
        return self._divert is not None

    def divert(self, first: bytes) -> asyncio.Protocol | None:
        """The handler that takes over a connection on which these octets came first, if any."""
        return None if self._divert is None else self._divert(first)

    def farewell(self, guest: Guest) -> None:
        """Forget a connection that is gone. Idempotent."""
        self.doorman.leave(guest)
        self._turned_away.discard(guest)
        if guest.inner is not None:
            self._guests.pop(guest.inner, None)
            self._empty.set()

    def came(self, guest: Guest, size: int) -> None:
        """Count bytes of an incomplete message. If all connections together hold too many, the one
        that holds most is cut.
        """
        guest.incoming += size
        self._incoming += size
        if self._incoming > self._max_incoming:
            most = max(self._guests.values(), key=lambda each: each.incoming)
            self.on_refused(Refusal.TOO_MUCH_INCOMING)
            self.read(most)
            most.abort()

    def read(self, guest: Guest) -> None:
        """Count no bytes of a connection any more: they were read, or dropped."""
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
                continue  # other errors mean that the client has disconnected already
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
        """Start the protocol of a connection, after the TLS handshake if there is one."""
        loop = asyncio.get_running_loop()
        connection.setblocking(False)
        patience = None if self._tls is None else self.head_timeout
        try:
            tls = self._tls
            if tls is not None and self._challenge is not None and self._challenge.tls is not None:
                tls = await self._tls_for(connection, self._challenge)
            await loop.connect_accepted_socket(
                lambda: guest, connection, ssl=tls, ssl_handshake_timeout=patience
            )
        except OSError as error:  # ssl.SSLError and ConnectionError are subclasses
            _log.debug("a connection did not come about: %s", error)
        finally:
            guest.opening = None
            if guest.inner is None:
                connection.close()
                self.farewell(guest)

    async def _tls_for(
        self, connection: socket.socket, challenge: Challenge
    ) -> ssl.SSLContext | None:
        """Choose who speaks TLS by what a ClientHello asks for. Raises OSError."""
        loop = asyncio.get_running_loop()
        came = asyncio.Event()
        loop.add_reader(connection, came.set)
        try:
            async with asyncio.timeout(self.head_timeout):
                await came.wait()
        finally:
            loop.remove_reader(connection)
        hello = connection.recv(MAX_HELLO, socket.MSG_PEEK)
        return challenge.tls if challenge.alpn in hello else self._tls


def _listening(family: int, address: tuple[object, ...]) -> socket.socket:
    """A socket that listens. Raises OSError."""
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # on Windows, it would let other programs take the address over
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
