"""WebSockets to an HTTP server: relaying messages between two ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from peerfetch_fast.errors import PeerfetchError, WebSocketError
from peerfetch_fast.http.h1 import Closed, Octets
from peerfetch_fast.http.upstream_connection import UpstreamConnection
from peerfetch_fast.http.websocket import CLOSE_TIMEOUT, WebSocket
from peerfetch_fast.http.websocket_frames import BAD_GATEWAY, Close, Ping, Pong
from peerfetch_fast.http.websocket_wire import Endpoint

__all__ = ["UpstreamPipe", "relay"]

logger = logging.getLogger(__name__)


class UpstreamPipe:
    """A connection to an upstream after a switch of protocol."""

    def __init__(self, connection: UpstreamConnection) -> None:
        self._connection = connection

    async def read(self) -> bytes:
        """The next octets, b"" at the end. Raises ConnectionError."""
        event = await self._connection.next_event()
        if isinstance(event, Closed):
            return b""
        assert isinstance(event, bytes)
        return event

    async def send(self, pieces: tuple[Octets, ...]) -> None:
        """Send octets, waiting while the upstream is slow. Raises ConnectionError."""
        self._connection.write_pieces(pieces)
        await self._connection.drain()


async def relay(client: WebSocket, other: Endpoint) -> bool:
    """Relay messages and control frames until both sides have closed, or one is lost.

    Return whether the client was sent a CLOSE.
    """
    loop = asyncio.get_running_loop()
    tasks = (
        loop.create_task(_from_client(client, other)),
        loop.create_task(_to_client(other, client)),
    )
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if all(task.result() for task in tasks if task.done()):
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return client.close_sent


async def _from_client(client: WebSocket, other: Endpoint) -> bool:
    """Return whether the client closed, and was not lost."""
    try:
        while True:
            match await client.receive_event():
                case str(message) | bytes(message):
                    await other.send(message)
                case Ping(data):
                    await other.send_ping(data)
                case Pong(data):
                    await other.send_pong(data)
                case Close(code, reason):
                    await other.send_close(code, reason)
                    return True
    except WebSocketError as error:  # the client was sent a CLOSE already
        with contextlib.suppress(PeerfetchError, OSError):
            await other.send_close(error.code, str(error))
    except (PeerfetchError, OSError) as error:
        logger.info("a WebSocket ended: %s", error)
    return False


async def _to_client(other: Endpoint, client: WebSocket) -> bool:
    """Return whether the other side closed, and was not lost."""
    try:
        while True:
            match await other.receive_event():
                case str(message) | bytes(message):
                    await client.send(message)
                case Ping(data):
                    await client.send_ping(data)
                case Pong(data):
                    await client.send_pong(data)
                case Close(code, reason):
                    client.send_close(code, reason)
                    return True
    except WebSocketError as error:
        logger.info("a WebSocket is broken: %s", error)
        with contextlib.suppress(PeerfetchError):
            client.send_close(BAD_GATEWAY, "the upstream broke the rules of WebSocket")
        return True
    except (PeerfetchError, OSError) as error:
        logger.info("a WebSocket ended: %s", error)
    return False
