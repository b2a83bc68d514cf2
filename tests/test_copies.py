"""The copy table of docs/architecture.md: counters, for a transfer on the native transport."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from peerfetch_fast.streams.session import Session
from peerfetch_fast.webrtc.channel_link import ChannelLink, link_over, open_channel

sys.path.insert(0, str(Path(__file__).parent / "webrtc"))
data_connection = pytest.importorskip(
    "peerfetch_fast.webrtc.data_connection", reason="built without the native data path"
)

SIZE = 8 << 20


async def test_a_payload_byte_is_copied_once_each_way() -> None:
    one, other = data_connection.DataConnection(), data_connection.DataConnection()
    links: list[ChannelLink] = []
    arrived, opened = asyncio.Event(), asyncio.Event()

    @other.on("datachannel")
    def on_channel(channel: object) -> None:
        links.append(link_over(other, channel))  # type: ignore[arg-type]
        arrived.set()

    channel = open_channel(one)
    channel.on("open", opened.set)
    link = link_over(one, channel)
    await one.setLocalDescription()
    await other.setRemoteDescription(one.localDescription)
    await other.setLocalDescription()
    await one.setRemoteDescription(other.localDescription)
    await asyncio.gather(arrived.wait(), opened.wait())

    sending, receiving = Session(link, opener=True), Session(links[0], opener=False)
    stream = await sending.open_stream()

    async def send() -> None:
        for _ in range(SIZE // 65_536):
            await stream.write(bytes(65_536))
        stream.end()

    writing = asyncio.ensure_future(send())
    taken = await receiving.accept()
    got = 0
    while piece := await taken.read():
        got += len(piece)
    await writing
    assert got == SIZE

    # SCTP copies what it sends again once more, and a fragment that overtook the first of its
    # message; neither happens often here.
    out = one._data.channels.association.sender.copied + sending._engine.copied_out  # type: ignore
    into = other._data.channels.association.receiver.copied + receiving._engine.copied_in  # type: ignore
    assert SIZE <= out < 1.05 * SIZE
    assert SIZE <= into < 1.05 * SIZE
    sending.abort()
    await asyncio.gather(sending.wait_closed(), receiving.wait_closed())
    await asyncio.gather(one.close(), other.close())
