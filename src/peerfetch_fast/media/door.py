"""Cameras by plain HTTP on an address of this machine, for programs that know WHEP and WHIP but no
peers: OBS, GStreamer, players.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from peerfetch_fast.http.routing import Router, path_prefix
from peerfetch_fast.http.server import serve_session
from peerfetch_fast.interfaces import host_addresses
from peerfetch_fast.local_http_port import LocalHttpPort
from peerfetch_fast.media.camera import Camera
from peerfetch_fast.peer import Peer
from peerfetch_fast.reconnecting import Established, ReconnectingSession
from peerfetch_fast.streams.link import memory_pair
from peerfetch_fast.streams.session import Session

__all__ = ["Door"]

NAME = "cameras"
"""By which the inside of the door is known to it."""

_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound


class _Inside:
    """The connection of a session in this process, which goes nowhere."""

    transport = "memory"
    remote_address = way = why = relay = None

    async def close(self) -> None:
        """There is nothing to close."""


class Door:
    """Serves cameras, each at its path, to whoever reaches the address. Close it after use.

    :param cameras: by their paths; the door does not close them.

    Raises ValueError for a path that is none.
    """

    def __init__(self, cameras: Mapping[str, Camera]) -> None:
        self._router = Router({path_prefix(path): camera for path, camera in cameras.items()})
        self._port: LocalHttpPort | None = None
        self._peer: Peer | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port; with 0, any free one. Raises OSError."""
        one, other = memory_pair()
        session = Session(one, opener=True, accepting=False)
        inside = Session(other, opener=False)
        self._serving = asyncio.ensure_future(serve_session(inside, self._router))
        established = Established(session, _Inside(), b"")
        self._peer = Peer(NAME, ReconnectingSession(established))
        hosts = host_addresses() if host in _EVERYWHERE else [host]
        self._port = LocalHttpPort(self._peer, hosts)
        try:
            return await self._port.start(port, host)
        except OSError:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop listening, and end what was asked for through the door. Idempotent."""
        if self._port is not None:
            await self._port.close()
        if self._peer is not None:
            await self._peer.abort()
        if self._serving is not None:
            await asyncio.wait((self._serving,))

    async def __aenter__(self) -> Door:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
