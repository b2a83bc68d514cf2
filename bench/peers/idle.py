"""Sessions that do nothing: ``python -m bench.peers.idle serve SIGNALING``, and ``… connect
SIGNALING PEER-ID``, which opens as many more as it is told to. Commands in and answers out, in
JSON lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys

import uvloop

import peerfetch_fast as peerfetch
from bench.peers.lines import read_commands, tell
from peerfetch_fast.settings import Limits

AT_ONCE = 8
"""Connections that are in the making."""


def main() -> None:
    role, signaling, *peer_id = sys.argv[1:]
    uvloop.run(_serve(signaling) if role == "serve" else _connect(signaling, *peer_id))


async def _serve(signaling: str) -> None:
    commands = await read_commands()
    many = Limits(max_peers=1000, idle_timeout=3600)
    nothing = {"nothing": "127.0.0.1:9"}
    async with peerfetch.serve({}, tcp=nothing, signaling=signaling, limits=many) as server:
        tell("open", peer_id=server.peer_id)
        await commands.read()


async def _connect(signaling: str, peer_id: str) -> None:
    commands = await read_commands()
    async with contextlib.AsyncExitStack() as stack:
        room = asyncio.Semaphore(AT_ONCE)

        async def one() -> None:
            async with room:
                await stack.enter_async_context(peerfetch.connect(peer_id, signaling=signaling))

        tell("open")
        while line := await commands.readline():
            await asyncio.gather(*(one() for _ in range(json.loads(line)["sessions"])))
            tell("connected")


if __name__ == "__main__":
    main()
