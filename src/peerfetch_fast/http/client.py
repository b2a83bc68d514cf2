"""The client side of HTTP on a session: :func:`fetch` and :class:`Response`."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterable, Awaitable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import orjson
from multidict import CIMultiDict

from peerfetch_fast._timeout import timeout as deadline
from peerfetch_fast.errors import (
    FetchTimeout,
    InvalidRequest,
    MessageError,
    PeerfetchError,
    StreamStopped,
)
from peerfetch_fast.http import codes
from peerfetch_fast.http.blocks import DATA, block_header
from peerfetch_fast.http.heads import (
    Headers,
    HeadersLike,
    content_length,
    decode_response,
    encode_request,
    end_to_end,
    header_pairs,
    parse_priority,
)
from peerfetch_fast.http.message import BodyWriter, MessageReader
from peerfetch_fast.session import Session, Stream

__all__ = ["Body", "Params", "Response", "fetch"]

T = TypeVar("T")

Body = bytes | bytearray | memoryview | str | AsyncIterable[bytes]
Params = Mapping[str, Any] | Sequence[tuple[str, Any]]

_URL_CHARACTERS = "/?:@!$&'()*+,;=-._~%[]"
_PLAIN_TARGET = re.compile(rf"/[A-Za-z0-9{re.escape(_URL_CHARACTERS)}]*")

_NO_BODY = frozenset((204, 304))


class Response:
    """The answer to a :func:`fetch`; its body is still under way.

    Read the body once: with :meth:`bytes`, :meth:`text`, :meth:`json` or ``async for``. One that is
    not read to its end must be closed (``async with`` does it), which cancels the request.
    """

    def __init__(
        self,
        stream: Stream,
        reader: MessageReader,
        status: int,
        headers: Headers,
        timeout: float | None,
    ) -> None:
        self.status = status
        """The status code."""
        self.headers = headers
        """The header fields: ordered, repeatable (``getall``), case-insensitive."""
        self._stream = stream
        self._reader = reader
        self._timeout = timeout
        self._closed = False
        self._upload: asyncio.Task[None] | None = None

    @property
    def ok(self) -> bool:
        """Whether the status is from 200 to 299."""
        return 200 <= self.status <= 299

    @property
    def trailers(self) -> Headers | None:
        """The trailers, once the body was read to its end and if there were any."""
        return self._reader.trailers

    async def read(self) -> bytes:
        """The next piece of the body, b"" at its end.

        Raises MessageTruncated, StreamReset, LinkClosed, SessionClosed or ProtocolError if the body
        was cut short, FetchTimeout if nothing came for ``timeout`` seconds, RuntimeError when
        closed.
        """
        if self._closed:
            raise RuntimeError("the response is closed")
        try:
            if self._timeout is None:
                return await self._reader.read()
            return await _within(self._timeout, self._reader.read(), "the next piece of the body")
        except BaseException as error:
            failure = _failure(self._upload)
            self.close()
            if failure is not None and isinstance(error, PeerfetchError):
                raise failure from None
            raise

    def __aiter__(self) -> Response:
        return self

    async def __anext__(self) -> bytes:
        data = await self.read()
        if not data:
            raise StopAsyncIteration
        return data

    async def bytes(self) -> bytes:
        """The whole body. Raises as :meth:`read` does."""
        first = await self.read()
        if self._reader.finished or not (second := await self.read()):
            return first
        pieces = [first, second]
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)

    async def text(self) -> str:
        """The whole body as text, in the charset that Content-Type names, or UTF-8.

        Undecodable bytes become U+FFFD, as in a browser. Raises as :meth:`read` does.
        """
        body = await self.bytes()
        _, _, parameters = self.headers.get("content-type", "").partition(";")
        for parameter in parameters.split(";"):
            name, _, value = parameter.strip().partition("=")
            if name.lower() == "charset":
                # No codec of that name, none of text, or one that knows no replacement.
                with contextlib.suppress(LookupError, ValueError):
                    return body.decode(value.strip('"'), "replace")
        return body.decode("utf-8", "replace")

    async def json(self) -> Any:
        """The whole body as JSON. Raises ValueError for a body that is none, and as :meth:`read`
        does.
        """
        return orjson.loads(await self.bytes())

    def close(self) -> None:
        """Give the rest of the body up; the other side is told to stop. Idempotent."""
        if not self._closed:
            self._closed = True
            if self._upload is not None:
                self._upload.cancel()
            if not self._reader.finished:
                self._stream.cancel(codes.REQUEST_CANCELLED)

    async def __aenter__(self) -> Response:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed and not (self._reader.finished and self._upload is None):
            with contextlib.suppress(Exception):  # the loop may be closed already
                self.close()

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


async def fetch(
    session: Session,
    target: str,
    *,
    method: str | None = None,
    headers: HeadersLike | None = None,
    params: Params | None = None,
    body: Body | None = None,
    json: Any = None,
    timeout: float | None = None,
) -> Response:
    """Send a request and return its answer as soon as the head is there.

    :param target: path and query, beginning with ``/``; characters that a URL cannot hold are
    quoted.
    :param method: GET by default, POST with a body.
    :param headers: a mapping or (name, value) pairs.
    :param params: added to the query.
    :param body: bytes, text (sent as UTF-8), or an async iterable of bytes, whose length need
        not be known (with a ``content-length`` header it must match).
    :param json: sent as a JSON body instead of ``body``.
    :param timeout: seconds that the head may take, and then each wait for a piece of the body.

    Raises InvalidRequest, FetchTimeout, StreamReset, LinkClosed, SessionClosed, ProtocolError,
    MessageError, and what iterating ``body`` raises.
    """
    is_text = isinstance(body, str)
    try:
        pairs = end_to_end(header_pairs(headers))
        target = _target(target, params)
        if isinstance(body, str):
            body = body.encode()
    except MessageError as error:
        raise InvalidRequest(str(error)) from None
    except UnicodeEncodeError:
        raise InvalidRequest("a lone surrogate is no text that can be sent") from None
    names = {name for name, _ in pairs}
    if json is not None:
        if body is not None:
            raise InvalidRequest("body= and json= exclude each other")
        body = orjson.dumps(json)
        if "content-type" not in names:
            pairs.append(("content-type", "application/json"))
    elif is_text and "content-type" not in names:
        pairs.append(("content-type", "text/plain;charset=UTF-8"))
    if method is None:
        method = "GET" if body is None else "POST"
    elif not method.isascii() or not method.replace("-", "").replace("_", "").isalnum():
        raise InvalidRequest(f"{method!r} is no method")
    method = method.upper()
    length: int | None = None
    if isinstance(body, (bytes, bytearray, memoryview)):
        length = body.nbytes if isinstance(body, memoryview) else len(body)
        pairs = [pair for pair in pairs if pair[0] != "content-length"]
        pairs.append(("content-length", str(length)))
    elif body is not None:
        if not isinstance(body, AsyncIterable):
            raise InvalidRequest("body must be bytes, str or an async iterable of bytes")
        if "content-length" in names:
            try:
                length = content_length(CIMultiDict(pairs))
            except MessageError as error:
                raise InvalidRequest(str(error)) from None

    stream = await _within(timeout, session.open_stream(), "a free stream")
    reader = MessageReader(stream)
    upload: asyncio.Task[None] | None = None
    try:
        for name, value in pairs:
            if name == "priority":
                stream.set_priority(*parse_priority(value))
        stream.write_nowait(encode_request(method, target, pairs))
        if body is None:
            stream.end()
        elif isinstance(body, AsyncIterable):
            upload = asyncio.get_running_loop().create_task(_upload(stream, body, length))
            upload.add_done_callback(_failure)  # told by whoever awaits the answer
        else:
            if length:
                stream.write_nowait(block_header(DATA, length))
                stream.write_nowait(body)
            stream.end()
        status, answer = await _within(timeout, _final_head(reader), "the answer")
        if method == "HEAD" or status in _NO_BODY:
            reader.expect(0)
        else:
            reader.expect(content_length(answer))
    except BaseException as error:
        stream.cancel(codes.REQUEST_CANCELLED)
        failure = _failure(upload)
        if upload is not None:
            upload.cancel()
        if failure is not None and isinstance(error, PeerfetchError):
            raise failure from None
        raise
    response = Response(stream, reader, status, answer, timeout)
    response._upload = upload
    return response


async def _final_head(reader: MessageReader) -> tuple[int, Headers]:
    while True:
        status, headers = decode_response(await reader.head())
        if status >= 200:
            return status, headers


async def _upload(stream: Stream, body: AsyncIterable[bytes], length: int | None) -> None:
    """Send the pieces of ``body``; a server that has heard enough ends it early."""
    try:
        writer = BodyWriter(stream, length)
        async for piece in body:
            await writer.write(piece)
        writer.end()
    except StreamStopped:
        pass
    except BaseException:
        stream.cancel(codes.REQUEST_CANCELLED)
        raise
    finally:
        # A generator that is left in its middle holds what it opened until it is collected.
        close = getattr(body, "aclose", None)
        if close is not None:
            await close()


def _failure(upload: asyncio.Task[None] | None) -> BaseException | None:
    """What the iterator of the request body raised, if it did."""
    if upload is None or not upload.done() or upload.cancelled():
        return None
    return upload.exception()


def _target(target: str, params: Params | None) -> str:
    if not _PLAIN_TARGET.fullmatch(target):
        target, _, _ = target.partition("#")
        if not target.startswith("/"):
            raise InvalidRequest(f"the target {target!r} does not begin with '/'")
        # Everything that may stand in a URL stays as it is (RFC 3986 §2.2, §2.3), "%" included.
        target = quote(target, safe=_URL_CHARACTERS)
    if params:
        pairs = list(params.items()) if isinstance(params, Mapping) else list(params)
        target += ("&" if "?" in target else "?") + urlencode(pairs, doseq=True)
    return target


async def _within(timeout: float | None, work: Awaitable[T], what: str) -> T:
    if timeout is None:
        return await work
    try:
        async with deadline(timeout):
            return await work
    except asyncio.TimeoutError:
        raise FetchTimeout(f"{what} did not come within {timeout:g} s") from None
