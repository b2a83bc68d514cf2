"""One end of a session: ``python -m bench.peers.session offer|answer PATTERN PERIOD HIGH LOW
CONGESTION [FILM]``.

Who offers is the client, which the benchmark asks for downloads and small GETs (http_client.py);
the answerer is the server, and gives as many bytes of the pattern as the target says, and at
``/cam`` a camera that plays the film, if there is one.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from bench.pattern import LONGEST, Pattern
from bench.peers.channel import native_connection, set_up
from bench.peers.http_client import Client
from bench.peers.lines import read_commands, tell
from peerfetch_fast.http.client import fetch
from peerfetch_fast.http.routing import Router
from peerfetch_fast.http.server import Exchange, serve_session
from peerfetch_fast.media.camera import Camera
from peerfetch_fast.streams.session import Session
from peerfetch_fast.webrtc.channel_link import link_over, open_channel


def main() -> None:
    role, pattern, _, _, _, congestion, *film = sys.argv[1:]
    uvloop.run(_main(role, Pattern(Path(pattern)), congestion, *film))


async def _main(role: str, pattern: Pattern, congestion: str, film: str | None = None) -> None:
    commands = await read_commands()
    connection = native_connection(congestion)
    opened: asyncio.Future[Session] = asyncio.get_running_loop().create_future()

    def begin(channel: Any) -> None:
        link = link_over(connection, channel)

        def start() -> None:
            opened.set_result(Session(link, opener=role == "offer"))

        if channel.readyState == "open":
            start()
        else:
            channel.on("open", start)

    if role == "offer":
        begin(open_channel(connection))
    else:
        connection.on("datachannel", begin)
    await set_up(role, connection, commands)
    session = await opened
    tell("open")
    if role == "offer":
        await Client(partial(fetch, session), pattern).obey(commands)
    else:
        served: dict[str, Any] = {"": partial(_answer, pattern)}
        if film is not None:
            served["/cam"] = Camera(film)
        serving = asyncio.ensure_future(serve_session(session, Router(served)))
        await commands.read()
        serving.cancel()


async def _answer(pattern: Pattern, exchange: Exchange) -> None:
    size = int(exchange.target.removeprefix("/"))
    exchange.start(200, [], size)
    for at in range(0, size, LONGEST):
        await exchange.write(pattern.piece(at, min(LONGEST, size - at)))
    exchange.end()


if __name__ == "__main__":
    main()
