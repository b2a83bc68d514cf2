"""A peer as a local HTTP server: the handler behind ``peerfetch forward``."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable

from peerfetch_fast.errors import (
    Awaited,
    FetchTimeout,
    InvalidRequest,
    PeerfetchError,
    UpgradeRefused,
    WireError,
)
from peerfetch_fast.http import h1 as wire
from peerfetch_fast.http.client import Response, send
from peerfetch_fast.http.content import Pieces
from peerfetch_fast.http.h1 import Octets
from peerfetch_fast.http.heads import Headers, content_length, end_to_end
from peerfetch_fast.http.origins import Seen, below, peer_origin, renamed
from peerfetch_fast.http.request import Request
from peerfetch_fast.http.rewriting import is_claim
from peerfetch_fast.http.serving import Asked, LocalConnection, LocalServer
from peerfetch_fast.http.timeouts import Timeouts
from peerfetch_fast.http.upstream_websocket import relay
from peerfetch_fast.http.websocket import open_websocket, without_handshake
from peerfetch_fast.http.websocket_wire import MAX_WIRE_MESSAGE, WireWebSocket, accept_key
from peerfetch_fast.peer import Peer

__all__ = ["LocalHttpPort"]

logger = logging.getLogger(__name__)

AWAY_TIMEOUT = 10.0
"""Seconds that a request waits for a device that is away, before it is answered with 504."""

CONTINUE_TIMEOUT = 1.0
"""Seconds after which a program that waits for 100 (Continue) gets it, even if the device has not
sent one: not every server sends it, and not every program goes on without it."""

_LOCAL = frozenset(("localhost", "127.0.0.1", "::1"))
# Characters that a URI cannot hold (RFC 3986 §2). Some programs send them unquoted.
_NO_URI = re.compile(r"[^\x21-\x7e]")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]+)(?::[0-9]*)?")


class LocalHttpPort:
    """Answers the requests of this machine with a peer's answers, as they are.

    A page from elsewhere can have a browser send requests here, under a name that resolves to
    this machine (DNS rebinding) or from its own origin. So a request must name this machine in
    Host, and a page of another origin is refused.

    :param peer: the peer that answers.
    :param hosts: more names that Host may have.
    """

    def __init__(self, peer: Peer, hosts: Iterable[str] = ()) -> None:
        self._peer = peer
        self._origin = peer_origin(peer.id)
        # "Origin: null" is no origin that the user has allowed.
        self._hosts = frozenset(host.lower().rstrip(".") for host in hosts) - {""}
        self._server = LocalServer(self._handle)
        self.refused: Counter[str] = Counter()
        """The number of refusals for each reason."""

    async def start(self, port: int, host: str = "127.0.0.1") -> int:
        """Listen and return the port; with 0, any free one. Raises OSError."""
        return await self._server.start(port, host)

    def connection(self) -> LocalConnection:
        """The protocol of a connection that was not listened for."""
        return LocalConnection(self._server)

    async def close(self) -> None:
        """Stop listening, and cut the connections that are open."""
        await self._server.close()

    async def _handle(self, asked: Asked) -> None:
        try:
            await self._answer(asked)
        except FetchTimeout:
            self.refused["the device was away"] += 1
            self._fail(
                asked, 504, f"The device {self._peer.id} is away; this program goes on looking."
            )
        except (InvalidRequest, WireError) as error:
            status = error.status if isinstance(error, WireError) else 400
            self._fail(asked, status, f"The request cannot be forwarded: {error}.")
        except PeerfetchError as error:
            logger.info("%s %s failed: %s", asked.request.method, asked.request.target, error)
            self._fail(asked, 502, f"The device {self._peer.id} did not answer: {error}.")

    @staticmethod
    def _fail(asked: Asked, status: int, sentence: str) -> None:
        if asked.started:
            asked.abort()  # so that the answer does not look whole
        else:
            asked.respond(status, sentence)

    async def _answer(self, asked: Asked) -> None:
        fields = asked.request.headers
        refusal = self._refusal(fields, old=asked.request.version == 10)
        if refusal is not None:
            self.refused["a name or page that is not allowed"] += 1
            asked.respond(403, refusal)
            return
        if not asked.request.target.startswith("/"):
            raise InvalidRequest(f"the target {asked.request.target!r} does not begin with '/'")
        timeouts = Timeouts({Awaited.CONNECTION: AWAY_TIMEOUT})
        if asked.request.upgrade and _value(fields, "upgrade").lower() == "websocket":
            await self._websocket(asked, timeouts)
        else:
            await self._fetch(asked, timeouts)

    def _refusal(self, fields: list[tuple[str, str]], *, old: bool) -> str | None:
        host = _value(fields, "host")
        # These rules protect users of browsers, which always send Host.
        if not self._may_be_called(host) and not (old and not host):
            return (
                f"This program does not answer to the name {host!r}: use 127.0.0.1, or start it "
                "with --allow-host."
            )
        origins = [value for name, value in fields if name == "origin"]
        for origin in origins:
            theirs = origin.partition("//")[2]
            if theirs != host and _hostname(theirs) not in self._hosts:
                return f"Pages of {origin!r} may not use this."
        if (
            not origins
            and _value(fields, "sec-fetch-site") == "cross-site"
            and _value(fields, "sec-fetch-mode") != "navigate"
        ):
            return "Pages from elsewhere may not use this."
        return None

    def _may_be_called(self, host: str) -> bool:
        name = _hostname(host)
        # Names below localhost are this machine too (RFC 6761 §6.3).
        return name in _LOCAL or name.endswith(".localhost") or name in self._hosts

    def _passed_on(self, asked: Asked) -> list[tuple[str, str]]:
        """The fields of the request. Host becomes the peer's name, which both ends know."""
        fields = asked.request.headers
        host = _value(fields, "host")
        # https behind a reverse proxy that has a certificate.
        ours = (f"http://{host}", f"https://{host}")
        passed = [
            (name, renamed(name, value, ours, self._origin))
            for name, value in end_to_end(fields)
            # The other side sets Host for its upstream.
            if name != "host" and not is_claim(name)
        ]
        if host:  # the address that the user sees: only this end knows it
            passed.append(("forwarded", Seen("http", host).field))
        return passed

    async def _fetch(self, asked: Asked, timeouts: Timeouts) -> None:
        upload = _Upload(asked)
        request = Request(
            asked.request.method,
            _target(asked.request),
            self._passed_on(asked),
            upload.content,
            on_informational=upload.inform,
            trailers=lambda: asked.trailers,
        )
        response = await send(
            self._peer._sessions, request, timeouts, redirect="manual", decode=False
        )
        async with response:
            asked.start(response.status, self._shown(response.headers))
            await self._relay(asked, response)

    async def _relay(self, asked: Asked, response: Response) -> None:
        try:
            async for piece in response:
                await asked.write(piece)
            asked.end(_pairs(response.trailers))
        except PeerfetchError as error:
            logger.info("the answer to %s was cut short: %s", asked.request.target, error)
            asked.abort()

    async def _websocket(self, asked: Asked, timeouts: Timeouts) -> None:
        passed = self._passed_on(asked)
        offered = [
            protocol.strip()
            for name, value in passed
            if name == "sec-websocket-protocol"
            for protocol in value.split(",")
        ]
        session = await timeouts.wait(Awaited.CONNECTION, self._peer._sessions.session())
        key = _handshake_key(asked.request)
        try:
            theirs = await open_websocket(
                session,
                _target(asked.request),
                subprotocols=offered,
                headers=[pair for pair in passed if pair[0] != "sec-websocket-protocol"],
                max_message_size=MAX_WIRE_MESSAGE,
            )
        except UpgradeRefused as refused:
            await self._refuse_websocket(asked, refused)
            return
        try:
            answer = [
                ("connection", "upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-accept", accept_key(key)),
            ]
            more = without_handshake(self._shown(theirs.headers))
            asked.switch(answer + [pair for pair in more if pair[0] != "content-length"])
            if not await relay(theirs, WireWebSocket(_Pipe(asked), client=False)):
                theirs.abort()
                asked.abort()
        except BaseException:
            theirs.abort()
            raise

    async def _refuse_websocket(self, asked: Asked, refused: UpgradeRefused) -> None:
        shown = [pair for pair in self._shown(refused.headers) if pair[0] != "content-length"]
        asked.start(refused.status, [*shown, ("content-length", str(len(refused.body)))])
        await asked.write(refused.body)
        asked.end()

    def _shown(self, headers: Headers) -> list[tuple[str, str]]:
        """The fields of an answer unchanged, except that a repeated Content-Length is sent once."""
        shown: list[tuple[str, str]] = []
        for name, value in _pairs(headers):
            if name == "content-length":
                if any(other == name for other, _ in shown):
                    continue
                value = str(content_length(headers))
            elif name in ("location", "content-location"):
                value = self._local(value)
            shown.append((name, value))
        return shown

    def _local(self, reference: str) -> str:
        path = below(reference, self._origin)
        return reference if path is None else path or "/"


