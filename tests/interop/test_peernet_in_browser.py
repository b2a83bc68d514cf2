"""Real Chromium by PeerNet: a page that fetches from a device, and one that serves."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import Page, chromium, open_page

from peerfetch_fast import connect, serve
from peerfetch_fast.signaling.peerjs.server import SignalingServer
from peerfetch_fast.signaling.peernet.settings import PeerNetSettings
from peerfetch_fast.web.endpoint import web_endpoint
from processes import posix_only
from support import run

pytestmark = [posix_only, needs_chromium]


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    with chromium() as devtools:
        yield devtools


@contextlib.asynccontextmanager
async def world(browser: str) -> AsyncIterator[tuple[str, Page, list[str]]]:
    """A PeerNet server, a page of its origin that has WebSockets no more, and what was asked."""
    asked: list[str] = []

    @web.middleware
    async def note(request: web.Request, handler: Any) -> web.StreamResponse:
        response = await handler(request)
        empty = getattr(response, "body", b"") in (b'{"candidates":[]}', b'{"knocks":[]}')
        if request.path.startswith("/v1/") and request.method != "OPTIONS" and not empty:
            asked.append(f"{request.method} {request.path}")
        return response

    server = SignalingServer(middlewares=[note, web_endpoint()], peernet=PeerNetSettings())
    await server.start("127.0.0.1", 0)
    place = server.url.removeprefix("ws://")
    try:
        async with open_page(browser, f"http://{place}/~peerfetch/package.json") as page:
            await page.evaluate(
                "import('/~peerfetch/peerfetch.js').then((module) => {"
                " Object.assign(globalThis, module); globalThis.WebSocket = null; })"
            )
            yield f"peernet+http://{place}", page, asked
    finally:
        await server.close()


def test_a_page_fetches_from_a_device(browser: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("here")

    async def main() -> None:
        async with (
            world(browser) as (url, page, asked),
            serve(tmp_path, peer_id="device", signaling=url) as server,
        ):
            asked.clear()
            link = f"peer://device#{server.fingerprint}"
            text = await page.evaluate(
                f"connect('{link}', {{signaling: '{url}'}}).then(async (peer) => {{"
                " globalThis.peer = peer; return (await peer.fetch('/a.txt')).text(); })"
            )
            assert text == "here"
            asked.remove("GET /v1/ice_servers")
            # At most three of each side, after which nobody asks any more.
            assert len(asked) <= 6, asked
            await page.evaluate("peer.close()")

    run(main())


def test_a_page_serves(browser: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(browser) as (url, page, _):
            room = f"{url}?room=den"
            pin = await page.evaluate(
                f"serve(() => new Response('from a page'), {{id: 'page', signaling: '{room}'}})"
                ".then((server) => (globalThis.server = server).fingerprint)"
            )
            known = tmp_path / "known"
            async with (
                connect("page", signaling=url, pin=pin, known_peers=known) as peer,
                peer.fetch("/") as response,
            ):
                assert await response.text() == "from a page"
            await page.evaluate("server.close()")

    run(main())
