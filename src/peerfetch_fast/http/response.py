"""The answer to a request, whose body is still being received."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
from typing import TYPE_CHECKING, Any

import orjson

from peerfetch_fast.errors import Awaited, PeerfetchError
from peerfetch_fast.http import codes
from peerfetch_fast.http.heads import Headers
from peerfetch_fast.http.message import MessageReader
from peerfetch_fast.http.timeouts import Timeouts
from peerfetch_fast.streams.stream import Stream

if TYPE_CHECKING:
    from peerfetch_fast.http.decoding import Decoder

__all__ = ["Response", "failure_of"]

YIELD_AFTER = 1024 * 1024
"""Decoded bytes after which a reader that has not had to wait yields to the loop's other tasks."""

# Byte order marks (the Encoding standard, "decode").
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
)

# Python's codecs for host names. They are no charsets, and take quadratic time.
_NO_CHARSETS = frozenset(("idna", "punycode"))


class Response:
    """The answer to a fetch; its body is still being received.

    Read the body once: with :meth:`bytes`, :meth:`text`, :meth:`json` or ``async for``. A response
    whose body is not read to its end must be closed (``async with`` does it), which cancels the
    request.

    ``headers`` are unchanged. If :attr:`decoded` is true, the body was encoded (Content-Encoding),
    and Content-Length is not the length of the bytes that are read.
    """

    def __init__(
        self,
        stream: Stream,
        reader: MessageReader,
        status: int,
        headers: Headers,
        url: str,
        timeouts: Timeouts,
        upload: asyncio.Task[None] | None,
    ) -> None:
        self.status = status
        """The status code."""
        self.headers = headers
        """The header fields: ordered, repeatable (``getall``), case-insensitive."""
        self.url = url
        """The URL of the answer, after redirects: ``peer://PEER-ID/path?query``."""
        self.redirected = False
        """Whether a redirect was followed."""
        self._stream = stream
        self._reader = reader
        self._timeouts = timeouts
        self._upload = upload
        self._decoder: Decoder | None = None
        self._unyielded = 0
        self._closed = False

    @property
    def ok(self) -> bool:
        """Whether the status is from 200 to 299."""
        return 200 <= self.status <= 299

    @property
    def decoded(self) -> bool:
        """Whether a Content-Encoding is undone as the body is read."""
        return self._decoder is not None

    @property
    def trailers(self) -> Headers | None:
        """The trailers, if there are any, once the body was read to its end; None before."""
        return self._reader.trailers

    async def read(self) -> bytes:
        """The next piece of the body, b"" at its end.

        Raises MessageTruncated, StreamReset, LinkClosed, SessionClosed or ProtocolError if the body
        was cut short, MessageError if it cannot be decoded, FetchTimeout if nothing came for
        ``timeout`` seconds, RuntimeError when closed.
        """
        if self._closed:
            raise RuntimeError("the response is closed")
        try:
            if self._decoder is None:
                return await self._timeouts.wait(Awaited.PIECE, self._reader.read())
            return await self._read_decoded(self._decoder)
        except BaseException as error:
            failure = failure_of(self._upload)
            self.close()
            if failure is not None and isinstance(error, PeerfetchError):
                raise failure from None
            raise

    async def _read_decoded(self, decoder: Decoder) -> bytes:
        if self._unyielded > YIELD_AFTER:
            self._unyielded = 0
            await asyncio.sleep(0)
        while not (data := decoder.read()):
            piece = await self._timeouts.wait(Awaited.PIECE, self._reader.read())
            if not piece:
                decoder.end()
                return b""
            decoder.feed(piece)
        self._unyielded += len(data)
        return data

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
        if (self._reader.finished and not self.decoded) or not (second := await self.read()):
            return first
        pieces = [first, second]
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)

    async def text(self) -> str:
        """The whole body as text, in the charset that Content-Type names, or UTF-8.

        A byte order mark goes before the charset, and is no part of the text. Undecodable bytes
        become U+FFFD, as in a browser. Raises as :meth:`read` does.
        """
        body = await self.bytes()
        for mark, encoding in _BYTE_ORDER_MARKS:
            if body.startswith(mark):
                return body[len(mark) :].decode(encoding, "replace")
        _, _, parameters = self.headers.get("content-type", "").partition(";")
        for parameter in parameters.split(";"):
            name, _, value = parameter.strip().partition("=")
            if name.lower() == "charset":
                # There is no such codec, it is none of text, or it has no replacement character.
                with contextlib.suppress(LookupError, ValueError):
                    codec = codecs.lookup(value.strip('"')).name
                    if codec not in _NO_CHARSETS:
                        return body.decode(codec, "replace")
        return body.decode("utf-8", "replace")

    async def json(self) -> Any:
        """The whole body as JSON, without a UTF-8 byte order mark. Raises ValueError for a body
        that is no JSON, and as :meth:`read` does.
        """
        return orjson.loads((await self.bytes()).removeprefix(codecs.BOM_UTF8))

    def close(self) -> None:
        """Discard the rest of the body, and tell the other side to stop. Idempotent."""
        if not self._closed:
            self._closed = True
            if self._upload is not None:
                self._upload.cancel()
            if not self._reader.finished:
                self._stream.cancel(codes.REQUEST_CANCELLED)

    async def __aenter__(self) -> Response:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed and not (self._reader.finished and self._upload is None):
            with contextlib.suppress(Exception):  # the event loop may be closed already
                self.close()

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


def failure_of(upload: asyncio.Task[None] | None) -> BaseException | None:
    """The error with which sending the request's body failed; None if it did not."""
    if upload is None or not upload.done() or upload.cancelled():
        return None
    return upload.exception()
