"""Files that are opened to be sent, and let go of."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

import pytest

from peerfetch_fast.http.server import Exchange
from peerfetch_fast.sharing import resources as module
from peerfetch_fast.sharing.contents import FileReader
from peerfetch_fast.sharing.receivers import Receivers
from peerfetch_fast.sharing.resources import ShareResources
from peerfetch_fast.sharing.source import Item, Offer
from processes import posix_only
from support import until

pytestmark = posix_only

PATH = "src/plain.txt"


def test_a_file_that_cannot_be_read_is_closed(
    source: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def broken(descriptor: int, size: int, at: int) -> bytes:
        opened.append(descriptor)
        raise OSError(5, "the disk is broken")

    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(OSError, match="broken"):
        FileReader(source.items[PATH], 10)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


class Asking:
    """The request of one who asks for a file."""

    method = "GET"
    target = f"/~share/files/{PATH}"
    headers: Mapping[str, str] = MappingProxyType({})
    client = None


async def test_a_file_is_closed_that_was_opened_for_one_who_has_gone(
    source: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, goes_on, opened = threading.Event(), threading.Event(), list[int]()

    def slow(item: Item, look: int) -> FileReader:
        entered.set()
        goes_on.wait(60)
        reader = FileReader(item, look)
        opened.append(reader._node.descriptor)
        return reader

    monkeypatch.setattr(module, "FileReader", slow)
    resources = ShareResources(source, Receivers())
    asking = asyncio.ensure_future(resources(cast(Exchange, Asking())))
    await until(entered.is_set)
    asking.cancel()
    await asyncio.wait((asking,))
    goes_on.set()
    await until(lambda: bool(opened))
    await resources.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])
