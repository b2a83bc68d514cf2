"""Answer requests with the files of a directory."""

from __future__ import annotations

import asyncio
import errno
import logging
import mimetypes
import os
import re
import secrets
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
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
from peerfetch_fast.http.server import Exchange

__all__ = ["Files"]

logger = logging.getLogger(__name__)

CHUNK = 256 * 1024
"""Bytes that are read at a time."""

READERS = 4
"""Threads that wait for the disk; with all of them busy, further requests queue."""

_METHODS = ("GET", "HEAD")

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

# What a file that is compressed as a whole is; it is sent as it lies there.
_COMPRESSED = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
}

_MISSING = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP))
_REFUSED = frozenset((errno.EACCES, errno.EPERM))
_BUSY = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM))


@dataclass(frozen=True)
class _File:
    node: Node
    content_type: str

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
    """A handler that serves the files below a directory. Close it after use.

    Nothing outside the directory is reached, hidden names (with a dot before them) are neither
    listed nor served, and only regular files and directories are. All waiting for the disk is
    done in threads.

    Raises ValueError where ``directory`` cannot be served.
    """

    def __init__(self, directory: Path) -> None:
        self._tree = Tree(directory)
        mimetypes.init()  # reads files, which no request shall wait for
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
        reader = _Reader(found.node.descriptor, self._readers)
        try:
            await _send_file(exchange, found, reader)
        finally:
            reader.close()

    async def _found(self, segments: list[bytes], exchange: Exchange) -> _File | _Page:
        """What is there, looked for in a thread. If somebody has gone meanwhile, it is closed.

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
        """What is there. Raises OSError."""
        *directories, name = segments
        if any(not part or is_hidden(part) for part in directories) or is_hidden(name):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        node = self._tree.open(segments)
        if not node.is_directory:
            if name:
                return _File(node, _content_type(name))
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
        except OSError:
            return None
        if node.is_directory:
            node.close()
            return None
        return _File(node, _content_type(b"index.html"))

    def _list(self, directories: list[bytes], node: Node, exchange: Exchange) -> _Page:
        entries, more = read_entries(self._tree, directories, node)
        below = "".join(f"{part.decode(errors='replace')}/" for part in directories)
        path = f"{unquote(exchange.prefix)}/{below}"
        if prefers_json(",".join(exchange.headers.getall("accept", ()))):
            return _Page(as_json(path, entries, more), "application/json")
        page = as_html(path, entries, more, parent=bool(directories))
        return _Page(page, "text/html; charset=utf-8")


class _Reader:
    """Read an open file without waiting for the disk: what the system has in memory at once, and
    the rest in a thread.
    """

    def __init__(self, descriptor: int, threads: ThreadPoolExecutor) -> None:
        self._descriptor = descriptor
        self._threads = threads
        self._reading: Future[bytes] | None = None

    async def read(self, start: int, most: int) -> bytes:
        """Up to ``most`` bytes at ``start``, b"" at the end of the file. Raises OSError."""
        data = _read_cached(self._descriptor, start, most)
        if data is None:
            self._reading = self._threads.submit(os.pread, self._descriptor, most, start)
            data = await asyncio.wrap_future(self._reading)
        return data

    def close(self) -> None:
        """Close the file, once no thread reads from it any more."""
        if self._reading is None:
            os.close(self._descriptor)
        else:
            self._reading.add_done_callback(lambda _: os.close(self._descriptor))


def _read_cached(descriptor: int, start: int, most: int) -> bytes | None:
    """What can be read without waiting (Linux's preadv2(2)); None if that is nothing."""
    if not hasattr(os, "RWF_NOWAIT"):
        return None
    buffer = bytearray(most)
    try:
        size = os.preadv(descriptor, (buffer,), start, os.RWF_NOWAIT)
    except OSError:  # not in memory, or the file system cannot tell
        return None
    return bytes(memoryview(buffer)[:size])


async def _send_file(exchange: Exchange, file: _File, reader: _Reader) -> None:
    status = file.node.status
    size, modified = status.st_size, int(status.st_mtime)
    etag = f'"{status.st_ino:x}-{size:x}-{status.st_mtime_ns:x}"'
    now = time.time()
    headers = [
        ("date", http_date(now)),
        ("etag", etag),
        ("last-modified", http_date(min(modified, now))),
    ]
    answer = check_conditions(exchange.headers, etag, modified)
    if answer is not None:
        if answer == 304:
            exchange.start(304, headers, None)
            exchange.end()
        else:
            exchange.respond(answer, headers)
        return
    headers += [("accept-ranges", "bytes"), ("x-content-type-options", "nosniff")]
    asked = exchange.headers.getall("range", ())
    ranges: list[tuple[int, int]] | None = None
    if (
        exchange.method == "GET"
        and len(asked) == 1
        and range_holds(exchange.headers, etag, modified, now)
    ):
        ranges = select_ranges(asked[0], size)
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
    for before, start, stop in pieces:
        await exchange.write(before)
        while start < stop:
            try:
                data = await reader.read(start, min(stop - start, CHUNK))
            except OSError as error:
                logger.warning("a file could not be read to its end: %s", error)
                data = b""
            if not data:  # it is shorter now than it was
                exchange.break_off(codes.UPSTREAM_ERROR)
                return
            start += len(data)
            await exchange.write(data)
    exchange.end()


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


def _content_type(name: bytes) -> str:
    kind, compression = mimetypes.guess_type(f"./{name.decode(errors='replace')}")
    if compression is not None:
        return _COMPRESSED.get(compression, "application/octet-stream")
    return kind or "application/octet-stream"


def _close_result(running: Future[_File | _Page]) -> None:
    if not running.cancelled() and running.exception() is None:
        running.result().close()
