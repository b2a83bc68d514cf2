"""The client of the benchmarks with a proxy: ``python -m bench.peers.http_client PATTERN TRANSPORT
PEER-ID SIGNALING``, or ``… PATTERN tcp URL`` for aiohttp's client. Commands in and answers out, in
JSON lines.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

import peerfetch_fast as peerfetch
from bench.pattern import Pattern
from bench.peers.lines import read_commands, tell
from bench.peers.watching import Watching


def main() -> None:
    pattern, transport, *where = sys.argv[1:]
    main_of = _tcp if transport == "tcp" else _peer
    uvloop.run(main_of(Pattern(Path(pattern)), transport, *where))


async def _tcp(pattern: Pattern, transport: str, url: str) -> None:
    commands = await read_commands()
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as client:

        async def fetch(target: str) -> TcpResponse:
            return TcpResponse(await client.get(target))

        tell("open", transport=transport)
        await Client(fetch, pattern).obey(commands)


@dataclass(frozen=True)
class TcpResponse:
    """What small requests need of an answer, from aiohttp's."""

    response: aiohttp.ClientResponse

    async def bytes(self) -> bytes:
        return await self.response.read()


async def _peer(pattern: Pattern, transport: Any, peer_id: str, signaling: str) -> None:
    commands = await read_commands()
    async with peerfetch.connect(peer_id, signaling=signaling, transport=transport) as peer:
        tell("open", transport=peer.transport)
        await Client(peer.fetch, pattern).obey(commands)


class Client:
    """What the benchmark asks of a connected peer."""

    def __init__(self, fetch: Callable[..., Awaitable[Any]], pattern: Pattern) -> None:
        self._fetch = fetch
        self._downloading: asyncio.Task[None] | None = None
        self._pattern = pattern
        self._watching = Watching(fetch)

    async def obey(self, commands: asyncio.StreamReader) -> None:
        """Carry out what is asked for until nothing more is."""
        while line := await commands.readline():
            command = json.loads(line)
            match command.pop("type"):
                case "download":
                    tell("downloaded", seconds=await self.download(**command))
                case "gets":
                    tell("got", latencies_ms=await self.gets(**command))
                case "many":
                    tell("did", per_s=await self.many(**command))
                case "download_on":
                    await self.start_downloading(**command)
                    tell("downloading")
                case "download_off":
                    await self.stop_downloading()
                    tell("stopped")
                case "gets_during_download":
                    tell("got", latencies_ms=await self.gets_during_download(**command))
                case "watch":
                    await self._watching.start()
                    tell("watching")
                case "offer":
                    tell("answered", sdp=await self._watching.offer(**command))
                case "leave":
                    tell("watched", pictures=await self._watching.stop())

    async def download(self, target: str, size: int, stall: float = 0.0) -> float:
        """Seconds in which ``size`` bytes came, without the ``stall`` seconds that the reader
        stopped half-way.
        """
        began = time.perf_counter()
        at = 0
        async with await self._fetch(target) as response:
            async for piece in response:
                self._check(piece, at)
                at += len(piece)
                if stall and at > size // 2:
                    await asyncio.sleep(stall)
                    began += stall
                    stall = 0.0
        if at != size:
            tell("wrong", message=f"{at} bytes came of {size}")
        return time.perf_counter() - began

    async def gets(self, target: str, seconds: float, priority: str = "u=3") -> list[float]:
        """Milliseconds that each GET took, one after the other.

        :param priority: as in the request header (RFC 9218 §5).
        """
        latencies = []
        until = time.perf_counter() + seconds
        while (began := time.perf_counter()) < until:
            response = await self._fetch(target, headers={"priority": priority})
            self._check(await response.bytes(), 0)
            latencies.append((time.perf_counter() - began) * 1000)
        return latencies

    async def gets_during_download(
        self, target: str, seconds: float, download: str, priority: str = "u=3"
    ) -> list[float]:
        """The same, while ``download`` is fetched again and again."""
        await self.start_downloading(download)
        try:
            return await self.gets(target, seconds, priority)
        finally:
            await self.stop_downloading()

    async def many(self, target: str, in_flight: int, seconds: float) -> float:
        """GETs per second, with always ``in_flight`` under way."""
        until = time.perf_counter() + seconds

        async def keep_asking() -> int:
            done = 0
            while time.perf_counter() < until:
                response = await self._fetch(target)
                self._check(await response.bytes(), 0)
                done += 1
            return done

        began = time.perf_counter()
        done = await asyncio.gather(*(keep_asking() for _ in range(in_flight)))
        return sum(done) / (time.perf_counter() - began)

    async def start_downloading(self, target: str) -> None:
        """Download again and again; return when the first bytes are there."""
        flowing = asyncio.Event()
        self._downloading = asyncio.ensure_future(self._keep_downloading(target, flowing))
        await flowing.wait()

    async def stop_downloading(self) -> None:
        """Leave what is under way."""
        assert self._downloading is not None
        self._downloading.cancel()
        await asyncio.wait((self._downloading,))

    async def _keep_downloading(self, target: str, flowing: asyncio.Event) -> None:
        while True:
            at = 0
            async with await self._fetch(target) as response:
                async for piece in response:
                    flowing.set()
                    self._check(piece, at)
                    at += len(piece)

    def _check(self, data: bytes, at: int) -> None:
        if not self._pattern.holds(data, at):
            tell("wrong", message=f"the body at {at} differs from the file")


if __name__ == "__main__":
    main()
