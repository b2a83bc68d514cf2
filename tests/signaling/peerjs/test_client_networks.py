"""A client whose machine comes into other networks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web

from peerfetch_fast.networks import Networks
from peerfetch_fast.signaling import (
    ClientState,
    SignalingClient,
    SignalingClientSettings,
    SignalingServer,
)
from peerfetch_fast.signaling.peerjs import client as client_module

# Nothing in it happens of itself within the time of a test.
PATIENT = SignalingClientSettings(
    backoff_initial=1000.0,
    backoff_maximum=1000.0,
    heartbeat_interval=1000.0,
    dead_after=2000.0,
    open_timeout=1000.0,
    close_timeout=1000.0,
    probe_timeout=0.2,
)

LOOPBACK = Networks(frozenset(("127.0.0.1",)), frozenset(), frozenset(("127.0.0.1",)))


class OtherThanLoopback(Networks):
    def has(self, address: str) -> bool:
        return False


ELSEWHERE = OtherThanLoopback(frozenset(("192.0.2.1",)), frozenset(), frozenset(("192.0.2.1",)))


class Longest(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


@pytest.fixture
def move(monkeypatch: pytest.MonkeyPatch) -> Callable[[Networks], None]:
    """Tells those who watch of other networks."""
    watching: list[Callable[[Networks], object]] = []

    class Watch:
        def __init__(self, changed: Callable[[Networks], object]) -> None:
            self._changed = changed
            watching.append(changed)

        def stop(self) -> None:
            with suppress(ValueError):
                watching.remove(self._changed)

    def tell(networks: Networks) -> None:
        assert watching
        for changed in list(watching):
            changed(networks)

    monkeypatch.setattr(client_module, "watch_networks", Watch)
    tell.watching = watching  # type: ignore[attr-defined]
    return tell


def client_of(url: str, peer_id: str = "alice") -> SignalingClient:
    return SignalingClient(url, peer_id, on_message=lambda _: None, settings=PATIENT, rng=Longest())


async def let_in(socket: web.WebSocketResponse) -> None:
    await socket.send_json({"type": "OPEN"})
    async for _ in socket:
        pass


async def let_in_and_hang_up(socket: web.WebSocketResponse) -> None:
    await socket.send_json({"type": "OPEN"})
    await socket.close()


async def say_nothing(_: web.WebSocketResponse) -> None:
    await asyncio.sleep(1000)


async def let_in_and_say_nothing(socket: web.WebSocketResponse) -> None:
    await socket.send_json({"type": "OPEN"})
    await asyncio.sleep(1000)


async def test_a_connection_from_an_address_that_is_gone_is_made_anew_at_once(
    scripted: Any, move: Any
) -> None:
    # Neither its end nor the next beginning waits for a server that cannot be reached.
    async with scripted(let_in_and_say_nothing, let_in) as server:
        async with client_of(server.url) as client:
            move(ELSEWHERE)
            await client.wait_for(ClientState.RECONNECTING)
            await client.wait_for(ClientState.OPEN)
            assert len(server.queries) == 2
            assert server.queries[0] == server.queries[1]
        assert not move.watching


async def test_a_server_that_answers_in_the_new_network_is_kept(move: Any) -> None:
    server = SignalingServer()
    await server.start("127.0.0.1", 0, None)
    async with client_of(server.url) as client:
        socket = client._socket
        move(LOOPBACK)
        await asyncio.sleep(2 * PATIENT.probe_timeout)
        assert client._socket is socket is not None
    await server.close()


async def test_a_server_that_does_not_answer_in_the_new_network_is_left(
    scripted: Any, move: Any
) -> None:
    async with (
        scripted(let_in_and_say_nothing, let_in) as server,
        client_of(server.url) as client,
    ):
        move(LOOPBACK)
        await client.wait_for(ClientState.RECONNECTING)
        await client.wait_for(ClientState.OPEN)
        assert len(server.queries) == 2


async def test_the_back_off_ends_with_the_network_in_which_it_began(
    scripted: Any, move: Any
) -> None:
    async with (
        scripted(let_in_and_hang_up, let_in) as server,
        client_of(server.url) as client,
    ):
        await client.wait_for(ClientState.RECONNECTING)
        await asyncio.sleep(0.05)
        assert len(server.queries) == 1
        move(ELSEWHERE)
        await client.wait_for(ClientState.OPEN)


@pytest.mark.parametrize("first", [True, False], ids=["the first", "a later one"])
async def test_an_attempt_that_is_stuck_in_the_old_network_is_begun_anew(
    scripted: Any, move: Any, first: bool
) -> None:
    scripts = (say_nothing, let_in) if first else (let_in, say_nothing, let_in)
    async with scripted(*scripts) as server:
        client = client_of(server.url)
        starting = asyncio.ensure_future(client.start())
        if not first:
            await starting
            move(ELSEWHERE)
        while len(server.queries) < len(scripts) - 1:
            await asyncio.sleep(0.01)
        move(ELSEWHERE)
        await starting
        await client.wait_for(ClientState.OPEN)
        assert len(server.queries) == len(scripts)
        await client.close()


async def test_what_ends_of_itself_watches_no_more(scripted: Any, move: Any) -> None:
    async def taken(socket: web.WebSocketResponse) -> None:
        await socket.send_json({"type": "ID-TAKEN"})

    async with scripted(taken) as server:
        client = client_of(server.url)
        with pytest.raises(Exception, match="taken"):
            await client.start()
        assert not move.watching
        await client.close()


@pytest.mark.parametrize("turns", range(0, 60, 4))
async def test_networks_may_change_at_any_moment(move: Any, turns: int) -> None:
    server = SignalingServer()
    await server.start("127.0.0.1", 0, None)
    async with client_of(server.url) as client:
        for networks in (ELSEWHERE, LOOPBACK, ELSEWHERE):
            move(networks)
            for _ in range(turns):
                await asyncio.sleep(0)
        await client.wait_for(ClientState.OPEN)
        assert list(server.peer_ids) == ["alice"]
    await server.close()
