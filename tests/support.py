"""What several test modules share: strict event loops, servers of this process, and HTTP on a
session in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web

from peerfetch_fast.http.client import Response, fetch
from peerfetch_fast.http.server import Handler, serve_session
from peerfetch_fast.settings import Settings
from peerfetch_fast.streams.link import MemoryLink, memory_pair
from peerfetch_fast.streams.session import Session
from peerfetch_fast.streams.stream import Stream
from virtual_time import run_virtual

T = TypeVar("T")

LONG = 600.0
"""Virtual seconds after which a test is taken to hang; keep-alive never lets the loop run dry."""


HANGS = 120.0
"""Real seconds after which a test is taken to hang; the machine may have others to run."""

new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
"""What :func:`run` runs on; the fixture ``each_loop`` of tests/webrtc sets it."""

left_for = 10.0
"""Seconds that tasks may still take after the test: what ends with a closed socket ends a few turns
of the loop later."""


def virtually(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` in virtual time, with the strictness of :func:`run`."""
    return run_virtual(asyncio.wait_for(work, LONG))


def run(work: Coroutine[Any, Any, T], timeout: float = HANGS) -> T:
    """Run ``work`` in real time; fail if it hangs, leaves tasks or lets an exception escape.

    An exception that nobody asked a task or future for counts as escaped.
    """

    async def strictly() -> T:
        escaped: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: escaped.append(context))
        result = await asyncio.wait_for(work, timeout)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left and left_for:
            _, left = await asyncio.wait(left, timeout=left_for)
        gc.collect()
        await asyncio.sleep(0)
        assert not left, f"tasks are left running: {left}"
        assert not escaped, f"escaped into the event loop: {escaped}"
        return result

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(strictly())


async def until(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    """Wait for something that tells nobody when it happens."""
    deadline = asyncio.get_running_loop().time() + timeout
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def web_server(
    app: web.Application, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """The URL at which this machine alone is served ``app``."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@dataclass
class Pair:
    """Two sessions in this process: the client's, and the server's with its requests answered."""

    client: Session
    server: Session
    link: MemoryLink

    async def fetch(self, target: str, **options: Any) -> Response:
        """Fetch what was sent as it was sent, unless told otherwise."""
        return await fetch(self.client, target, **{"decode": False, "redirect": "manual"} | options)


@contextlib.asynccontextmanager
async def http_pair(
    handler: Handler,
    *,
    seed: int | None = None,
    delay: float = 0.0,
    settings: Settings | None = None,
    max_head: int = 64 * 1024,
    tunnels: Handler | None = None,
) -> AsyncIterator[Pair]:
    """A client and a server with ``handler``; both have let go of everything after the block."""
    one, other = memory_pair(seed=seed, delay=delay)
    client = Session(one, opener=True, settings=settings, accepting=False)
    server = Session(other, opener=False, settings=settings)
    serving = asyncio.ensure_future(
        serve_session(server, handler, tunnels=tunnels, max_head=max_head)
    )
    try:
        yield Pair(client, server, one)
    finally:
        client.abort()
        await client.wait_closed()
        await server.wait_closed()
        await serving
    assert client.open_streams == server.open_streams == 0


@contextlib.asynccontextmanager
async def raw_pair(
    *, seed: int | None = None, settings: Settings | None = None
) -> AsyncIterator[tuple[Session, Session]]:
    """Two sessions and no HTTP, for a side that misbehaves: the opener's and the responder's."""
    one, other = memory_pair(seed=seed)
    client = Session(one, opener=True, settings=settings)
    server = Session(other, opener=False, settings=settings)
    try:
        yield client, server
    finally:
        client.abort()
        await client.wait_closed()
        await server.wait_closed()


async def read_all(stream: Stream) -> bytes:
    pieces = []
    while piece := await stream.read():
        pieces.append(piece)
    return b"".join(pieces)


async def gathered(*works: Awaitable[Any]) -> list[Any]:
    """``asyncio.gather`` as a plain list."""
    return list(await asyncio.gather(*works))
