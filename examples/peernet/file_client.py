"""A file client: take one file of a file server, and go on where it broke off.

    python file_client.py /2026-11-28/front.mp4 front.mp4 \
        --signaling peernet+http://HOST:9000?room=ROOM

What has come is in FILE.part, with the file's version in FILE.version, until it is whole.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from peerfetch_fast import Peer, PeerfetchError, connect
from peerfetch_fast.discovery import ask_room
from peerfetch_fast.signaling.peernet.address import with_service

SERVICE = "peernet.file:1.0"

ATTEMPTS = 5


async def take(peer: Peer, path: str, part: Path, version: Path) -> None:
    """Fetch what is missing of a file."""
    headers = {}
    have = part.stat().st_size if part.exists() else 0
    if have and version.exists():
        # Without If-Range, parts of two versions could be put together (RFC 9110, section 13.1.5).
        headers = {"Range": f"bytes={have}-", "If-Range": version.read_text()}
    async with peer.fetch(path, headers=headers, decode=False) as response:
        if response.status == 416:
            return  # all of it is there
        if response.status not in (200, 206):
            raise SystemExit(f"{path}: status {response.status}")
        going_on = response.status == 206
        print("going on" if going_on else "beginning", "at", have if going_on else 0, flush=True)
        version.write_text(response.headers.get("etag", ""))
        with part.open("ab" if going_on else "wb") as file:
            async for piece in response:
                file.write(piece)


async def somebody(signaling: str) -> str:
    """The first in the room that offers files."""
    found = await ask_room(with_service(signaling, SERVICE))
    if not found:
        raise SystemExit("nobody in the room offers files")
    return found[0].peer_id


async def main() -> None:
    """Take the file, in as many attempts as it needs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("file", type=Path)
    parser.add_argument("--signaling", required=True)
    parser.add_argument("--peer", help="peer://PEER-ID#PIN; by default the first in the room")
    options = parser.parse_args()
    part = options.file.with_name(f"{options.file.name}.part")
    version = options.file.with_name(f"{options.file.name}.version")
    found = options.peer or await somebody(options.signaling)
    async with connect(found, signaling=options.signaling) as peer:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await take(peer, options.path, part, version)
                break
            except PeerfetchError as error:
                print(error, flush=True)
                if attempt == ATTEMPTS:
                    raise SystemExit(f"{options.path} did not come") from None
    part.replace(options.file)
    version.unlink(missing_ok=True)
    print(options.file, options.file.stat().st_size, "bytes", flush=True)


asyncio.run(main())
