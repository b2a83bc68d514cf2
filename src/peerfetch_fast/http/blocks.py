"""Blocks, of which an HTTP message on a stream consists (docs/protocol.md, section 7). Sans-I/O."""

from __future__ import annotations

from peerfetch_fast._framing import read_varint, varint
from peerfetch_fast.errors import HeadTooLarge

__all__ = ["DATA", "HEAD", "TRAILERS", "BlockReader", "block", "block_header"]

DATA = 0x00
HEAD = 0x01
TRAILERS = 0x02

MAX_HEAD = 64 * 1024
"""Bytes of the largest HEAD or TRAILERS payload that is accepted."""


def block_header(kind: int, length: int) -> bytes:
    """What goes before a payload of ``length`` bytes."""
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
        self._held = b""  # the beginning of a block header, or of a HEAD or TRAILERS payload

    @property
    def inside(self) -> bool:
        """Whether the bytes so far end inside a block."""
        return self._left > 0 or bool(self._held)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take in the stream's next bytes; return the (type, payload) pairs that they complete.

        Raises HeadTooLarge.
        """
        found: list[tuple[int, bytes]] = []
        if self._left and self._kind == DATA and len(data) <= self._left:
            self._left -= len(data)
            found.append((DATA, data))
            return found
        at = 0
        size = len(data)
        if self._held and not self._left:
            data, self._held = self._held + data, b""
            size = len(data)
        while at < size:
            if not self._left:
                header = read_varint(data, at)
                if header is not None:
                    self._kind, header_end = header
                    header = read_varint(data, header_end)
                if header is None:
                    self._held = data[at:]
                    break
                self._left, at = header
                if self._kind in (HEAD, TRAILERS):
                    if self._left > self._max_head:
                        raise HeadTooLarge(
                            f"a head of {self._left} bytes; at most {self._max_head} are accepted"
                        )
                    if not self._left:
                        found.append((self._kind, b""))
                continue
            take = min(self._left, size - at)
            piece = data if take == size else data[at : at + take]
            at += take
            self._left -= take
            if self._kind == DATA:
                found.append((DATA, piece))
            elif self._kind in (HEAD, TRAILERS):
                if self._held:
                    piece = self._held + piece
                    self._held = b""
                if self._left:
                    self._held = piece
                else:
                    found.append((self._kind, piece))
        return found
