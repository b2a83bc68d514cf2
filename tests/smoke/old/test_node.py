"""Channels to an old node, on a connection that a test plays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pyee.base import EventEmitter

from peerfetch_fast.smoke.network import PortRefused
from peerfetch_fast.smoke.old.node import OldNode


class Channel(EventEmitter):
    """As much of a data channel as is used."""

    readyState = "open"
    bufferedAmountLowThreshold = 0

    def close(self) -> None:
        if self.readyState == "open":
            self.readyState = "closed"
            self.emit("close")


class Connection(EventEmitter):
    """One whose channels nobody answers."""

    connectionState = "connected"

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Channel] = []

    def createDataChannel(self, _: str) -> Channel:
        self.made.append(Channel())
        return self.made[-1]


async def test_who_waits_no_longer_for_a_port_leaves_no_channel() -> None:
    connection: Any = Connection()
    node = OldNode(connection, "0.0.0.2", {})  # type: ignore[arg-type]
    opening = asyncio.create_task(node.open("80"))
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait((opening,))
    assert [channel.readyState for channel in connection.made] == ["closed"]
    assert not node._channels


async def test_a_port_that_is_refused_leaves_no_channel() -> None:
    connection: Any = Connection()
    node = OldNode(connection, "0.0.0.2", {})  # type: ignore[arg-type]
    opening = asyncio.create_task(node.open("80"))
    await asyncio.sleep(0)
    connection.made[0].emit("message", b"\1")
    with pytest.raises(PortRefused):
        await opening
    assert [channel.readyState for channel in connection.made] == ["closed"]
    assert not node._channels
