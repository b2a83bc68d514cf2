"""The server side of HTTP on a session: read requests, call a handler, send its answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from multidict import CIMultiDict, CIMultiDictProxy

from peerfetch_fast.errors import (
    HeadTooLarge,
    MessageError,
    PeerfetchError,
    SessionEnded,
)
from peerfetch_fast.http import codes
from peerfetch_fast.http.blocks import DATA, MAX_HEAD, block_header
from peerfetch_fast.http.heads import (
    Headers,
    content_length,
    decode_request,
    encode_response,
    end_to_end,
    parse_priority,
)
from peerfetch_fast.http.kept import Kept
from peerfetch_fast.http.message import BodyWriter, MessageReader
from peerfetch_fast.http.tunnel import TCP, Tunnel
from peerfetch_fast.http.websocket import WebSocket, without_handshake
from peerfetch_fast.streams.account import Account
from peerfetch_fast.streams.session import Session
from peerfetch_fast.streams.stream import Stream

if TYPE_CHECKING:
    from peerfetch_fast.webrtc.transports import ConnectionOptions

__all__ = ["ErrorResponse", "Exchange", "Gate", "Handler", "serve_session"]

logger = logging.getLogger(__name__)

_UPGRADES = {
    "websocket": ("GET", attrgetter("max_websockets"), "WebSockets"),
    TCP: ("CONNECT", attrgetter("max_tunnels"), "tunnels"),
}
"""For each protocol: the method of its request, the setting that bounds the number, and the
plural."""


class Exchange:
    """One request and its answer. The handler is cancelled when the client gives the request up."""

    __slots__ = (
        "_body",
        "_length",
        "_reader",
        "_stream",
        "address",
        "client",
        "connecting",
        "headers",
        "kept",
        "method",
        "person",
        "prefix",
        "protocol",
        "server",
        "started",
        "target",
    )

    def __init__(
        self,
        stream: Stream,
        reader: MessageReader,
        method: str,
        target: str,
        headers: Headers,
        protocol: str | None,
        kept: Kept,
    ) -> None:
        self._stream = stream
        self._reader = reader
        self._body: BodyWriter | None = None
        self._length: int | None = None
        self.kept = kept
        """The resources that handlers keep for this session."""
        self.address: str | None = None
        """The IP address of the client, if known."""
        self.connecting: Callable[[], ConnectionOptions] | None = None
        """How further connections to the client are made; None where nobody knows."""
        self.client: str | None = None
        """The peer id of the client, if known."""
        self.person: str | None = None
        """The name of the person who uses the client, if the device knows one."""
        self.server: str | None = None
        """The peer id of the server, if known."""
        self.method = method
        self.prefix = ""
        """The part of the path that routers removed from the target, without a trailing slash."""
        self.target = target
        self.headers = headers
        self.protocol = protocol
        """The requested upgrade: ``websocket``, ``tcp`` or None. :meth:`accept_websocket` or
        :meth:`accept_tunnel` grants it, and any answer whose status is not 2xx refuses it.
        """
        self.started = False
        """Whether the head of the answer was sent."""

    @property
    def account(self) -> Account:
        """The account that counts the memory held for the client."""
        return self._stream.session.account

    @property
    def has_body(self) -> bool:
        """Whether the request may have a body: it names a length, or more of it is to be read."""
        if self._length is not None:
            return self._length > 0
        return not self._reader.at_end

    @property
    def length(self) -> int | None:
        """Bytes of the request's body by its Content-Length; None without one."""
        return self._length

    @property
    def can_read(self) -> bool:
        """Whether :meth:`read` would not wait."""
        return self._reader.poll()

    async def read(self) -> bytes:
        """The next piece of the request's body, b"" at its end. Raises as MessageReader.read()."""
        return await self._reader.read()

    @property
    def trailers(self) -> Headers | None:
        """The request's trailers, if there are any, once its body was read to its end."""
        return self._reader.trailers

    def stop_reading(self) -> None:
        """Tell the client to stop sending the request's body."""
        self._stream.stop(codes.NO_ERROR)

    def cancel_with(self, disconnected: Callable[[], object]) -> None:
        """Call ``disconnected``, instead of cancelling the handler, when the client gives the
        request up.
        """
        self._stream.on_aborted = disconnected

    def inform(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Send an informational answer, with a status from 100 to 199, before the answer itself.

        Raises MessageError for a head that is larger than the other side takes.
        """
        self._stream.write_nowait(_head(status, end_to_end(headers)))

    def start(self, status: int, headers: Iterable[tuple[str, str]], length: int | None) -> None:
        """Send the head of the answer.

        :param headers: pairs with names in lower case; fields of a single connection are dropped.
        :param length: bytes of the body that will be written, or None if that is not known.

        Raises MessageError for a head that is larger than the other side takes.
        """
        self._stream.write_nowait(self._head(status, end_to_end(headers)))
        self._body = BodyWriter(self._stream, length)

    async def write(self, data: bytes) -> None:
        """Send a piece of the answer's body, waiting while the client reads slowly."""
        assert self._body is not None, "write() before start()"
        await self._body.write(data)

    def write_nowait(self, data: bytes) -> None:
        """Send a piece of the answer's body, however slowly the client reads."""
        assert self._body is not None, "write_nowait() before start()"
        self._body.write_nowait(data)

    def end(self, trailers: list[tuple[str, str]] | None = None) -> None:
        """End the answer. Raises as :meth:`BodyWriter.end
        <peerfetch_fast.http.message.BodyWriter.end>` does.
        """
        assert self._body is not None, "end() before start()"
        self._body.end(trailers)

    def respond(
        self, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        """Send a whole answer, with Content-Length; for HEAD without the body."""
        head = self._head(status, [*headers, ("content-length", str(len(body)))])
        if body and self.method != "HEAD":
            self._stream.write_nowait(head + block_header(DATA, len(body)))
            self._stream.write_nowait(body)
        else:
            self._stream.write_nowait(head)
        self._stream.end()

    def refuse(self, status: int, sentence: str) -> None:
        """Send an error with a sentence for the user."""
        self.respond(
            status, [("content-type", "text/plain; charset=utf-8")], f"{sentence}\n".encode()
        )

    def refuse_method(self, methods: str) -> None:
        """Tell that the target is asked for with ``methods``, as in ``GET, HEAD`` (RFC 9110 section
        15.5.6).
        """
        self.respond(
            405,
            [("allow", methods), ("content-type", "text/plain; charset=utf-8")],
            f"This is asked for with {methods}.\n".encode(),
        )

    def accept_websocket(self, headers: Iterable[tuple[str, str]] = ()) -> WebSocket:
        """Accept the request for a WebSocket.

        :param headers: pairs with names in lower case; ``sec-websocket-protocol`` is the chosen
            sub-protocol.

        Raises MessageError for a head that is larger than the other side takes.
        """
        assert self.protocol == "websocket", "accept_websocket() without a request for one"
        pairs = without_handshake(end_to_end(headers))
        self.protocol = None
        self._stream.write_nowait(self._head(200, pairs))
        return WebSocket(self._stream, self._reader, CIMultiDictProxy(CIMultiDict(pairs)))

    def accept_tunnel(self) -> Tunnel:
        """Accept the request for a tunnel."""
        assert self.protocol == TCP, "accept_tunnel() without a request for one"
        self.protocol = None
        self._stream.write_nowait(self._head(200, []))
        return Tunnel(self._stream, self._reader)

    def _head(self, status: int, headers: list[tuple[str, str]]) -> bytes:
        """Begin the answer, and return its head."""
        if self.protocol is not None and 200 <= status <= 299:
            raise _NotUpgraded
        head = _head(status, headers)
        self.started = True
        return head

    def break_off(self, code: int) -> None:
        """Cut the answer short, so that it cannot look whole."""
        self._stream.cancel(code)


def _head(status: int, headers: list[tuple[str, str]]) -> bytes:
    head = encode_response(status, headers)
    if len(head) > MAX_HEAD:
        raise MessageError(f"a head of {len(head)} bytes")
    return head


class _NotUpgraded(Exception):
    """A handler is about to answer a request for an upgrade with 2xx as if it were an ordinary one:
    the client would take the upgrade for accepted.
    """


Handler = Callable[[Exchange], Awaitable[None]]


class ErrorResponse(NamedTuple):
    """An answer to a request that is refused before it is read."""

    status: int
    sentence: str
    headers: tuple[tuple[str, str], ...] = ()


# Programs and pages show this sentence. How to enter a token is different in each client.
NO_ACCESS = ErrorResponse(
    401,
    "This device asks for an access token.",
    # RFC 9110 §11.6.1 wants a challenge with every 401.
    (("www-authenticate", codes.CHALLENGE),),
)


class Gate:
    """Decides on each request before any of it is read."""

    def refusal(self, session: Session) -> ErrorResponse | None:
        """The answer to a refused request; None to admit the request."""
        return None if session.proved else NO_ACCESS


async def serve_session(
    session: Session,
    handler: Handler,
    *,
    tunnels: Handler | None = None,
    gate: Gate | None = None,
    max_head: int = MAX_HEAD,
) -> None:
    """Answer the requests on ``session`` until it ends; then cancel what still runs.

    :param tunnels: answers requests for raw streams; without it they get 501.
    :param gate: decides which requests are admitted; by default all, once the session has proved
    the access token, if there is one.
    :param max_head: the largest request head in bytes; a larger one is answered with 431.
    """
    gate = gate or Gate()
    loop = asyncio.get_running_loop()
    tasks: dict[asyncio.Task[None], Stream] = {}
    handlers: dict[str | None, Handler] = {None: handler, "websocket": handler}
    if tunnels is not None:
        handlers[TCP] = tunnels
    upgraded: dict[Stream, str] = {}
    kept = Kept()

    def begin(stream: Stream) -> None:
        refusal = gate.refusal(session)
        if refusal is not None:
            _refuse(stream, *refusal)
            return
        task = loop.create_task(_serve(stream, handlers, max_head, upgraded, kept))
        stream.on_aborted = task.cancel
        tasks[task] = stream
        task.add_done_callback(ended)

    def ended(task: asyncio.Task[None]) -> None:
        stream = tasks.pop(task)
        if task.cancelled():  # cancelled before it began
            stream.cancel(codes.REQUEST_CANCELLED)

    session.on_stream = begin
    try:
        while True:  # streams from before on_stream was set; then none until the session ends
            begin(await session.accept())
    except SessionEnded:
        pass
    finally:
        session.on_stream = None
        for task, stream in tasks.items():
            # A handler that was cancelled is cleaning up. A second cancellation would interrupt it.
            if stream.on_aborted is not None:
                task.cancel()
        if tasks:
            await asyncio.wait(list(tasks))
        kept.close()


async def _serve(
    stream: Stream,
    handlers: Mapping[str | None, Handler],
    max_head: int,
    upgraded: dict[Stream, str],
    kept: Kept,
) -> None:
    exchange: Exchange | None = None
    try:
        exchange = await _read_request(stream, max_head, handlers, kept)
        protocol = None if exchange is None else exchange.protocol
        if protocol is not None:
            _, most_of, name = _UPGRADES[protocol]
            most = most_of(stream.session.settings)
            if sum(other == protocol for other in upgraded.values()) >= most:
                _refuse(stream, 429, f"{most} {name} are open; close one of them.")
                return
            upgraded[stream] = protocol
        if exchange is not None:
            await handlers[protocol](exchange)
            if stream.can_write and stream.session.error is None:
                raise RuntimeError("the handler did not finish its answer")
            stream.stop(codes.NO_ERROR)
    except asyncio.CancelledError:
        stream.cancel(codes.REQUEST_CANCELLED)
    except _NotUpgraded:
        sentence = "What is at this address does not speak websocket."
        _give_up(stream, exchange, 501, sentence, codes.INTERNAL_ERROR)
    except MessageError as error:
        logger.info("the request on stream %d is broken: %s", stream.id, error)
        status = 431 if isinstance(error, HeadTooLarge) else 400
        _give_up(stream, exchange, status, f"The request is broken: {error}.", codes.MESSAGE_ERROR)
    except PeerfetchError as error:
        logger.info("the request on stream %d failed: %s", stream.id, error)
        stream.cancel(codes.INTERNAL_ERROR)
    except Exception:
        logger.exception("the handler of stream %d failed", stream.id)
        _give_up(stream, exchange, 500, "The handler of this request failed.", codes.INTERNAL_ERROR)
    finally:
        stream.on_aborted = None
        upgraded.pop(stream, None)


def _give_up(
    stream: Stream, exchange: Exchange | None, status: int, sentence: str, code: int
) -> None:
    """Answer with an error, or break off an answer that has begun."""
    if exchange is not None and not exchange.started and stream.can_write:
        with contextlib.suppress(PeerfetchError):  # the client may be gone
            exchange.refuse(status, sentence)
        stream.stop(codes.NO_ERROR)
        return
    if stream.can_write:
        stream.reset(code)
    stream.stop(code)


async def _read_request(
    stream: Stream, max_head: int, handlers: Mapping[str | None, Handler], kept: Kept
) -> Exchange | None:
    """The request on ``stream``; None if it was refused already."""
    reader = MessageReader(stream, max_head)
    late: asyncio.TimerHandle | None = None
    try:
        if not reader.poll():
            late = asyncio.get_running_loop().call_later(
                stream.session.settings.head_timeout, stream.cancel, codes.REQUEST_INCOMPLETE
            )
        payload = await reader.head()
    except HeadTooLarge as error:
        _refuse(stream, 431, f"The request has {error}.")
        return None
    finally:
        if late is not None:
            late.cancel()
    try:
        method, target, headers, protocol = decode_request(payload)
        length = content_length(headers)
    except MessageError as error:
        _refuse(stream, 400, f"The request is malformed: {error}.")
        return None
    if protocol not in handlers:
        _refuse(stream, 501, f"This side does not speak {protocol}.")
        return None
    if protocol is not None and (method != _UPGRADES[protocol][0] or length is not None):
        asked = _UPGRADES[protocol][0]
        _refuse(stream, 400, f"The {protocol} protocol is asked for with {asked}, without a body.")
        return None
    priority = headers.get("priority")
    if priority is not None:
        stream.set_priority(*parse_priority(priority))
    exchange = Exchange(stream, reader, method, target, headers, protocol, kept)
    exchange._length = length
    reader.expect(length)
    return exchange


def _refuse(
    stream: Stream, status: int, sentence: str, headers: Iterable[tuple[str, str]] = ()
) -> None:
    """Answer a request that never became an exchange."""
    body = f"{sentence}\n".encode()
    fields = [("content-type", "text/plain; charset=utf-8"), ("content-length", str(len(body)))]
    head = encode_response(status, [*fields, *headers])
    with contextlib.suppress(PeerfetchError):  # the other side may have given up already
        stream.write_nowait(head + block_header(DATA, len(body)) + body)
        stream.end()
    stream.stop(codes.NO_ERROR)
