"""BinaryPack, the encoding of PeerJS's ``binary`` connections, and its chunks.

It is near to MessagePack of 2010: bytes at 0xa0, strings at 0xb0, and no map keys but strings.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from peerfetch_fast.budget import Budget
from peerfetch_fast.errors import MessageError

__all__ = ["Chunks", "TooManyChunks", "chunk", "pack", "unpack"]

MAX_DEPTH = 64
"""The deepest nesting of lists and objects."""

MAX_VALUES = 250_000
"""Values within a received one: a byte can stand for a value that takes 100 bytes of memory."""

MAX_CHUNKED = 64 * 1024 * 1024
"""Bytes of incomplete values, over all connections of a peer."""

CHUNK_OVERHEAD = 256
"""Bytes that count for a chunk beside its data, so that empty chunks are bounded too."""

VALUE_OVERHEAD = 768
"""Bytes that count for an incomplete value beside its chunks."""


def pack(value: Any) -> bytes:
    """Encode None, bool, int, float, str, bytes, lists and dicts with strings for keys.

    Raises ValueError for a value that has no encoding.
    """
    out = bytearray()
    _pack(out, value, 0)
    return bytes(out)


def _pack(out: bytearray, value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} lists and objects within each other")
    if value is None:
        out.append(0xC0)
    elif value is True or value is False:
        out.append(0xC3 if value else 0xC2)
    elif isinstance(value, int):
        _pack_int(out, value)
    elif isinstance(value, float):
        out += struct.pack(">Bd", 0xCB, value)
    elif isinstance(value, str):
        try:
            text = value.encode()
        except UnicodeEncodeError:
            raise ValueError("a lone surrogate is no text") from None
        _pack_size(out, len(text), 0xB0, 0xD8)
        out += text
    elif isinstance(value, (bytes, bytearray, memoryview)):
        content = bytes(value)
        _pack_size(out, len(content), 0xA0, 0xDA)
        out += content
    elif isinstance(value, (list, tuple)):
        _pack_size(out, len(value), 0x90, 0xDC)
        for item in value:
            _pack(out, item, depth + 1)
    elif isinstance(value, dict):
        _pack_size(out, len(value), 0x80, 0xDE)
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError("keys must be strings")
            _pack(out, key, depth + 1)
            _pack(out, item, depth + 1)
    else:
        raise ValueError(f"{type(value).__name__} has no encoding")


def _pack_size(out: bytearray, size: int, short: int, long: int) -> None:
    """``short`` with a size of 4 bits, ``long`` with one of 16, the next type with one of 32."""
    if size < 16:
        out.append(short | size)
    elif size < 1 << 16:
        out += struct.pack(">BH", long, size)
    elif size < 1 << 32:
        out += struct.pack(">BI", long + 1, size)
    else:
        raise ValueError("too large")


_INTEGERS = (
    # least, most, format; from the shortest to the longest, as PeerJS chooses.
    (0, 0xFF, ">BB", 0xCC),
    (-0x80, 0x7F, ">Bb", 0xD0),
    (0, 0xFFFF, ">BH", 0xCD),
    (-0x8000, 0x7FFF, ">Bh", 0xD1),
    (0, 0xFFFF_FFFF, ">BI", 0xCE),
    (-0x8000_0000, 0x7FFF_FFFF, ">Bi", 0xD2),
    (-(1 << 63), (1 << 63) - 1, ">Bq", 0xD3),
    (0, (1 << 64) - 1, ">BQ", 0xCF),
)


def _pack_int(out: bytearray, value: int) -> None:
    if -0x20 <= value <= 0x7F:
        out.append(value & 0xFF)
        return
    for least, most, form, kind in _INTEGERS:
        if least <= value <= most:
            out += struct.pack(form, kind, value)
            return
    raise ValueError(f"{value} has more than 64 bits")


def unpack(data: bytes) -> Any:
    """Decode one value; JavaScript's ``undefined`` is None. Raises MessageError."""
    reader = _Reader(data)
    value = reader.value(0)
    if reader.at != len(data):
        raise MessageError("bytes behind a packed value")
    return value


