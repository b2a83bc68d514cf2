from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from peerfetch_fast.signaling import SignalingServer, SignalingServerSettings
from peerfetch_fast.signaling.peernet.settings import PeerNetSettings

TOKEN = "5d0c5b6e-6f0e-4c1e-9d0b-1b6d2f1f7a11"


class Wire:
    """A PeerNet server on a real socket, a plain HTTP client, and what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        """Method, path and JSON of each answer."""
        self.server: SignalingServer
        self.session: aiohttp.ClientSession
        self.port = 0

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def url(self) -> str:
        return f"peernet+http://127.0.0.1:{self.port}"

    async def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **more: Any
    ) -> tuple[int, Any]:
        headers = {**more.pop("headers", {})}
        if token is not None:
            headers["Authorization"] = token
        async with self.session.request(
            method, f"{self.base}/{path}", json=body, headers=headers, **more
        ) as response:
            return response.status, await response.json()

    async def create(self, server: str = "chidi", token: str = TOKEN, **about: Any) -> Any:
        body = {
            "unique_id": server,
            "auth_token": token,
            "rooms": ["the-good-place"],
            "services": [{"protocol": "peernet.http", "version": "1.1"}],
        }
        status, answer = await self.ask("POST", "servers", body | about)
        assert status == 200, answer
        return answer


@asynccontextmanager
async def _serving(port: int = 0, **settings: Any) -> AsyncIterator[Wire]:
    wire = Wire()

    @web.middleware
    async def note(request: web.Request, handler: Any) -> web.StreamResponse:
        response = await handler(request)
        wire.asked.append((request.method, request.path, getattr(response, "body", b"")))
        return response

    of_signaling = settings.pop("signaling", {})
    wire.server = SignalingServer(
        SignalingServerSettings(close_timeout=0.2, **of_signaling),
        middlewares=[note],
        peernet=PeerNetSettings(**settings),
    )
    await wire.server.start("127.0.0.1", port)
    wire.port = int(wire.server.url.rpartition(":")[2])
    async with aiohttp.ClientSession() as wire.session:
        try:
            yield wire
        finally:
            await wire.server.close()


@pytest.fixture
def serving() -> Callable[..., AbstractAsyncContextManager[Wire]]:
    return _serving
