"""The resources of a share: the manifest, contents, digests, the ZIP, and receivers' reports.

They are plain HTTP (docs/sharing.md), and any client may ask for them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from urllib.parse import quote, unquote
from weakref import WeakKeyDictionary

import orjson

from peerfetch_fast.http.files.types import LOOK, content_type, read_types
from peerfetch_fast.http.routing import Resources
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.sharing.answering import Reader, answer_head, answer_zip_head, send
from peerfetch_fast.sharing.contents import DigestReader, FileReader
from peerfetch_fast.sharing.manifest import ROOT, manifest_lines
from peerfetch_fast.sharing.names import shown
from peerfetch_fast.sharing.receivers import Receiver, Receivers
from peerfetch_fast.sharing.records import Wanted
from peerfetch_fast.sharing.sending import Digests, Outgoing
from peerfetch_fast.sharing.source import Item, Offer
from peerfetch_fast.sharing.zipping import Zip, ZipReader

__all__ = ["ShareResources"]

logger = logging.getLogger(__name__)

MAX_ASKED = 1024 * 1024
"""Bytes of the request that names files."""

MAX_WANTED = 4096
"""Files that one request names."""

MAX_EVENT = 4096
"""Bytes of what a receiver tells at once."""

MAX_QUESTIONS = 16
"""Receivers about whom is asked at once."""

READERS = 4
"""Threads that wait for the disk."""

CONTENT_POLICY = "sandbox; default-src 'none'"
"""Shared contents are shown as they are, and run nowhere."""


class ShareResources(Resources):
    """Answers the requests for one offer.

    :param offer: closed with this.
    :param admit: asked once about each receiver before it is told anything; None admits all.
    """

    def __init__(
        self,
        offer: Offer,
        receivers: Receivers,
        admit: Callable[[Receiver], Awaitable[bool]] | None = None,
    ) -> None:
        self._offer = offer
        self._receivers = receivers
        self._admit = admit
        self._asked: WeakKeyDictionary[Receiver, asyncio.Task[bool]] = WeakKeyDictionary()
        self._digests = Digests()
        self._zip: asyncio.Future[Zip] | None = None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="peerfetch-share")
        read_types()

    async def close(self) -> None:
        """Let go of what is offered."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.to_thread(self._readers.shutdown, cancel_futures=True)
        self._offer.close()

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        headers = exchange.headers
        receiver = self._receivers.find(
            headers.get("share-receiver"), exchange.client, _name(headers.get("share-name"))
        )
        if not self._can_ask(receiver):
            exchange.refuse(503, "Too many others are asked about: try again later.")
            return
        if not await self._may(receiver):
            exchange.refuse(403, "The one who shares this does not let you have it.")
            return
        path = exchange.target.partition("?")[0]
        if not path.startswith(ROOT):
            exchange.refuse(404, f"Files are shared here: what is offered is told at {ROOT}.")
            return
        name = path.removeprefix(ROOT)
        if name in ("/stream", "/events"):
            if exchange.method != "POST":
                _not_allowed(exchange, "POST")
            elif name == "/events":
                await self._take_event(exchange, receiver)
            else:
                await self._stream(exchange, receiver)
        elif exchange.method not in ("GET", "HEAD"):
            _not_allowed(exchange, "GET, HEAD")
        elif name == "":
            await self._manifest(exchange)
        elif name == "/zip" or name.startswith("/zip/"):
            await self._send_zip(exchange, receiver)
        elif name.startswith("/files/"):
            await self._send_file(exchange, receiver, unquote(name.removeprefix("/files/")))
        elif name == "/digests" or name.startswith("/digests/"):
            await self._send_digests(exchange, unquote(name.removeprefix("/digests")[1:]))
        else:
            exchange.refuse(404, "A share has no such resource.")

    def _can_ask(self, receiver: Receiver) -> bool:
        """Whether an answer about this receiver is there, or can be waited for."""
        if self._admit is None or receiver in self._asked:
            return True
        return sum(not task.done() for task in self._asked.values()) < MAX_QUESTIONS

    async def _may(self, receiver: Receiver) -> bool:
        """Whether this receiver is let in, which is asked once."""
        if self._admit is None:
            return True
        task = self._asked.get(receiver)
        if task is None:
            receiver.state = "asks"
            self._receivers.on_change(receiver)
            task = asyncio.ensure_future(self._admit(receiver))
            self._asked[receiver] = task
        admitted = await asyncio.shield(task)
        if receiver.state == "asks":
            receiver.state = "looks" if admitted else "refused"
            self._receivers.on_change(receiver)
        return admitted

    async def _manifest(self, exchange: Exchange) -> None:
        headers = [("content-type", "application/x-ndjson"), ("cache-control", "no-store")]
        if exchange.method == "HEAD":
            exchange.start(200, headers, 0)
            exchange.end()
            return
        exchange.start(200, headers, None)
        for lines in manifest_lines(self._offer.heading(), self._offer.entries()):
            await exchange.write(lines)
        exchange.end()

    async def _take_event(self, exchange: Exchange, receiver: Receiver) -> None:
        event = _object(await _body(exchange, MAX_EVENT))
        if event is None:
            exchange.refuse(400, "An event is a small object of JSON.")
            return
        self._receivers.told(receiver, event)
        exchange.respond(204)

    async def _stream(self, exchange: Exchange, receiver: Receiver) -> None:
        body = await _body(exchange, MAX_ASKED)
        try:
            wanted = [_wanted(line) for line in (body or b"").split(b"\n") if line]
        except (ValueError, KeyError, TypeError):
            wanted = []
        if not 0 < len(wanted) <= MAX_WANTED:
            exchange.refuse(
                400, f"Name 1 to {MAX_WANTED} files, each by a line of JSON: path and offset."
            )
            return
        reader = Outgoing(self._offer, wanted, self._digests)
        exchange.start(200, [("content-type", "application/octet-stream")], None)
        await self._send(exchange, receiver, reader)
        for failure in reader.failed:
            logger.warning("a file was not sent: %s", shown(failure))

    async def _send_zip(self, exchange: Exchange, receiver: Receiver) -> None:
        layout = await self._laid_out()
        span = answer_zip_head(exchange, layout, self._offer.title)
        if span is not None:
            await self._send(exchange, receiver, ZipReader(layout, *span))

    async def _laid_out(self) -> Zip:
        """The ZIP, which is made once, however many ask for it before it is: of many files that
        takes seconds.
        """
        if self._zip is None:
            items = list(self._offer.items.values())
            self._zip = asyncio.get_running_loop().run_in_executor(self._readers, Zip, items)
        return await asyncio.shield(self._zip)

    async def _send_file(self, exchange: Exchange, receiver: Receiver, path: str) -> None:
        item = self._offer.items.get(path)
        if item is None or item.entry.is_directory:
            exchange.refuse(404, "No such file is shared.")
            return
        try:
            reader = await self._opened(item)
        except OSError as error:
            exchange.refuse(410, f"This file cannot be had any more: {error.strerror}.")
            return
        name = quote(path.rpartition("/")[2], safe="")
        headers = [
            ("content-type", content_type(os.fsencode(path), reader.beginning)),
            ("content-disposition", f"inline; filename*=UTF-8''{name}"),
            ("content-security-policy", CONTENT_POLICY),
        ]
        etag = '"{:x}-{:x}-{:x}"'.format(*item.version)
        span = answer_head(exchange, item.entry.size, etag, item.entry.modified // 1000, headers)
        if span is None:
            reader.close()
            return
        reader.between(*span)
        await self._send(exchange, receiver, reader)

    async def _send_digests(self, exchange: Exchange, path: str) -> None:
        """The digests of a file, or of all in the order of the manifest."""
        item = self._offer.items.get(path)
        if path and (item is None or item.entry.is_directory):
            exchange.refuse(404, "No such file is shared.")
            return
        items = list(self._offer.items.values()) if item is None else [item]
        exchange.start(200, [("content-type", "text/plain")], None)
        if exchange.method == "HEAD":
            exchange.end()
            return
        await send(exchange, DigestReader(items, self._digests), self._readers)

    async def _opened(self, item: Item) -> FileReader:
        """Open a file in a thread. If the receiver has gone meanwhile, it is closed. Raises
        OSError.
        """
        opening = self._readers.submit(FileReader, item, LOOK)
        try:
            return await asyncio.wrap_future(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_result)
            raise

    async def _send(self, exchange: Exchange, receiver: Receiver, reader: Reader) -> None:
        """Send what ``reader`` gives to ``receiver``, and close it."""
        receiver.downloads += 1
        if not receiver.over:
            receiver.state = "receives"

        def sent(path: str, size: int) -> None:
            receiver.file = shown(path)
            receiver.sent += size
            receiver.heard = time.monotonic()
            self._receivers.on_change(receiver)

        try:
            why = await send(exchange, reader, self._readers, sent)
            receiver.why = shown(why) if why else receiver.why
        finally:
            receiver.downloads -= 1
            self._receivers.on_change(receiver)


def _close_result(opening: Future[FileReader]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


async def _body(exchange: Exchange, most: int) -> bytes | None:
    """The body of the request; None where it is longer than that."""
    body = bytearray()
    while piece := await exchange.read():
        body += piece
        if len(body) > most:
            return None
    return bytes(body)


def _object(body: bytes | None) -> dict[str, object] | None:
    try:
        found = orjson.loads(body or b"")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _wanted(line: bytes) -> Wanted:
    """Raises ValueError, KeyError, TypeError."""
    found = orjson.loads(line)
    path, offset = found["path"], found["offset"]
    if not isinstance(path, str) or type(offset) is not int or offset < 0:
        raise ValueError
    return Wanted(path, offset)


def _name(field: str | None) -> str | None:
    return None if field is None else unquote(field[:512], errors="replace")


def _not_allowed(exchange: Exchange, methods: str) -> None:
    headers = [("allow", methods), ("content-type", "text/plain; charset=utf-8")]
    exchange.respond(405, headers, f"This takes {methods}, and nothing else.\n".encode())
