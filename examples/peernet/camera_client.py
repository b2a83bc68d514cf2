"""A camera client: keep pictures of a camera server.

    python camera_client.py DIRECTORY --signaling peernet+http://HOST:9000?room=ROOM

Writes `snapshot.jpg`, then `0001.jpg` and so on as they come.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from peerfetch_fast import Peer, connect
from peerfetch_fast.discovery import ask_room
from peerfetch_fast.signaling.peernet.address import with_service

SERVICE = "peernet.camera:1.0"

MAX_PICTURE = 16 * 1024 * 1024
"""Bytes of the largest picture that is taken."""


async def snapshot(peer: Peer) -> bytes:
    """The newest picture."""
    async with peer.fetch("/snapshot.jpg") as response:
        if response.status != 200:
            raise SystemExit(f"there is no picture yet (status {response.status})")
        return await response.bytes()


async def pictures(peer: Peer) -> AsyncIterator[bytes]:
    """Pictures as they come, taken out of the multipart body."""
    async with peer.fetch("/stream") as response:
        came = b""
        async for piece in response:
            came += bytes(piece)
            while (end := came.find(b"\r\n\r\n")) >= 0:
                head = came[:end].lower()
                size = int(head.partition(b"content-length:")[2].split()[0])
                if size > MAX_PICTURE:
                    raise SystemExit("the picture is too large")
                if len(came) < end + 4 + size + 2:
                    break
                yield came[end + 4 : end + 4 + size]
                came = came[end + 4 + size + 2 :]


async def somebody(signaling: str) -> str:
    """The first in the room that offers a camera."""
    found = await ask_room(with_service(signaling, SERVICE))
    if not found:
        raise SystemExit("nobody in the room offers a camera")
    return found[0].peer_id


async def main() -> None:
    """Keep so many pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--signaling", required=True)
    parser.add_argument("--peer", help="peer://PEER-ID#PIN; by default the first in the room")
    parser.add_argument("--count", type=int, default=0, help="0: until interrupted")
    options = parser.parse_args()
    found = options.peer or await somebody(options.signaling)
    async with connect(found, signaling=options.signaling) as peer:
        (options.directory / "snapshot.jpg").write_bytes(await snapshot(peer))
        number = 0
        async for picture in pictures(peer):
            number += 1
            (options.directory / f"{number:04d}.jpg").write_bytes(picture)
            print(f"{number:04d}.jpg", len(picture), "bytes", flush=True)
            if number == options.count:
                return


asyncio.run(main())
