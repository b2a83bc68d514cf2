"""What the tests of ASGI have in common: a handler in front of an application, and a client."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from peerfetch_fast.http.asgi.handler import AsgiHandler
from support import Pair, http_pair


@contextlib.asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[Pair]:
    """A client whose requests are answered by ``app``."""
    handler = AsgiHandler(app)
    await handler.start()
    try:
        async with http_pair(handler, **options) as pair:
            yield pair
    finally:
        await handler.close()


def only(kind: str, app: Any) -> Any:
    """``app`` for scopes of that type; others fail, as in applications without a lifespan."""

    async def of_kind(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == kind
        await app(scope, receive, send)

    return of_kind


async def start(send: Any, status: int = 200, **options: Any) -> None:
    await send({"type": "http.response.start", "status": status, **options})


async def body(send: Any, data: bytes = b"", **options: Any) -> None:
    await send({"type": "http.response.body", "body": data, **options})
