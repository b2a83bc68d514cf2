"""A file server: the footage in a directory, listed and read in parts.

    python file_server.py DIRECTORY --signaling peernet+http://HOST:9000?room=ROOM

What `peerfetch proxy --serve DIRECTORY` does, as a program of its own, which says who takes what.
It offers the service `peernet.file` 1.0 there. Prints the peer id.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from peerfetch_fast import PeerfetchError, Server, serve
from peerfetch_fast.signaling.peernet.address import with_service

SERVICE = "peernet.file:1.0"

LOOK = 1.0
"""Seconds after which it is looked who is there."""


def total(directory: Path) -> str:
    """What there is to take."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return f"{len(files)} files of {size / 1e6:.1f} MB"


async def tell_of_visitors(server: Server) -> None:
    """Say who comes, and who goes."""
    before: frozenset[str] = frozenset()
    while True:
        now = frozenset(peer.id for peer in server.peers)
        for peer_id in now - before:
            print("came", peer_id, flush=True)
        for peer_id in before - now:
            print("left", peer_id, flush=True)
        before = now
        await asyncio.sleep(LOOK)


async def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--signaling", required=True)
    options = parser.parse_args()
    signaling = with_service(options.signaling, SERVICE)
    async with serve(options.directory, signaling=signaling) as server:
        print(server.url, flush=True)
        print(total(options.directory), flush=True)
        telling = asyncio.create_task(tell_of_visitors(server))
        try:
            await server.wait_closed()
        except PeerfetchError as error:
            raise SystemExit(f"nobody can find us any more: {error}") from None
        finally:
            telling.cancel()


asyncio.run(main())
