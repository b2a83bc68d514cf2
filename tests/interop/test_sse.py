"""Server-sent events of sse-starlette, as they come: behind the proxy, and in this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from sse_starlette.sse import AppStatus
from tests.interop.sse_app import app

from peerfetch_fast import Peer, connect, serve
from peerfetch_fast.signaling.peerjs.server import SignalingServer
from processes import Process, posix_only, uvicorn

pytestmark = posix_only


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the source under uvicorn."""
    with uvicorn(tmp_path_factory.mktemp("uvicorn"), "sse_app:app") as (url, _):
        yield url


@contextlib.asynccontextmanager
async def served(transport: Any) -> AsyncIterator[Peer]:
    """A client of the source, which runs in this process and has no port."""
    signaling = SignalingServer()
    await signaling.start("127.0.0.1", 0)
    try:
        async with (
            await serve(app, signaling=signaling.url, transport=transport) as server,
            connect(server.peer_id, signaling=signaling.url, transport=transport) as peer,
        ):
            yield peer
    finally:
        await signaling.close()


async def one_by_one(peer: Peer) -> None:
    """Each event is there before the next one is made; then stop listening."""
    response = await peer.fetch("/events", headers={"accept": "text/event-stream"})
    assert response.headers["content-type"].startswith("text/event-stream")
    for number in range(1, 6):
        asked = f"event {number}"
        assert (await peer.fetch("/events", method="POST", params={"data": asked})).ok
        event = b""
        async with asyncio.timeout(60):
            while not event.endswith(b"\r\n\r\n"):
                piece = await response.read()
                assert piece
                event += piece
        expected = f"id: {number}\r\nevent: made\r\ndata: {asked}\r\n\r\n"
        assert event == expected.encode()
    assert await (await peer.fetch("/listening")).json() == 1
    response.close()
    async with asyncio.timeout(60):
        while await (await peer.fetch("/listening")).json():
            await asyncio.sleep(0.02)


async def test_events_arrive_one_by_one_through_the_proxy(
    source: str, proxies: Callable[[str], Process], transport: str
) -> None:
    ready = proxies(source).ready

    signaling: Any = ready["signaling"]
    async with connect(ready["peer_id"], signaling=signaling, transport=transport) as peer:  # type: ignore[arg-type]
        await one_by_one(peer)


async def test_events_arrive_one_by_one_in_process(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(transport) as peer:
        await one_by_one(peer)
    monkeypatch.setattr(AppStatus, "should_exit", True)  # ends a task of its own
