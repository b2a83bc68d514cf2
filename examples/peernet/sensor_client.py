"""A sensor client: print readings of a sensor server as they come.

python sensor_client.py --signaling peernet+http://HOST:9000?room=ROOM --count 10
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from peerfetch_fast import Peer, connect
from peerfetch_fast.discovery import ask_room
from peerfetch_fast.signaling.peernet.address import with_service

SERVICE = "peernet.sensor:1.0"


async def latest(peer: Peer) -> dict[str, Any]:
    """The reading of now."""
    async with peer.fetch("/readings") as response:
        found: dict[str, Any] = json.loads(await response.text())
        return found


async def stream(peer: Peer) -> AsyncIterator[dict[str, Any]]:
    """Readings as they come."""
    async with peer.fetch("/readings/stream") as response:
        rest = b""
        async for piece in response:
            *lines, rest = (rest + bytes(piece)).split(b"\n")
            for line in lines:
                yield json.loads(line)


def told(reading: dict[str, Any]) -> str:
    """A reading for people."""
    return "  ".join(f"{name} {one['value']} {one['unit']}" for name, one in reading.items())


async def somebody(signaling: str) -> str:
    """The first in the room that offers a sensor."""
    found = await ask_room(with_service(signaling, SERVICE))
    if not found:
        raise SystemExit("nobody in the room offers a sensor")
    return found[0].peer_id


async def main() -> None:
    """Print so many readings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signaling", required=True)
    parser.add_argument("--peer", help="peer://PEER-ID#PIN; by default the first in the room")
    parser.add_argument("--count", type=int, default=0, help="0: until interrupted")
    options = parser.parse_args()
    found = options.peer or await somebody(options.signaling)
    async with connect(found, signaling=options.signaling) as peer:
        print(told(await latest(peer)), flush=True)
        left = options.count
        async for reading in stream(peer):
            print(told(reading), flush=True)
            left -= 1
            if left == 0:
                return


asyncio.run(main())