class _Pipe:
    """The connection of a program, after its upgrade to WebSocket."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    async def read(self) -> bytes:
        """The next octets, b"" at the end."""
        return await self._asked.read()

    async def send(self, pieces: tuple[Octets, ...]) -> None:
        """Send octets, waiting while the program reads slowly."""
        for piece in pieces:
            await self._asked.write(piece)


class _Upload:
    """The body of a request to the peer; ``content`` is None if there is none."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._expected = asked.request.expect_continue
        self.content: Pieces | None = None
        if asked.request.chunked or asked.request.length:
            self.content = Pieces(self._pieces())
            self.content.length = asked.request.length

    def inform(self, status: int, headers: Headers) -> None:
        """Pass on an informational answer; a 100 only if the program has not had one."""
        if status == 100 and not self._expected:
            return
        self._expected = self._expected and status != 100
        if status != 101:  # 101 is no informational answer to pass on (RFC 9110 §15.2.2)
            self._asked.inform(status, _pairs(headers))

    async def _pieces(self) -> AsyncIterator[bytes]:
        if self._expected:
            yield await self._first()
        while piece := await self._asked.read():
            yield piece

    async def _first(self) -> bytes:
        reading = asyncio.ensure_future(self._asked.read())
        try:
            await asyncio.wait((reading,), timeout=CONTINUE_TIMEOUT)
            if not reading.done() and self._expected:
                self._expected = False
                self._asked.inform(100, [])
            return await reading
        finally:
            reading.cancel()


