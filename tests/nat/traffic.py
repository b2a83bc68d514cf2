"""What goes between a client and a device that move, and how fast."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from peerfetch_fast.webrtc.ice.gathering import IceServer

BLOCK = 250_000
"""Bytes that are sent at once."""

RATE = 20_000_000
"""Bytes a second of a transfer, so that it lasts, and leaves some of the machine to others."""

HELD = 0.75
"""The share of a transfer that is not exceeded before all have moved."""

INTERVAL = 0.01
"""Seconds between two numbered messages."""

REQUESTS = 50
"""Requests that wait for their answer meanwhile."""

_FILLING = hashlib.shake_256(b"peerfetch").digest(BLOCK - 8)


async def blocks(
    size: int, released: Callable[[], Awaitable[object]], taken: Callable[[int], object]
) -> AsyncIterator[bytes]:
    """The bytes of a transfer, none of which is like another.

    :param released: returns when the rest may follow.
    :param taken: called with how many bytes were taken so far.
    """
    began = time.monotonic()
    for number in range(size // BLOCK):
        if number == int(HELD * size) // BLOCK:
            await released()
        ahead = began + number * BLOCK / RATE - time.monotonic()
        if ahead > 0:
            await asyncio.sleep(ahead)
        yield number.to_bytes(8, "big") + _FILLING
        taken((number + 1) * BLOCK)


def expected(size: int) -> str:
    """SHA-256 of all of it."""
    digest = hashlib.sha256()
    for number in range(size // BLOCK):
        digest.update(number.to_bytes(8, "big") + _FILLING)
    return digest.hexdigest()


def ice_servers(argument: str) -> list[IceServer]:
    return [IceServer(**one) for one in json.loads(argument)]


def write(path: Path, what: Any) -> None:
    """Whoever sees the file sees all of it."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(what))
    os.replace(part, path)
