"""One end of a data channel in Chromium.

``python -m bench.peers.chromium offer|answer PATTERN PERIOD HIGH LOW``

The page (browser.js) does what the other peers do; this program starts the browser, serves the
page, carries its JSON lines, and adds what a page cannot know: the CPU time of all the browser's
processes (Linux).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from urllib.parse import quote, urlencode

import aiohttp
import uvloop
from aiohttp import web
from tests.interop.chromium import chromium

from bench.peers.lines import read_commands, tell

HERE = Path(__file__).parent


def main() -> None:
    role, pattern, *marks = sys.argv[1:]
    with chromium() as devtools:
        uvloop.run(_main(devtools, Path(pattern), [role, *marks]))


async def _main(devtools: str, pattern: Path, arguments: list[str]) -> None:
    commands = await read_commands()
    connected: asyncio.Future[web.WebSocketResponse] = asyncio.get_running_loop().create_future()

    async def send_pattern(request: web.Request) -> web.FileResponse:
        return web.FileResponse(pattern)

    async def carry_answers(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        connected.set_result(socket)
        before = 0.0
        async for message in socket:
            answer = json.loads(message.data)
            used = _cpu(os.getpid())
            if "cpu_us" in answer:
                answer["cpu_us"] = used - before
            before = used
            tell(answer.pop("type"), **answer)
        return socket

    app = web.Application()
    app.router.add_get("/pattern", send_pattern)
    app.router.add_get("/benchmark", carry_answers)
    app.router.add_static("/", HERE)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    query = urlencode([("argument", argument) for argument in arguments])
    page = f"http://127.0.0.1:{runner.addresses[0][1]}/browser.html?{query}"
    new_tab = f"{devtools}/json/new?{quote(page)}"
    async with aiohttp.ClientSession() as session, session.put(new_tab) as response:
        response.raise_for_status()
    socket = await connected
    while line := await commands.readline():
        await socket.send_str(line.decode())


def _cpu(program: int) -> float:
    """Microseconds of CPU that the processes under ``program`` have used."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            fields = path.read_text().rpartition(")")[2].split()
            stats[int(path.parent.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    ticks, under = 0, {program}
    for pid, (parent, used) in sorted(stats.items()):  # as a rule a parent's number is the smaller
        if parent in under:
            under.add(pid)
            ticks += used
    return ticks / os.sysconf("SC_CLK_TCK") * 1e6


if __name__ == "__main__":
    main()
