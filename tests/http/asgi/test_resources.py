"""Resources of ours that an application has mounted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI
from tests.media.conftest import Script

from peerfetch_fast import connect, serve
from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.http.asgi.handler import AsgiHandler
from peerfetch_fast.http.routing import Resources, Router
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.media.camera import Camera
from peerfetch_fast.signaling.peerjs.server import SignalingServer
from support import Pair, http_pair


class Echo(Resources):
    """Answers with where it was asked, and what was sent; below /long not at all."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.target == "/long":
            self.began.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.cancelled.set()
        body = b""
        while piece := await exchange.read():
            body += piece
        said = f"{exchange.method} {exchange.prefix} {exchange.target} "
        exchange.respond(200, [], said.encode() + body)


@contextlib.asynccontextmanager
async def mounted(resources: Resources) -> AsyncIterator[Pair]:
    """An application below /app that has ``resources`` at /a b, and a page of its own."""
    app = FastAPI()
    app.mount("/a b", resources.asgi())
    app.get("/own")(lambda: "own")
    handler = AsgiHandler(app)
    await handler.start()
    router = Router({"/app": handler})
    async with http_pair(router) as pair:
        yield pair
    await router.close()


async def test_requests_are_handed_on_with_their_bodies() -> None:
    async with mounted(Echo()) as pair:
        response = await pair.fetch("/app/a%20b/x%2Fy/z?q=1", method="POST", body=b"sent")
        assert await response.bytes() == b"POST /app/a%20b /x%2Fy/z?q=1 sent"
        response = await pair.fetch("/app/own")
        assert await response.json() == "own"


async def test_a_client_that_goes_cancels_what_answers() -> None:
    echo = Echo()
    async with mounted(echo) as pair:
        asking = asyncio.ensure_future(pair.fetch("/app/a%20b/long"))
        await echo.began.wait()
        asking.cancel()
        await echo.cancelled.wait()


async def test_a_camera_is_one() -> None:
    camera = Camera(Script())
    async with mounted(camera) as pair:
        info = await (await pair.fetch("/app/a%20b/info")).json()
        assert info["state"] == "idle"
    await camera.close()


async def test_a_server_that_closes_does_not_wait_for_who_watches() -> None:
    app = FastAPI()
    camera = Camera("test:?width=320&height=180&rate=15")
    app.mount("/cam", camera.asgi())
    for _ in range(2):  # another server may serve it afterwards
        async with contextlib.AsyncExitStack() as stack:
            signaling = SignalingServer()
            stack.push_async_callback(signaling.close)
            await signaling.start("127.0.0.1", 0)
            server = await serve(app, signaling=signaling.url)
            stack.push_async_callback(server.close)
            peer = await stack.enter_async_context(connect(server.peer_id, signaling=signaling.url))
            live = await peer.fetch("/cam/live.mp4")
            assert await live.read()
            # Of its own it would wait as long for an answer to end.
            async with asyncio.timeout(60):
                await server.close(timeout=1e6)
            with pytest.raises(PeerfetchError):
                while await live.read():
                    pass
    await camera.close()


async def answers(scope: dict[str, Any]) -> list[dict[str, Any]]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is to be received")

    await Echo().asgi()(scope, receive, send)
    return sent


async def test_another_server_answers_with_a_sentence() -> None:
    scope = {"type": "http", "root_path": "", "raw_path": b"/x", "extensions": {}}
    start, body = await answers(scope)
    assert start["status"] == 501
    assert b"a server of peerfetch alone" in body["body"]


async def test_relative_links_resolve_below_them() -> None:
    scope = {"type": "http", "root_path": "/x/a b", "raw_path": b"/x/a%20b", "extensions": {}}
    start, _ = await answers(scope)
    assert start["status"] == 308
    assert start["headers"] == [(b"location", b"./a%20b/")]


async def test_websockets_are_refused() -> None:
    assert await answers({"type": "websocket"}) == [{"type": "websocket.close"}]


async def test_it_is_no_application_by_itself() -> None:
    with pytest.raises(ValueError, match="lifespan"):
        await answers({"type": "lifespan"})
