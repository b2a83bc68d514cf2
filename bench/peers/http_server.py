"""An aiohttp server: ``python -m bench.peers.http_server PATTERN --ready-file FILE``; at ``/N`` it
answers with the first N bytes of the pattern.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from pathlib import Path

import uvloop
from aiohttp import web

from bench.pattern import Pattern


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pattern", type=Path)
    parser.add_argument("--ready-file", type=Path, required=True)
    arguments = parser.parse_args()
    uvloop.run(_main(Pattern(arguments.pattern), arguments.ready_file))


async def _main(pattern: Pattern, ready: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=pattern.piece(0, int(request.match_info["length"])))

    app = web.Application()
    app.router.add_get(r"/{length:\d+}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        temporary = ready.with_suffix(".new")
        temporary.write_text(json.dumps({"url": f"http://{host}:{port}"}))
        temporary.replace(ready)
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        await stopped.wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    main()
