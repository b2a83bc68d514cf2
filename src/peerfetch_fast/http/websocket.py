"""WebSockets on streams: :class:`WebSocket`, for either side, and how the client opens one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from types import TracebackType

from peerfetch_fast.errors import (
    InvalidRequest,
    MessageError,
    PeerfetchError,
    StreamStopped,
    WebSocketClosed,
    WebSocketError,
)
from peerfetch_fast.http import codes
from peerfetch_fast.http.blocks import DATA, block_header
from peerfetch_fast.http.heads import (
    Headers,
    HeadersLike,
    encode_request,
    end_to_end,
    header_pairs,
)
from peerfetch_fast.http.message import MessageReader
from peerfetch_fast.http.request import quoted_target
from peerfetch_fast.http.upgrade import ask_upgrade
from peerfetch_fast.http.websocket_frames import (
    ABNORMAL,
    GOING_AWAY,
    MAX_MESSAGE_SIZE,
    NO_CODE,
    NORMAL,
    Close,
    Event,
    FrameReader,
    Ping,
    Pong,
    close_frame,
    message_frames,
    ping_frame,
    pong_frame,
)
from peerfetch_fast.streams.session import Session
from peerfetch_fast.streams.stream import Stream

__all__ = ["WebSocket", "open_websocket"]

CLOSE_TIMEOUT = 5.0
"""Seconds that the other side may take to answer a CLOSE."""

# These belong to RFC 6455's own handshake, between two ends of one connection (§4.1, §4.2.2).
HANDSHAKE_FIELDS = frozenset(
    (
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-version",
    )
)


class WebSocket:
    """An open WebSocket. Close it after use, or use ``async with``.

    Messages are ``str`` (text) and ``bytes`` (binary). Any task may send, and any may receive.
    """

    def __init__(
        self,
        stream: Stream,
        reader: MessageReader,
        headers: Headers,
        max_message_size: int = MAX_MESSAGE_SIZE,
    ) -> None:
        self.headers = headers
        """The header fields of the answer that opened it."""
        self._stream = stream
        self._reader = reader
        self._frames = FrameReader(max_message_size)
        self._held = stream.session.account.share()
        self._receiving = asyncio.Lock()
        self._sending = asyncio.Lock()  # held for a message
        self._draining = asyncio.Lock()  # a stream has one writer
        self.close_sent = False
        """Whether this side has sent CLOSE, and can send nothing more."""
        self._error: WebSocketClosed | WebSocketError | None = None
        self._pings: dict[bytes, asyncio.Future[None]] = {}
        self._pings_sent = 0

    @property
    def subprotocol(self) -> str | None:
        """The sub-protocol that was agreed on, if any."""
        return self.headers.get("sec-websocket-protocol")

    @property
    def close_code(self) -> int | None:
        """The code of the other side's CLOSE, 1006 if it broke off, None while it is open."""
        return None if self._error is None else self._error.code

    # -- receiving ---------------------------------------------------------------------------------

    async def receive(self) -> str | bytes:
        """The next message; PINGs that come before it are answered.

        Raises WebSocketClosed when the WebSocket is closed or broke off, WebSocketError for a frame
        that is not allowed.
        """
        while True:
            event = await self.receive_event()
            if isinstance(event, (str, bytes)):
                return event
            if isinstance(event, Ping):
                with contextlib.suppress(WebSocketClosed):  # earlier messages can still be read
                    await self.send_pong(event.data)
            elif isinstance(event, Pong):
                if (waiting := self._pings.get(event.data)) is not None and not waiting.done():
                    waiting.set_result(None)
            else:
                if not self.close_sent:
                    with contextlib.suppress(WebSocketClosed):
                        self.send_close(event.code)
                self._stream.stop(codes.NO_ERROR)

    async def receive_event(self) -> Event:
        """The next message or control frame, which is left to the caller to answer.

        Raises as :meth:`receive` does.
        """
        async with self._receiving:
            if self._error is not None:
                raise self._error
            try:
                while (event := self._frames.next_event()) is None:
                    self._held.set(self._frames.held)
                    data = await self._reader.read()
                    if not data:
                        raise self._end(WebSocketClosed(ABNORMAL, "it ended without a word"))
                    self._frames.feed(data)
            except WebSocketError as error:
                self._refuse(error)
                raise
            except WebSocketClosed:
                raise
            except PeerfetchError as error:
                raise self._lost(error) from error
            if isinstance(event, Close):
                self._end(WebSocketClosed(event.code, event.reason))
            return event

    def __aiter__(self) -> WebSocket:
        return self

    async def __anext__(self) -> str | bytes:
        """The next message. The iteration ends when the other side closes with 1000, 1001 or no
        code; raises as :meth:`receive` does otherwise.
        """
        try:
            return await self.receive()
        except WebSocketClosed as closed:
            if closed.code in (NORMAL, GOING_AWAY, NO_CODE):
                raise StopAsyncIteration from None
            raise

    # -- sending -----------------------------------------------------------------------------------

    async def send(self, message: str | bytes | bytearray | memoryview) -> None:
        """Send a text or binary message, waiting while the other side is slow.

        A message whose sending is cancelled after its first frame is sent all the same. Raises
        WebSocketClosed.
        """
        async with self._sending:
            frames = message_frames(message)
            try:
                for frame in frames:
                    await self._write(frame)
            except asyncio.CancelledError:
                # Half a message could only be followed by its other half.
                with contextlib.suppress(PeerfetchError):
                    for frame in frames:
                        self._write_nowait(frame)
                raise

    async def ping(self) -> float:
        """Send a PING, and return the seconds until it was answered.

        Something must :meth:`receive` meanwhile. Raises WebSocketClosed.
        """
        loop = asyncio.get_running_loop()
        self._pings_sent += 1
        data = self._pings_sent.to_bytes(8, "big")
        answered = self._pings[data] = loop.create_future()
        began = loop.time()
        try:
            await self._write(ping_frame(data))
            await answered
        finally:
            del self._pings[data]
        if self._error is not None:
            raise self._error
        return loop.time() - began

    async def send_ping(self, data: bytes) -> None:
        """Send a PING of one's own choice. Raises WebSocketClosed, ValueError (over 125 bytes)."""
        await self._write(ping_frame(data))

    async def send_pong(self, data: bytes) -> None:
        """Send a PONG. Raises WebSocketClosed, ValueError (over 125 bytes)."""
        await self._write(pong_frame(data))

    def send_close(self, code: int, reason: str = "") -> None:
        """Send a CLOSE, after which nothing can be sent; do not wait for the answer.

        Raises WebSocketClosed, and ValueError for a code or reason that cannot be sent.
        """
        self._write_nowait(close_frame(code, reason))
        self.close_sent = True
        self._stream.end()

    def _write_nowait(self, frame: bytes) -> None:
        if self.close_sent:
            raise self._error or WebSocketClosed(ABNORMAL, "this side is closing it")
        try:
            self._stream.write_nowait(block_header(DATA, len(frame)))
            self._stream.write_nowait(frame)
        except (PeerfetchError, RuntimeError) as error:
            raise self._unwritten(error) from error

    async def _write(self, frame: bytes) -> None:
        self._write_nowait(frame)
        async with self._draining:
            try:
                await self._stream.write(b"")
            except PeerfetchError as error:
                raise self._unwritten(error) from error
            except RuntimeError as error:
                # The direction has ended: after a CLOSE the frame still leaves before it.
                if not self.close_sent:
                    raise self._unwritten(error) from error

    def _unwritten(self, error: Exception) -> WebSocketClosed | WebSocketError:
        """The WebSocket's error for ``error``, with which writing to the stream has failed."""
        if isinstance(error, StreamStopped):
            # Messages that the other side sent before it stopped listening can still be read.
            return WebSocketClosed(ABNORMAL, str(error))
        if isinstance(error, PeerfetchError):
            return self._lost(error)
        return self._error or WebSocketClosed(ABNORMAL, "this side broke it off")

    # -- the end -----------------------------------------------------------------------------------

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close it, and wait for the other side to agree; messages that still come are dropped.

        Raises ValueError for a code or reason that cannot be sent. Idempotent.
        """
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                if not self.close_sent:
                    self.send_close(code, reason)
                while True:
                    await self.receive()
        except (WebSocketClosed, WebSocketError):
            pass
        except TimeoutError:
            self.abort()
        except asyncio.CancelledError:
            self.abort()
            raise

    def abort(self) -> None:
        """Break it off: the other side sees 1006. Idempotent."""
        self._end(WebSocketClosed(ABNORMAL, "this side broke it off"))
        self._stream.cancel(codes.REQUEST_CANCELLED)

    async def __aenter__(self) -> WebSocket:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self.close()
        else:
            self.abort()

    def __repr__(self) -> str:
        return f"<WebSocket on {self._stream!r}>"

    def _end(self, error: WebSocketClosed | WebSocketError) -> WebSocketClosed | WebSocketError:
        """Wake all who wait, once; return why the WebSocket is over."""
        if self._error is None:
            self._error = error
            self._held.set(0)
            for waiting in self._pings.values():
                if not waiting.done():
                    waiting.set_result(None)
        return self._error

    def _lost(self, error: PeerfetchError) -> WebSocketClosed | WebSocketError:
        ended = self._end(WebSocketClosed(ABNORMAL, str(error)))
        self._stream.cancel(codes.REQUEST_CANCELLED)
        return ended

    def _refuse(self, error: WebSocketError) -> None:
        """Close with the code of the error, and read no more (RFC 6455 §7.1.7)."""
        self._end(error)
        if not self.close_sent:
            with contextlib.suppress(WebSocketClosed):
                self.send_close(error.code, str(error))
        self._stream.stop(codes.MESSAGE_ERROR)


async def open_websocket(
    session: Session,
    target: str,
    *,
    subprotocols: Sequence[str] = (),
    headers: HeadersLike | None = None,
    max_message_size: int = MAX_MESSAGE_SIZE,
) -> WebSocket:
    """Open a WebSocket.

    :param target: path and query, beginning with ``/``.
    :param subprotocols: those that are offered, best first.
    :param headers: a mapping or (name, value) pairs.
    :param max_message_size: bytes of the largest message that is accepted (else it is closed with
        1009).

    Raises UpgradeRefused when the answer is any other, InvalidRequest, StreamReset, LinkClosed,
    SessionClosed, ProtocolError, MessageError.
    """
    try:
        pairs = without_handshake(end_to_end(header_pairs(headers)))
        if subprotocols:
            pairs += header_pairs([("sec-websocket-protocol", ", ".join(subprotocols))])
    except MessageError as error:
        raise InvalidRequest(str(error)) from None
    request = encode_request("GET", quoted_target(target), pairs, "websocket")
    stream, reader, answer = await ask_upgrade(session, request, "a WebSocket")
    chosen = answer.getall("sec-websocket-protocol", [])
    if chosen and (len(chosen) > 1 or chosen[0] not in subprotocols):
        stream.cancel(codes.REQUEST_CANCELLED)
        raise MessageError(f"a WebSocket with a sub-protocol that was not offered: {chosen}")
    return WebSocket(stream, reader, answer, max_message_size)


def without_handshake(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """``pairs`` (names in lower case) without the fields of RFC 6455's own handshake."""
    return [pair for pair in pairs if pair[0] not in HANDSHAKE_FIELDS]
