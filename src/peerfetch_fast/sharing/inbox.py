"""An inbox: a directory into which others send files, without seeing what is in it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, unquote

import orjson

from peerfetch_fast.errors import UnsafeName
from peerfetch_fast.http.routing import Resources
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.sharing.directory import Directory
from peerfetch_fast.sharing.names import clean_name, numbered, shown

__all__ = ["ROOT", "Arrived", "InboxResources"]

T = TypeVar("T")

ROOT = "/~inbox"

MAX_SIZE = 1 << 53
"""Bytes of the largest file: what JavaScript counts exactly."""

COPIES = 100
"""Names that are tried in order for a file whose own is taken, and then so many at random: who
sends one name for ever has few of those tried that it has taken before.
"""

MAX_FILES = 100_000
"""Files that it takes in all: the quota does not count how many they are, and some are empty."""

MAX_UNFINISHED = 1000
"""Files of which only a part has come. Of more, that gives way of which nothing comes for longest.
"""

KEPT = 300.0
"""Seconds for which there is room for the rest of a file of which nothing comes."""

WRITERS = 4
"""Threads that wait for the disk."""

_ID = re.compile(r"[0-9a-f]{32}")
_PARTIAL = re.compile(r"\.peerfetch-[0-9a-f]{32}\.part")
_NUMBER = re.compile(r"[0-9]{1,16}")


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file that was sent here."""

    name: str
    size: int
    sender: str
    """How the sender calls itself."""


@dataclass(frozen=True, slots=True)
class _Upload:
    """A request's statements about the file that it sends."""

    folder: str
    """In which it is kept: "", or names that each have a ``/`` behind them."""
    name: str
    size: int
    partial: str
    sender: str

    @property
    def path(self) -> str:
        return f"{self.folder}{self.name}"

    @property
    def key(self) -> str:
        """By which it is known while it is unfinished."""
        return f"{self.folder}{self.partial}"


@dataclass(slots=True)
class _Unfinished:
    """A file of which only a part has come."""

    size: int
    have: int
    """Bytes of it that are here."""
    heard: float
    """When something came of it last, in seconds of the monotonic clock."""


