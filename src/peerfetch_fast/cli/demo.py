"""``peerfetch demo``: all parts of a connection on this machine, each in its own process."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import quantiles
from typing import Any

import click

from peerfetch_fast.cli.loop import run
from peerfetch_fast.cli.options import congestion_option, log_level_option, transport_option
from peerfetch_fast.cli.progress import with_progress
from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.peer import Peer, connect
from peerfetch_fast.webrtc.transports import Congestion, Transport

__all__ = ["demo"]

SMALL_REQUESTS = 50
START_TIMEOUT = 120.0
"""Seconds. A small board imports from a slow card, and may have other work."""


class _Size(click.ParamType[int]):
    """Bytes, with K, M or G for powers of 1024."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d{1,9})([kKmMgG]?)", value)
        if not found:
            self.fail(f"{value!r} is no size: write a number, as in 500K, 32M or 1G")
        return int(found[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[found[2].lower()]


class DemoFailed(Exception):
    """A check of the demo has failed."""


@click.command()
@click.option("--size", type=_Size(), default="32M", show_default=True, help="Of the media file.")
@transport_option
@congestion_option
@log_level_option
def demo(size: int, transport: Transport, congestion: Congestion) -> None:
    """Run signaling, an HTTP server, the proxy and a client here, and check every byte."""
    try:
        run(_demo(size, transport, congestion))
    except (DemoFailed, PeerfetchError) as error:
        click.echo(f"The demo failed: {error}", err=True)
        sys.exit(1)


async def _demo(size: int, transport: Transport, congestion: Congestion) -> None:
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peerfetch-")))
        state = directory / "state"
        signal = await stack.enter_async_context(
            _process(directory, "signal", "peerfetch_fast", "signal", "--listen", "127.0.0.1:0")
        )
        web = await stack.enter_async_context(
            _process(directory, "web", "peerfetch_fast.cli.demo_server", "--size", str(size))
        )
        proxy = await stack.enter_async_context(
            _process(
                directory,
                "proxy",
                "peerfetch_fast.proxy",
                *("--target", web["url"], "--signaling", signal["signaling"]),
                *("--state-dir", str(state), "--transport", transport),
                *("--congestion", congestion),
            )
        )
        click.echo(f"signaling  {signal['signaling']}  (process {signal['pid']})")
        click.echo(f"server     {web['url']}  (process {web['pid']})")
        click.echo(f"proxy      peer://{proxy['peer_id']}  (process {proxy['pid']})")
        started = time.perf_counter()
        connecting = connect(
            proxy["peer_id"],
            signaling=signal["signaling"],
            pin=proxy["fingerprint"],
            transport=transport,
            congestion=congestion,
            timeout=START_TIMEOUT,
        )
        async with connecting as peer:
            took = time.perf_counter() - started
            click.echo(f"connected  in {took * 1000:.0f} ms, transport {peer.transport}")
            await _exercise(peer, size)


async def _exercise(peer: Peer, size: int) -> None:
    hello = await (await peer.fetch("/api/hello", params={"name": "demo"})).json()
    _check(hello == {"hello": "demo"}, f"the API answered {hello!r}")
    media = await (await peer.fetch("/api/media")).json()
    _check(media["size"] == size, f"the API speaks of {media['size']} bytes instead of {size}")

    started = time.perf_counter()
    latencies, digest = await asyncio.gather(_small_requests(peer), _download(peer, size))
    seconds = time.perf_counter() - started
    _check(digest == media["sha256"], "the SHA-256 of the file differs from the server's")
    click.echo(f"file       {size / 1e6:.1f} MB in {seconds:.2f} s, SHA-256 matches")
    click.echo(f"rate       {size / 1e6 / seconds:.1f} MB/s")
    cuts = quantiles(latencies, n=100, method="inclusive")
    click.echo(
        f"latency    of {len(latencies)} small requests beside it: "
        f"p50 {cuts[49] * 1000:.1f} ms, p99 {cuts[98] * 1000:.1f} ms"
    )
    click.echo(
        "next       peerfetch proxy --target http://127.0.0.1:PORT for an app of yours, or\n"
        "           peerfetch proxy --serve DIRECTORY for files: it prints how to reach them"
    )


async def _download(peer: Peer, size: int) -> str:
    digest = hashlib.sha256()
    async with peer.fetch("/media") as response:
        _check(response.status == 200, f"the file was answered with {response.status}")
        async for piece in with_progress(response, "media", size):
            digest.update(piece)
    return digest.hexdigest()


async def _small_requests(peer: Peer) -> list[float]:
    latencies = []
    for number in range(SMALL_REQUESTS):
        started = time.perf_counter()
        response = await peer.fetch("/api/hello", params={"name": str(number)})
        answer = await response.json()
        latencies.append(time.perf_counter() - started)
        _check(answer == {"hello": str(number)}, f"the API answered {answer!r}")
    return latencies


def _check(held: bool, otherwise: str) -> None:
    if not held:
        raise DemoFailed(otherwise)


@contextlib.asynccontextmanager
async def _process(directory: Path, name: str, module: str, *arguments: str) -> AsyncIterator[Any]:
    """Run one of our modules as a process during the block, which gets the content of its ready
    file.
    """
    ready = directory / f"{name}.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments, "--ready-file", str(ready)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        # The demo is the same everywhere, whatever the proxies of this machine are told.
        env={**os.environ, "PEERFETCH_CONFIG": os.devnull},
    )
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not ready.exists():
            if process.returncode is not None:
                raise DemoFailed(f"the {name} process ended with code {process.returncode}")
            _check(time.monotonic() < deadline, f"the {name} process did not start in time")
            await asyncio.sleep(0.02)
        yield json.loads(ready.read_text())
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(START_TIMEOUT):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
