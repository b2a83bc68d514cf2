"""An HTTP and WebSocket client for signaling servers, built on ``http/h1`` and ``websocket_wire``.

Importing a general HTTP client takes longer than everything else that connecting to a peer needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import socket
import ssl
from functools import cache

from aiohappyeyeballs import start_connection
from yarl import URL

from peerfetch_fast.http.h1 import ClientConnection, Closed, End, Event, Headers, Octets, Response
from peerfetch_fast.http.websocket_frames import NORMAL, Close
from peerfetch_fast.http.websocket_frames import Event as SocketEvent
from peerfetch_fast.http.websocket_wire import WireWebSocket, check_handshake, new_key
from peerfetch_fast.urls import parse_url

__all__ = ["BadStatus", "HttpClient", "SignalingSocket", "WrongCertificate"]

MAX_REDIRECTS = 10
"""Redirects that one request follows."""

READ_SIZE = 64 * 1024
"""Bytes that are read at once, and half of what is read ahead."""

NEXT_ADDRESS_AFTER = 0.25
"""Seconds that an address of a host is tried alone (RFC 8305 section 5)."""

_REDIRECTS = frozenset((301, 302, 303, 307, 308))


class BadStatus(Exception):
    """The server answered with an unexpected status.

    :ivar status: the status; after too many redirects, that of the first answer.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP status {status}")
        self.status = status


class WrongCertificate(ConnectionError):
    """The server's certificate is another than the one that was pinned."""


class HttpClient:
    """Asks a server, one request at a time, on a connection that is kept if the server allows it.

    If the server cannot be reached, each method raises OSError, ssl.SSLError, WrongCertificate or
    UnicodeError (for an invalid host name); for an answer that is no HTTP, MessageError. None has
    a deadline.

    :param pin: the SHA-256 digest of the only accepted TLS certificate; None to check its name and
    issuer instead.
    """

    def __init__(self, pin: bytes | None) -> None:
        self._pin = pin
        self._kept: _Connection | None = None

    async def request(
        self,
        method: str,
        url: URL,
        *,
        max_body: int,
        follow: bool = False,
        headers: Headers | None = None,
        body: bytes = b"",
    ) -> tuple[int, bytes]:
        """The status and the body of the answer. A body beyond ``max_body`` bytes is cut off.

        :param follow: whether redirects are followed.
        :param headers: of the request.
        :param body: of the request.

        Raises BadStatus if there are too many of them.
        """
        fields = [("accept-encoding", "identity"), *(headers or ())]
        if method == "POST" and not body:
            fields.append(("content-length", "0"))  # RFC 9110 section 8.6
        connection, answer = await self._ask(method, url, fields, sent=body, follow=follow)
        try:
            content = await connection.body(max_body)
        except BaseException:
            connection.abort()
            raise
        if connection.http.reusable:
            self._kept = connection
        else:
            connection.abort()
        return answer.status, content

    async def websocket(self, url: URL, *, max_message_size: int) -> SignalingSocket:
        """Open a WebSocket, wherever redirects lead.

        Raises BadStatus if the server does not open one.
        """
        key = new_key()
        fields = [("sec-websocket-version", "13"), ("sec-websocket-key", key)]
        connection, answer = await self._ask("GET", url, fields, upgrade="websocket", follow=True)
        try:
            if answer.status != 101:
                raise BadStatus(answer.status)
            check_handshake(answer, key, [])
        except BaseException:
            connection.abort()
            raise
        return SignalingSocket(connection, max_message_size)

    def close(self) -> None:
        """Close the kept connection."""
        if self._kept is not None:
            self._kept.abort()
            self._kept = None

    async def _ask(
        self,
        method: str,
        url: URL,
        fields: Headers,
        *,
        sent: bytes = b"",
        upgrade: str | None = None,
        follow: bool,
    ) -> tuple[_Connection, Response]:
        first: int | None = None
        for _ in range(MAX_REDIRECTS + 1):
            connection, answer = await self._ask_once(method, url, fields, sent, upgrade)
            place = _redirected(url, answer) if follow else None
            if place is None:
                return connection, answer
            connection.abort()
            first = first or answer.status
            url = place
        raise BadStatus(first or 0)

    async def _ask_once(
        self, method: str, url: URL, fields: Headers, sent: bytes, upgrade: str | None
    ) -> tuple[_Connection, Response]:
        kept, self._kept = self._kept, None
        if kept is not None and kept.origin == url.origin():
            # A server's closing of an idle connection may cross our request. All requests of this
            # client are safe to repeat.
            with contextlib.suppress(ConnectionError):
                return kept, await kept.ask(method, url, fields, sent, upgrade)
        elif kept is not None:
            kept.abort()
        connection = await _connect(url, self._pin)
        return connection, await connection.ask(method, url, fields, sent, upgrade)