class InboxResources(Resources):
    """Answers those who send.

    :param directory: made if need be.
    :param quota: bytes that this takes in all, and of unfinished files that are there already.
    :param on_arrived: called with each file that is whole. It must not raise.

    Raises OSError where the directory cannot be used.
    """

    def __init__(
        self, directory: Path, quota: int, on_arrived: Callable[[Arrived], object] = lambda _: None
    ) -> None:
        self._directory = Directory(directory)
        self._on_arrived = on_arrived
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="peerfetch-inbox")
        self._looking = threading.Lock()
        """Held while a thread uses the directory, which remembers the one below that it used."""
        self._busy: set[str] = set()
        self._unfinished: dict[str, _Unfinished] = {}
        for name in os.listdir(self._directory.root):
            if _PARTIAL.fullmatch(name):
                size = self._directory.size(name, name)
                self._unfinished[name] = _Unfinished(size, size, -math.inf)
        self._left = quota
        self._files_left = MAX_FILES

    async def close(self) -> None:
        """Let go of the directory."""
        await asyncio.to_thread(self._writers.shutdown, cancel_futures=True)
        self._directory.close()

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        await self.answer(exchange, exchange.target)

    async def answer(self, exchange: Exchange, target: str, folder: str = "") -> None:
        """Answer one request for ``target``.

        :param folder: a directory that is there, in which files are kept: "", or names below the
            inbox's that each have a ``/`` behind them.
        """
        try:
            await self._answer(exchange, target, folder)
        except UnsafeName as error:
            exchange.refuse(403, f"Nothing is kept there: {error}.")

    async def _answer(self, exchange: Exchange, target: str, folder: str) -> None:
        path, _, query = target.partition("?")
        if path == ROOT and exchange.method in ("GET", "HEAD"):
            told = {"v": 1, "by": socket.gethostname()[:64], "free": self._free}
            exchange.respond(200, [("content-type", "application/json")], orjson.dumps(told))
            return
        if not path.startswith(f"{ROOT}/files/"):
            exchange.refuse(404, f"This is an inbox: files are sent to {ROOT}/files/NAME.")
            return
        upload = _upload(exchange, folder, path.removeprefix(f"{ROOT}/files/"), query)
        if upload is None:
            exchange.refuse(400, "Say which file it is: ?id=32 hexadecimal digits&size=bytes.")
            return
        if exchange.method == "HEAD":
            exchange.respond(200, [("upload-offset", str(await self._offset(upload)))])
        elif exchange.method == "PUT":
            await self._take(exchange, upload)
        else:
            exchange.respond(405, [("allow", "HEAD, PUT")])

    @property
    def _free(self) -> int:
        return max(self._left - self._taken(), 0)

    def _taken(self, besides: str = "") -> int:
        """Bytes for which there is room already, those of another key left out."""
        return sum(
            one.size if self._comes(key, one) else one.have
            for key, one in self._unfinished.items()
            if key != besides
        )

    def _comes(self, key: str, unfinished: _Unfinished) -> bool:
        """Whether the rest of it comes, or may be about to."""
        return key in self._busy or time.monotonic() - unfinished.heard < KEPT

    async def _find_place(self) -> bool:
        """Make place for one more unfinished file, if there is none; whether there is now."""
        if len(self._unfinished) < MAX_UNFINISHED:
            return True
        left = [key for key, one in self._unfinished.items() if not self._comes(key, one)]
        if not left:
            return False
        key = min(left, key=lambda key: self._unfinished[key].heard)
        del self._unfinished[key]
        self._busy.add(key)
        try:
            await self._in_thread(self._remove, key)
        finally:
            self._busy.discard(key)
        return True

    async def _offset(self, upload: _Upload) -> int:
        """Bytes of it that are here."""
        return await self._in_thread(self._size, upload)

    async def _take(self, exchange: Exchange, upload: _Upload) -> None:
        """Keep what comes of a file, if nobody else sends it now."""
        if upload.key in self._busy:
            _go_on_at(exchange, await self._offset(upload))
            return
        self._busy.add(upload.key)
        try:
            await self._go_on(exchange, upload)
        except OSError as error:
            exchange.refuse(507, f"It cannot be kept: {error.strerror}.")
        finally:
            self._busy.discard(upload.key)

    async def _go_on(self, exchange: Exchange, upload: _Upload) -> None:
        """Keep what comes of a file from where it broke off. Raises OSError."""
        have = await self._offset(upload)
        if exchange.headers.get("upload-offset", "0") != str(have):
            _go_on_at(exchange, have)
            return
        if upload.key not in self._unfinished and not await self._find_place():
            exchange.refuse(503, "Too many files are unfinished here.")
            return
        room = max(self._left - self._taken(besides=upload.key), 0)
        if upload.size > room or have > upload.size:
            exchange.refuse(413, f"It is too large: there is room for {room} bytes.")
            return
        if self._files_left <= 0:
            exchange.refuse(503, f"No more than {MAX_FILES} files are taken: begin it anew here.")
            return
        unfinished = _Unfinished(upload.size, have, time.monotonic())
        self._unfinished[upload.key] = unfinished
        await self._write(exchange, upload, unfinished)

    async def _write(self, exchange: Exchange, upload: _Upload, unfinished: _Unfinished) -> None:
        """Raises OSError."""
        with contextlib.ExitStack() as opened:
            try:
                file = await self._in_thread(self._open, upload, unfinished.have, opened)
            except (OSError, UnsafeName):
                if unfinished.have == 0:  # nothing is here for which there must be room
                    del self._unfinished[upload.key]
                raise
            while piece := await exchange.read():
                if unfinished.have + len(piece) > upload.size:
                    exchange.refuse(400, "More came than was announced.")
                    return
                await self._in_thread(_write_all, file, piece)
                unfinished.have += len(piece)
                unfinished.heard = time.monotonic()
        if unfinished.have < upload.size:
            exchange.respond(202, [("upload-offset", str(unfinished.have))])
            return
        name = await _ended(asyncio.ensure_future(self._finish(upload)))
        told = orjson.dumps({"name": name})
        exchange.respond(201, [("content-type", "application/json")], told)

    async def _finish(self, upload: _Upload) -> str:
        """Keep a file that is whole; its name. Raises OSError."""
        name = await self._in_thread(self._keep, upload)
        self._left -= self._unfinished.pop(upload.key).size
        self._files_left -= 1
        self._on_arrived(Arrived(f"{upload.folder}{name}", upload.size, upload.sender))
        return name

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        loop = asyncio.get_running_loop()
        return await _ended(loop.run_in_executor(self._writers, work, *arguments))

    # -- in a thread -----------------------------------------------------------------------------

    def _size(self, upload: _Upload) -> int:
        with self._looking:
            return self._directory.size(upload.path, upload.partial)

    def _open(self, upload: _Upload, have: int, opened: contextlib.ExitStack) -> int:
        """A descriptor, which ``opened`` closes. Raises OSError."""
        with self._looking:
            file = self._directory.open(upload.path, beside=upload.partial)
        opened.callback(os.close, file)
        os.lseek(file, have, os.SEEK_SET)
        return file

    def _remove(self, key: str) -> None:
        """Remove what has come of a file."""
        with self._looking, contextlib.suppress(UnsafeName):
            self._directory.remove(key, key.rpartition("/")[2])

    def _keep(self, upload: _Upload) -> str:
        """Give the file a name that is not taken. Raises OSError."""
        name = upload.name
        tried = range(2, COPIES)
        for number in (*tried, *(secrets.randbelow(1_000_000) for _ in tried)):
            with self._looking, contextlib.suppress(FileExistsError):
                self._directory.put(f"{upload.folder}{name}", upload.partial, overwrite=False)
                return name
            name = numbered(upload.name, number)
        raise FileExistsError(17, "too many files have that name")


async def _ended(doing: asyncio.Future[T]) -> T:
    """The result of ``doing``, which is waited for even where the sender gives up meanwhile: a
    descriptor that is closed while a thread writes could be another file's by then.
    """
    try:
        return await asyncio.shield(doing)
    finally:
        await asyncio.wait((doing,))


def _go_on_at(exchange: Exchange, have: int) -> None:
    headers = [("upload-offset", str(have)), ("content-type", "text/plain")]
    exchange.respond(409, headers, f"{have} bytes of it are here.\n".encode())


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _upload(exchange: Exchange, folder: str, name: str, query: str) -> _Upload | None:
    """The file that is sent; None where the request does not say it."""
    try:
        fields = parse_qs(query, max_num_fields=8)
    except ValueError:
        return None
    identity, size = fields.get("id", [""])[0], fields.get("size", [""])[0]
    if not _ID.fullmatch(identity) or not _NUMBER.fullmatch(size) or int(size) > MAX_SIZE:
        return None
    sender = unquote(exchange.headers.get("share-name", "")[:512], errors="replace")
    return _Upload(
        folder,
        clean_name(unquote(name, errors="replace")),
        int(size),
        f".peerfetch-{identity}.part",
        shown(sender)[:64].strip() or "somebody",
    )
