from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiohttp import web

Script = Callable[[web.WebSocketResponse], Coroutine[Any, Any, None]]


class ScriptedServer:
    """A signaling server that does what a test tells it to, right or wrong.

    The n-th WebSocket is handled by the n-th script, and those after the last by the last.
    """

    def __init__(self, *scripts: Script, peer_id: str = "given") -> None:
        self.url = ""
        self.queries: list[dict[str, str]] = []
        self._scripts = scripts
        self._peer_id = peer_id
        app = web.Application()
        app.router.add_get("/peerjs/id", self._give_id)
        app.router.add_get("/peerjs", self._websocket)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)

    async def __aenter__(self) -> ScriptedServer:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"ws://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _give_id(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._peer_id)

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        script = self._scripts[min(len(self.queries), len(self._scripts) - 1)]
        self.queries.append(dict(request.query))
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        with contextlib.suppress(ConnectionError):
            await script(socket)
        return socket


@pytest.fixture
def scripted() -> type[ScriptedServer]:
    return ScriptedServer
