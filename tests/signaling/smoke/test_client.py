"""A node's place at a hub: what a hub may say, and that it may be lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from peerfetch_fast.errors import SignalingError, SignalingUnavailable
from peerfetch_fast.signaling.seam import Signal, SignalKind, join
from peerfetch_fast.signaling.smoke.client import HubClient


class ScriptedHub:
    """A hub that says what the test says, to the latest that has connected."""

    def __init__(self) -> None:
        self.url = ""
        self.queries: list[dict[str, str]] = []
        self.elsewhere: list[str] = []
        self.heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.connected: asyncio.Queue[web.WebSocketResponse] = asyncio.Queue()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if self.elsewhere and self.queries:
            return web.Response(status=302, headers={"location": self.elsewhere.pop()})
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.queries.append(dict(request.query))
        await socket.send_json(binding(f"0.0.0.{len(self.queries)}"))
        self.connected.put_nowait(socket)
        async for message in socket:
            self.heard.put_nowait(json.loads(message.data))
        return socket


def binding(address: object, **configuration: object) -> dict[str, object]:
    return {"type": "binding", "address": address, "configuration": configuration}


@contextlib.asynccontextmanager
async def scripted() -> AsyncIterator[ScriptedHub]:
    hub = ScriptedHub()
    app = web.Application()
    app.router.add_get("/smoke", hub.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    hub.url = f"ws://127.0.0.1:{runner.addresses[0][1]}/smoke"
    try:
        async with asyncio.timeout(20):
            yield hub
    finally:
        await runner.cleanup()


async def test_what_a_hub_says_that_makes_no_sense_is_passed_over() -> None:
    taken: list[Signal] = []
    async with scripted() as hub:
        client = HubClient(hub.url)
        client.join(taken.append, accepts=True)
        await client.start()
        try:
            socket = await hub.connected.get()
            for text in ("", "null", "[]", "7", "{", "{}", '{"type": []}'):
                await socket.send_str(text)
            for address in (7, "", "x" * 200, None):
                await socket.send_json(binding(address))
            forward = {"type": "forward", "from": "0.0.0.2"}
            offer = {"type": "offer", "connectionId": "a", "sdp": {"type": "offer", "sdp": "v=0"}}
            for data in (None, 7, [], {}, {"type": "offer"}, {**offer, "connectionId": "x" * 200}):
                await socket.send_json({**forward, "data": data})
            await socket.send_json({**forward, "from": 7, "data": offer})
            await socket.send_json({"type": "lookup-ok", "request_id": "none"})
            await socket.send_json({"type": "forward-fail", "to": []})
            await socket.send_json({**forward, "data": {**offer, "sdp": "none", "label": 7}})
            await socket.send_json({**forward, "data": offer})
            while len(taken) < 2:
                await asyncio.sleep(0)
        finally:
            await client.close()
        assert client.address == "0.0.0.1"
        # A description of no use is the negotiation's to refuse.
        assert [(one.kind, one.sdp) for one in taken] == [
            (SignalKind.OFFER, ""),
            (SignalKind.OFFER, "v=0"),
        ]


async def test_a_hub_that_was_lost_is_asked_for_the_same_address_and_name() -> None:
    async with scripted() as hub:
        client = HubClient(hub.url)
        await client.start()
        try:
            socket = await hub.connected.get()
            register = asyncio.create_task(client.register("name"))
            asked = await hub.heard.get()
            await socket.send_json({"type": "register-ok", "request_id": asked["request_id"]})
            await register
            await socket.close()
            await hub.connected.get()
            again = await hub.heard.get()
            assert (again["type"], again["hostname"]) == ("register", "name")
            first, second = hub.queries
            assert "address" not in first
            assert second == {"token": first["token"], "address": "0.0.0.1"}
            assert client.address == "0.0.0.2"
        finally:
            await client.close()


async def test_a_refusal_and_a_lookup() -> None:
    async with scripted() as hub:
        client = HubClient(hub.url)
        await client.start()
        try:
            socket = await hub.connected.get()
            register = asyncio.create_task(client.register("name"))
            request_id = (await hub.heard.get())["request_id"]
            refusal = {"type": "register-fail", "request_id": request_id, "reason": "taken"}
            await socket.send_json(refusal)
            with pytest.raises(SignalingError, match="the hub refused: taken"):
                await register
            lookup = asyncio.create_task(client.lookup("name"))
            request_id = (await hub.heard.get())["request_id"]
            answer = {"type": "lookup-ok", "request_id": request_id, "addresses": ["0.0.0.2", 7]}
            await socket.send_json(answer)
            assert await lookup == ["0.0.0.2"]
        finally:
            await client.close()


async def test_a_hub_that_is_not_there_or_none() -> None:
    with pytest.raises(SignalingUnavailable, match="cannot be reached"):
        await HubClient("ws://127.0.0.1:1/smoke").start()
    for url in ("http://host/smoke", "nonsense"):
        with pytest.raises(SignalingError, match="is no hub"):
            HubClient(url)
    with pytest.raises(SignalingError, match="there is no hub smoke:none"):
        join("smoke:none", on_signal=lambda _: None)


async def test_a_hub_that_redirects_to_what_is_no_host_is_tried_again() -> None:
    async with scripted() as hub:
        hub.elsewhere = [f"http://{'a' * 300}/", "http://.."]
        client = HubClient(hub.url)
        await client.start()
        await (await hub.connected.get()).close()
        await hub.connected.get()
        assert hub.elsewhere == []
        await client.close()


async def test_what_a_hub_says_of_a_refusal_is_printable() -> None:
    async with scripted() as hub:
        client = HubClient(hub.url)
        await client.start()
        socket = await hub.connected.get()
        asking = asyncio.ensure_future(client.register("x"))
        asked = await hub.heard.get()
        answer = {"type": "register-fail", "request_id": asked["request_id"]}
        await socket.send_json(answer | {"reason": "\x1b[2J" + "no" * 10_000})
        with pytest.raises(SignalingError, match=r"\\x1b\[2Jno") as refused:
            await asking
        assert len(str(refused.value)) < 300
        await client.close()
