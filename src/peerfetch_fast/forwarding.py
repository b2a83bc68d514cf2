"""A peer as a local HTTP server: the handler behind ``peerfetch forward``."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from urllib.parse import urlsplit

import aiohttp
from aiohttp import WSMsgType, web

from peerfetch_fast.errors import (
    FetchTimeout,
    InvalidRequest,
    MessageError,
    PeerfetchError,
    UpgradeRefused,
    Wait,
    WebSocketClosed,
    WebSocketError,
)
from peerfetch_fast.http.client import Response, send
from peerfetch_fast.http.heads import Headers, end_to_end, header_pairs
from peerfetch_fast.http.origins import Seen, peer_origin, renamed
from peerfetch_fast.http.request import make_request
from peerfetch_fast.http.rewriting import is_claim
from peerfetch_fast.http.timeouts import Timeouts
from peerfetch_fast.http.upstream_websocket import relay
from peerfetch_fast.http.websocket import open_websocket, without_handshake
from peerfetch_fast.http.websocket_frames import (
    ABNORMAL,
    NO_CODE,
    Close,
    Event,
    Ping,
    Pong,
    close_payload,
)
from peerfetch_fast.http.websocket_wire import MAX_WIRE_MESSAGE
from peerfetch_fast.peer import Peer

__all__ = ["Forwarder"]

logger = logging.getLogger(__name__)

AWAY_TIMEOUT = 10.0
"""Seconds that a request waits for a device that is away (else 504)."""

MAX_HEAD = 32 * 1024
"""Bytes of one line or field of a request's head (else 400)."""

_LOCAL = frozenset(("localhost", "127.0.0.1", "::1"))
# It is the other side that knows its upstream's name; and aiohttp answers Expect here.
_NOT_PASSED_ON = frozenset(("host", "expect"))


