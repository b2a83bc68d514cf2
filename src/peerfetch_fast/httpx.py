"""Transports for httpx: ``peer://`` URLs for :class:`httpx.AsyncClient` and :class:`httpx.Client`.

::

    transport = peerfetch_fast.httpx.Transport(signaling="ws://192.168.1.20:9000")
    async with httpx.AsyncClient(transport=transport) as client:
        response = await client.get("peer://PEER-ID/api/hello")

    with httpx.Client(transport=peerfetch_fast.httpx.SyncTransport()) as client:
        response = client.get("peer://garage-cam/api/hello")

Needs ``peerfetch-fast[httpx]``.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx

from peerfetch_fast.background import BackgroundLoop, Caller
from peerfetch_fast.errors import (
    AccessDenied,
    Awaited,
    FetchTimeout,
    InvalidRequest,
    MessageError,
    NotConnected,
    PeerfetchError,
    ProtocolError,
    RedirectError,
    SessionEnded,
    StreamError,
)
from peerfetch_fast.http.client import Response, send
from peerfetch_fast.http.content import Body
from peerfetch_fast.http.redirects import resolve
from peerfetch_fast.http.request import Request, make_request
from peerfetch_fast.http.response import failure_of
from peerfetch_fast.http.timeouts import Timeouts
from peerfetch_fast.peer import Peer, PeerState, connect

__all__ = ["SyncTransport", "Transport"]

HTTPX_TIMEOUT = 5.0
"""Seconds that httpx waits for a connection unless it is told otherwise."""

WORD_OF_SIGNALING = 8.0
"""Seconds within which signaling servers report an unknown peer. PeerJS's servers wait 5 to 6 s for
it to come first."""

_WAITS = {
    "connect": (Awaited.CONNECTION,),
    "pool": (Awaited.STREAM,),
    "write": (Awaited.UPLOAD,),
    "read": (Awaited.HEAD, Awaited.PIECE),
}
_TIMEOUTS: dict[Awaited, type[httpx.TimeoutException]] = {
    Awaited.CONNECTION: httpx.ConnectTimeout,
    Awaited.STREAM: httpx.PoolTimeout,
    Awaited.UPLOAD: httpx.WriteTimeout,
    Awaited.HEAD: httpx.ReadTimeout,
    Awaited.PIECE: httpx.ReadTimeout,
}
# The first class that matches counts.
_ERRORS: tuple[tuple[type[PeerfetchError], type[httpx.TransportError]], ...] = (
    (InvalidRequest, httpx.LocalProtocolError),
    (AccessDenied, httpx.ConnectError),
    (ProtocolError, httpx.RemoteProtocolError),
    (SessionEnded, httpx.ReadError),
    (NotConnected, httpx.ConnectError),
    (StreamError, httpx.RemoteProtocolError),
    (MessageError, httpx.RemoteProtocolError),
    (PeerfetchError, httpx.TransportError),
)


class Transport(httpx.AsyncBaseTransport):
    """Carries the requests for ``peer://PEER-ID/path`` over one connection to each peer.

    Connections are made when they are first needed, reconnect by themselves, and last until the
    client is closed. httpx follows redirects, decodes and keeps cookies itself. Its ``connect``
    timeout is for the connection, ``pool`` for one of the streams that the peer allows at once,
    ``write`` for each piece of an upload, ``read`` for the answer and each piece of it. Responses
    have the extensions ``http_version`` and ``peer`` (the :class:`peerfetch_fast.Peer`).

    httpx writes the host of a URL in lower case, so a peer whose id has capitals cannot be named.
    The host can be the name of a paired device. A ``connect`` timeout of httpx's default, 5 s, or
    more is raised to 8 s: signaling servers take that long to report an unknown peer.

    :param signaling: URL of the signaling server through which the peers are found; by default as
        :func:`peerfetch_fast.connect` finds it.
    :param options: the other options of :func:`peerfetch_fast.connect`.
    """

    def __init__(self, *, signaling: str | None = None, **options: Any) -> None:
        self._signaling = signaling
        self._options = options
        self._peers: dict[str, asyncio.Task[Peer]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request``. Raises what is an httpx.TransportError, and what its stream raises."""
        with _mapped(request):
            peer, going, response = await self.ask(request, await _body(request))
        return _answer(peer, going, response, _Stream(request, response))

    async def ask(
        self, request: httpx.Request, body: Body | None
    ) -> tuple[Peer, Request, Response]:
        """Send ``request`` with ``body``, and return the peer, the request as sent, and the answer.

        Raises httpx.UnsupportedProtocol, PeerfetchError, and what ``body`` raises.
        """
        if request.url.scheme != "peer" or not request.url.host:
            raise httpx.UnsupportedProtocol(
                f"{str(request.url)!r} is no peer URL: write peer://PEER-ID/path"
            )
        timeouts = _timeouts(request)
        going = make_request(
            request.url.raw_path.decode("ascii"),
            method=request.method,
            headers=[
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in request.headers.raw
                if name.lower() != b"host"
            ],
            body=body,
        )
        connecting = asyncio.shield(self._connecting(request.url.host))
        peer = await timeouts.wait(Awaited.CONNECTION, connecting)
        response = await send(peer._sessions, going, timeouts, redirect="manual", decode=False)
        return peer, going, response

    def _connecting(self, peer_id: str) -> asyncio.Task[Peer]:
        """The connection to ``peer_id``, which may still be opening."""
        task = self._peers.get(peer_id)
        if task is not None and task.done() and _is_over(task):
            task = None
        if task is None:

            async def make() -> Peer:
                return await connect(peer_id, signaling=self._signaling, **self._options)

            task = self._peers[peer_id] = asyncio.get_running_loop().create_task(make())
            task.add_done_callback(_is_over)  # nobody waits for it any more
        return task

    async def aclose(self) -> None:
        """Close all connections; running requests fail."""
        peers, self._peers = self._peers, {}
        for task in peers.values():
            task.cancel()
        if peers:
            await asyncio.wait(peers.values())
        for task in peers.values():
            if not task.cancelled() and task.exception() is None:
                await task.result().abort()


