"""Read files as records: what one receiver has asked for, in the order of its asking."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence

from peerfetch_fast.http.files.tree import Node
from peerfetch_fast.sharing.manifest import PIECE, encode_entry
from peerfetch_fast.sharing.records import DATA, DIGEST, END, FAILED, FILE, Wanted, record_head
from peerfetch_fast.sharing.source import Changed, Item, Offer

__all__ = ["Digests", "Outgoing"]

CHUNK = 256 * 1024
"""Bytes that are read at a time, and of small files what is sent at a time."""

MAX_DIGESTS = 64 * 1024
"""Digests that are remembered, of 8 MiB each: further receivers need not wait for them."""


class Digests:
    """The digests of pieces that were sent already, which change when the file does."""

    def __init__(self, most: int = MAX_DIGESTS) -> None:
        self._most = most
        self._known: OrderedDict[tuple[int, ...], bytes] = OrderedDict()

    def get(self, item: Item, piece: int) -> bytes | None:
        return self._known.get((*item.version, piece))

    def keep(self, item: Item, piece: int, digest: bytes) -> None:
        self._known[(*item.version, piece)] = digest
        if len(self._known) > self._most:
            self._known.popitem(last=False)


class Outgoing:
    """The records of one answer. Its methods wait for the disk: call them in a thread, one at a
    time.
    """

    def __init__(self, offer: Offer, wanted: Sequence[Wanted], digests: Digests) -> None:
        self._offer = offer
        self._wanted = wanted
        self._digests = digests
        self._records = self._all()
        self.path = ""
        """The file that is being read."""
        self.failed: list[str] = []
        """Sentences about the files that could not be sent, each with its reason."""

    def read(self) -> list[bytes]:
        """The next octets, about :data:`CHUNK` of them; [] at the end. Raises nothing."""
        pieces: list[bytes] = []
        small = bytearray()
        size = 0
        for data in self._records:
            size += len(data)
            if len(data) < 64 * 1024:
                small += data
            else:
                pieces += [bytes(small), data]
                small.clear()
            if size >= CHUNK:
                break
        if small:
            pieces.append(bytes(small))
        return [piece for piece in pieces if piece]

    def close(self) -> None:
        """Close the file that is open."""
        self._records.close()

    def _all(self) -> Generator[bytes, None, None]:
        for wanted in self._wanted:
            item = self._offer.items.get(wanted.path)
            if item is None or item.entry.is_directory:
                # What somebody makes up is nothing to tell the one who shares.
                yield _failed("it is not offered")
                continue
            self.path = wanted.path
            try:
                yield from self._file(item, wanted.offset)
            except OSError as error:
                why = error.strerror or str(error)
                self.failed.append(f"{wanted.path}: {why}")
                yield _failed(why)
        yield record_head(END, 0)

    def _file(self, item: Item, offset: int) -> Iterator[bytes]:
        """A file from ``offset`` on, and the digest of each piece that ends there or later."""
        node = item.open()
        try:
            about = encode_entry(item.entry)
            yield record_head(FILE, len(about)) + about
            # A receiver of a whole piece wants to know whether it is right before there is more.
            start = max(offset - 1, 0) // PIECE * PIECE
            for begin in range(start, item.entry.size, PIECE):
                yield from self._piece(item, node, begin, offset)
        finally:
            node.close()

    def _piece(self, item: Item, node: Node, begin: int, offset: int) -> Iterator[bytes]:
        size = item.entry.size
        end = min(begin + PIECE, size)
        known = self._digests.get(item, begin // PIECE)
        hashing = hashlib.sha256() if known is None else None
        at = begin if known is None else min(max(begin, offset), end)
        while at < end:
            # The part that the receiver has is read for the digest alone.
            stop = min(at + CHUNK, end if at >= offset else min(offset, end))
            data = os.pread(node.descriptor, stop - at, at)
            if not data:
                raise Changed(0, "it has become shorter while it was sent")
            if hashing is not None:
                hashing.update(data)
            if at >= offset:
                yield record_head(DATA, len(data))
                yield data
            at += len(data)
        if end == size:
            item.check(node)  # before the last record, without which a file is not whole
        if hashing is not None:
            known = hashing.digest()
            self._digests.keep(item, begin // PIECE, known)
        assert known is not None
        yield record_head(DIGEST, len(known)) + known


def _failed(why: str) -> bytes:
    said = why.encode()
    return record_head(FAILED, len(said)) + said
