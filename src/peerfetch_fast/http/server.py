"""The server side of HTTP on a session: read requests, call a handler, send its answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable

from peerfetch_fast.errors import (
    HeadTooLarge,
    LinkClosed,
    MessageError,
    PeerfetchError,
    ProtocolError,
    SessionClosed,
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
from peerfetch_fast.http.message import BodyWriter, MessageReader
from peerfetch_fast.session import Session, Stream

__all__ = ["Exchange", "Handler", "serve_session"]

logger = logging.getLogger(__name__)

HEAD_TIMEOUT = 10.0
"""Seconds that the head of a request may take once its stream is open."""


class Exchange:
    """One request and its answer. The handler is cancelled when the client gives the request up."""

    __slots__ = ("_body", "_length", "_reader", "_stream", "headers", "method", "started", "target")

    def __init__(
        self, stream: Stream, reader: MessageReader, method: str, target: str, headers: Headers
    ) -> None:
        self._stream = stream
        self._reader = reader
        self._body: BodyWriter | None = None
        self._length: int | None = None
        self.method = method
        self.target = target
        self.headers = headers
        self.started = False
        """Whether the head of the answer was sent."""

    @property
    def has_body(self) -> bool:
        """Whether the request may have a body: it names a length, or more of it is to be read."""
        if self._length is not None:
            return self._length > 0
        return not self._reader.at_end

    @property
    def length(self) -> int | None:
        """Bytes of the request's body, if it says so."""
        return self._length

    @property
    def can_read(self) -> bool:
        """Whether :meth:`read` would not wait."""
        return self._reader.poll()

    async def read(self) -> bytes:
        """The next piece of the request's body, b"" at its end. Raises as MessageReader.read()."""
        return await self._reader.read()

    def start(self, status: int, headers: Iterable[tuple[str, str]], length: int | None) -> None:
        """Send the head of the answer.

        :param headers: pairs with names in lower case; fields of a single connection are dropped.
        :param length: bytes of the body that will be written, or None if that is not known.

        Raises MessageError for a head that is larger than the other side takes.
        """
        head = encode_response(status, end_to_end(headers))
        if len(head) > MAX_HEAD:
            raise MessageError(f"a head of {len(head)} bytes")
        self._stream.write_nowait(head)
        self.started = True
        self._body = BodyWriter(self._stream, length)

    async def write(self, data: bytes) -> None:
        """Send a piece of the answer's body, waiting while the client is slow."""
        assert self._body is not None, "write() before start()"
        await self._body.write(data)

    def end(self) -> None:
        """End the answer. Raises MessageTruncated if less was written than announced."""
        assert self._body is not None, "end() before start()"
        self._body.end()

    def respond(
        self, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        """Send a whole answer; its Content-Length is added, and its body left out for HEAD."""
        pairs = [*headers, ("content-length", str(len(body)))]
        answer = encode_response(status, pairs)
        self.started = True
        if body and self.method != "HEAD":
            self._stream.write_nowait(answer + block_header(DATA, len(body)))
            self._stream.write_nowait(body)
        else:
            self._stream.write_nowait(answer)
        self._stream.end()

    def refuse(self, status: int, sentence: str) -> None:
        """Send an error with a sentence for the person who reads it."""
        self.respond(
            status, [("content-type", "text/plain; charset=utf-8")], f"{sentence}\n".encode()
        )

    def break_off(self, code: int) -> None:
        """Cut the answer short, so that it cannot look whole."""
        self._stream.cancel(code)


Handler = Callable[[Exchange], Awaitable[None]]


async def serve_session(session: Session, handler: Handler, *, max_head: int = MAX_HEAD) -> None:
    """Answer the requests on ``session`` until it ends; then cancel what still runs.

    :param max_head: the largest request head in bytes; a larger one is answered with 431.
    """
    loop = asyncio.get_running_loop()
    tasks: dict[asyncio.Task[None], Stream] = {}
    try:
        while True:
            stream = await session.accept()
            task = loop.create_task(_serve(stream, handler, max_head))
            stream.on_aborted = task.cancel
            tasks[task] = stream
            task.add_done_callback(tasks.pop)
    except (SessionClosed, LinkClosed, ProtocolError):
        pass
    finally:
        for task, stream in tasks.items():
            # One that was told already is tidying up, and a second time would interrupt it.
            if stream.on_aborted is not None:
                task.cancel()
        if tasks:
            await asyncio.wait(list(tasks))


async def _serve(stream: Stream, handler: Handler, max_head: int) -> None:
    exchange: Exchange | None = None
    try:
        exchange = await _read_request(stream, max_head)
        if exchange is not None:
            await handler(exchange)
            if stream.can_write:
                raise RuntimeError("the handler did not finish its answer")
            stream.stop(codes.NO_ERROR)
    except asyncio.CancelledError:
        stream.cancel(codes.REQUEST_CANCELLED)
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


def _give_up(
    stream: Stream, exchange: Exchange | None, status: int, sentence: str, code: int
) -> None:
    """Answer with an error if nothing was answered yet; break off an answer that has begun."""
    if exchange is not None and not exchange.started and stream.can_write:
        with contextlib.suppress(PeerfetchError):  # there may be nobody left who listens
            exchange.refuse(status, sentence)
        stream.stop(codes.NO_ERROR)
        return
    if stream.can_write:
        stream.reset(code)
    stream.stop(code)


async def _read_request(stream: Stream, max_head: int) -> Exchange | None:
    """The request on ``stream``; None if it was refused already."""
    reader = MessageReader(stream, max_head)
    late: asyncio.TimerHandle | None = None
    try:
        if not reader.poll():
            late = asyncio.get_running_loop().call_later(
                HEAD_TIMEOUT, stream.cancel, codes.REQUEST_INCOMPLETE
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
    if protocol is not None:
        _refuse(stream, 501, f"This side does not speak {protocol}.")
        return None
    priority = headers.get("priority")
    if priority is not None:
        stream.set_priority(*parse_priority(priority))
    exchange = Exchange(stream, reader, method, target, headers)
    exchange._length = length
    reader.expect(length)
    return exchange


def _refuse(stream: Stream, status: int, sentence: str) -> None:
    """Answer a request that never became an exchange."""
    body = f"{sentence}\n".encode()
    head = encode_response(
        status,
        [("content-type", "text/plain; charset=utf-8"), ("content-length", str(len(body)))],
    )
    stream.write_nowait(head + block_header(DATA, len(body)) + body)
    stream.end()
    stream.stop(codes.NO_ERROR)
