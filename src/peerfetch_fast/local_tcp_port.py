"""A TCP port of a peer as a local port: the work of ``peerfetch forward --tcp``."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from peerfetch_fast.errors import PeerfetchError, UpgradeRefused
from peerfetch_fast.http.tunnel import relay_socket, reset_socket
from peerfetch_fast.peer import Peer
from peerfetch_fast.settings import Settings

__all__ = ["LocalTcpPort"]


logger = logging.getLogger(__name__)

MAX_CONNECTIONS = Settings().max_tunnels
"""Connections at once, as many as the other side allows by default. Further ones are reset."""

OPEN_TIMEOUT = 15.0
"""Seconds that a tunnel may take to open, reconnecting to a lost device included."""


class LocalTcpPort:
    """Carries each connection to a port of 127.0.0.1 in a tunnel of its own.

    A connection for which there is no tunnel, and one whose tunnel breaks off, is reset.

    :param peer: the peer that serves the port.
    :param name: the name under which the peer serves it.
    """

    def __init__(self, peer: Peer, name: str) -> None:
        self._peer = peer
        self._name = name
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.refused: Counter[str] = Counter()
        """The number of refusals for each reason."""

    async def start(self, port: int) -> int:
        """Listen on 127.0.0.1 and return the port; with 0, any free one. Raises OSError."""
        self._server = await asyncio.start_server(self._on_connection, "127.0.0.1", port)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening, and cut the connections that are open."""
        if self._server is not None:
            self._server.close()
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= MAX_CONNECTIONS:
            self.refused["too many connections"] += 1
            logger.warning(
                "%s: %d connections are open, one more is reset", self._name, MAX_CONNECTIONS
            )
            reset_socket(writer.transport)
            return
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if task.cancelled():  # perhaps before it began
                reset_socket(writer.transport)

        task.add_done_callback(ended)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                tunnel = await self._peer.tunnel(self._name)
        except UpgradeRefused as refused:
            self.refused["refused by the device"] += 1
            said = refused.body.decode(errors="replace").strip()
            logger.warning("%s: the device answered %d: %.200r", self._name, refused.status, said)
            reset_socket(writer.transport)
        except TimeoutError:
            self.refused["the device was away"] += 1
            logger.warning("%s: the device is away", self._name)
            reset_socket(writer.transport)
        except PeerfetchError as error:
            logger.warning("%s: no tunnel: %s", self._name, error)
            reset_socket(writer.transport)
        except BaseException:
            reset_socket(writer.transport)
            raise
        else:
            await relay_socket(tunnel, reader, writer)
