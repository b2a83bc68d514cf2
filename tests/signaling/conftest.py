from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiohttp import web

from support import HANGS


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a test's coroutine; one that hangs fails, and so does one that leaves tasks behind."""

    def runner(main: Coroutine[Any, Any, None]) -> None:
        async def bounded() -> None:
            errors: list[dict[str, Any]] = []
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _loop, context: errors.append(context))
            await asyncio.wait_for(main, HANGS)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            if left:
                # What ends with a closed socket ends a few turns of the loop later.
                await asyncio.wait(left, timeout=10)
            assert not [task for task in left if not task.done()]
            assert not errors

        asyncio.run(bounded())

    return runner


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