class Forwarder:
    """Answers the requests of this machine with a peer's answers, as they are.

    A page from elsewhere can have a browser send requests here, by a name that leads to this
    machine (DNS rebinding) or from its own origin. So only requests are taken that name this
    machine in Host, and that no page of another origin has made.

    :param peer: that is asked.
    :param hosts: more names that Host may have.
    """

    def __init__(self, peer: Peer, hosts: Iterable[str] = ()) -> None:
        self._peer = peer
        self._origin = peer_origin(peer.id)
        # Whoever has no name ("Origin: null") has none that was allowed.
        self._hosts = frozenset(host.lower().rstrip(".") for host in hosts) - {""}
        self._runner: web.ServerRunner | None = None

    async def start(self, port: int) -> int:
        """Listen on 127.0.0.1 and return the port, which is another than 0. Raises OSError."""
        server = web.Server(
            self._handle,
            handler_cancellation=True,  # whoever goes away need not be answered
            access_log=None,
            auto_decompress=False,
            max_line_size=MAX_HEAD,
            max_field_size=MAX_HEAD,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Listen no more; what runs is cut short."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return _sentence(403, refusal)
        timeouts = Timeouts({Wait.CONNECTION: AWAY_TIMEOUT})
        try:
            if request.headers.get("upgrade", "").lower() == "websocket":
                return await self._websocket(request, timeouts)
            return await self._fetch(request, timeouts)
        except FetchTimeout:
            return _sentence(
                504, f"The device {self._peer.id} is away; this program goes on looking for it."
            )
        except InvalidRequest as error:
            return _sentence(400, f"The request cannot be forwarded: {error}.")
        except PeerfetchError as error:
            logger.info("%s %s failed: %s", request.method, request.raw_path, error)
            return _sentence(502, f"The device {self._peer.id} did not answer: {error}.")

    def _refusal(self, request: web.BaseRequest) -> str | None:
        host = request.headers.get("host", "")
        if not self._may_be_called(host):
            return (
                f"This program does not answer to the name {host!r}: use 127.0.0.1, or start it "
                "with --allow-host."
            )
        origins = request.headers.getall("origin", [])
        for origin in origins:
            theirs = origin.partition("//")[2]
            if theirs != host and _hostname(theirs) not in self._hosts:
                return f"Pages of {origin!r} may not use this."
        if (
            not origins
            and request.headers.get("sec-fetch-site") == "cross-site"
            and request.headers.get("sec-fetch-mode") != "navigate"
        ):
            return "Pages from elsewhere may not use this."
        return None

    def _may_be_called(self, host: str) -> bool:
        name = _hostname(host)
        # RFC 6761 §6.3: names below localhost are this machine too.
        return name in _LOCAL or name.endswith(".localhost") or name in self._hosts

    def _passed_on(self, request: web.BaseRequest) -> list[tuple[str, str]]:
        """The fields of the request, in which the peer has the name that both ends know."""
        try:
            pairs = header_pairs(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in request.raw_headers
            )
        except MessageError as error:
            raise InvalidRequest(str(error)) from None
        host = request.headers["host"]
        ours = (f"http://{host}", f"https://{host}")  # behind a server that has a certificate
        passed = [
            (name, renamed(name, value, ours, self._origin))
            for name, value in end_to_end(pairs)
            if name not in _NOT_PASSED_ON and not is_claim(name)
        ]
        # What the person sees: only this end knows.
        return [*passed, ("forwarded", Seen("http", host).field)]

    async def _fetch(self, request: web.BaseRequest, timeouts: Timeouts) -> web.StreamResponse:
        going = make_request(
            request.raw_path,
            method=request.method,
            headers=self._passed_on(request),
            body=_body(request) if request.body_exists else None,
        )
        response = await send(self._peer._line, going, timeouts, redirect="manual", decode=False)
        async with response:
            return await self._relay(request, response)

    async def _relay(self, request: web.BaseRequest, response: Response) -> web.StreamResponse:
        answer = web.StreamResponse(status=response.status)
        self._copy(response.headers, answer)
        await answer.prepare(request)
        try:
            async for piece in response:
                await answer.write(piece)
        except PeerfetchError as error:
            logger.info("the answer to %s was cut short: %s", request.raw_path, error)
            if request.transport is not None:
                request.transport.abort()  # so that it does not look whole
        except ConnectionError:
            logger.debug("the client of %s went away", request.raw_path)
        return answer

    def _copy(self, headers: Headers, answer: web.StreamResponse) -> None:
        for name, value in headers.items():
            if name == "location" and value.startswith(f"{self._origin}/"):
                value = value.removeprefix(self._origin)
            answer.headers.add(name, value)

    async def _websocket(self, request: web.BaseRequest, timeouts: Timeouts) -> web.StreamResponse:
        offered = [
            protocol.strip()
            for field in request.headers.getall("sec-websocket-protocol", [])
            for protocol in field.split(",")
        ]
        pairs = [pair for pair in self._passed_on(request) if pair[0] != "sec-websocket-protocol"]
        session = await timeouts.wait(Wait.CONNECTION, self._peer._line.session())
        try:
            theirs = await open_websocket(
                session,
                request.raw_path,
                subprotocols=offered,
                headers=pairs,
                max_message_size=MAX_WIRE_MESSAGE,
            )
        except UpgradeRefused as refused:
            answer = web.Response(status=refused.status, body=refused.body)
            for name, value in refused.headers.items():
                if name != "content-length":
                    answer.headers.add(name, value)
            return answer
        ours = web.WebSocketResponse(
            protocols=(theirs.subprotocol,) if theirs.subprotocol else (),
            autoping=False,
            autoclose=False,
            max_msg_size=MAX_WIRE_MESSAGE,
        )
        try:
            for name, value in without_handshake(theirs.headers.items()):
                if name not in ("sec-websocket-protocol", "content-length"):
                    ours.headers.add(name, value)
            await ours.prepare(request)
            if not await relay(theirs, _Local(ours)):
                theirs.abort()
        except BaseException:
            theirs.abort()
            raise
        if request.transport is not None and not ours.closed:
            request.transport.close()
        return ours


class _Local:
    """The program's end of a WebSocket."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def receive_event(self) -> Event:
        message = await self._socket.receive()
        match message.type:
            case WSMsgType.TEXT | WSMsgType.BINARY:
                return message.data  # type: ignore[no-any-return]
            case WSMsgType.PING:
                return Ping(message.data)
            case WSMsgType.PONG:
                return Pong(message.data)
            case WSMsgType.CLOSE:
                return Close(message.data or NO_CODE, message.extra or "")
            case WSMsgType.ERROR if isinstance(message.data, aiohttp.WebSocketError):
                raise WebSocketError(str(message.data), message.data.code)
        raise WebSocketClosed(ABNORMAL, "the connection ended without a word")

    async def send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            await self._socket.send_str(message)
        else:
            await self._socket.send_bytes(message)

    async def send_ping(self, data: bytes) -> None:
        await self._socket.ping(data)

    async def send_pong(self, data: bytes) -> None:
        await self._socket.pong(data)

    async def send_close(self, code: int, reason: str = "") -> None:
        await self._socket.send_frame(close_payload(code, reason), WSMsgType.CLOSE)


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


async def _body(request: web.BaseRequest) -> AsyncIterator[bytes]:
    if request.headers.get("expect", "").lower() == "100-continue":
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    async for piece in request.content.iter_any():
        yield piece


def _sentence(status: int, sentence: str) -> web.Response:
    return web.Response(status=status, text=f"{sentence}\n")
