"""An old proxy, seen as a link on which ``peerfetch.2`` is spoken."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from peerfetch_fast._framing import PROTOCOL_VIOLATION
from peerfetch_fast.errors import LinkClosed, MessageError, PeerUnresponsive, ProtocolError
from peerfetch_fast.http.server import Exchange, serve_session
from peerfetch_fast.peerfetch1 import MAX_OLD_MESSAGE
from peerfetch_fast.peerfetch1.messages import (
    MAX_REQUEST,
    PING,
    PONG,
    Head,
    Request,
    encode_request,
    parse_head,
)
from peerfetch_fast.streams.link import Link, MemoryLink, memory_pair
from peerfetch_fast.streams.session import Session

__all__ = ["link_to_old_proxy"]

KEEP_ALIVE = 1.5
"""Seconds of silence after which a ping is sent."""

DEAD_AFTER = 10.0
"""Seconds of silence after which the proxy counts as dead."""

PONGS_FOR_SILENCE = 3
"""Successive pongs without a message about a request after which the request has failed. An old
proxy reports every second that it still waits, and nothing at all when its upstream fails."""

GREETING = 0.25
"""Seconds between pings until the first pong. An old proxy loses messages that come before it
listens, a moment after the channel has opened."""


def link_to_old_proxy(channel: Link) -> Link:
    """A link whose other side gives the answers of the old proxy on ``channel``.

    The target ``/http://localhost:8778/api`` asks it for that URL, and ``/api`` for just that.
    Requests are sent one at a time; those that come meanwhile wait. Closing either closes the
    other.

    :param channel: the ``http-proxy`` channel.
    """
    inner, outer = memory_pair()
    _OldProxy(channel, inner)
    return outer


@dataclass(slots=True)
class _Answer:
    head: Head
    body: bytes


class _OldProxy:
    """Answers the requests on ``link`` with the answers of the proxy on ``channel``."""

    def __init__(self, channel: Link, link: MemoryLink) -> None:
        self._channel = channel
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        # Of the request that was sent: None in it when the proxy has nothing to say.
        self._pending: asyncio.Future[_Answer | None] | None = None
        self._head: Head | None = None
        self._pongs = 0
        self._over = False
        self._heard = self._loop.time()
        self._received = channel.received
        self._listens = asyncio.Event()
        self._timer: asyncio.Handle = self._loop.call_soon(self._on_time)
        self._session = Session(link, opener=False)
        # The channel refers to this object, which refers to the tasks. They end with either side.
        self._tasks: set[asyncio.Task[None]] = set()
        self._start(self._run())
        channel.attach(self)

    # -- what the channel tells --------------------------------------------------------------------

    def message_received(self, message: bytes | str) -> None:
        """One message of the old proxy."""
        self._hear()
        self._listens.set()
        try:
            self._take(message)
        except MessageError as error:
            self._break(ProtocolError(PROTOCOL_VIOLATION, f"the old proxy sent {error}"))

    def parts_received(self, head: bytes, body: bytes) -> None:
        """Never called: ``peerfetch.1`` has no frames."""
        raise AssertionError("an old proxy's channel holds no frames")

    def buffered_low(self) -> None:
        """Nothing waits for this: one bounded request is sent at a time."""

    def link_closed(self, error: Exception | None) -> None:
        """Fail the requests: the proxy is gone."""
        self._end()
        self._link.cut(error or LinkClosed("the old proxy closed the connection"))

    # -- the order of messages ---------------------------------------------------------------------

    def _take(self, message: bytes | str) -> None:
        if self._head is None:
            head = parse_head(message)
            if head.is_waiting:
                self._pongs = 0
            elif head.status == 204:
                self._answered(_Answer(head, b""))
            else:
                self._head = head
            return
        head, self._head = self._head, None
        if message == PONG and head.content_type is None:
            self._pongs += 1
            if self._pongs >= PONGS_FOR_SILENCE:
                self._settle(None)
            return
        self._answered(_Answer(head, message.encode() if isinstance(message, str) else message))

    def _answered(self, answer: _Answer) -> None:
        if self._pending is None:
            raise MessageError("an answer to nothing")
        self._settle(answer)

    def _settle(self, answer: _Answer | None) -> None:
        self._pongs = 0
        if self._pending is not None:
            pending, self._pending = self._pending, None
            if not pending.done():
                pending.set_result(answer)

    def _hear(self) -> None:
        self._heard = self._loop.time()
        self._received = self._channel.received

    def _on_time(self) -> None:
        if self._channel.received != self._received:
            # A body is one message, which may take longer than the time for a dead proxy.
            self._hear()
        silence = self._loop.time() - self._heard
        interval = KEEP_ALIVE if self._listens.is_set() else GREETING
        if silence >= DEAD_AFTER:
            self._break(PeerUnresponsive(f"nothing was heard of the old proxy for {silence:.1f} s"))
            return
        if silence >= interval or not self._listens.is_set():
            self._channel.send(PING)
            silence = 0.0
        self._timer = self._loop.call_later(interval - silence, self._on_time)

    def _end(self) -> None:
        self._timer.cancel()
        self._over = True
        self._listens.set()
        self._settle(None)

    def _break(self, error: Exception) -> None:
        self._end()
        self._link.cut(error)
        self._channel.close()

    # -- requests ----------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        try:
            await serve_session(self._session, self._serve)
        finally:
            self._end()
            self._channel.close()

    async def _serve(self, exchange: Exchange) -> None:
        """Answer one request with the answer of the proxy."""
        if exchange.method not in ("GET", "PUT", "POST"):
            exchange.refuse(501, "This device runs an old proxy, which knows GET, PUT and POST.")
            return
        most = min(MAX_REQUEST, self._channel.max_message_size)
        too_large = f"The old proxy of this device takes {most} bytes at most."
        body = await _whole(exchange, most)
        if len(body) > most:
            exchange.refuse(413, too_large)
            return
        try:
            message = encode_request(
                Request(
                    _url(exchange.target),
                    exchange.method,
                    body,
                    exchange.headers.get("content-type"),
                )
            )
        except MessageError as error:
            exchange.refuse(415, f"The old proxy of this device cannot take this: {error}.")
            return
        if len(message.encode()) > most:
            exchange.refuse(413, too_large)
            return
        # A request that is given up keeps its turn: its answer must not reach the next request.
        answered: asyncio.Future[_Answer | None] = self._loop.create_future()
        self._start(self._ask(message, answered))
        answer = await answered
        if answer is None:
            hint = (
                "its upstream failed, perhaps"
                if exchange.method == "GET"
                else "perhaps its upstream failed, or it knows no POST and no body"
            )
            exchange.refuse(504, f"The old proxy had no answer: {hint}.")
            return
        if len(answer.body) > MAX_OLD_MESSAGE:
            exchange.refuse(
                502,
                f"The old proxy's answer is too large: at most {MAX_OLD_MESSAGE} bytes are taken. "
                "Ask for less.",
            )
            return
        headers = [("content-length", str(len(answer.body)))]
        if answer.head.content_type is not None:
            headers.append(("content-type", answer.head.content_type))
        if answer.head.status in (204, 304):
            exchange.start(answer.head.status, headers[1:], 0)
        else:
            exchange.start(answer.head.status, headers, len(answer.body))
            await exchange.write(answer.body)
        exchange.end()

    async def _ask(self, message: str, answered: asyncio.Future[_Answer | None]) -> None:
        async with self._turn:
            await self._listens.wait()
            if answered.done():  # the request was given up before its turn
                return
            if self._over:
                answered.set_result(None)
                return
            self._pending = self._loop.create_future()
            self._pongs = 0
            self._channel.send(message)
            answer = await self._pending
            if not answered.done():
                answered.set_result(answer)


def _url(target: str) -> str:
    """The URL for an old proxy. Most old proxies need an absolute URL, which follows the slash of
    the target."""
    return target[1:] if target.startswith(("/http://", "/https://")) else target


async def _whole(exchange: Exchange, most: int) -> bytes:
    """The body of a request, or the beginning of one of more than ``most`` bytes."""
    pieces, size = [], 0
    while size <= most and (piece := await exchange.read()):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)
