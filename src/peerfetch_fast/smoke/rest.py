"""REST: servers on ports, and ``fetch`` of ``rest://`` URLs."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
)
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, unquote
from weakref import WeakSet

import orjson

from peerfetch_fast.errors import CameraError, InvalidRequest, PeerfetchError
from peerfetch_fast.http.content import Body
from peerfetch_fast.http.response import Response as PeerResponse
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.http.websocket import WebSocket
from peerfetch_fast.peer import Peer
from peerfetch_fast.smoke.continuations import CONTINUES, Continuations, Waiting, continuation
from peerfetch_fast.smoke.network import PORT, REFUSED, Network, PortHandlers, PortRefused
from peerfetch_fast.smoke.queryable import Queryable
from peerfetch_fast.smoke.records import (
    RECORDS,
    answer_pulls,
    pulled_records,
    records_in,
    send_lines,
)
from peerfetch_fast.webrtc import HAVE_NATIVE
from peerfetch_fast.webrtc.transports import ConnectionOptions

__all__ = ["FetchResponse", "Request", "Response", "Rest", "RestServer"]

if TYPE_CHECKING:
    from peerfetch_fast.media.camera import Camera
    from peerfetch_fast.media.sources import Source
    from peerfetch_fast.smoke.media import MediaStream, Sending
    from peerfetch_fast.smoke.old.node import OldNode
    from peerfetch_fast.smoke.old.rest import OldFetchResponse

logger = logging.getLogger(__name__)

MAX_BODY = 64 * 1024 * 1024
"""Bytes of the largest request body that is read as a whole."""

_URL = re.compile(r"rest://([^/?#:@]+)(?::([\w-]{1,64}))?([/?][^#]*)?(?:#.*)?")
_NAME = re.compile(r":([\w$]+)")

Handler = Callable[["Request", "Response"], Awaitable[None]]


class _Url(NamedTuple):
    remote: str
    port: str
    target: str


def _parse(url: str) -> _Url:
    """The parts of a URL, or of a path of this node. Raises InvalidRequest."""
    if url.startswith("/"):
        return _Url("localhost", "80", url)
    found = _URL.fullmatch(url)
    if found is None:
        raise InvalidRequest(f"{url!r} cannot be fetched: give rest://ADDRESS[:PORT]/path")
    rest = found[3] or "/"
    return _Url(found[1], found[2] or "80", rest if rest.startswith("/") else f"/{rest}")


def _pattern(text: str) -> re.Pattern[str]:
    """The expression for a pattern with ``:name`` in it. Raises ValueError for one with a query."""
    if "?" in text or "&" in text:
        raise ValueError(f"the pattern {text} has a query: only paths are matched")
    source, at = "", 0
    for found in _NAME.finditer(text):
        if text[found.end() : found.end() + 1] == ":":
            raise ValueError(f"the pattern {text} has two names side by side")
        literal = re.escape(text[at : found.start()])
        # A value does not hold what ends it, nor what parts it from the one before (which is as
        # long as it can be): else one path could be cut in many ways, each to be tried.
        dash = "" if text[found.end() : found.end() + 1] == "-" else "-"
        value = f"[\\w$.~%{dash}]"
        if at and "/" not in literal and not literal.startswith("\\-"):
            value = f"(?:(?!{literal}){value})"
        source += f"{literal}(?P<{found[1]}>{value}*)"
        at = found.end()
    return re.compile(source + re.escape(text[at:]), re.ASCII)


class Request:
    """A request of another node, or of this one."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.method = exchange.method.lower()
        self.url = exchange.target
        self.path, _, query = exchange.target.partition("?")
        self.query = parse_qs(query, keep_blank_values=True)
        """The values of each name."""
        self.params: dict[str, str] = {}
        self.headers = exchange.headers
        self.local, self.remote = exchange.server, exchange.client

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        while piece := await self._exchange.read():
            yield piece

    async def read(self) -> bytes:
        """The body as a whole. Raises PeerfetchError for one of more than MAX_BODY bytes."""
        pieces, size = [], 0
        async for piece in self:
            size += len(piece)
            if size > MAX_BODY:
                raise PeerfetchError(f"a body of more than {MAX_BODY} bytes: iterate over it")
            pieces.append(piece)
        return b"".join(pieces)

    async def text(self) -> str:
        """The body as text in UTF-8."""
        return (await self.read()).decode(errors="replace")

    async def json(self) -> Any:
        """The JSON in the body. Raises ValueError."""
        return orjson.loads(await self.read())


