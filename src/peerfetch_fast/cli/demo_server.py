"""The HTTP server of the demo: a JSON API and a media file."""

from __future__ import annotations

import hashlib
import random
import tempfile
from pathlib import Path

import click
from aiohttp import web

from peerfetch_fast.cli.loop import run, stop_event
from peerfetch_fast.cli.ready_file import ready_file

__all__ = ["main"]

PIECE = 1 << 20


@click.command()
@click.option("--size", type=int, required=True)
@click.option("--ready-file", "ready_path", type=click.Path(path_type=Path), required=True)
def main(size: int, ready_path: Path) -> None:
    run(_main(size, ready_path))


async def _main(size: int, ready_path: Path) -> None:
    stop = stop_event()
    with tempfile.NamedTemporaryFile(prefix="peerfetch-media-") as media:
        digest = hashlib.sha256()
        noise = random.Random(size)  # noqa: S311 - a file that is the same every time
        for at in range(0, size, PIECE):
            piece = noise.randbytes(min(PIECE, size - at))
            digest.update(piece)
            media.write(piece)
        media.flush()

        async def hello(request: web.Request) -> web.Response:
            return web.json_response({"hello": request.query.get("name", "")})

        async def about(request: web.Request) -> web.Response:
            return web.json_response({"size": size, "sha256": digest.hexdigest()})

        async def send(request: web.Request) -> web.FileResponse:
            return web.FileResponse(media.name)

        app = web.Application()
        app.add_routes(
            [
                web.get("/api/hello", hello),
                web.get("/api/media", about),
                web.get("/media", send),
            ]
        )
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            with ready_file(ready_path, {"url": f"http://{host}:{port}"}) as ready:
                ready()
                await stop.wait()
        finally:
            await runner.cleanup()


if __name__ == "__main__":
    main()
