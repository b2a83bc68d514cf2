"""Upstreams at their worst, large bodies and many requests, in processes of their own.

With ``PEERFETCH_FULL=1`` the large bodies have their full sizes, which takes minutes.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.pattern import LONGEST, Pattern
from tests.interop.bad_upstream import HALF

from peerfetch_fast import Peer, connect
from peerfetch_fast.errors import FetchTimeout, StreamReset
from peerfetch_fast.http import codes
from processes import ROOT, Process, posix_only, running, start_proxy
from support import run, until

pytestmark = posix_only

FULL = os.environ.get("PEERFETCH_FULL") == "1"

# What is carried in some three seconds, and in full; aiortc's own stack carries a few MB a second.
DOWNLOADS = {"native": (2_000_000_000 if FULL else 64 << 20), "aiortc": (256 if FULL else 4) << 20}
UPLOADS = {"native": (1024 if FULL else 64) << 20, "aiortc": (256 if FULL else 4) << 20}
TIMEOUT = 600 if FULL else 120

MEMORY = 32 << 20
"""Bytes by which a body of any size may raise the peak of the proxy's memory."""


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Pattern:
    return Pattern.create(tmp_path_factory.mktemp("pattern") / "pattern")


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, pattern: Pattern, transport: str
) -> Iterator[Process]:
    directory = tmp_path_factory.mktemp("bad")
    ready = directory / "ready"
    with (
        running(
            *(sys.executable, "-m", "tests.interop.bad_upstream", pattern.path, ready),
            log=directory / "log",
            ready=ready.exists,
            cwd=ROOT,
        ),
        start_proxy(directory, ready.read_text(), transport) as proxy,
    ):
        yield proxy
        assert "Traceback" not in proxy.output


@pytest.fixture
def ask(proxy: Process, transport: Any) -> Callable[[Callable[[Peer], Awaitable[None]]], None]:
    def ask(work: Callable[[Peer], Awaitable[None]]) -> None:
        async def main() -> None:
            ready = proxy.ready
            async with connect(
                ready["peer_id"], signaling=ready["signaling"], transport=transport
            ) as peer:
                await work(peer)
                await until(lambda: peer.session.open_streams == 0)

        run(main(), TIMEOUT)

    return ask


async def abandoned(peer: Peer) -> int:
    """How many answers the upstream could not give to their end."""
    response = await peer.fetch("/quick")
    return int((await response.json())["abandoned"])


def peak(process: Process) -> int:
    """The most bytes that the process had in memory at once; 0 where nobody tells."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def test_each_byte_comes_as_it_is_sent(ask: Any, pattern: Pattern) -> None:
    async def work(peer: Peer) -> None:
        response = await peer.fetch("/slow?size=3")
        at = 0
        async for piece in response:
            assert len(piece) == 1
            assert pattern.holds(piece, at)
            at += 1
            # The next is not sent before; nor does anybody else wait for it.
            assert (await peer.fetch("/next")).ok
        assert at == 3

    ask(work)


@pytest.mark.parametrize("chunked", [0, 1])
def test_one_that_closes_in_its_body(ask: Any, pattern: Pattern, chunked: int) -> None:
    async def work(peer: Peer) -> None:
        at = 0
        with pytest.raises(StreamReset) as broken:
            # The end may come before the head has left, and then takes its place.
            response = await peer.fetch(f"/cut?chunked={chunked}")
            assert response.status == 200
            async for piece in response:
                assert pattern.holds(piece, at)
                at += len(piece)
        assert broken.value.code == codes.UPSTREAM_ERROR
        assert at <= HALF
        await abandoned(peer)

    ask(work)


def test_one_that_never_answers(ask: Any) -> None:
    async def work(peer: Peer) -> None:
        async def waited_for(count: int) -> None:
            while (await (await peer.fetch("/quick")).json())["waited_for"] != count:
                await asyncio.sleep(0.01)

        with pytest.raises(FetchTimeout):
            await peer.fetch("/never", timeout=0.3)
        # Who does not wait any more is not waited for: the upstream is let go.
        await waited_for(0)
        waiting = asyncio.ensure_future(peer.fetch("/never"))
        await waited_for(1)
        assert not waiting.done()
        waiting.cancel()
        await waited_for(0)

    ask(work)


def test_a_large_body_without_a_length(
    ask: Any, pattern: Pattern, proxy: Process, transport: str
) -> None:
    size = DOWNLOADS[transport]

    async def work(peer: Peer) -> None:
        await download(peer, 1 << 20)
        before = peak(proxy)
        await download(peer, size)
        assert peak(proxy) - before < MEMORY

    async def download(peer: Peer, size: int) -> None:
        at = 0
        response = await peer.fetch(f"/unknown?size={size}")
        assert "content-length" not in response.headers
        async for piece in response:
            assert pattern.holds(piece, at)
            at += len(piece)
        assert at == size

    ask(work)


@pytest.mark.parametrize("known", [True, False])
def test_a_large_upload_arrives_whole_in_bounded_memory(
    ask: Any, pattern: Pattern, proxy: Process, transport: str, known: bool
) -> None:
    size = UPLOADS[transport] if known else 1 << 20

    async def body(size: int) -> AsyncIterator[bytes]:
        for at in range(0, size, LONGEST):
            yield pattern.piece(at, min(LONGEST, size - at))

    async def work(peer: Peer) -> None:
        before = peak(proxy)
        response = await peer.fetch(
            f"/upload?size={size}",
            method="POST",
            headers={"content-length": str(size)},
            body=body(size),
        )
        assert await response.json() == {"received": size, "right": True}
        assert peak(proxy) - before < MEMORY

    ask(work)


def test_256_requests_at_once_of_which_10_are_cancelled_half_way(
    ask: Any, pattern: Pattern
) -> None:
    async def work(peer: Peer) -> None:
        before = await abandoned(peer)
        halfway, go_on = asyncio.Semaphore(0), asyncio.Event()

        async def one(number: int) -> int:
            at = 0
            async with await peer.fetch(f"/halves?number={number}") as response:
                assert response.headers["content-length"] == str(2 * HALF)
                async for piece in response:
                    assert pattern.holds(piece, number + at)
                    at += len(piece)
                    if at == HALF:
                        halfway.release()
                        await go_on.wait()
            return at

        asking = [asyncio.ensure_future(one(number)) for number in range(256)]
        for _ in asking:
            await halfway.acquire()
        for task in asking[100:110]:
            task.cancel()
        while await abandoned(peer) != before + 10:
            await asyncio.sleep(0.01)
        await (await peer.fetch("/release")).bytes()
        go_on.set()
        results = await asyncio.gather(*asking, return_exceptions=True)
        assert sum(isinstance(result, asyncio.CancelledError) for result in results) == 10
        assert results.count(2 * HALF) == 246
        assert await abandoned(peer) == before + 10

    ask(work)
