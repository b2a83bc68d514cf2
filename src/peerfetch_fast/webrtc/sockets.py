"""The sockets that one connection is sent from: a port for each local address, and relays."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from peerfetch_fast.interfaces import is_ours
from peerfetch_fast.webrtc._path import DataPath, Port
from peerfetch_fast.webrtc.gate import Address, Gate, is_stun
from peerfetch_fast.webrtc.ice.gathering import Server

if TYPE_CHECKING:
    from peerfetch_fast.webrtc.ice.relays import Relay

__all__ = ["Sockets"]

logger = logging.getLogger(__name__)

OnStun = Callable[[bytes, int, Address], object]


class _PortOwner:
    """The object that a :class:`Port` takes for aioice's protocol: it gets the STUN messages."""

    __slots__ = ("_base", "_sockets")

    def __init__(self, sockets: Sockets, base: int) -> None:
        self._sockets = sockets
        self._base = base

    def connection_made(self, port: Port) -> None:
        """Asked for by ``Port``."""

    def datagram_received(self, data: bytes, address: tuple[Any, ...]) -> None:
        # An IPv6 address has four parts, of which ICE knows two.
        self._sockets.on_stun(data, self._base, (address[0], address[1]))

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self._sockets.lost(self._base, error)


class Sockets:
    """Numbers the sockets of a connection, for the agent to name them by.

    :param path: where what is not STUN goes.
    :param gate: what decides that, for relays.
    :param on_stun: called with each STUN datagram, the number of its socket, and who it is from.
    :param on_lost: called with the number of a socket that has failed.
    """

    def __init__(
        self, path: DataPath, gate: Gate, on_stun: OnStun, on_lost: Callable[[int], object]
    ) -> None:
        self._path = path
        self._gate = gate
        self.on_stun = on_stun
        self._on_lost = on_lost
        self._next = 0
        self._ports: dict[int, Port] = {}
        self._addresses: dict[int, str] = {}
        self._relays: dict[int, Relay] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def ports(self) -> dict[int, str]:
        """The local address of each port, by its number."""
        return dict(self._addresses)

    def local_address(self, base: int) -> str | None:
        """The address of this machine that a socket sends from; None if it is gone."""
        relay = self._relays.get(base)
        return self._addresses.get(base) if relay is None else relay.local_address

    def open_port(self, address: str) -> tuple[int, int] | None:
        """Open a socket on a local address; its number and its port, or None if there is no such
        address any more.
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.bind((address, 0))
        except OSError as exc:
            sock.close()
            logger.info("nothing can be sent from %s: %s", address, exc)
            return None
        base = self._take_number()
        self._ports[base] = Port(self._path, sock, _PortOwner(self, base))
        self._addresses[base] = address
        return base, sock.getsockname()[1]

    async def open_relay(self, server: Server) -> tuple[int, Relay]:
        """Have a TURN server relay for us. Raises as
        :func:`~peerfetch_fast.webrtc.ice.relays.open_relay`.
        """
        from peerfetch_fast.webrtc.ice.relays import open_relay

        base = self._take_number()

        def received(data: bytes, address: Address) -> None:
            if is_stun(data):
                self.on_stun(data, base, address)
            else:
                self._gate.receive(data, address)

        relay = await open_relay(server, received)
        relay.on_lost = lambda error: self.lost(base, error or OSError("the relay is gone"))
        self._relays[base] = relay
        return base, relay

    async def relay_holds(self, base: int) -> bool:
        """Whether a TURN server still relays for us."""
        relay = self._relays.get(base)
        return relay is not None and await relay.holds()

    def send(self, base: int, address: Address, data: bytes) -> None:
        """Send a datagram; one that cannot be sent is lost, as it might be in the network."""
        transport = self._ports.get(base) or self._relays.get(base)
        if transport is not None:
            transport.sendto(data, address)

    def select(self, base: int, address: Address) -> None:
        """Have the path send through a socket."""
        transport = self._ports.get(base) or self._relays.get(base)
        if transport is not None:
            self._path.select(transport, address)

    def lost(self, base: int, error: Exception) -> None:
        """A socket has failed: its network is gone."""
        logger.info("a socket has failed: %s", error)
        self.close_port(base)
        relay = self._relays.pop(base, None)
        if relay is not None:
            closing = asyncio.ensure_future(relay.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        self._on_lost(base)

    def drop_relays(self) -> None:
        """Let go of those whose servers know us by an address that is ours no more."""
        for base, relay in list(self._relays.items()):
            if not is_ours(relay.local_address):
                self.lost(base, OSError(f"{relay.local_address} is no address of ours any more"))

    def close_port(self, base: int) -> None:
        """Close a port. Idempotent."""
        port = self._ports.pop(base, None)
        self._addresses.pop(base, None)
        if port is not None:
            port.close()

    async def close(self) -> None:
        """Close all of them; relays are given back."""
        for base in list(self._ports):
            self.close_port(base)
        relays, self._relays = self._relays, {}
        self._closing |= {asyncio.ensure_future(relay.close()) for relay in relays.values()}
        if self._closing:
            await asyncio.wait(self._closing)

    def _take_number(self) -> int:
        self._next += 1
        return self._next
