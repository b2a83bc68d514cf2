"""STUN and TURN servers, as URLs name them (RFC 7064, RFC 7065)."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from peerfetch_fast.errors import InvalidIceServer
from peerfetch_fast.webrtc.ice.events import Address

__all__ = ["IceServer", "Server", "parse_url", "resolve", "servers_of", "with_handed_out"]

MAX_SERVERS = 16
"""URLs of servers that are used; more are refused."""

MAX_URL = 512
"""Characters of a URL."""

RESOLVE_TIMEOUT = 5.0
"""Seconds that a server's name may take to become an address."""

_URL = re.compile(
    r"(?P<scheme>stun|turns?):(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/?#@\s]+)"
    r"(?::(?P<port>[0-9]{1,5}))?(?:\?transport=(?P<transport>udp|tcp))?",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True)
class IceServer:
    """A STUN or TURN server, as browsers are given it (``RTCIceServer``).

    :ivar urls: one URL or several: ``stun:HOST:PORT``, ``turn:HOST:PORT?transport=udp`` (or
        ``tcp``), ``turns:HOST:PORT``. Without a port 3478 is meant, 5349 for ``turns``.
    :ivar username: for TURN.
    :ivar credential: the password for TURN.
    """

    urls: str | Sequence[str]
    username: str | None = None
    credential: str | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """One URL of a server, read."""

    scheme: Literal["stun", "turn", "turns"]
    host: str
    port: int
    transport: Literal["udp", "tcp"]
    username: str | None = None
    credential: str | None = None

    @property
    def place(self) -> Server:
        """The same without its login: where an allocation is, whatever login made it."""
        return replace(self, username=None, credential=None)

    @property
    def relays(self) -> bool:
        """Whether it is a TURN server."""
        return self.scheme != "stun"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}:{host}:{self.port}"


def servers_of(given: Iterable[Any]) -> list[Server]:
    """Read what a program gives: :class:`IceServer`, or what has its attributes.

    Raises InvalidIceServer if something cannot be used.
    """
    servers: list[Server] = []
    for one in given:
        urls = one.urls
        for url in (urls,) if isinstance(urls, str) else urls:
            servers.append(parse_url(url, one.username, one.credential))
    if len(servers) > MAX_SERVERS:
        raise InvalidIceServer(f"at most {MAX_SERVERS} STUN and TURN servers can be used")
    return servers


def with_handed_out(own: Sequence[IceServer], more: Iterable[IceServer]) -> tuple[IceServer, ...]:
    """Our ``own`` servers, and of those that a service hands out as many as may be used beside,
    each once.

    Raises InvalidIceServer if one of our own cannot be used.
    """
    servers = [*own]
    places = {server.place for server in servers_of(own)}
    for one in more:
        for url in (one.urls,) if isinstance(one.urls, str) else one.urls:
            place = parse_url(url).place
            if place not in places and len(places) < MAX_SERVERS:
                places.add(place)
                servers.append(IceServer(url, one.username, one.credential))
    return tuple(servers)


def parse_url(url: object, username: str | None = None, credential: str | None = None) -> Server:
    """Read one URL.

    Raises InvalidIceServer if it is not one of a STUN or TURN server, or what it needs is missing.
    """
    found = _URL.fullmatch(url) if isinstance(url, str) and len(url) <= MAX_URL else None
    if found is None:
        raise InvalidIceServer(
            f"{url!r} is not the URL of a STUN or TURN server: stun:HOST:PORT,"
            " turn:HOST:PORT?transport=udp (or tcp) or turns:HOST:PORT"
        )
    scheme = found["scheme"].lower()
    transport = (found["transport"] or ("tcp" if scheme == "turns" else "udp")).lower()
    port = int(found["port"] or (5349 if scheme == "turns" else 3478))
    if not 1 <= port <= 65_535:
        raise InvalidIceServer(f"{url}: there is no port {port}")
    if scheme == "turns" and transport == "udp":
        raise InvalidIceServer(f"{url}: TURN over DTLS is not spoken here; use ?transport=tcp")
    if scheme == "stun" and transport == "tcp":
        raise InvalidIceServer(f"{url}: STUN is asked over UDP only")
    if scheme == "stun":
        username = credential = None
    elif (username is None) != (credential is None):
        raise InvalidIceServer(f"{url}: a user name and a credential go together")
    return Server(
        scheme,  # type: ignore[arg-type]
        found["host"].strip("[]"),
        port,
        transport,  # type: ignore[arg-type]
        username,
        credential,
    )


async def resolve(server: Server) -> list[Address]:
    """The server's addresses: the first of each IP version.

    Raises OSError if it has none, or the name takes too long.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT):
            found = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)
    except (TimeoutError, UnicodeError) as exc:
        raise OSError(f"no address was found for {server.host}") from exc
    first: dict[int, Address] = {}
    for family, _, _, _, address in found:
        if family in (socket.AF_INET, socket.AF_INET6):
            first.setdefault(family, (str(address[0]), int(address[1])))
    return list(first.values())
