"""An echo server of the ``websockets`` package through the proxy, each in a process of its own."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from peerfetch_fast import Peer, connect
from peerfetch_fast.errors import UpgradeRefused, WebSocketClosed
from processes import Process, posix_only, running

pytestmark = posix_only


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the echo server."""
    directory = tmp_path_factory.mktemp("websockets")
    ready = directory / "ready"
    with running(
        *(sys.executable, Path(__file__).with_name("websocket_server.py"), ready),
        log=directory / "log",
        ready=ready.exists,
    ):
        yield ready.read_text()


@pytest.fixture
def proxy(echo: str, proxies: Callable[[str], Process]) -> Process:
    return proxies(echo)


def reach(proxy: Process, transport: Any) -> Any:
    ready = proxy.ready
    return connect(ready["peer_id"], signaling=ready["signaling"], transport=transport)


async def last_end(peer: Peer) -> list[object]:
    """Code and reason with which the server saw its latest connection end."""
    async with await peer.websocket("/codes") as websocket:
        ends = json.loads(await websocket.receive())
    return list(ends[-1]) if ends else []


async def until_ended(peer: Peer, end: list[object], timeout: float = 60.0) -> None:
    async with asyncio.timeout(timeout):
        while await last_end(peer) != end:
            await asyncio.sleep(0.02)


async def test_messages_come_back_whole_and_pings_are_answered(
    proxy: Process, transport: str
) -> None:
    noise = random.Random(4)
    sent: list[str | bytes] = ["hello ☃", b"", "", noise.randbytes(300_000), "ä" * 100_000]

    async with (
        reach(proxy, transport) as peer,
        await peer.websocket("/", subprotocols=["chat.1", "chat.3"]) as websocket,
    ):
        assert websocket.subprotocol == "chat.1"
        for message in sent:
            await websocket.send(message)
        assert [await websocket.receive() for _ in sent] == sent
        receiving = asyncio.ensure_future(websocket.receive())
        assert 0 < await websocket.ping() < 5
        await websocket.send("after the ping")
        assert await receiving == "after the ping"


async def test_close_codes_both_ways(proxy: Process, transport: str) -> None:
    async with reach(proxy, transport) as peer:
        websocket = await peer.websocket("/")
        await websocket.close(4999, "enough ☃")
        assert websocket.close_code == 4999
        await until_ended(peer, [4999, "enough ☃"])
        websocket = await peer.websocket("/close")
        with pytest.raises(WebSocketClosed) as raised:
            await websocket.receive()
        assert (raised.value.code, raised.value.reason) == (4001, "as you wish")


async def test_refusals_are_passed_on(proxy: Process, transport: str) -> None:
    async with reach(proxy, transport) as peer:
        with pytest.raises(UpgradeRefused) as raised:
            await peer.websocket("/refuse")
        assert (raised.value.status, raised.value.body) == (403, b"not you\n")
        with pytest.raises(UpgradeRefused) as raised:
            await peer.websocket("/..%2felsewhere/")
        assert raised.value.status == 403


async def test_a_client_that_goes_away_ends_the_servers_connection(
    proxy: Process, transport: str
) -> None:
    async with reach(proxy, transport) as peer:
        async with reach(proxy, transport) as other:
            left = [await other.websocket("/") for _ in range(3)]
            await left[0].send("x")
            assert await left[0].receive() == "x"
            left[0].abort()
            await until_ended(peer, [1006, ""])
            await left[1].close(4000)
            await until_ended(peer, [4000, ""])
        # The whole peer is gone, and with it the third.
        await until_ended(peer, [1006, ""])


async def test_thirty_websockets_at_once_do_not_mix(proxy: Process, transport: str) -> None:
    async with reach(proxy, transport) as peer:

        async def talk(number: int) -> None:
            async with await peer.websocket("/") as websocket:
                for count in range(10):
                    await websocket.send(f"{number} {count}")
                    assert await websocket.receive() == f"{number} {count}"

        await asyncio.gather(*map(talk, range(30)))
