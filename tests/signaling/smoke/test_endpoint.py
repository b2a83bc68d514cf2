"""The hub behind its WebSocket, as a browser meets it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from peerfetch_fast.signaling.peerjs.refusals import Refusal
from peerfetch_fast.signaling.peerjs.server import SignalingServer
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings


@contextlib.asynccontextmanager
async def hub(**settings: Any) -> AsyncIterator[tuple[SignalingServer, str]]:
    server = SignalingServer(SignalingServerSettings(**{"smoke": True, **settings}))
    await server.start("127.0.0.1", 0)
    try:
        yield server, f"http{server.url.removeprefix('ws')}/smoke"
    finally:
        await server.close()


async def test_nodes_reach_each_other() -> None:
    async with (
        hub() as (_, url),
        aiohttp.ClientSession() as session,
        session.ws_connect(url) as one,
        session.ws_connect(url) as two,
    ):
        first, second = await one.receive_json(), await two.receive_json()
        assert [first["type"], second["type"]] == ["binding", "binding"]
        await one.send_json({"type": "forward", "to": second["address"], "data": "hello"})
        came = await two.receive_json()
        assert came == {
            "type": "forward",
            "from": first["address"],
            "to": second["address"],
            "data": "hello",
        }


async def test_nonsense_is_closed_with_1003() -> None:
    async with (
        hub() as (server, url),
        aiohttp.ClientSession() as session,
        session.ws_connect(url) as node,
    ):
        await node.receive_json()
        await node.send_str("nonsense")
        assert (await node.receive()).type is aiohttp.WSMsgType.CLOSE
        assert node.close_code == 1003
        assert server.refused[Refusal.NOT_JSON] == 1


async def test_a_plain_request_is_answered_with_what_is_there() -> None:
    async with hub() as (_, url), aiohttp.ClientSession() as session, session.get(url) as answer:
        assert (answer.status, await answer.text()) == (200, "smoke-hub: signalling")


async def test_pages_of_other_origins_are_kept_out_as_at_the_rest_of_the_server() -> None:
    async with (
        hub(allowed_origins=("https://app.example",)) as (server, url),
        aiohttp.ClientSession() as session,
    ):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url, headers={"Origin": "https://other.example"})
        assert refused.value.status == 403
        assert server.refused[Refusal.FOREIGN_ORIGIN] == 1
        async with session.ws_connect(url, headers={"Origin": "https://app.example"}) as node:
            assert (await node.receive_json())["type"] == "binding"


async def test_a_message_too_large_ends_the_connection() -> None:
    async with (
        hub(max_message_size=1000) as (server, url),
        aiohttp.ClientSession() as session,
        session.ws_connect(url) as node,
    ):
        await node.receive_json()
        await node.send_json({"type": "forward", "to": "0.0.0.1", "data": "x" * 2000})
        assert (await node.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
        assert node.close_code == 1009
        assert server.refused[Refusal.OVERSIZED] == 1


async def test_a_node_that_answers_no_ping_is_dropped() -> None:
    async with (
        hub(smoke_ping_interval=0.1) as (_, url),
        aiohttp.ClientSession() as session,
        session.ws_connect(url, autoping=False) as deaf,
    ):
        address = (await deaf.receive_json())["address"]
        while (await deaf.receive()).type is aiohttp.WSMsgType.PING:
            pass
        async with session.ws_connect(url) as other:
            await other.receive_json()
            await other.send_json({"type": "lookup", "request_id": 1, "hostname": address})
            assert (await other.receive_json())["addresses"] == []


async def test_without_smoke_there_is_no_hub() -> None:
    async with (
        hub(smoke=False) as (_, url),
        aiohttp.ClientSession() as session,
        session.get(url) as answer,
    ):
        assert answer.status == 404
