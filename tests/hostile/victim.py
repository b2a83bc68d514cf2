"""``python -m tests.hostile.victim``: a program that asks a good device and a hostile one.

Both are its peers; the good one must go on answering. In and out: JSON lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
import traceback
from pathlib import Path

from bench.peers.channel import read_commands, tell

from peerfetch_fast import Peer, connect
from peerfetch_fast.errors import PeerfetchError

PAUSE = 0.01
"""Seconds between two requests to the good device."""
PATIENCE = 0.5
"""Seconds that are given to the hostile one."""


async def ask(peer: Peer, name: str, seconds: float) -> list[float]:
    """Ask for small answers, one after the other; each must come, and be the one to its question.

    Returns the latencies, in seconds.
    """
    latencies: list[float] = []
    until = time.perf_counter() + seconds
    while not latencies or time.perf_counter() < until:
        number = len(latencies)
        began = time.perf_counter()
        response = await peer.fetch(f"/{name}{number}", headers={"x-user": name}, timeout=60)
        text = await response.text()
        if text != f"answer to /{name}{number} for {name}":
            raise AssertionError(f"the answer to another question: {text}")
        latencies.append(time.perf_counter() - began)
        await asyncio.sleep(PAUSE)
    return latencies


async def come(peer_id: str, signaling: str, known: Path, delay: float) -> float:
    """Connect to the good device after ``delay``; seconds until it had answered."""
    await asyncio.sleep(delay)
    began = time.perf_counter()
    async with connect(peer_id, signaling=signaling, known_peers=known, timeout=60) as peer:
        await ask(peer, "newcomer", 0.0)
    return time.perf_counter() - began


async def visit(peer_id: str, signaling: str, known: Path) -> None:
    """Connect to the hostile device and ask it, again and again."""
    while True:
        with contextlib.suppress(PeerfetchError, asyncio.TimeoutError):
            async with connect(peer_id, signaling=signaling, known_peers=known) as peer:
                response = await peer.fetch("/", timeout=PATIENCE)
                await asyncio.wait_for(response.bytes(), PATIENCE)
        await asyncio.sleep(PAUSE)


async def main() -> None:
    commands = await read_commands()
    where = json.loads(await commands.readline())
    signaling = where["signaling"]
    with tempfile.TemporaryDirectory(prefix="peerfetch-victim-") as state:
        known = Path(state, "known")
        async with connect(where["good"], signaling=signaling, known_peers=known) as peer:
            visiting = None
            if where["hostile"] is not None:
                visit_it = visit(where["hostile"], signaling, Path(state, "hostile"))
                visiting = asyncio.ensure_future(visit_it)
            tell("open")
            while line := await commands.readline():
                try:
                    seconds = json.loads(line)["seconds"]
                    latencies, came = await asyncio.gather(
                        ask(peer, "program", seconds),
                        come(where["good"], signaling, known, seconds / 2),
                    )
                    if visiting is not None and visiting.done():
                        await visiting  # nothing but errors of ours may come of it
                except Exception as error:
                    tell("failed", message="".join(traceback.format_exception(error)))
                else:
                    tell("asked", latencies=latencies, came=came)
            if visiting is not None:
                visiting.cancel()
                await asyncio.wait((visiting,))


if __name__ == "__main__":
    asyncio.run(main())
