"""Answer requests with the files of a directory, or with a single one."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import secrets
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote, unquote_to_bytes

from peerfetch_fast.http import codes
from peerfetch_fast.http.files.conditions import check_conditions, http_date, range_holds
from peerfetch_fast.http.files.listing import (
    CONTENT_POLICY,
    as_html,
    as_json,
    prefers_json,
    read_entries,
)
from peerfetch_fast.http.files.ranges import select_ranges
from peerfetch_fast.http.files.tree import Forbidden, Node, Tree, is_hidden
from peerfetch_fast.http.files.types import LOOK, content_type, read_types
from peerfetch_fast.http.server import Exchange

__all__ = ["Files"]

logger = logging.getLogger(__name__)

CHUNK = 256 * 1024
"""Bytes that are read at a time."""

CHECK_EACH = 16 * 1024 * 1024
"""Bytes after which it is looked whether a file that is being sent is still the same one."""

MAX_LOOKS = 3
"""Looks at the beginning of a file that is being written; the last one counts."""

READERS = 4
"""Threads that wait for the disk; with all of them busy, further requests queue."""

_METHODS = ("GET", "HEAD")

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

_MISSING = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP))
_REFUSED = frozenset((errno.EACCES, errno.EPERM))
_BUSY = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM))


@dataclass(frozen=True)
class _File:
    node: Node
    status: os.stat_result
    """The status of the file when it was opened."""
    look: bytes
    """The first bytes of the file, at most LOOK of them."""
    content_type: str
    name: bytes | None = None
    """The name of the file, where the target does not end in it."""

    @property
    def whole(self) -> bool:
        """Whether ``look`` holds the whole file."""
        return len(self.look) == self.status.st_size

    @property
    def length_is_known(self) -> bool:
        """Whether the file has the length that the system tells. That of /proc is made up."""
        return len(self.look) == min(self.status.st_size, LOOK)

    def close(self) -> None:
        self.node.close()


@dataclass(frozen=True)
class _Page:
    """A listing, or where to find it."""

    body: bytes
    content_type: str = ""
    location: str | None = None

    def close(self) -> None:
        pass


class Files:
    """A handler that serves the files below a directory, or a single file: at ``/``, and under its
    name. Close it after use.

    Nothing outside the directory is reached, hidden names (with a dot before them) are neither
    listed nor served, and only regular files and directories are. All waiting for the disk is
    done in threads.

    :param offers: what listings say can be had of each directory beside its files, as targets
        relative to it.

    Raises ValueError where ``path`` cannot be served.
    """

    def __init__(self, path: Path, *, offers: Sequence[str] = ()) -> None:
        self._offers = offers
        self._single: tuple[bytes, bytes] | None = None
        if path.is_file():
            # A link that was named means its target, wherever that is.
            real = path.resolve()
            self._single = os.fsencode(path.name), os.fsencode(real.name)
            path = real.parent
        self._tree = Tree(path)
        read_types()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="peerfetch-files")

    async def close(self) -> None:
        """Let go of the directory."""
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._tree.close()

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        if exchange.method not in _METHODS:
            exchange.respond(
                405,
                [("allow", ", ".join(_METHODS)), ("content-type", "text/plain; charset=utf-8")],
                b"Files can be read with GET and HEAD, and nothing else.\n",
            )
            return
        path = exchange.target.partition("?")[0]
        if not path.startswith("/") or _BROKEN_ESCAPE.search(path):
            exchange.refuse(400, "The target is no path, or its percent-encoding is broken.")
            return
        segments = [unquote_to_bytes(segment) for segment in path[1:].split("/")]
        if any(b"\0" in segment for segment in segments):
            exchange.refuse(400, "No file has a name with a NUL in it.")
            return
        if any(segment in (b".", b"..") or b"/" in segment for segment in segments):
            exchange.refuse(403, "This path leads to where no files are served.")
            return
        try:
            found = await self._found(segments, exchange)
        except OSError as error:
            _refuse(exchange, error)
            return
        if isinstance(found, _Page):
            await _send_page(exchange, found)
            return
        reader = _Reader(found, self._readers)
        try:
            await _send_file(exchange, found, reader)
        finally:
            reader.close()

    async def _found(self, segments: list[bytes], exchange: Exchange) -> _File | _Page:
        """Open the file or listing in a thread. If the client has gone meanwhile, it is closed.

        Raises OSError.
        """
        running = self._readers.submit(self._find, segments, exchange)
        try:
            return await asyncio.wrap_future(running)
        except asyncio.CancelledError:
            running.add_done_callback(_close_result)
            raise

    # -- in a thread -----------------------------------------------------------------------------

    def _find(self, segments: list[bytes], exchange: Exchange) -> _File | _Page:
        """Open the file or list the directory at these segments. Raises OSError."""
        if self._single is not None:
            return self._find_single(segments, *self._single)
        *directories, name = segments
        if any(not part or is_hidden(part) for part in directories) or is_hidden(name):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        node = self._tree.open(segments)
        if not node.is_directory:
            if name:
                return _look(node, name)
            node.close()
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        try:
            if name:
                return _Page(b"", location=f"./{quote_from_bytes(name, safe='')}/")
            index = self._index(directories)
            return index or self._list(directories, node, exchange)
        finally:
            node.close()

    def _index(self, directories: list[bytes]) -> _File | None:
        try:
            node = self._tree.open([*directories, b"index.html"])
            if not node.is_directory:
                return _look(node, b"index.html")
            node.close()
        except OSError:
            pass
        return None

    def _find_single(self, segments: list[bytes], name: bytes, real: bytes) -> _File:
        if segments not in ([b""], [name]):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        node = self._tree.open([real])
        if node.is_directory:  # the file was replaced
            node.close()
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        found = _look(node, name)
        return found if segments == [name] else replace(found, name=name)

    def _list(self, directories: list[bytes], node: Node, exchange: Exchange) -> _Page:
        entries, more = read_entries(self._tree, directories, node)
        below = "".join(f"{part.decode(errors='replace')}/" for part in directories)
        path = f"{unquote(exchange.prefix)}/{below}"
        if prefers_json(",".join(exchange.headers.getall("accept", ()))):
            return _Page(as_json(path, entries, more, self._offers), "application/json")
        page = as_html(path, entries, more, parent=bool(directories))
        return _Page(page, "text/html; charset=utf-8")


def _look(node: Node, name: bytes) -> _File:
    """The open node as a file with its first bytes; closes it on failure. Raises OSError."""
    try:
        status = node.status
        for _ in range(MAX_LOOKS):
            look = os.pread(node.descriptor, LOOK, 0)
            before, status = status, os.fstat(node.descriptor)
            if _version(before) == _version(status):
                break
        return _File(node, status, look, content_type(name, look))
    except BaseException:
        node.close()
        raise


def _version(status: os.stat_result) -> tuple[int, int, int]:
    """The values that the entity tag is made of."""
    return status.st_ino, status.st_size, status.st_mtime_ns


class _Reader:
    """Read an open file without waiting for the disk: cached pages at once, and the rest in a
    thread.
    """

    def __init__(self, file: _File, threads: ThreadPoolExecutor) -> None:
        self._descriptor = file.node.descriptor
        self._status = file.status
        self._look = file.look
        self._threads = threads
        self._running: Future[Any] | None = None

    async def read(self, start: int, most: int) -> bytes:
        """Up to ``most`` bytes at ``start``, b"" at the end of the file. Raises OSError."""
        data = _read_cached(self._descriptor, start, most)
        if data is None:
            self._running = self._threads.submit(os.pread, self._descriptor, most, start)
            return bytes(await asyncio.wrap_future(self._running))
        return data

    async def check(self, start: int, data: bytes) -> None:
        """Whether the file is still the one that is being sent, of which ``data`` at ``start`` was
        read last; one that has only been added to is. Raises OSError if it is not.
        """
        self._running = self._threads.submit(self._check, start, data)
        await asyncio.wrap_future(self._running)

    def _check(self, start: int, data: bytes) -> None:
        status = os.fstat(self._descriptor)
        before, self._status = self._status, status
        if _version(status) == _version(before):
            return
        if status.st_size <= before.st_size or any(
            os.pread(self._descriptor, len(seen), at) != seen
            for at, seen in ((0, self._look), (start, data))
        ):
            raise OSError(errno.ESTALE, "it was written anew meanwhile")

    def close(self) -> None:
        """Close the file, once no thread reads from it any more."""
        if self._running is None:
            os.close(self._descriptor)
        else:
            self._running.add_done_callback(lambda _: os.close(self._descriptor))


def _read_cached(descriptor: int, start: int, most: int) -> bytes | None:
    """The bytes that can be read without waiting (Linux's preadv2(2)); None if there are none."""
    if not hasattr(os, "RWF_NOWAIT"):
        return None
    buffer = bytearray(most)
    try:
        size = os.preadv(descriptor, (buffer,), start, os.RWF_NOWAIT)
    except OSError:  # not in memory, or the file system cannot tell
        return None
    return bytes(memoryview(buffer)[:size])


async def _send_file(exchange: Exchange, file: _File, reader: _Reader) -> None:
    now = time.time()
    # A file that is made as it is read has no version, and is newer than any date.
    etag, modified = "", sys.maxsize
    headers = [("date", http_date(now))]
    if file.length_is_known:
        etag = '"{:x}-{:x}-{:x}"'.format(*_version(file.status))
        modified = int(file.status.st_mtime)
        headers += [("etag", etag), ("last-modified", http_date(min(modified, now)))]
    answer = check_conditions(exchange.headers, etag, modified)
    if answer == 304:
        exchange.start(304, headers, None)
        exchange.end()
        return
    if answer is not None:
        exchange.respond(answer, headers)
        return
    headers.append(("x-content-type-options", "nosniff"))
    if file.name is not None:
        named = quote_from_bytes(file.name, safe="")
        headers.append(("content-disposition", f"inline; filename*=UTF-8''{named}"))
    if not file.length_is_known:
        await _send_to_its_end(exchange, file, reader, headers)
        return
    headers.append(("accept-ranges", "bytes"))
    asked = exchange.headers.getall("range", ())
    ranges: list[tuple[int, int]] | None = None
    if (
        exchange.method == "GET"
        and len(asked) == 1
        and range_holds(exchange.headers, etag, modified, now)
    ):
        ranges = select_ranges(asked[0], file.status.st_size)
    await _send_stretches(exchange, file, reader, ranges, headers)


async def _send_to_its_end(
    exchange: Exchange, file: _File, reader: _Reader, headers: list[tuple[str, str]]
) -> None:
    """Send a file of unknown length to its end."""
    headers += [("accept-ranges", "none"), ("content-type", file.content_type)]
    if exchange.method == "HEAD":
        exchange.start(200, headers, 0)
        exchange.end()
        return
    exchange.start(200, headers, None)
    start = 0
    try:
        while data := await reader.read(start, CHUNK):
            await exchange.write(data)
            start += len(data)
    except OSError as error:
        _break_off(exchange, error)
        return
    exchange.end()


async def _send_stretches(
    exchange: Exchange,
    file: _File,
    reader: _Reader,
    ranges: list[tuple[int, int]] | None,
    headers: list[tuple[str, str]],
) -> None:
    """Send the ranges that were asked for; all of the file where that is None."""
    size = file.status.st_size
    if ranges is None:
        pieces = [(b"", 0, size)]
        headers.append(("content-type", file.content_type))
    elif not ranges:
        exchange.respond(416, [*headers, ("content-range", f"bytes */{size}")])
        return
    elif len(ranges) == 1:
        [(start, stop)] = ranges
        pieces = [(b"", start, stop)]
        headers.append(("content-type", file.content_type))
        headers.append(("content-range", f"bytes {start}-{stop - 1}/{size}"))
    else:
        boundary = secrets.token_hex(16)
        pieces = _parts(ranges, size, boundary, file.content_type)
        headers.append(("content-type", f"multipart/byteranges; boundary={boundary}"))
    length = sum(len(before) + stop - start for before, start, stop in pieces)
    headers.append(("content-length", str(length)))
    if exchange.method == "HEAD":
        exchange.start(200, headers, 0)
        exchange.end()
        return
    exchange.start(200 if ranges is None else 206, headers, length)
    try:
        await _write(exchange, file, reader, pieces)
    except OSError as error:
        _break_off(exchange, error)
        return
    exchange.end()


async def _write(
    exchange: Exchange, file: _File, reader: _Reader, pieces: list[tuple[bytes, int, int]]
) -> None:
    """Write stretches of a file, each behind what goes before it. Raises OSError."""
    left = sum(stop - start for _, start, stop in pieces)
    unchecked = 0
    for before, start, stop in pieces:
        await exchange.write(before)
        while start < stop:
            most = min(stop - start, CHUNK)
            if file.whole:
                data = file.look[start:stop]
            else:
                data = await reader.read(start, most)
                if not data:
                    raise OSError(errno.ESTALE, "it has become shorter")
                unchecked += len(data)
                # Before the last piece: an answer that was all written looks whole.
                if len(data) == left or unchecked >= CHECK_EACH:
                    unchecked = 0
                    await reader.check(start, data)
            start += len(data)
            left -= len(data)
            await exchange.write(data)


def _break_off(exchange: Exchange, error: OSError) -> None:
    logger.warning("a file could not be sent to its end: %s", error.strerror)
    exchange.break_off(codes.UPSTREAM_ERROR)


def _parts(
    ranges: list[tuple[int, int]], size: int, boundary: str, content_type: str
) -> list[tuple[bytes, int, int]]:
    """The body of multipart/byteranges (RFC 9110 §14.6): each time, what goes before a stretch of
    the file, and the stretch.
    """
    pieces = [
        (
            f"\r\n--{boundary}\r\ncontent-type: {content_type}\r\n"
            f"content-range: bytes {start}-{stop - 1}/{size}\r\n\r\n".encode(),
            start,
            stop,
        )
        for start, stop in ranges
    ]
    return [*pieces, (f"\r\n--{boundary}--\r\n".encode(), 0, 0)]


async def _send_page(exchange: Exchange, page: _Page) -> None:
    headers = [("date", http_date(time.time())), ("vary", "accept")]
    if page.location is not None:
        # Relative, so that it holds wherever the directory was mounted.
        exchange.respond(308, [*headers, ("location", page.location)])
        return
    length = len(page.body)
    headers += [
        ("content-type", page.content_type),
        ("content-length", str(length)),
        ("content-security-policy", CONTENT_POLICY),
        ("x-content-type-options", "nosniff"),
    ]
    empty = exchange.method == "HEAD"
    exchange.start(200, headers, 0 if empty else length)
    if not empty:
        await exchange.write(page.body)
    exchange.end()


def _refuse(exchange: Exchange, error: OSError) -> None:
    if error.errno in _MISSING:
        exchange.refuse(404, "There is no such file.")
    elif isinstance(error, Forbidden) or error.errno in _REFUSED:
        exchange.refuse(403, "This file is not served.")
    elif error.errno in _BUSY:
        logger.warning("a file could not be opened: %s", error.strerror)
        exchange.refuse(503, "Too many files are open just now; try again.")
    else:
        logger.warning("a file could not be opened: %s", error.strerror)
        exchange.refuse(500, "The file could not be read.")


def _close_result(running: Future[_File | _Page]) -> None:
    if not running.cancelled() and running.exception() is None:
        running.result().close()
