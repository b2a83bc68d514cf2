"""Rooms, between a server and clients in this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from peerfetch_fast.errors import SignalingError
from peerfetch_fast.signaling import (
    Refusal,
    SignalingClient,
    SignalingServer,
    SignalingServerSettings,
)
from peerfetch_fast.signaling.peerjs import room as room_module
from peerfetch_fast.signaling.peerjs.room import Room, stay_in_room
from support import until, web_server


@contextlib.asynccontextmanager
async def serving(port: int = 0, **options: Any) -> AsyncIterator[SignalingServer]:
    server = SignalingServer(SignalingServerSettings(**options))
    await server.start("127.0.0.1", port)
    try:
        yield server
    finally:
        await server.close()


def client(server: SignalingServer, peer_id: str | None = None) -> SignalingClient:
    return SignalingClient(server.url, peer_id, on_message=lambda _: None)


@pytest.mark.parametrize("options", [{}, {"path": "/a/b/", "key": "own-key"}])
async def test_those_behind_the_same_router_meet(options: dict[str, Any]) -> None:
    async with serving(**options) as server, client(server, "a") as a, Room(a) as ours:
        async with client(server, "b") as b, Room(b) as theirs:
            assert await ours.join() == ["a"]
            assert await theirs.members() == ["a"]  # to look is not to be there
            assert await theirs.join() == ["a", "b"]
            assert ours.id == theirs.id
            assert await ours.members() == ["a", "b"]
            assert await ours.leave() is True
            assert await ours.leave() is False
            assert await theirs.members() == ["b"]
        # Whoever disconnects has left.
        await until(lambda: server.peer_ids == ["a"])
        assert await ours.join() == ["a"]


async def test_others_are_kept_out() -> None:
    async with (
        serving() as server,
        client(server, "a") as a,
        aiohttp.ClientSession() as session,
    ):

        async def ask(method: str, path: str, **headers: str) -> int:
            url = server.url.replace("ws:", "http:") + f"/peerjs/{path}"
            async with session.request(method, url, headers=headers) as response:
                return response.status

        assert await ask("GET", f"a/{a.token}/room/id") == 200
        assert await ask("GET", "a/wrong/room/id") == 401
        assert await ask("GET", "nobody/x/room/id") == 401
        assert await ask("POST", f"a/{a.token}/room/anothers/join") == 403
        assert await ask("GET", f"a/{a.token}/room/anothers/members") == 403
        assert await ask("OPTIONS", f"a/{a.token}/room/id") == 204
        assert server.refused == {Refusal.WRONG_TOKEN: 2, Refusal.WRONG_ROOM: 2}


async def test_the_address_that_a_trusted_proxy_tells() -> None:
    async def rooms_of(trusted: tuple[str, ...]) -> list[str]:
        async with (
            serving(trusted_proxies=trusted) as server,
            client(server, "a") as a,
            aiohttp.ClientSession() as session,
        ):
            url = server.url.replace("ws:", "http:") + f"/peerjs/a/{a.token}/room/id"
            found = []
            for address in ("8.8.8.8", "9.9.9.9"):
                headers = {"X-Forwarded-For": address}
                async with session.get(url, headers=headers) as response:
                    found.append((await response.json())["roomId"])
            return found

    assert len(set(await rooms_of(()))) == 1
    assert len(set(await rooms_of(("127.0.0.0/8",)))) == 2


async def test_a_full_room_is_answered_with_503_and_counted() -> None:
    async with serving(max_room=1) as server, client(server, "a") as a, client(server) as b:
        async with Room(a) as first, Room(b) as second:
            await first.join()
            with pytest.raises(SignalingError, match="503"):
                await second.join()
        assert server.refused[Refusal.ROOM_FULL] == 1


async def test_a_server_that_was_restarted_heals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "JOIN_INTERVAL", 0.02)
    async with contextlib.AsyncExitStack() as stack:
        async with serving() as server:
            port = int(server.url.rpartition(":")[2])
            device = await stack.enter_async_context(client(server, "device"))
            staying = asyncio.ensure_future(stay_in_room(device))
            async with client(server) as other, Room(other) as room:
                while "device" not in await room.join():
                    await asyncio.sleep(0.01)
        async with serving(port) as server:
            async with client(server) as other, Room(other) as room:
                while "device" not in await room.join():
                    await asyncio.sleep(0.01)
                staying.cancel()
                await asyncio.gather(staying, return_exceptions=True)
                assert "device" not in await room.members()
            await device.close()


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(text="nonsense"),
        web.json_response([]),
        web.json_response({"roomId": 5}),
        web.json_response({"roomId": "../../x"}),
        web.json_response({"roomId": "r", "clientsIds": 5}),
        web.Response(body=b"[" * 1_000_000),
        web.Response(status=404),
        web.Response(status=302, headers={"Location": "/elsewhere"}),
    ],
)
async def test_servers_that_know_no_rooms(answer: web.Response) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    app = web.Application()
    app.router.add_route("*", "/peerjs/a/{token}/room/{rest:.*}", handle)
    server = SignalingServer()
    server.add_routes(app)
    async with web_server(app) as url:
        try:
            async with SignalingClient(url, "a", on_message=print) as a, Room(a) as room:
                with pytest.raises(SignalingError):
                    await room.join()
        finally:
            await server.close()
