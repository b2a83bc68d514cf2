"""A node: what a program offers to others and asks of them."""

from __future__ import annotations

import asyncio
import time

from peerfetch_fast.signaling.smoke.client import HubClient
from peerfetch_fast.smoke.network import Network
from peerfetch_fast.smoke.rest import Rest
from peerfetch_fast.smoke.sockets import Sockets
from peerfetch_fast.state import load_certificate, state_directory
from peerfetch_fast.webrtc.certificate import Certificate

__all__ = ["Node"]


class Node:
    """A node at a hub. Use it in ``async with``, which connects it and closes it with its hub.

    :param hub: such as ``NetworkHub("wss://HOST/smoke")``, of one node.
    :param access_token: what all nodes that meet must know; None for nothing.
    :param certificate: whose fingerprint is this node's identity; by default the one in the state
        directory, made on first use.
    """

    def __init__(
        self,
        hub: HubClient,
        *,
        access_token: str | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        self.hub = hub
        certificate = certificate or load_certificate(state_directory())
        self.network = Network(hub, certificate, access_token)
        self.rest = Rest(self.network)
        self.sockets = Sockets(self.network)
        self._started = time.monotonic()
        self._closed = asyncio.Event()

    @property
    def address(self) -> str:
        """This node's address at its hub."""
        return self.network.address

    @property
    def uptime(self) -> float:
        """Seconds since the node was made."""
        return time.monotonic() - self._started

    async def start(self) -> None:
        """Be reachable. Raises SignalingError, InvalidAccessToken."""
        await self.network.start()

    async def close(self) -> None:
        """Close its sockets in order, end its connections, and leave the hub. Idempotent."""
        self.network.ports.clear()
        await self.sockets.close()
        await self.rest.close()
        await self.network.close()
        await self.hub.close()
        self._closed.set()

    async def wait_closed(self) -> None:
        """Wait until the node is closed."""
        await self._closed.wait()

    async def __aenter__(self) -> Node:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
