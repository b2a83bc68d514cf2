"""Answer with what is read in threads: all of it, or from where a range asks for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol
from urllib.parse import quote

from peerfetch_fast.http import codes
from peerfetch_fast.http.files.conditions import check_conditions, http_date, range_holds
from peerfetch_fast.http.files.ranges import select_ranges
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.sharing.names import shown
from peerfetch_fast.sharing.zipping import Zip

__all__ = ["Reader", "answer_head", "answer_zip_head", "send"]

logger = logging.getLogger(__name__)


class Reader(Protocol):
    """Reads what is sent, in a thread."""

    path: str

    def read(self) -> list[bytes]:
        """The next pieces, of which some may be empty; [] at the end."""
        ...

    def close(self) -> None: ...


def answer_head(
    exchange: Exchange, size: int, etag: str, modified: int, headers: list[tuple[str, str]]
) -> tuple[int, int] | None:
    """Begin an answer of ``size`` bytes, or of the one range that was asked for: where what is to
    be sent begins and ends; None where all was answered.
    """
    now = time.time()
    headers = [
        ("date", http_date(now)),
        ("etag", etag),
        ("last-modified", http_date(min(modified, now))),
        ("accept-ranges", "bytes"),
        ("x-content-type-options", "nosniff"),
        *headers,
    ]
    answer = check_conditions(exchange.headers, etag, modified)
    if answer is not None:
        exchange.start(answer, headers, None)
        exchange.end()
        return None
    ranges: list[tuple[int, int]] | None = None
    asked = exchange.headers.getall("range", ())
    holds = exchange.method == "GET" and range_holds(exchange.headers, etag, modified, now)
    if holds and len(asked) == 1:
        ranges = select_ranges(asked[0], size)
    status, start, stop = 200, 0, size
    if ranges is not None and not ranges:
        exchange.respond(416, [*headers, ("content-range", f"bytes */{size}")])
        return None
    if ranges is not None and len(ranges) == 1:
        status = 206
        start, stop = ranges[0]
        headers.append(("content-range", f"bytes {start}-{stop - 1}/{size}"))
    headers.append(("content-length", str(stop - start)))
    empty = exchange.method == "HEAD"
    exchange.start(status, headers, 0 if empty else stop - start)
    if empty:
        exchange.end()
        return None
    return start, stop


def answer_zip_head(exchange: Exchange, layout: Zip, title: str) -> tuple[int, int] | None:
    """As :func:`answer_head`, for a ZIP that is to be saved by the name of ``title``."""
    name = quote(f"{title}.zip", safe="")
    headers = [
        ("content-type", "application/zip"),
        ("content-disposition", f"attachment; filename*=UTF-8''{name}"),
    ]
    etag = f'"{layout.version}"'
    return answer_head(exchange, layout.size, etag, layout.modified // 1000, headers)


async def send(
    exchange: Exchange,
    reader: Reader,
    threads: ThreadPoolExecutor,
    on_sent: Callable[[str, int], object] = lambda path, size: None,
) -> str:
    """Send what ``reader`` gives, which reads ahead by one step, and close it.

    :param on_sent: called with the path, and how many bytes of it were sent. It must not raise.

    Returns why it was broken off, a sentence; "" where all was sent.
    """
    loop = asyncio.get_running_loop()
    reading = loop.run_in_executor(threads, reader.read)
    try:
        while pieces := await asyncio.shield(reading):
            path = reader.path
            reading = loop.run_in_executor(threads, reader.read)
            for piece in filter(None, pieces):
                await exchange.write(piece)
            on_sent(path, sum(map(len, pieces)))
        exchange.end()
    except OSError as error:
        why = f"{reader.path}: {error.strerror}"
        logger.warning("a file could not be sent: %s", shown(why))
        exchange.break_off(codes.UPSTREAM_ERROR)
        return why
    finally:
        # No thread reads from it any more when it is closed.
        reading.add_done_callback(partial(_close, reader))
    return ""


def _close(reader: Reader, reading: asyncio.Future[list[bytes]]) -> None:
    if not reading.cancelled():
        reading.exception()  # it was told of, or nobody is there who would want to know
    reader.close()
