"""HTTP messages on a stream: reading them in order, and writing their bodies."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from peerfetch_fast.errors import MessageError, MessageTruncated
from peerfetch_fast.http.blocks import DATA, HEAD, MAX_HEAD, TRAILERS, BlockReader, block_header
from peerfetch_fast.http.heads import (
    Headers,
    decode_response,
    decode_trailers,
    encode_trailers,
    end_to_end,
)
from peerfetch_fast.streams.stream import Stream

__all__ = ["BodyWriter", "MessageReader", "OnInformational"]

MAX_INFORMATIONAL = 100
"""Informational heads (1xx) that may come before the head of an answer."""

OnInformational = Callable[[int, Headers], object]
"""Called with the status and the header fields of an informational answer."""


class MessageReader:
    """Reads the message on ``stream``: heads, then body, then trailers.

    :param max_head: the largest head, in bytes, that is accepted.
    """

    __slots__ = ("_blocks", "_expected", "_found", "_received", "_stream", "finished", "trailers")

    def __init__(self, stream: Stream, max_head: int = MAX_HEAD) -> None:
        self._stream = stream
        self._blocks = BlockReader(max_head)
        self._found: deque[tuple[int, bytes]] = deque()
        self._expected: int | None = None
        self._received = 0
        self.finished = False
        """Whether the whole message was read."""
        self.trailers: Headers | None = None

    async def _next(self) -> tuple[int, bytes] | None:
        while not self._found:
            data = await self._stream.read()
            if not data:
                if self._blocks.inside or not self._stream.at_end:
                    raise MessageTruncated("the message ended in the middle")
                return None
            self._found.extend(self._blocks.feed(data))
        return self._found.popleft()

    def poll(self) -> bool:
        """Whether a block has come already, so that the next call does not wait."""
        if not self._found:
            data = self._stream.read_nowait()
            if data:
                self._found.extend(self._blocks.feed(data))
        return bool(self._found)

    @property
    def at_end(self) -> bool:
        """Whether the message is known to be at its end, without waiting."""
        return not self._found and not self._blocks.inside and self._stream.at_end

    async def head(self) -> bytes:
        """The payload of the next HEAD block.

        Raises MessageError and what :meth:`Stream.read` raises.
        """
        found = await self._next()
        if found is None:
            raise MessageTruncated("the stream ended before a head")
        if found[0] != HEAD:
            raise MessageError("a message that does not begin with a head")
        return found[1]

    async def final_head(
        self, on_informational: OnInformational | None = None
    ) -> tuple[int, Headers]:
        """Status and headers of the final answer.

        :param on_informational: called with each informational answer before it.

        Raises MessageError and what :meth:`Stream.read` raises.
        """
        for _ in range(MAX_INFORMATIONAL + 1):
            status, headers = decode_response(await self.head())
            if status >= 200:
                return status, headers
            if on_informational is not None:
                on_informational(status, headers)
        raise MessageError(f"an answer with more than {MAX_INFORMATIONAL} informational heads")

    def expect(self, length: int | None) -> None:
        """State how long the body must be, in bytes."""
        self._expected = length

    async def read(self) -> bytes:
        """The next piece of the body, b"" at its end.

        Raises MessageTruncated for a body shorter than expected, MessageError for anything that is
        out of order, and what :meth:`Stream.read` raises.
        """
        while not self.finished:
            found = await self._next()
            if found is None:
                if self._expected is not None and self._received < self._expected:
                    raise MessageTruncated(
                        f"a body of {self._received} bytes where {self._expected} were announced"
                    )
                self.finished = True
                break
            kind, payload = found
            if kind == DATA:
                if self.trailers is not None:
                    raise MessageError("a body that goes on after the trailers")
                if payload:
                    self._received += len(payload)
                    if self._expected is not None and self._received >= self._expected:
                        if self._received > self._expected:
                            raise MessageError(
                                f"a body longer than the {self._expected} bytes announced"
                            )
                        # If the FIN has come already, the end is known without another read.
                        self.finished = self.at_end
                    return payload
            elif kind == TRAILERS and self.trailers is None:
                self.trailers = decode_trailers(payload)
            else:
                raise MessageError("a message with its blocks out of order")
        return b""


class BodyWriter:
    """Write a body to ``stream`` in DATA blocks; in a single block if its length is known.

    :param length: bytes of the whole body, or None.
    """

    __slots__ = ("_left", "_stream")

    def __init__(self, stream: Stream, length: int | None) -> None:
        self._stream = stream
        self._left = length
        if length:
            stream.write_nowait(block_header(DATA, length))

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write a piece, waiting as :meth:`Stream.write` does.

        Raises MessageError for bytes beyond the announced length, and what :meth:`Stream.write`
        raises.
        """
        if data:
            self._announce(data)
            await self._stream.write(data)

    def write_nowait(self, data: bytes | bytearray | memoryview) -> None:
        """Write a piece, whatever waits already. Raises as :meth:`write` does."""
        if data:
            self._announce(data)
            self._stream.write_nowait(data)

    def _announce(self, data: bytes | bytearray | memoryview) -> None:
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        if self._left is None:
            self._stream.write_nowait(block_header(DATA, size))
        else:
            if size > self._left:
                raise MessageError("a body longer than its Content-Length")
            self._left -= size

    def end(self, trailers: list[tuple[str, str]] | None = None) -> None:
        """End the message, after trailers if there are any: pairs with names in lower case.

        Raises MessageTruncated when less was written than was announced, and MessageError for
        trailers that are larger than the other side takes.
        """
        if self._left:
            raise MessageTruncated(f"a body that is {self._left} bytes short of its Content-Length")
        if trailers:
            block = encode_trailers(end_to_end(trailers))
            if len(block) > MAX_HEAD:
                raise MessageError(f"trailers of {len(block)} bytes")
            self._stream.write_nowait(block)
        self._stream.end()
