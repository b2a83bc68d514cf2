"""A camera server: the newest picture of a directory, and all that come as MJPEG.

    python camera_server.py DIRECTORY --signaling peernet+http://HOST:9000?room=ROOM

Some other program writes JPEG files there, each under another name that sorts behind those before,
as `ffmpeg -i /dev/video0 -r 5 DIRECTORY/%08d.jpg` does. It offers the service `peernet.camera` 1.0
there. Prints the peer id.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from peerfetch_fast import serve
from peerfetch_fast.signaling.peernet.address import with_service

SERVICE = "peernet.camera:1.0"

BOUNDARY = b"picture"
INTERVAL = 0.1
"""Seconds after which a new picture is looked for."""
PAGE = b'<!doctype html><title>Camera</title><img src="/stream" alt="what the camera sees">'

Send = Callable[[dict[str, Any]], Awaitable[None]]


def newest(directory: Path) -> Path | None:
    """The newest picture that is whole."""
    for path in sorted(directory.glob("*.jpg"), reverse=True):
        if path.read_bytes()[-2:] == b"\xff\xd9":  # the end of image
            return path
    return None


async def pictures(directory: Path) -> AsyncIterator[bytes]:
    """Each picture that comes, as a part of a multipart body."""
    shown = None
    while True:
        path = newest(directory)
        if path is not None and path != shown:
            shown, picture = path, path.read_bytes()
            yield (
                b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n"
                % (BOUNDARY, len(picture), picture)
            )
        await asyncio.sleep(INTERVAL)


def application(directory: Path) -> Any:
    """The ASGI application."""

    async def app(scope: dict[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def start(status: int, kind: bytes) -> None:
            fields = [(b"content-type", kind), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": status, "headers": fields})

        path, body = scope["path"], b""
        picture = newest(directory)
        if path == "/":
            await start(200, b"text/html")
            body = PAGE
        elif path == "/snapshot.jpg" and picture is not None:
            await start(200, b"image/jpeg")
            body = picture.read_bytes()
        elif path == "/stream":
            await start(200, b"multipart/x-mixed-replace; boundary=" + BOUNDARY)
            async for part in pictures(directory):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        else:
            await start(404, b"text/plain")
        await send({"type": "http.response.body", "body": body})

    return app


async def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--signaling", required=True)
    options = parser.parse_args()
    signaling = with_service(options.signaling, SERVICE)
    async with serve(application(options.directory), signaling=signaling) as server:
        print(server.url, flush=True)
        await server.wait_closed()


asyncio.run(main())