class SyncTransport(httpx.BaseTransport):
    """The counterpart of :class:`Transport` for :class:`httpx.Client`. Threads may share one.

    The connections live on an event loop in a thread of its own, from the first request until the
    client is closed, forgotten, or the program ends. The body of a request is iterated in the
    thread that asks, and all of it is sent, or refused, before the answer is returned. The
    properties of the extension ``peer`` may be read; its methods must not be called.

    The parameters are those of :class:`Transport`.
    """

    def __init__(self, *, signaling: str | None = None, **options: Any) -> None:
        self._transport = Transport(signaling=signaling, **options)
        self._background = BackgroundLoop(self._transport.aclose, "transport")
        weakref.finalize(self, self._background.close)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request``. Raises what is an httpx.TransportError, and what its stream raises."""
        assert isinstance(request.stream, httpx.SyncByteStream)
        content = request.stream
        whole = b"".join(content) if isinstance(content, httpx.ByteStream) else None

        async def ask(caller: Caller) -> tuple[Peer, Request, Response]:
            body: Body | None = None
            if _has_body(request):
                body = caller.iterate(content) if whole is None else whole
            peer, going, response = await self._transport.ask(request, body)
            upload = response._upload
            if upload is not None:
                try:
                    await asyncio.wait((upload,))
                    if (failure := failure_of(upload)) is not None:
                        raise failure
                except BaseException:
                    response.close()
                    raise
            return peer, going, response

        with _mapped(request):
            peer, going, response = self._background.run(ask)
        return _answer(peer, going, response, _SyncStream(request, response, self))

    def read(self, response: Response) -> bytes:
        """The next piece of the body, b"" at its end. Raises as :meth:`Response.read` does."""
        return self._background.run(lambda _: response.read())

    def give_up(self, response: Response) -> None:
        """Close ``response``, without waiting for it."""
        self._background.call_soon(response.close)

    def close(self) -> None:
        """Close all connections; running requests fail."""
        self._background.close()


def _timeouts(request: httpx.Request) -> Timeouts:
    allowed = request.extensions.get("timeout", {})
    each = {
        wait: seconds
        for kind, waits in _WAITS.items()
        if (seconds := allowed.get(kind)) is not None
        for wait in waits
    }
    if each.get(Awaited.CONNECTION, 0.0) >= HTTPX_TIMEOUT:
        each[Awaited.CONNECTION] = max(each[Awaited.CONNECTION], WORD_OF_SIGNALING)
    return Timeouts(each)


def _answer(
    peer: Peer,
    going: Request,
    response: Response,
    stream: httpx.AsyncByteStream | httpx.SyncByteStream,
) -> httpx.Response:
    return httpx.Response(
        response.status,
        headers=[
            (name.encode("latin-1"), _absolute(name, value, going, peer).encode("latin-1"))
            for name, value in response.headers.items()
        ],
        stream=stream,
        extensions={"http_version": b"HTTP/1.1", "peer": peer},
    )


def _is_over(task: asyncio.Task[Peer]) -> bool:
    if task.cancelled() or task.exception() is not None:
        return True
    return task.result().state is PeerState.CLOSED


def _absolute(name: str, value: str, request: Request, peer: Peer) -> str:
    """``value``, absolute if it is a Location: httpx joins only URLs of schemes that it knows."""
    if name == "location":
        origin = f"peer://{peer.id}"
        with contextlib.suppress(RedirectError):
            return origin + resolve(request.target, value, origin)
    return value


def _has_body(request: httpx.Request) -> bool:
    return "content-length" in request.headers or "transfer-encoding" in request.headers


async def _body(request: httpx.Request) -> Body | None:
    if not _has_body(request):
        return None
    assert isinstance(request.stream, httpx.AsyncByteStream)
    if isinstance(request.stream, httpx.ByteStream):
        # The whole body is in memory, so it can be sent again.
        return b"".join([piece async for piece in request.stream])
    return request.stream


class _Stream(httpx.AsyncByteStream):
    """The body of an answer."""

    def __init__(self, request: httpx.Request, response: Response) -> None:
        self._request = request
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _mapped(self._request):
            async for piece in self._response:
                yield piece

    async def aclose(self) -> None:
        self._response.close()


class _SyncStream(httpx.SyncByteStream):
    """The body of an answer, read by another thread than that of its loop."""

    def __init__(self, request: httpx.Request, response: Response, owner: SyncTransport) -> None:
        self._request = request
        self._response = response
        self._owner = owner

    def __iter__(self) -> Iterator[bytes]:
        with _mapped(self._request):
            while piece := self._owner.read(self._response):
                yield piece

    def close(self) -> None:
        self._owner.give_up(self._response)

    def __del__(self) -> None:
        # Without this, the response would close itself on this thread, which is not its loop's.
        self.close()


@contextlib.contextmanager
def _mapped(request: httpx.Request) -> Iterator[None]:
    """Raise httpx's errors instead of ours."""
    try:
        yield
    except FetchTimeout as error:
        raise _TIMEOUTS[error.waited_for](str(error), request=request) from error
    except PeerfetchError as error:
        kind = next(theirs for ours, theirs in _ERRORS if isinstance(error, ours))
        raise kind(str(error), request=request) from error
