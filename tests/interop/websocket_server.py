"""An echo server of the ``websockets`` package: ``python websocket_server.py READY-FILE``.

It also says how the connections before have ended, on ``/codes``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

ended: list[list[object]] = []


async def echo(connection: ServerConnection) -> None:
    assert connection.request is not None
    if connection.request.path == "/close":
        await connection.close(4001, "as you wish")
    elif connection.request.path == "/codes":
        await connection.send(json.dumps(ended))
        return
    try:
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        pass
    ended.append([connection.close_code, connection.close_reason])


def refuse(connection: ServerConnection, request: Request) -> Response | None:
    if request.path == "/refuse":
        return connection.respond(HTTPStatus.FORBIDDEN, "not you\n")
    return None


def select(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    spoken = (Subprotocol("chat.2"), Subprotocol("chat.1"))
    return next((name for name in spoken if name in offered), None)


async def main(ready: Path) -> None:
    async with serve(
        echo, "127.0.0.1", 0, process_request=refuse, select_subprotocol=select, max_size=None
    ) as server:
        host, port = server.sockets[0].getsockname()
        beside = ready.with_suffix(".new")
        beside.write_text(f"http://{host}:{port}")
        os.replace(beside, ready)
        await server.serve_forever()


asyncio.run(main(Path(sys.argv[1])))
