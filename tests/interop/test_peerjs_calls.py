"""Calls of PeerJS as npm has it, in Chromium, with ours, both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import chromium
from tests.interop.pictures import PLAYING
from tests.interop.test_peerjs import PEERJS, World, world

from peerfetch_fast.peerjs.enums import ConnectionEventType, PeerEventType
from peerfetch_fast.peerjs.peer import MediaConnection, Peer, PeerOptions

aiortc = pytest.importorskip("aiortc")

pytestmark = [needs_chromium, pytest.mark.skipif(not PEERJS.exists(), reason="no PeerJS")]


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    with chromium(PLAYING) as devtools:
        yield devtools


async def ours(there: World, peer_id: str) -> Peer:
    options = {name: there.options[name] for name in ("host", "port", "path", "key")}
    peer = Peer(peer_id, PeerOptions(**options, config=None))
    opened = asyncio.get_running_loop().create_future()
    peer.once(PeerEventType.Open, opened.set_result)
    await peer.start()
    await opened
    return peer


def event(emitter: Any, name: str) -> asyncio.Future[Any]:
    """What an event is emitted with, once it is."""
    future = asyncio.get_running_loop().create_future()
    emitter.once(name, lambda value=None: future.done() or future.set_result(value))
    return future


def tracks() -> list[Any]:
    return [aiortc.VideoStreamTrack(), aiortc.AudioStreamTrack()]


async def check(call: MediaConnection, stream: Any, there: World) -> None:
    """Each side sees and hears the other."""
    assert (await stream.video.recv()).width > 0
    assert (await stream.audio.recv()).sample_rate == 48_000
    assert await there.page("shown", "page") == [640, 480]
    assert call.open


async def test_a_page_calls_and_hangs_up(browser: str) -> None:
    async with world(browser) as there:
        peer = await ours(there, "ours")
        await there.start("page")
        called = event(peer, PeerEventType.Call)
        await there.page("call", "page", "ours", {"metadata": {"who": "page"}})
        call = await called
        assert call.metadata == {"who": "page"}
        stream, closed = event(call, ConnectionEventType.Stream), event(call, "close")
        call.answer(tracks())
        await check(call, await stream, there)
        await there.page("hangUp", "page")
        await closed
        assert peer.connections == {}
        await peer.destroy()


async def test_a_page_is_called_and_hung_up(browser: str) -> None:
    async with world(browser) as there:
        peer = await ours(there, "ours")
        await there.start("page")
        call = peer.call("page", tracks(), {"metadata": 7})
        assert call is not None
        stream = event(call, ConnectionEventType.Stream)
        assert await there.page("answer", "page") == 7
        await check(call, await stream, there)
        await call.close()
        await there.page("hungUp", "page")
        await peer.destroy()
