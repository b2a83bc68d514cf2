"""The manifest: what a share offers, as lines of JSON (docs/sharing.md).

Sans-I/O: octets in, entries out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from peerfetch_fast.errors import SharingError
from peerfetch_fast.sharing.names import check_path, shown

__all__ = ["PIECE", "ROOT", "VERSION", "Entry", "Heading", "ManifestReader", "manifest_lines"]

VERSION = 1

ROOT = "/~share"
"""Where a share has it; the other resources are below."""

PIECE = 8 * 1024 * 1024
"""Bytes of a file that have a digest of their own, from its beginning on."""

MAX_ENTRIES = 250_000
"""Files and directories of one share: about 60 MB on either side."""

MAX_LINE = 64 * 1024
"""Bytes of a line."""

MAX_PATHS = 128 * 1024 * 1024
"""Bytes in memory of all paths that a receiver keeps, those of the directories above included: of
a long path there can be 63, and one letter can make each octet of it four.
"""

MAX_TEXT = 32 * 1024
"""Characters of a text that is shared instead of a file."""

MAX_SIZE = 1 << 53
"""Bytes of the largest file, and of all: what JavaScript counts exactly."""

LINES = 1000
"""Lines that are written at a time."""


class Entry(NamedTuple):
    """A file, or a directory, whose path then ends with ``/``."""

    path: str
    size: int
    modified: int
    """Milliseconds since 1970."""
    mode: int
    """The permissions (12 bits are kept of it, 9 are used)."""

    @property
    def is_directory(self) -> bool:
        return self.path.endswith("/")


@dataclass(frozen=True, slots=True)
class Heading:
    """The first line."""

    title: str
    by: str
    """The sender's name for itself."""
    entries: int
    files: int
    total: int
    """Bytes of all files."""
    text: str | None = None


def manifest_lines(heading: Heading, entries: Iterable[Entry]) -> Iterator[bytes]:
    """The lines of a manifest, some at a time."""
    first = {"v": VERSION, "piece": PIECE, "title": heading.title, "by": heading.by}
    first |= {"entries": heading.entries, "files": heading.files, "total": heading.total}
    if heading.text is not None:
        first["text"] = heading.text
    lines = [orjson.dumps(first)]
    for entry in entries:
        lines.append(encode_entry(entry))
        if len(lines) >= LINES:
            yield b"\n".join(lines) + b"\n"
            lines.clear()
    if lines:
        yield b"\n".join(lines) + b"\n"


def encode_entry(entry: Entry) -> bytes:
    """An entry as JSON."""
    about: dict[str, object] = {"path": entry.path}
    if not entry.is_directory:
        about["size"] = entry.size
    return orjson.dumps(about | {"modified": entry.modified, "mode": entry.mode})


class ManifestReader:
    """Reads a manifest that somebody has sent. Raises SharingError, UnsafeName."""

    def __init__(self) -> None:
        self.heading: Heading | None = None
        self.entries: list[Entry] = []
        self._rest = b""
        self._files: set[str] = set()
        self._directories: set[str] = set()
        self._total = 0
        self._kept = 0

    def feed(self, data: bytes) -> None:
        """The next octets of it."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._rest) > MAX_LINE:
            raise SharingError("the offer has a line that is too long")

    def finish(self) -> Heading:
        """That was all of it: the heading."""
        if self.heading is None or self._rest:
            raise SharingError("the offer was cut short: ask for it again")
        told = (self.heading.entries, self.heading.files, self.heading.total)
        if told != (len(self.entries), len(self._files), self._total):
            raise SharingError("the offer holds something else than it says")
        self._files.clear()
        self._directories.clear()
        return self.heading

    def _line(self, line: bytes) -> None:
        if len(line) > MAX_LINE:
            raise SharingError("the offer has a line that is too long")
        try:
            found = orjson.loads(line)
        except ValueError:
            raise SharingError("the offer is not in the form of one") from None
        if not isinstance(found, dict):
            raise SharingError("the offer is not in the form of one")
        if self.heading is None:
            self.heading = _heading(found)
            return
        if len(self.entries) >= self.heading.entries:
            raise SharingError("the offer holds more than it says")
        entry = _entry(found)
        self._keep(entry.path)
        self._place(entry)
        self.entries.append(entry)
        self._total += entry.size

    def _place(self, entry: Entry) -> None:
        """Nothing may be two things: a path is there once, and what is below a file is nowhere."""
        path = entry.path.removesuffix("/")
        above, slash, _ = path.rpartition("/")
        while slash and above not in self._directories:
            if above in self._files:
                raise SharingError(f"{shown(above)!r} is offered as a file and as a directory")
            if len(self._directories) >= MAX_ENTRIES:  # each entry can name many more above it
                raise _too_many()
            self._keep(above)
            self._directories.add(above)
            above, slash, _ = above.rpartition("/")
        if path in self._files or (path in self._directories and not entry.is_directory):
            raise SharingError(f"{shown(path)!r} is offered twice")
        (self._directories if entry.is_directory else self._files).add(path)

    def _keep(self, path: str) -> None:
        self._kept += sys.getsizeof(path)
        if self._kept > MAX_PATHS:
            raise SharingError("the paths that are offered are too long: share an archive instead")


def _heading(found: dict[str, Any]) -> Heading:
    if found.get("v") != VERSION or found.get("piece") != PIECE:
        raise SharingError(
            "this is offered in another version of sharing: use the same release on both sides"
        )
    text = found.get("text")
    if text is not None and (not isinstance(text, str) or len(text) > MAX_TEXT):
        raise SharingError("the offer has a text that is none, or too long")
    if _number(found, "entries") > MAX_ENTRIES:
        raise _too_many()
    return Heading(
        _text(found, "title"),
        _text(found, "by"),
        _number(found, "entries"),
        _number(found, "files"),
        _number(found, "total"),
        text,
    )


def _too_many() -> SharingError:
    return SharingError(
        f"more than {MAX_ENTRIES} files and directories are offered: "
        "share an archive of them instead"
    )


def _entry(found: dict[str, Any]) -> Entry:
    path = check_path(_text(found, "path"))
    size = 0 if path.endswith("/") else _number(found, "size")
    return Entry(path, size, _number(found, "modified"), _number(found, "mode") & 0o7777)


def _text(found: dict[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str):
        raise SharingError(f"the offer has no {name} where it should")
    return value


def _number(found: dict[str, Any], name: str) -> int:
    value = found.get(name)
    if type(value) is not int or not 0 <= value <= MAX_SIZE:
        raise SharingError(f"the offer has no {name} where it should")
    return value
