"""The client of the end-to-end benchmark: ``python -m bench.peers.http_client PATTERN TRANSPORT
PEER-ID SIGNALING``. Commands in and answers out, in JSON lines.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

import peerfetch_fast as peerfetch
from bench.pattern import Pattern
from bench.peers.channel import tell


def main() -> None:
    pattern, transport, peer_id, signaling = sys.argv[1:]
    uvloop.run(_main(Pattern(Path(pattern)), transport, peer_id, signaling))


async def _main(pattern: Pattern, transport: Any, peer_id: str, signaling: str) -> None:
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    async with peerfetch.connect(peer_id, signaling=signaling, transport=transport) as peer:
        client = Client(peer, pattern)
        tell("open", transport=peer.transport)
        while line := await commands.readline():
            command = json.loads(line)
            match command.pop("type"):
                case "download":
                    tell("downloaded", seconds=await client.download(**command))
                case "gets":
                    tell("got", latencies_ms=await client.gets(**command))
                case "gets_during_download":
                    tell("got", latencies_ms=await client.gets_during_download(**command))


class Client:
    """What the benchmark asks of a connected peer."""

    def __init__(self, peer: peerfetch.Peer, pattern: Pattern) -> None:
        self._peer = peer
        self._pattern = pattern

    async def download(self, target: str, size: int, stall: float = 0.0) -> float:
        """Seconds in which ``size`` bytes came, without the ``stall`` seconds that the reader
        stopped half-way.
        """
        began = time.perf_counter()
        at = 0
        async with await self._peer.fetch(target) as response:
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

    async def gets(self, target: str, seconds: float) -> list[float]:
        """Milliseconds that each GET took, one after the other."""
        latencies = []
        until = time.perf_counter() + seconds
        while (began := time.perf_counter()) < until:
            response = await self._peer.fetch(target)
            self._check(await response.bytes(), 0)
            latencies.append((time.perf_counter() - began) * 1000)
        return latencies

    async def gets_during_download(self, target: str, seconds: float, download: str) -> list[float]:
        """The same, while ``download`` is fetched again and again."""
        downloading = asyncio.ensure_future(self._keep_downloading(download))
        try:
            return await self.gets(target, seconds)
        finally:
            downloading.cancel()
            await asyncio.wait((downloading,))

    async def _keep_downloading(self, target: str) -> None:
        while True:
            at = 0
            async with await self._peer.fetch(target) as response:
                async for piece in response:
                    self._check(piece, at)
                    at += len(piece)

    def _check(self, data: bytes, at: int) -> None:
        if not self._pattern.holds(data, at):
            tell("wrong", message=f"the body at {at} differs from the file")


if __name__ == "__main__":
    main()
