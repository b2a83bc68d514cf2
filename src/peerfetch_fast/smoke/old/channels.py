"""What ``smoke-node`` puts on a data channel: messages in segments, and streams over these."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from peerfetch_fast.budget import Budget
from peerfetch_fast.errors import PeerfetchError, WebSocketClosed, WebSocketError
from peerfetch_fast.webrtc.channels import DataChannel

__all__ = ["NetworkStream", "Segments"]

MAX_MESSAGE, SEGMENT = 1_000_000, 32_768
"""Bytes of the longest message, which both sides refuse beyond it, and of a segment."""

LAST, MORE = 0, 1
"""The first byte of a segment."""

LINK_BUFFER = 256 * 1024
"""Bytes that wait to be sent, above which a sender waits."""

NEXT, CANCEL, DATA, ERROR, END = range(5)
"""The first byte of each message of a stream."""

OVERHEAD = 32
"""Bytes that a segment, and a message that waits, cost beside their content: empty ones, too, are
bounded."""

MAX_ASKED = 16
"""Pieces that the other side may ask for before one is sent."""


class Segments:
    """A socket to a port of an old node, with as much of
    :class:`~peerfetch_fast.http.websocket.WebSocket` as our sockets use.

    :param budget: counts what has come on all channels of the node and nobody has taken.
    :param on_exceeded: called when that is too much.
    :param word: gets the first message, which is no segment, or None if none comes.
    """

    def __init__(
        self,
        channel: DataChannel,
        budget: Budget,
        on_exceeded: Callable[[], object],
        word: asyncio.Future[bytes | str | None] | None = None,
    ) -> None:
        self._channel = channel
        self._word = word
        self._budget = budget
        self._on_exceeded = on_exceeded
        self._parts: list[bytes] = []
        self._size = 0
        self._messages: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._error: PeerfetchError | None = None
        channel.bufferedAmountLowThreshold = LINK_BUFFER // 2
        channel.on("bufferedamountlow", self._room.set)
        channel.on("close", lambda: self._end(WebSocketClosed(1000, "")))
        channel.on("message", self.take)

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._error is not None

    def take(self, segment: bytes | str) -> None:
        """A message of the channel."""
        if self._error is not None:
            return
        if self._word is not None and not self._word.done():
            self._word.set_result(segment)
            return
        if not isinstance(segment, bytes) or segment[:1] not in (b"\0", b"\1"):
            self._fail(WebSocketError("Received invalid socket message.", 1002))
            return
        content = segment[1:]
        if not self._budget.take(len(content) + OVERHEAD):
            self._on_exceeded()
            return
        self._parts.append(content)
        self._size += len(content)
        if self._size > MAX_MESSAGE:
            self._fail(WebSocketError(f"Message received exceeded {MAX_MESSAGE} bytes.", 1009))
        elif segment[0] == LAST:
            self._messages.append(b"".join(self._parts))
            self._budget.give_back(OVERHEAD * (len(self._parts) - 1))
            self._parts, self._size = [], 0
            self._news.set()

    def _fail(self, error: PeerfetchError) -> None:
        self._end(error)
        self._channel.close()

    def _end(self, error: PeerfetchError) -> None:
        if self._error is None:
            self._error = error
            self._budget.give_back(self._size + OVERHEAD * len(self._parts))
            self._parts, self._size = [], 0
            self._news.set()
            self._room.set()
            if self._word is not None and not self._word.done():
                self._word.set_result(None)

    async def receive(self) -> bytes:
        """The next message. Raises WebSocketClosed, WebSocketError."""
        while not self._messages:
            if self._error is not None:
                raise self._error
            self._news.clear()
            await self._news.wait()
        return self._next()

    def _next(self) -> bytes:
        message = self._messages.popleft()
        self._budget.give_back(len(message) + OVERHEAD)
        return message

    async def send(self, message: str | bytes) -> None:
        """Send a message. Raises WebSocketClosed, WebSocketError."""
        data = message.encode() if isinstance(message, str) else bytes(message)
        if len(data) > MAX_MESSAGE:
            raise WebSocketError(f"Message size exceeds {MAX_MESSAGE} bytes.", 1009)
        for start in range(0, max(len(data), 1), SEGMENT):
            while self._error is None and self._channel.bufferedAmount > LINK_BUFFER:
                self._room.clear()
                await self._room.wait()
            if self._error is not None:
                raise self._error
            end = start + SEGMENT
            self._channel.send(bytes((MORE if end < len(data) else LAST,)) + data[start:end])

    async def close(self) -> None:
        """Close it, after what was sent; what has come is dropped. Idempotent."""
        self._channel.close()
        self._end(WebSocketClosed(1000, ""))
        while self._messages:
            self._next()


class NetworkStream:
    """Pieces over a socket, each of which is sent when the other side asks for it.

    :param timeout: seconds after which a side that is waited for, and says nothing, is given up.
    """

    def __init__(self, socket: Segments, timeout: float) -> None:
        self._socket = socket
        self._timeout = timeout
        self._asked = 0
        self._wanted = asyncio.Event()
        self._pieces: deque[tuple[int, bytes]] = deque()
        self._came = asyncio.Event()
        self._reading = False  # whether a piece that we have asked for is to come
        self._error: PeerfetchError | None = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while True:
                message = await self._socket.receive()
                kind, data = message[0] if message else END + 1, message[1:]
                if kind == NEXT and self._asked < MAX_ASKED:
                    self._asked += 1
                    self._wanted.set()
                elif kind == CANCEL:
                    self._error = PeerfetchError("the other side has read enough")
                    return
                elif kind in (ERROR, END) or (kind == DATA and self._reading):
                    self._reading = False
                    self._pieces.append((kind, data))
                    self._came.set()
                    if kind != DATA:
                        return
                else:
                    self._error = PeerfetchError("the other side sent what nobody has asked for")
                    return
        except PeerfetchError as error:
            self._error = error
        finally:
            self._error = self._error or PeerfetchError("the other side has closed this stream")
            self._wanted.set()
            self._came.set()

    async def read(self) -> bytes | None:
        """The next piece; None when the other side has ended. Raises PeerfetchError."""
        if not self._pieces:
            if self._error is not None:
                raise self._error
            if not self._reading:
                self._reading = True
                await self._socket.send(bytes((NEXT,)))
            while not self._pieces:
                if self._error is not None:
                    raise self._error
                self._came.clear()
                await self._in_time(self._came)
        kind, data = self._pieces.popleft()
        if kind == ERROR:
            raise PeerfetchError(data.decode(errors="replace")[:300])
        return data if kind == DATA else None

    async def wanted(self) -> None:
        """Wait until a piece is asked for. Raises PeerfetchError."""
        while not self._asked:
            if self._error is not None:
                raise self._error
            self._wanted.clear()
            await self._in_time(self._wanted)

    async def write(self, piece: bytes) -> None:
        """Send a piece once it is asked for. Raises PeerfetchError."""
        await self._put(DATA, piece)

    async def end(self) -> None:
        """Say that there is no more. Raises PeerfetchError."""
        await self._put(END, b"")

    async def _put(self, kind: int, data: bytes) -> None:
        await self.wanted()
        self._asked -= 1
        await self._socket.send(bytes((kind,)) + data)

    async def _in_time(self, event: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await event.wait()
        except TimeoutError:
            raise PeerfetchError("the other side of this stream is silent") from None

    async def close(self) -> None:
        """Close its socket. Idempotent."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._socket.close()
