"""A directory that a proxy serves: its files, each folder as a ZIP, and an inbox in each.

The ZIP and the inbox are those of docs/sharing.md, below the path of the folder that is meant.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote_to_bytes

from peerfetch_fast.errors import SharingError, UnsafeName
from peerfetch_fast.http.files import Files
from peerfetch_fast.http.files.tree import Tree, is_hidden
from peerfetch_fast.http.routing import Resources
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.sharing import inbox
from peerfetch_fast.sharing.answering import answer_zip_head, send
from peerfetch_fast.sharing.inbox import Arrived, InboxResources
from peerfetch_fast.sharing.manifest import ROOT
from peerfetch_fast.sharing.names import check_path
from peerfetch_fast.sharing.source import collect_folder
from peerfetch_fast.sharing.zipping import Zip, ZipReader

__all__ = ["Folder"]

READERS = 4
"""Threads that wait for the disk."""

MAX_ZIPS = 4
"""ZIPs that are sent at once: each holds what is in its folder."""

_SHARE, _INBOX = ROOT.removeprefix("/"), inbox.ROOT.removeprefix("/")


class Folder(Resources):
    """Answers with the files below a directory, and with what can be done with its folders.

    :param quota: bytes that others may send into it in all; None where they may not.
    :param on_arrived: called with each file that is whole. It must not raise.

    Raises ValueError where the directory cannot be served, OSError where nothing can be kept in it.
    """

    def __init__(
        self,
        root: Path,
        quota: int | None = None,
        on_arrived: Callable[[Arrived], object] = lambda _: None,
    ) -> None:
        offers = [f"{_SHARE}/zip", *([] if quota is None else [_INBOX])]
        self._name = root.resolve().name or "files"
        self._files = Files(root, offers=offers)
        self._tree = Tree(root)
        self._inbox = None if quota is None else InboxResources(root, quota, on_arrived)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="peerfetch-folder")
        self._crcs: OrderedDict[bytes, tuple[str, dict[int, int]]] = OrderedDict()
        """What is known of the ZIPs that were asked for last, each with its version."""
        self._zips = 0

    async def close(self) -> None:
        """Let go of the directory."""
        if self._inbox is not None:
            await self._inbox.close()
        await asyncio.to_thread(self._readers.shutdown, cancel_futures=True)
        self._tree.close()
        await self._files.close()

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        path, question, query = exchange.target.partition("?")
        segments = path.split("/")[1:]
        for at, segment in enumerate(segments):
            if segment == _SHARE and segments[at + 1 : at + 2] == ["zip"]:
                await self._send_zip(exchange, segments[:at])
                return
            if segment == _INBOX and self._inbox is not None:
                below = "/".join(segments[at:])
                await self._take(exchange, segments[:at], f"/{below}{question}{query}")
                return
        await self._files(exchange)

    async def _take(self, exchange: Exchange, segments: list[str], target: str) -> None:
        """Take what is sent into a folder."""
        assert self._inbox is not None
        names = await self._names(segments)
        try:
            folder = "".join(f"{name.decode()}/" for name in names or ())
            check_path(f"{folder}file")
        except (UnicodeDecodeError, UnsafeName):
            names = None
        if names is None:
            exchange.refuse(404, "There is no such folder.")
            return
        await self._inbox.answer(exchange, target, folder)

    async def _send_zip(self, exchange: Exchange, segments: list[str]) -> None:
        names = await self._names(segments)
        if names is None:
            exchange.refuse(404, "There is no such folder.")
        elif exchange.method not in ("GET", "HEAD"):
            exchange.respond(405, [("allow", "GET, HEAD")])
        elif self._zips >= MAX_ZIPS:
            exchange.refuse(503, "Too many folders are being saved just now: try again.")
        else:
            self._zips += 1
            try:
                await self._answer_zip(exchange, names)
            finally:
                self._zips -= 1

    async def _answer_zip(self, exchange: Exchange, names: list[bytes]) -> None:
        loop = asyncio.get_running_loop()
        title = names[-1].decode(errors="replace") if names else self._name
        try:
            layout = await loop.run_in_executor(self._readers, self._laid_out, names, title)
        except SharingError as error:
            exchange.refuse(413, f"This folder cannot be sent as a ZIP: {error}.")
            return
        except OSError as error:
            exchange.refuse(403, f"This folder cannot be read: {error.strerror}.")
            return
        span = answer_zip_head(exchange, layout, title)
        if span is not None:
            await send(exchange, ZipReader(layout, *span), self._readers)

    async def _names(self, segments: list[str]) -> list[bytes] | None:
        """The names that lead to a folder which is served; None where there is none."""
        names = [unquote_to_bytes(segment) for segment in segments]
        if any(not name or is_hidden(name) or b"/" in name or b"\0" in name for name in names):
            return None
        loop = asyncio.get_running_loop()
        is_there = await loop.run_in_executor(self._readers, self._is_folder, names)
        return names if is_there else None

    # -- in a thread -----------------------------------------------------------------------------

    def _is_folder(self, names: list[bytes]) -> bool:
        try:
            node = self._tree.open(names)
        except OSError:
            return False
        node.close()
        return node.is_directory

    def _laid_out(self, names: list[bytes], title: str) -> Zip:
        """The ZIP of a folder as it is now. Raises SharingError, OSError."""
        layout = Zip(list(collect_folder(self._tree, names, title).items.values()))
        # Who goes on with an earlier one need not wait until all before it was read again.
        key = b"/".join(names)
        version, crcs = self._crcs.pop(key, ("", {}))
        if version == layout.version:
            layout.crcs = crcs
        self._crcs[key] = layout.version, layout.crcs
        if len(self._crcs) > MAX_ZIPS:
            self._crcs.popitem(last=False)
        return layout
