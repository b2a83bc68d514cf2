"""A ZIP of an offer that is made while it is sent, and whose length is known before.

Nothing is compressed, so that every octet has its place beforehand: an answer can begin anywhere.
What is not known before it was read, the CRC-32, stands behind each file (APPNOTE 6.3.10 §4.3.9).
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
import zlib
from collections.abc import Generator, Iterator
from itertools import pairwise

from peerfetch_fast.sharing.manifest import Entry
from peerfetch_fast.sharing.source import Changed, Item

__all__ = ["Zip", "ZipReader"]

CHUNK = 1024 * 1024
"""Bytes that are read at a time."""

_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_DESCRIPTOR = struct.Struct("<IIII")
_DESCRIPTOR64 = struct.Struct("<IIQQ")
_END64 = struct.Struct("<IQHHIIQQQQ")
_LOCATOR64 = struct.Struct("<IIQI")
_END = struct.Struct("<IHHHHIIH")

_BIG = 0xFFFFFFFF
_MANY = 0xFFFF
_UTF8 = 1 << 11
_BEHIND = 1 << 3
"""The CRC-32 stands behind the file."""
_UNIX = 3 << 8
_FIRST_YEAR = 1980


class Zip:
    """Where everything is in the ZIP of ``items``, and which CRC-32s are known. Of many items it
    takes seconds to make: in a thread.
    """

    def __init__(self, items: list[Item]) -> None:
        self.items = items
        self.crcs: dict[int, int] = {}
        """By the place of the item; those of directories and of what was read to its end."""
        self.modified = max((item.entry.modified for item in items), default=0)
        """Milliseconds since 1970."""
        hashing = hashlib.sha256()
        places = [0]
        for item in items:
            hashing.update(repr((item.entry, item.version)).encode())
            size = len(_local(item.entry)) + item.entry.size + len(_descriptor(item.entry, 0))
            places.append(places[-1] + size)
        self.version = hashing.hexdigest()[:32]
        """The version of the ZIP: another one once a file has changed."""
        self.places = places
        """Where each item begins, and where what is behind the last one does."""
        central = sum(
            len(_central(item.entry, 0, at)) for item, at in zip(items, places[:-1], strict=True)
        )
        self.size = places[-1] + central + len(self._end(central))

    def _end(self, central: int) -> bytes:
        count, at = len(self.items), self.places[-1]
        end = b""
        if count >= _MANY or central >= _BIG or at >= _BIG:
            end = _END64.pack(0x06064B50, 44, 45 | _UNIX, 45, 0, 0, count, count, central, at)
            end += _LOCATOR64.pack(0x07064B50, 0, at + central, 1)
        count, central, at = min(count, _MANY), min(central, _BIG), min(at, _BIG)
        return end + _END.pack(0x06054B50, 0, 0, count, count, central, at, 0)


class ZipReader:
    """The octets of a ZIP from ``start`` to ``stop``. Its methods wait for the disk: call them in a
    thread, one at a time. :meth:`read` raises OSError for a file that cannot be sent as it was.
    """

    def __init__(self, layout: Zip, start: int, stop: int) -> None:
        self._zip = layout
        self._left = stop - start
        self._parts = self._from(start)
        self.path = ""

    def read(self) -> list[bytes]:
        """The next octets, about :data:`CHUNK` of them; [] at the end. An empty piece stands for
        octets that were read for a CRC-32 alone: of those there can be as many as the files have.
        """
        pieces: list[bytes] = []
        small = bytearray()
        size = 0
        while self._left and size < CHUNK:
            data = next(self._parts)[: self._left]
            if not data:
                break
            self._left -= len(data)
            size += len(data)
            if len(data) < 64 * 1024:
                small += data
            else:
                pieces += [bytes(small), data]
                small.clear()
        pieces.append(bytes(small))
        found = [piece for piece in pieces if piece]
        return found if found or not self._left else [b""]

    def close(self) -> None:
        self._parts.close()

    def _from(self, start: int) -> Generator[bytes, None, None]:
        layout = self._zip
        for number, (begin, end) in enumerate(pairwise(layout.places)):
            if start < end:
                yield from self._item(number, max(start - begin, 0))
        at = layout.places[-1]
        skip = max(start - at, 0)
        central = 0
        for number, item in enumerate(layout.items):
            record = _central(item.entry, 0, layout.places[number])
            if skip < len(record):
                if not item.entry.is_directory and number not in layout.crcs:
                    yield from self._contents(number, item.entry.size)
                yield _central(item.entry, layout.crcs.get(number, 0), layout.places[number])[skip:]
            skip = max(skip - len(record), 0)
            central += len(record)
        yield layout._end(central)[skip:]

    def _item(self, number: int, skip: int) -> Iterator[bytes]:
        item = self._zip.items[number]
        entry = item.entry
        self.path = entry.path
        local = _local(entry)
        if skip < len(local):
            yield local[skip:]
        if entry.is_directory:
            return
        skip = max(skip - len(local), 0)
        if skip < entry.size or number not in self._zip.crcs:
            yield from self._contents(number, min(skip, entry.size))
        yield _descriptor(entry, self._zip.crcs[number])[max(skip - entry.size, 0) :]

    def _contents(self, number: int, skip: int) -> Iterator[bytes]:
        """A file from ``skip`` on. The part before is read for the CRC-32, unless that is known,
        and is given as nothing.
        """
        item = self._zip.items[number]
        known = self._zip.crcs.get(number)
        at, crc = (0, 0) if known is None else (skip, 0)
        node = item.open()
        try:
            while at < item.entry.size:
                most = min(CHUNK, (item.entry.size if at >= skip else skip) - at)
                data = os.pread(node.descriptor, most, at)
                if not data:
                    raise Changed(0, "it has become shorter while it was sent")
                if known is None:
                    crc = zlib.crc32(data, crc)
                at += len(data)
                if at == item.entry.size:
                    item.check(node)  # before the last octets, behind which all looks whole
                yield data if at > skip else b""
        finally:
            node.close()
        if known is None:
            self._zip.crcs[number] = crc


def _dos_time(entry: Entry) -> tuple[int, int]:
    moment = time.gmtime(min(max(entry.modified // 1000, 0), 4_000_000_000))
    year = min(max(moment.tm_year - _FIRST_YEAR, 0), 127)
    clock = moment.tm_hour << 11 | moment.tm_min << 5 | moment.tm_sec // 2
    return clock, year << 9 | moment.tm_mon << 5 | moment.tm_mday


def _flags(entry: Entry) -> int:
    return _UTF8 if entry.is_directory else _UTF8 | _BEHIND


def _local(entry: Entry) -> bytes:
    name, size = entry.path.encode(), entry.size
    big = size >= _BIG
    extra = struct.pack("<HHQQ", 1, 16, size, size) if big else b""
    size = min(size, _BIG)
    head = _LOCAL.pack(
        0x04034B50, 45 if big else 20, _flags(entry), 0, *_dos_time(entry), 0, size, size,
        len(name), len(extra),
    )  # fmt: skip
    return head + name + extra


def _descriptor(entry: Entry, crc: int) -> bytes:
    if entry.is_directory:
        return b""
    if entry.size >= _BIG:
        return _DESCRIPTOR64.pack(0x08074B50, crc, entry.size, entry.size)
    return _DESCRIPTOR.pack(0x08074B50, crc, entry.size, entry.size)


def _central(entry: Entry, crc: int, at: int) -> bytes:
    name, size = entry.path.encode(), entry.size
    big = [value for value in (size, size, at) if value >= _BIG]
    extra = struct.pack(f"<HH{len(big)}Q", 1, 8 * len(big), *big) if big else b""
    kind = 0o040000 if entry.is_directory else 0o100000
    attributes = (kind | entry.mode) << 16 | 0x10 * entry.is_directory
    size, at = min(size, _BIG), min(at, _BIG)
    head = _CENTRAL.pack(
        0x02014B50, 45 | _UNIX, 45 if big else 20, _flags(entry), 0, *_dos_time(entry), crc, size,
        size, len(name), len(extra), 0, 0, 0, attributes, at,
    )  # fmt: skip
    return head + name + extra