class Response:
    """The answer, to be sent once by one of its methods, of which a second raises RuntimeError."""

    def __init__(self, exchange: Exchange, server: RestServer, network: Network) -> None:
        self._exchange = exchange
        self._continuations = exchange.kept.get(server, Continuations)
        self._network = network
        self.status = 200
        self.headers: dict[str, str] = {}

    async def send(self, data: str | bytes, status: int | None = None) -> None:
        """Answer with text in UTF-8 or bytes."""
        body = data.encode() if isinstance(data, str) else data
        self._exchange.respond(*self._head(None, status), body)

    def _head(self, kind: str | None, status: int | None) -> tuple[int, list[tuple[str, str]]]:
        """The status, and the header fields with ``kind`` as their Content-Type by default."""
        if self._exchange.started:
            raise RuntimeError("the response has already been sent")
        self.status = status or self.status
        headers = {name.lower(): str(value) for name, value in self.headers.items()}
        if kind is not None:
            headers.setdefault("content-type", kind)
        return self.status, list(headers.items())

    async def text(self, data: str, status: int | None = None) -> None:
        """Answer with text."""
        self._exchange.respond(*self._head("text/plain; charset=utf-8", status), data.encode())

    async def json(self, data: object, status: int | None = None) -> None:
        """Answer with JSON. Raises TypeError for what has none."""
        self._exchange.respond(*self._head("application/json", status), orjson.dumps(data))

    async def stream(self, pieces: AsyncIterable[bytes], status: int | None = None) -> None:
        """Answer with bytes that come by pieces, as fast as they are read over there."""
        self._exchange.start(*self._head(None, status), None)
        async for piece in pieces:
            await self._exchange.write(piece)
        self._exchange.end()

    async def query(
        self,
        records: AsyncIterable[Any] | Iterable[Any],
        *,
        prefetch: int | None = None,
        status: int | None = None,
    ) -> None:
        """Answer with records; without ``prefetch``, return when all are sent.

        :param prefetch: 0 to pull a record only when the receiver asks for it; by default they are
            pulled as far as the stream's window reaches.
        """
        if prefetch == 0:
            await self._continue("query", Waiting(_pulled(Queryable(records))), status)
        elif prefetch is not None:
            raise ValueError("prefetch is 0, or not given")
        else:
            self._exchange.start(*self._head(RECORDS, status), None)
            await send_lines(self._exchange, Queryable(records))
            self._exchange.end()

    async def mediastream(
        self, source: Camera | MediaStream | Source, status: int | None = None
    ) -> Sending:
        """Answer with moving pictures and sound, unchanged, until the receiver ends it, or
        ``dispose()`` of what this returns is called.

        :param source: a :class:`~peerfetch_fast.Camera`, whose viewers share what it gives; a
            stream of another node; or another source, which is started for this answer alone.

        Raises CameraError where that node has too many, and if this installation has no WebRTC of
        its own; a handler that does not catch it answers 503 with its text.
        """
        _check_native()
        # Imported late: few nodes show anything.
        from peerfetch_fast.smoke.media import Sending, SentTo

        sending = Sending(source, _options(self._network))
        self._exchange.kept.get(SentTo, SentTo).add(sending)
        try:
            await self._continue("media", Waiting(sending.run, sending.dispose), status)
        except BaseException:
            sending.dispose()
            raise
        return sending

    async def _continue(self, kind: str, waiting: Waiting, status: int | None) -> None:
        if self._exchange.started:
            raise RuntimeError("the response has already been sent")
        self.headers[CONTINUES] = f"{kind} {self._continuations.offer(waiting)}"
        await self.send(b"", status)


