"""Devices for the browsers of these tests, and links to them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware

from peerfetch_fast import serve
from peerfetch_fast.server import Target
from peerfetch_fast.signaling.peerjs.server import SignalingServer
from peerfetch_fast.web.endpoint import web_endpoint
from peerfetch_fast.web.page_link import page_url


def link_to(ready: dict[str, Any], path: str = "") -> str:
    """The link to what a proxy with this ready file has at ``path``."""
    return page_url(ready["signaling"], f"{ready['peer_id']}{path}#{ready['fingerprint']}")


async def start_upstream(stack: contextlib.AsyncExitStack, app: web.Application) -> str:
    """Serve ``app`` by HTTP; its URL."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, handler_cancellation=True)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


async def start_device(
    stack: contextlib.AsyncExitStack,
    app: web.Application,
    host: str,
    fragment: str = "",
    middlewares: Sequence[Middleware] = (),
    access_token: str | None = None,
) -> str:
    """Serve ``app`` as the peer dev1; the URL of the web endpoint under ``host``."""
    upstream = await start_upstream(stack, app)
    signaling = SignalingServer(middlewares=[*middlewares, web_endpoint()])
    stack.push_async_callback(signaling.close)
    await signaling.start("127.0.0.1", 0)
    device = await serve(
        upstream, signaling=signaling.url, peer_id="dev1", access_token=access_token
    )
    stack.push_async_callback(device.close)
    return f"http://{host}:{signaling.url.rpartition(':')[2]}/{fragment}"


@contextlib.asynccontextmanager
async def serving(
    targets: Mapping[str, Target], access_token: str | None = None
) -> AsyncIterator[str]:
    """Serve them as the peer dev1; the port of the web endpoint."""
    async with contextlib.AsyncExitStack() as stack:
        signaling = SignalingServer(middlewares=[web_endpoint()])
        stack.push_async_callback(signaling.close)
        await signaling.start("127.0.0.1", 0)
        device = serve(targets, signaling=signaling.url, peer_id="dev1", access_token=access_token)
        await stack.enter_async_context(device)
        yield signaling.url.rpartition(":")[2]
