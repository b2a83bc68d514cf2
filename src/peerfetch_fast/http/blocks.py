"""Blocks, of which an HTTP message on a stream consists (docs/protocol.md, section 7). Sans-I/O."""

from __future__ import annotations

from peerfetch_fast.errors import HeadTooLarge
from peerfetch_fast.streams._wire import read_varint, varint

__all__ = ["DATA", "HEAD", "TRAILERS", "BlockReader", "block", "block_header"]

DATA = 0x00
HEAD = 0x01
TRAILERS = 0x02

_WHOLE = (HEAD, TRAILERS)  # passed on only when complete

MAX_HEAD = 64 * 1024
"""Bytes of the largest HEAD or TRAILERS payload that is accepted."""


def block_header(kind: int, length: int) -> bytes:
    """The header of a block with a payload of ``length`` bytes."""
    return varint(kind) + varint(length)


def block(kind: int, payload: bytes) -> bytes:
    """A whole block."""
    return block_header(kind, len(payload)) + payload


class BlockReader:
    """Cut a stream's bytes into blocks.

    DATA is passed on as it comes, in pieces; HEAD and TRAILERS when they are whole; blocks of
    unknown type are skipped.

    :param max_head: the largest payload, in bytes, of a HEAD or TRAILERS block.
    """

    __slots__ = ("_held", "_kind", "_left", "_max_head")

    def __init__(self, max_head: int = MAX_HEAD) -> None:
        self._max_head = max_head
        self._kind = DATA
        self._left = 0  # bytes of the current block's payload that have not come yet
        self._held = bytearray()  # the beginning of a block's header, or of a HEAD or TRAILERS

    @property
    def inside(self) -> bool:
        """Whether the bytes so far end inside a block."""
        return self._left > 0 or bool(self._held)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take in the stream's next bytes; return the (type, payload) pairs that they complete.

        Raises HeadTooLarge.
        """
        left = self._left
        if self._kind == DATA and len(data) <= left:
            self._left -= len(data)
            return [(DATA, data)]
        found: list[tuple[int, bytes]] = []
        if self._held and not left:
            data = bytes(self._held) + data
            self._held.clear()
        at, size = 0, len(data)
        while at < size:
            if not left:
                header = read_varint(data, at)
                if header is not None:
                    self._kind, at_length = header
                    header = read_varint(data, at_length)
                if header is None:
                    self._held += data[at:]
                    break
                left, at = header
                if left > self._max_head and self._kind in _WHOLE:
                    raise HeadTooLarge(
                        f"a head of {left} bytes; at most {self._max_head} are accepted"
                    )
                if not left and self._kind in _WHOLE:
                    found.append((self._kind, b""))
                continue
            piece = data[at : at + left]
            at += len(piece)
            left -= len(piece)
            if self._kind == DATA:
                found.append((DATA, piece))
            elif self._kind in _WHOLE:
                if left:
                    self._held += piece
                elif self._held:
                    found.append((self._kind, bytes(self._held) + piece))
                    self._held.clear()
                else:
                    found.append((self._kind, piece))
        self._left = left
        return found