def _target(request: wire.Request) -> str:
    return _NO_URI.sub(lambda found: f"%{ord(found[0]):02X}", request.target)


def _handshake_key(request: wire.Request) -> str:
    """Sec-WebSocket-Key. Raises InvalidRequest for an invalid handshake (RFC 6455 §4.2.1)."""
    key = _value(request.headers, "sec-websocket-key")
    version = _value(request.headers, "sec-websocket-version")
    if request.method != "GET" or request.length or request.chunked:
        raise InvalidRequest("a WebSocket is asked for with GET, and without a body")
    if not re.fullmatch(r"[A-Za-z0-9+/]{22}==", key) or version != "13":
        raise InvalidRequest("a WebSocket takes a Sec-WebSocket-Key, and version 13")
    return key


def _pairs(headers: Headers | None) -> list[tuple[str, str]]:
    # multidict's names are of a subclass of str.
    return [] if headers is None else [(str(name), value) for name, value in headers.items()]


def _value(fields: list[tuple[str, str]], wanted: str) -> str:
    return next((value for name, value in fields if name == wanted), "")


def _hostname(host: str) -> str:
    """The host in an authority; "" if it is malformed (RFC 9112 §3.2)."""
    found = _AUTHORITY.fullmatch(host)
    return "" if found is None else found[1].strip("[]").lower().rstrip(".")