class SignalingSocket(WireWebSocket):
    """A WebSocket to a signaling server, as :class:`HttpClient` opens it."""

    def __init__(self, connection: _Connection, max_message_size: int) -> None:
        super().__init__(connection, client=True, max_message_size=max_message_size)
        self._connection = connection
        self._close_received = False

    @property
    def local_address(self) -> str:
        """The local address of the connection."""
        return self._connection.local_address

    def abort(self) -> None:
        """Cut the connection."""
        self._connection.abort()

    async def receive_event(self) -> SocketEvent:
        """As :meth:`.WireWebSocket.receive_event`."""
        event = await super().receive_event()
        self._close_received = self._close_received or isinstance(event, Close)
        return event

    async def close(self, code: int = NORMAL) -> None:
        """Close in order (RFC 6455 section 7.1.2); when cancelled, cut the connection.

        Raises OSError if the connection broke, PeerfetchError if the server ended it out of order.
        """
        try:
            if not self.close_sent:
                await self.send_close(code)
            while not self._close_received:
                await self.receive_event()
            await self._connection.close()
        finally:
            self._connection.abort()


class _Connection:
    """One connection: for one request after another, then perhaps for a WebSocket."""

    def __init__(
        self, origin: URL, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.origin = origin
        self.http = ClientConnection()
        self._reader = reader
        self._writer = writer
        self.local_address: str = writer.get_extra_info("sockname")[0]

    async def ask(
        self, method: str, url: URL, fields: Headers, sent: bytes, upgrade: str | None
    ) -> Response:
        """Send a request; the head of its answer. Closes the connection on errors.

        Raises OSError, MessageError.
        """
        try:
            if self.http.read_all:
                self.http.next_cycle()
            host = url.host_port_subcomponent or ""
            fields = [("host", host), ("user-agent", "peerfetch"), *fields]
            head = self.http.write_request(
                method, url.raw_path_qs, fields, length=len(sent), upgrade=upgrade
            )
            await self.send((head, *self.http.write_body(sent), self.http.write_end()))
            while True:
                event = await self._next_event()
                if isinstance(event, Closed):
                    raise ConnectionResetError("the server hung up without an answer")
                assert isinstance(event, Response)
                if event.status >= 200 or event.status == 101:
                    return event
        except BaseException:
            self.abort()
            raise

    async def body(self, at_most: int) -> bytes:
        """The body of an answer, to its end or until it is longer than ``at_most`` bytes."""
        body = bytearray()
        while len(body) <= at_most:
            event = await self._next_event()
            if isinstance(event, End):
                break
            assert isinstance(event, bytes)
            body += event
        return bytes(body)

    async def read(self) -> bytes:
        """See :class:`~peerfetch_fast.http.websocket_wire.Pipe`."""
        event = await self._next_event()
        if isinstance(event, Closed):
            return b""
        assert isinstance(event, bytes)
        return event

    async def send(self, pieces: tuple[Octets, ...]) -> None:
        """See :class:`~peerfetch_fast.http.websocket_wire.Pipe`."""
        if self._writer.transport.is_closing():
            # uvloop would raise RuntimeError for a connection that was cut.
            raise ConnectionResetError("the connection is closed")
        self._writer.writelines(pieces)
        await self._writer.drain()

    async def _next_event(self) -> Event:
        while (event := self.http.next_event()) is None:
            if self.http.eof:
                raise ConnectionResetError("the server hung up")
            self.http.receive(await self._reader.read(READ_SIZE))
        return event

    async def close(self) -> None:
        """Close it once what was written has left. Raises OSError."""
        self._writer.close()
        await self._writer.wait_closed()

    def abort(self) -> None:
        """Close it at once."""
        self._writer.transport.abort()


async def _connect(url: URL, pin: bytes | None) -> _Connection:
    """A connection to the server of ``url``. Raises what :class:`HttpClient` does."""
    assert url.raw_host is not None
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(url.raw_host, url.port, type=socket.SOCK_STREAM)
    # Not every loop tries several addresses side by side: uvloop does not.
    connected = await start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_AFTER)
    if url.scheme == "http":
        reader, writer = await asyncio.open_connection(sock=connected, limit=READ_SIZE)
        return _Connection(url.origin(), reader, writer)
    reader, writer = await asyncio.open_connection(
        sock=connected,
        limit=READ_SIZE,
        ssl=_checking() if pin is None else _unchecked(),
        server_hostname=url.raw_host.rstrip("."),
    )
    shown = writer.get_extra_info("ssl_object").getpeercert(True)
    if pin is not None and not hmac.compare_digest(hashlib.sha256(shown).digest(), pin):
        writer.transport.abort()
        raise WrongCertificate("its certificate is not the one that was pinned")
    return _Connection(url.origin(), reader, writer)


@cache
def _checking() -> ssl.SSLContext:
    return ssl.create_default_context()


@cache
def _unchecked() -> ssl.SSLContext:
    """The TLS context for servers that are identified by their certificate alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _redirected(url: URL, answer: Response) -> URL | None:
    """The URL to which an answer redirects; None if it does not, or if it must not be followed."""
    place = next((value for name, value in answer.headers if name == "location"), None)
    if answer.status not in _REDIRECTS or place is None:
        return None
    try:
        found = url.join(parse_url(place)).with_fragment(None)
    except ValueError:
        return None
    # The token in the URL must not leave TLS.
    followed = ("https",) if url.scheme == "https" else ("http", "https")
    return found if found.host and found.scheme in followed else None