# From 0xca on: float and double, then integers of 8 to 64 bits, first those without a sign.
_NUMBERS = {0xCA + n: struct.Struct(f">{form}") for n, form in enumerate("fdBHIQbhiq")}
# The types with a size of 16 or 32 bits, and those that hold the same with one of 4.
_SHORT = {0xD8: 0xB0, 0xDA: 0xA0, 0xDC: 0x90, 0xDE: 0x80}
_NOTHING = frozenset((0xC0, 0xC1, 0xD4, 0xD5, 0xD6, 0xD7))


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._values = 0
        self.at = 0

    def _take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self._data):
            raise MessageError("a packed value that is cut short")
        taken = self._data[self.at : end]
        self.at = end
        return taken

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise MessageError(f"more than {MAX_DEPTH} lists and objects within each other")
        self._values += 1
        if self._values > MAX_VALUES:
            raise MessageError(f"more than {MAX_VALUES} values within one")
        kind = self._take(1)[0]
        if kind < 0x80:
            return kind
        if kind >= 0xE0:
            return kind - 0x100
        if kind in _NUMBERS:
            number = _NUMBERS[kind]
            return number.unpack(self._take(number.size))[0]
        if kind in _NOTHING:
            return None
        if kind in (0xC2, 0xC3):
            return kind == 0xC3
        if kind < 0xC0:
            return self._sized(kind & 0xF0, kind & 0x0F, depth)
        if kind < 0xD8:
            raise MessageError(f"a packed value of the unknown type {kind:#x}")
        size = int.from_bytes(self._take(4 if kind & 1 else 2), "big")
        return self._sized(_SHORT[kind & 0xFE], size, depth)

    def _sized(self, kind: int, size: int, depth: int) -> Any:
        if kind == 0xA0:
            return self._take(size)
        if kind == 0xB0:
            return self._take(size).decode("utf-8", "replace")
        if kind == 0x90:
            # One after the other: a size that is not there ends at once and reserves nothing.
            return [self.value(depth + 1) for _ in range(size)]
        found = {}
        for _ in range(size):
            key = self.value(depth + 1)
            if not isinstance(key, (str, int, float)):
                raise MessageError("an object with a key that is no string")
            found[str(key)] = self.value(depth + 1)
        return found


def chunk(data: bytes, number: int, size: int) -> list[bytes]:
    """A packed value in messages of about ``size`` bytes, the ``number``-th value so sent."""
    total = -(-len(data) // size)
    return [
        pack(
            {
                "__peerData": number,
                "n": n,
                "data": data[n * size : (n + 1) * size],
                "total": total,
            }
        )
        for n in range(total)
    ]


class TooManyChunks(MessageError):
    """Incomplete values exceed their bound."""


@dataclass(slots=True)
class _Parts:
    total: int
    cost: int = VALUE_OVERHEAD
    pieces: dict[int, bytes] = field(default_factory=dict)


class Chunks:
    """Puts chunked values together.

    :param budget: bytes for incomplete values, perhaps shared with others.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._values: dict[int, _Parts] = {}

    def add(self, message: dict[str, Any]) -> bytes | None:
        """Take in a chunk; return the packed value if that completes it, else None.

        Raises TooManyChunks, after which nothing is held any more, and MessageError.
        """
        number, n, total = (message.get(name) for name in ("__peerData", "n", "total"))
        data = message.get("data")
        if (
            type(number) is not int
            or type(n) is not int
            or type(total) is not int
            or not isinstance(data, bytes)
            or not 0 <= n < total
        ):
            raise MessageError("a chunk that is none")
        parts = self._values.get(number)
        if parts is None:
            parts = _Parts(total)
            self._take(parts.cost)
            self._values[number] = parts
        if parts.total != total or n in parts.pieces:
            raise MessageError("a chunk that does not fit the others")
        cost = len(data) + CHUNK_OVERHEAD
        self._take(cost)
        parts.cost += cost
        parts.pieces[n] = data
        if len(parts.pieces) < total:
            return None
        del self._values[number]
        self._budget.give_back(parts.cost)
        return b"".join(parts.pieces[n] for n in range(total))

    def clear(self) -> None:
        """Forget all incomplete values."""
        self._budget.give_back(sum(parts.cost for parts in self._values.values()))
        self._values.clear()

    def _take(self, cost: int) -> None:
        if not self._budget.take(cost):
            self.clear()
            raise TooManyChunks(f"more than {MAX_CHUNKED} bytes in chunks")
