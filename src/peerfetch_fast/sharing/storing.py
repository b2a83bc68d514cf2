"""Keep what is received: files whole or not at all, and what came of them to be gone on with."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import orjson

from peerfetch_fast.errors import FilesExist, SharingError
from peerfetch_fast.sharing.directory import Directory
from peerfetch_fast.sharing.manifest import PIECE, Entry
from peerfetch_fast.sharing.names import numbered, shown
from peerfetch_fast.sharing.records import DATA, DIGEST, END, FAILED, FILE, RecordReader, Wanted

__all__ = ["IfExists", "Storing", "WrongPiece", "partial_name"]

IfExists = Literal["refuse", "overwrite", "rename", "skip"]
"""The way to treat a file that is there already and is not the offered one."""

COPIES = 1000
"""Names that are tried for a file whose own is taken."""

TIME_STEP = 2000
"""Milliseconds: file systems keep no finer times than that (FAT)."""

READ = 1024 * 1024
"""Bytes that are read at once of what came before."""

MAX_WHY = 200
"""Characters of what the other side says of a file that does not come."""

TRIES = 3
"""Times that a piece is asked for whose digest is wrong."""


class WrongPiece(SharingError):
    """A piece came with another digest than it has: it has to be asked for again."""


class Storing:
    """The files of one offer, below ``directory``. Its methods wait for the disk: call them in a
    thread, one at a time. What goes wrong with one file is in :attr:`failed`, and the others go on;
    they raise WrongPiece, SharingError, UnsafeName and OSError (a full disk).

    :param if_exists: see :data:`IfExists`.
    """

    def __init__(
        self, directory: Path, entries: Sequence[Entry], if_exists: IfExists = "refuse"
    ) -> None:
        self._directory = Directory(directory)
        self._entries = entries
        self._if_exists = if_exists
        self._waiting: list[Entry] = []
        self._next = 0
        self._asked = 0
        """Where in :attr:`_waiting` that ends which was asked for last."""
        self._names: dict[str, str] = {}
        """Of the files that get another name."""
        self._file: _File | None = None
        self._records = RecordReader()
        self._wrong = 0
        self.complete = False
        """Whether all that was asked for last was answered."""
        self.have = 0
        """Bytes that are here, of files that failed too."""
        self.received = 0
        """Bytes that have come."""
        self.whole = 0
        """Files that are whole."""
        self.failed: list[str] = []
        """Files that are not, with the reason: sentences."""

    def begin(self) -> int:
        """Look what is here already; bytes that need not come.

        Raises FilesExist before anything was written.
        """
        taken = []
        for entry in self._entries:
            if entry.is_directory:
                continue
            found = self._directory.look(entry.path)
            if found is None:
                self._waiting.append(entry)
            elif _same(entry, found) or self._if_exists == "skip":
                self.whole += 1
                self.have += entry.size
            elif self._if_exists == "overwrite" and stat.S_ISREG(found.st_mode):
                self._waiting.append(entry)
            elif self._if_exists == "rename":
                self._names[entry.path] = self._free_name(entry)
                self._waiting.append(entry)
            else:
                taken.append(entry.path)
        if taken:
            more = f" and {len(taken) - 3} more" if len(taken) > 3 else ""
            names = ", ".join(map(shown, taken[:3]))
            raise FilesExist(f"what is here already is not overwritten: {names}{more}")
        for entry in self._entries:
            if entry.is_directory:
                self._directory.make(entry.path.removesuffix("/"))
        before = self.have
        for entry in self._waiting:
            self.have += self._offset(entry)
        return before

    def ask(self, most: int) -> list[Wanted]:
        """The next files to ask for, ``most`` at most, each from where it breaks off."""
        self._close()
        self._records = RecordReader()
        self.complete = False
        asked = self._waiting[self._next : self._next + most]
        self._asked = self._next + len(asked)
        return [Wanted(entry.path, self._offset(entry)) for entry in asked]

    def feed(self, pieces: Sequence[bytes]) -> None:
        """The outcome so far."""
        for piece in pieces:
            for kind, data in self._records.feed(piece):
                if kind == DATA:
                    self._take_data(data)
                elif kind == DIGEST:
                    self._take_digest(bytes(data))
                elif kind == FILE:
                    self._begin_file(bytes(data))
                elif kind == FAILED:
                    self._fail(bytes(data).decode(errors="replace")[:MAX_WHY])
                elif kind == END:
                    self._end()

    def finish(self) -> None:
        """All has come that does."""
        self._close()
        for entry in reversed(self._entries):
            if entry.is_directory:
                self._directory.finish(entry.path, entry.mode, entry.modified)

    def close(self) -> None:
        """Let go of the directory. The next transfer goes on with the parts that came."""
        self._close()
        self._directory.close()

    def _end(self) -> None:
        if self._file is not None or self._next < self._asked:
            # It would be asked for again, and again.
            raise SharingError("the other side does not send what it was asked for")
        self.complete = True

    # -- one file ---------------------------------------------------------------------------------

    def _begin_file(self, about: bytes) -> None:
        if self._file is not None or self._next >= len(self._waiting):
            raise SharingError("a file came that was not asked for")
        entry = self._waiting[self._next]
        try:
            found = orjson.loads(about)
            told = found["path"], found["size"], found["modified"]
        except (ValueError, KeyError, TypeError):
            raise SharingError("what came is not in the form of a share") from None
        if told != (entry.path, entry.size, entry.modified):
            raise SharingError(f"{shown(entry.path)} is another file now: ask for the offer anew")
        path = self._names.get(entry.path, entry.path)
        descriptor = self._directory.open(path, beside=partial_name(entry))
        self._file = _File(entry, path, descriptor)
        self._file.resume()
        if not entry.size:
            self._end_file()

    def _take_data(self, data: bytes | memoryview) -> None:
        file = self._begun()
        file.write(data)
        self.have += len(data)
        self.received += len(data)

    def _take_digest(self, digest: bytes) -> None:
        file = self._begun()
        begin = file.piece
        if file.digest() != digest:
            self.have -= file.at - begin
            file.cut(begin)
            self._close()
            self._wrong += 1
            if self._wrong >= TRIES:
                raise SharingError(
                    f"{shown(file.entry.path)} came damaged {TRIES} times: "
                    "the disk, the memory or the sender is not to be trusted"
                )
            raise WrongPiece(f"a piece of {shown(file.entry.path)} came damaged")
        self._wrong = 0
        if file.at == file.entry.size:
            self._end_file()

    def _end_file(self) -> None:
        file = self._begun()
        entry = file.entry
        file.finish()
        partial = partial_name(entry)
        overwrite = self._if_exists == "overwrite"
        try:
            self._directory.put(file.path, partial, overwrite=overwrite)
            self.whole += 1
        except FileExistsError:
            self.failed.append(f"{entry.path}: there is a file of that name meanwhile")
        except IsADirectoryError:
            self.failed.append(f"{entry.path}: there is a directory of that name")
        self._close()
        self._next += 1

    def _fail(self, why: str) -> None:
        if self._next >= len(self._waiting):
            raise SharingError("a file failed that was not asked for")
        entry = self._waiting[self._next]
        self._close()
        self._directory.remove(entry.path, partial_name(entry))
        self.failed.append(f"{entry.path}: {why}")
        self._next += 1

    def _begun(self) -> _File:
        if self._file is None:
            raise SharingError("what came is not in the form of a share")
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _offset(self, entry: Entry) -> int:
        path = self._names.get(entry.path, entry.path)
        try:
            have = self._directory.size(path, partial_name(entry))
        except FileNotFoundError:
            return 0
        return have if have <= entry.size else 0

    def _free_name(self, entry: Entry) -> str:
        above, slash, name = entry.path.rpartition("/")
        for number in range(2, COPIES):
            other = f"{above}{slash}{numbered(name, number)}"
            if self._directory.look(other) is None:
                return other
        raise FilesExist(f"{shown(entry.path)} is here {COPIES} times already")


class _File:
    """A file that is being received: what has come, and the digest of its last piece."""

    def __init__(self, entry: Entry, path: str, descriptor: int) -> None:
        self.entry = entry
        self.path = path
        self.at = 0
        """Bytes that are here."""
        self.piece = 0
        """Where the piece begins that is to be verified next."""
        self._file = descriptor
        self._hash = hashlib.sha256()

    def resume(self) -> None:
        """Go on behind what is here, of which the last piece is read again."""
        have = os.fstat(self._file).st_size
        if have > self.entry.size:
            os.ftruncate(self._file, 0)
            have = 0
        self.piece = max(have - 1, 0) // PIECE * PIECE
        self.at = self.piece
        os.lseek(self._file, self.piece, os.SEEK_SET)
        while self.at < have:
            data = os.read(self._file, min(READ, have - self.at))
            if not data:
                raise SharingError(f"{shown(self.path)} was changed while it was received")
            self._hash.update(data)
            self.at += len(data)

    def write(self, data: bytes | memoryview) -> None:
        end = min(self.piece + PIECE, self.entry.size)
        if self.at + len(data) > end:
            raise SharingError(f"more came of {shown(self.path)} than was offered")
        self._hash.update(data)
        view = memoryview(data)
        while view:
            written = os.write(self._file, view)
            view = view[written:]
            self.at += written

    def digest(self) -> bytes:
        """The digest of the piece that ends here, behind which another one begins."""
        end = min(self.piece + PIECE, self.entry.size)
        if self.at != end:
            raise SharingError(f"less came of {shown(self.path)} than was offered")
        found = self._hash.digest()
        self._hash = hashlib.sha256()
        self.piece = end
        return found

    def cut(self, size: int) -> None:
        """Forget what is behind ``size``."""
        os.ftruncate(self._file, size)

    def finish(self) -> None:
        """It is whole: give it its permissions and its time."""
        if hasattr(os, "fchmod"):
            os.fchmod(self._file, self.entry.mode & 0o777)
        if os.utime in os.supports_fd:
            os.utime(self._file, ns=(self.entry.modified * 1_000_000,) * 2)

    def close(self) -> None:
        os.close(self._file)


def partial_name(entry: Entry) -> str:
    """The name of what has come of a file. It is another one for another version of the file, so
    that it is gone on with whoever shares it next.
    """
    version = f"{entry.path}\n{entry.size}\n{entry.modified}".encode()
    return f".peerfetch-{hashlib.sha256(version).hexdigest()[:24]}.part"


def _same(entry: Entry, found: os.stat_result) -> bool:
    """Whether what is here is taken for what is offered, as rsync does."""
    return (
        stat.S_ISREG(found.st_mode)
        and found.st_size == entry.size
        and abs(found.st_mtime_ns // 1_000_000 - entry.modified) <= TIME_STEP
    )
