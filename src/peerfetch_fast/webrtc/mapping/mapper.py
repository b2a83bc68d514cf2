"""Asks the router for a port that leads to one of ours, and keeps it for as long as it is used."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from peerfetch_fast.errors import MappingError
from peerfetch_fast.webrtc.mapping import pcp
from peerfetch_fast.webrtc.mapping.pcp import Mapped
from peerfetch_fast.webrtc.mapping.recent import SILENT_FOR, Recent

__all__ = ["LIFETIME", "Mapping", "default_gateway", "open_port"]

logger = logging.getLogger(__name__)

LIFETIME = 3600
"""Seconds for which a port is asked, and asked again when half of them have passed: a router that
loses us has it open no longer."""

MIN_WAIT = 30.0
"""Seconds between two renewals at least, whatever the router says."""

WAITS = (0.25, 0.5, 1.0)
"""Seconds until a question is asked again, and until the router counts as silent."""

CLOSE_TIMEOUT = 1.0
"""Seconds that a router has to take a port back; one that does not forgets it of itself."""

_ROUTES = Path("/proc/net/route")

T = TypeVar("T")

_NO_ANSWER = "the router does not answer to PCP or NAT-PMP"

_silent: Recent[bool] = Recent()
"""By our address and the router's: that it does not answer."""


class _Silence(MappingError):
    """The router does not answer."""


class _Way(Protocol):
    """A protocol by which a router is asked."""

    async def open(self) -> Mapped: ...
    async def close(self) -> None: ...


class _Pcp:
    """PCP, or NAT-PMP where the router knows nothing newer."""

    def __init__(self, gateway: str, address: str, port: int) -> None:
        self._place = (gateway, pcp.PORT)
        self._address = address
        self._port = port
        self._nonce = secrets.token_bytes(pcp.NONCE_SIZE)
        self._old = False
        self._answered = False

    async def open(self) -> Mapped:
        network = f"{self._address} {self._place[0]}"
        if not self._answered and _silent.get(network):
            raise MappingError(_NO_ANSWER)
        try:
            mapped = await self._map(LIFETIME)
        except _Silence:
            if not self._answered:
                _silent.keep(network, True, SILENT_FOR)
            raise
        self._answered = True
        return mapped

    async def close(self) -> None:
        await self._map(0)

    async def _map(self, lifetime: int) -> Mapped:
        port, nonce = self._port, self._nonce
        with _asking(self._address, self._place) as sock:
            if not self._old:
                question = pcp.pcp_request(self._address, port, lifetime, nonce, port)
                try:
                    return await _ask(sock, question, lambda a: pcp.parse_pcp(a, port, nonce))
                except pcp.OldRouter:
                    self._old = True
            question = pcp.nat_pmp_address_request()
            host = await _ask(sock, question, pcp.parse_nat_pmp_address)
            question = pcp.nat_pmp_request(port, lifetime, port)
            return await _ask(sock, question, lambda a: pcp.parse_nat_pmp(a, port, host))


class _Upnp:
    """UPnP-IGD."""

    def __init__(self, address: str, port: int) -> None:
        self._address = address
        self._port = port
        self._gateway: object = None

    async def open(self) -> Mapped:
        try:
            from peerfetch_fast.webrtc.mapping.upnp import Gateway, find_gateway
        except ImportError:
            raise MappingError(
                "UPnP needs async-upnp-client: pip install 'peerfetch-fast[port-mapping]'"
            ) from None
        if not isinstance(self._gateway, Gateway):
            self._gateway = await find_gateway(self._address)
        return await self._gateway.open(self._address, self._port, LIFETIME)

    async def close(self) -> None:
        from peerfetch_fast.webrtc.mapping.upnp import Gateway

        if isinstance(self._gateway, Gateway):
            await self._gateway.close(self._port)


class Mapping:
    """A port of the router that leads to one of ours, until it is closed."""

    def __init__(self, way: _Way, mapped: Mapped) -> None:
        self._way = way
        self.host = mapped.host
        self.port = mapped.port
        self._renewing = asyncio.get_running_loop().create_task(self._renew(mapped.lifetime))

    async def _renew(self, lifetime: float) -> None:
        while lifetime > 0:
            await asyncio.sleep(max(lifetime / 2, MIN_WAIT))
            try:
                lifetime = (await self._way.open()).lifetime
            except MappingError as error:
                logger.info("port %d of %s was not renewed: %s", self.port, self.host, error)
                lifetime = lifetime / 2 if lifetime > MIN_WAIT else 0

    async def close(self) -> None:
        """Give the port back."""
        self._renewing.cancel()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._way.close()
        except (MappingError, TimeoutError) as error:
            logger.info("port %d of %s was not given back: %s", self.port, self.host, error)


async def open_port(address: str, port: int) -> Mapping:
    """Have the router of the network in which we have ``address`` lead one of its ports to ours.

    Raises MappingError where it does not, or where what it gives is of no use.
    """
    ways: list[_Way] = [_Upnp(address, port)]
    gateway = default_gateway()
    if gateway is not None:
        ways.insert(0, _Pcp(gateway, address, port))
    reasons = []
    for way in ways:
        try:
            mapped = await way.open()
        except MappingError as error:
            reasons.append(str(error))
            continue
        mapping = Mapping(way, mapped)
        if ipaddress.ip_address(mapped.host).is_global and mapped.port:
            return mapping
        # Its own router, or its provider's, is in the way.
        await mapping.close()
        raise MappingError(f"the router itself has no public address: {mapped.host}")
    raise MappingError("; ".join(reasons))


def default_gateway() -> str | None:
    """The router that leads to the internet, over IPv4; None where that is not known (Linux
    tells).
    """
    if sys.platform != "linux":
        return None
    try:
        lines = _ROUTES.read_text().splitlines()[1:]
    except OSError:
        return None
    found = []
    for line in lines:
        fields = line.split()
        # Destination and mask are 0; flags: up, and by a gateway.
        if (
            len(fields) >= 8
            and fields[1] == fields[7] == "00000000"
            and int(fields[3], 16) & 3 == 3
        ):
            host = int(fields[2], 16).to_bytes(4, sys.byteorder)
            found.append((int(fields[6]), str(ipaddress.IPv4Address(host))))
    return min(found)[1] if found else None


@contextlib.contextmanager
def _asking(address: str, place: tuple[str, int]) -> Iterator[socket.socket]:
    """A socket that hears that router alone. Raises MappingError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        try:
            sock.bind((address, 0))
            sock.connect(place)
            yield sock
        except OSError as error:
            raise MappingError(
                f"the router at {place[0]} opens no port: {error.strerror or error!r}"
            ) from None


async def _ask(sock: socket.socket, question: bytes, parse: Callable[[bytes], T | None]) -> T:
    """The router's answer. Raises MappingError and OSError."""
    loop = asyncio.get_running_loop()
    for wait in WAITS:
        await loop.sock_sendall(sock, question)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                while True:
                    answer = parse(await loop.sock_recv(sock, 1100))
                    if answer is not None:
                        return answer
    raise _Silence(_NO_ANSWER)