def _pulled(records: Queryable[Any]) -> Callable[[WebSocket], Awaitable[None]]:
    async def go_on(socket: WebSocket) -> None:
        async with aclosing(aiter(records)) as each:
            await answer_pulls(socket, each)

    return go_on


def _check_native() -> None:
    if not HAVE_NATIVE:
        raise CameraError("media streams need the compiled WebRTC of this package")


def _options(network: Network) -> ConnectionOptions:
    """How the connections of media streams are made."""
    return ConnectionOptions(ice_servers=network.ice_servers)


class RestServer:
    """Routes that answer on a port, tried in the order in which they were added."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._port: str | None = None
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = []

    def method(self, verb: str, pattern: str) -> Callable[[Handler], Handler]:
        """A decorator for the handler of what ``verb`` and ``pattern``, in which ``:name`` stands
        for a parameter, match. Raises ValueError for a pattern with a query.
        """
        expression = _pattern(pattern)

        def add(handler: Handler) -> Handler:
            self._routes.append((verb.lower(), expression, handler))
            return handler

        return add

    def get(self, pattern: str) -> Callable[[Handler], Handler]:
        """See :meth:`method`."""
        return self.method("get", pattern)

    def post(self, pattern: str) -> Callable[[Handler], Handler]:
        """See :meth:`method`."""
        return self.method("post", pattern)

    def put(self, pattern: str) -> Callable[[Handler], Handler]:
        """See :meth:`method`."""
        return self.method("put", pattern)

    def patch(self, pattern: str) -> Callable[[Handler], Handler]:
        """See :meth:`method`."""
        return self.method("patch", pattern)

    def delete(self, pattern: str) -> Callable[[Handler], Handler]:
        """See :meth:`method`."""
        return self.method("delete", pattern)

    def listen(self, port: int | str) -> RestServer:
        """Answer on a port. Raises PortInUse."""
        self._network.ports.bind(str(port), PortHandlers(self._answer, self._continue))
        self._port = str(port)
        return self

    def dispose(self) -> None:
        """Answer no more requests."""
        if self._port is not None:
            self._network.ports.unbind(self._port)
            self._port = None

    async def _answer(self, exchange: Exchange) -> None:
        request = Request(exchange)
        response = Response(exchange, self, self._network)
        for verb, expression, handler in self._routes:
            found = expression.fullmatch(request.path) if verb == request.method else None
            if found is None:
                continue
            request.params = {name: unquote(value) for name, value in found.groupdict().items()}
            await self._handle(handler, request, response, exchange)
            return
        await response.text("not found", 404)

    async def _handle(
        self, handler: Handler, request: Request, response: Response, exchange: Exchange
    ) -> None:
        try:
            await handler(request, response)
        except CameraError as error:
            if exchange.started:
                raise
            response.headers = {}
            await response.text(str(error), 503)
        except Exception:
            if exchange.started:
                raise  # which breaks it off
            logger.exception("the handler of %s %s failed", request.method, request.path)
            response.headers = {}
            await response.text("internal server error", 500)

    async def _continue(self, exchange: Exchange) -> None:
        go_on = exchange.kept.get(self, Continuations).take(exchange.target)
        if go_on is None or exchange.protocol != "websocket":
            exchange.refuse(404, "No answer goes on here.")
            return
        async with exchange.accept_websocket() as socket:
            await go_on(socket)


class FetchResponse:
    """The answer of a node. Read it to its end, or :meth:`close` it."""

    def __init__(self, response: PeerResponse, peer: Peer, port: str, rest: Rest) -> None:
        self._response = response
        self._peer = peer
        self._port = port
        self._rest = rest
        self.status = response.status
        self.headers = response.headers

    async def read(self) -> bytes:
        """The body as a whole. Raises as :meth:`peerfetch_fast.Response.bytes` does."""
        return await self._response.bytes()

    async def text(self) -> str:
        """The body as text."""
        return await self._response.text()

    async def json(self) -> Any:
        """The JSON in the body. Raises ValueError."""
        return await self._response.json()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._response)

    def query(self) -> Queryable[Any]:
        """The records in the body, read as they are asked for. Ending the iteration ends the query
        over there. Iterating raises ValueError for what is no JSON, PeerfetchError.
        """
        target = self._continued("query")
        return Queryable(records_in(self._response) if target is None else self._pull(target))

    async def mediastream(self) -> MediaStream:
        """The stream that the answer is, once its first picture is there. Close it after use.

        Raises CameraError if it is none, or none comes, and PeerfetchError.
        """
        _check_native()
        from peerfetch_fast.smoke.media import receive_media

        target = self._continued("media")
        if target is None:
            raise CameraError(f"the answer (status {self.status}) holds no media stream")
        stream = await receive_media(await self._open(target), _options(self._rest._network))
        self._rest._streams.add(stream)
        return stream

    def _continued(self, kind: str) -> str | None:
        """The target at which the answer, if it is of that kind, goes on."""
        return continuation(self.headers.get(CONTINUES, ""), kind)

    async def _open(self, target: str) -> WebSocket:
        return await self._peer.websocket(target, headers={PORT: self._port})

    async def _pull(self, target: str) -> AsyncIterator[Any]:
        async with aclosing(pulled_records(await self._open(target))) as records:
            async for record in records:
                yield record

    def close(self) -> None:
        """Read no more of it."""
        self._response.close()


async def _ask_old(
    node: OldNode,
    url: _Url,
    method: str | None,
    headers: dict[str, str] | None,
    body: Body | None,
    json: Any,
    timeout: float | None,
) -> OldFetchResponse:
    # Few programs meet such nodes.
    from peerfetch_fast.smoke.old.rest import ask

    fields = dict(headers or {})
    if json is not None:
        fields, body = {"content-type": "application/json", **fields}, orjson.dumps(json)
    method = method or ("GET" if body is None else "POST")
    async with asyncio.timeout(timeout):
        return await ask(node, url.port, url.target, method, fields, body)


class Rest:
    """A node's servers and requests."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._streams: WeakSet[MediaStream] = WeakSet()

    async def close(self) -> None:
        """Close the media streams that come. Idempotent."""
        await asyncio.gather(*(stream.close() for stream in self._streams))

    def create_server(self) -> RestServer:
        """Routes, to be added to; :meth:`RestServer.listen` puts them on a port."""
        return RestServer(self._network)

    async def fetch(
        self,
        url: str,
        *,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        body: Body | None = None,
        json: Any = None,
        timeout: float | None = None,
        pin: str | None = None,
    ) -> FetchResponse | OldFetchResponse:
        """Ask for ``rest://ADDRESS[:PORT]/path`` (ADDRESS may be a host name), or for a path of
        this node; the port is 80 if none is given.

        :param method: and ``headers``, ``body``, ``json`` and ``timeout``: see
            :meth:`peerfetch_fast.Peer.fetch`, whose errors are raised too.
        :param pin: the fingerprint that the node's certificate must have.

        Raises InvalidRequest, PortRefused, PeerUnavailable, SignalingError, ConnectError.
        """
        remote, port, target = _parse(url)
        peer = await self._network.peer(remote, pin)
        if (node := self._network.old_node(peer)) is not None:
            return await _ask_old(
                node, _Url(remote, port, target), method, headers, body, json, timeout
            )
        response = await peer.fetch(
            target,
            method=None if method is None else method.upper(),
            headers={**(headers or {}), PORT: port},
            body=body,
            json=json,
            timeout=timeout,
            redirect="manual",
        )
        if response.status == 503 and response.headers.get(REFUSED) == "port":
            response.close()
            raise PortRefused(remote)
        return FetchResponse(response, peer, port, self)
