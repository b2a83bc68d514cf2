"""UPnP-IGD, by the library async-upnp-client: for routers that know nothing better.

Whoever is in this network chooses what the library reads: whatever it raises is a MappingError.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import logging
import socket
from typing import cast
from urllib.parse import urlsplit

import aiohttp
from async_upnp_client.client import UpnpRequester
from async_upnp_client.client_factory import UpnpFactory
from async_upnp_client.const import HttpRequest, HttpResponse
from async_upnp_client.exceptions import UpnpActionError, UpnpConnectionError
from async_upnp_client.profiles.igd import IgdDevice

from peerfetch_fast.errors import MappingError
from peerfetch_fast.webrtc.ice.opening import unbroken
from peerfetch_fast.webrtc.mapping import ssdp
from peerfetch_fast.webrtc.mapping.pcp import Mapped
from peerfetch_fast.webrtc.mapping.recent import FOUND_FOR, SILENT_FOR, Recent

__all__ = ["Gateway", "find_gateway"]

logger = logging.getLogger(__name__)

SEARCH_TIME = 2
"""Seconds in which routers answer."""

MAX_ANSWERS = 4
"""Of those who answer, the first that are asked: anybody in the network may."""

MAX_DOCUMENT = 256 * 1024
"""Bytes of the longest document of a router that is read."""

MAX_DESCRIPTIONS = 32
"""Documents by which a router may describe itself: one, and one for each of its services."""

REQUEST_TIMEOUT = 3.0
"""Seconds that a router has to answer."""

_answered: Recent[dict[str, str]] = Recent()
"""By our address: where descriptions of routers are, with the host of each."""

_PERMANENT_ONLY = 725
"""The code of a router whose ports stay open until they are given back."""


class _Requester(UpnpRequester):
    """Asks one host, and reads so much."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._descriptions_left = MAX_DESCRIPTIONS

    async def async_http_request(self, http_request: HttpRequest) -> HttpResponse:
        """See :class:`UpnpRequester`."""
        if urlsplit(http_request.url).hostname != self._host:
            raise UpnpConnectionError("a router that names another host is not asked")
        if http_request.method == "GET":
            self._descriptions_left -= 1
            if self._descriptions_left < 0:
                raise UpnpConnectionError("a router describes itself by too many documents")
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, max_line_size=8190) as session,
                session.request(
                    http_request.method,
                    http_request.url,
                    headers=http_request.headers,
                    data=http_request.body,
                    allow_redirects=False,
                ) as response,
            ):
                body = bytearray()
                async for piece in response.content.iter_chunked(16_384):
                    body += piece
                    if len(body) > MAX_DOCUMENT:
                        raise UpnpConnectionError("a router's document is too long")
                return HttpResponse(response.status, response.headers, body.decode())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise UpnpConnectionError(repr(error)) from error


class Gateway:
    """A router that speaks UPnP-IGD."""

    def __init__(self, igd: IgdDevice) -> None:
        self._igd = igd

    async def open(self, address: str, port: int, lifetime: int) -> Mapped:
        """Have it lead a port of its own to ours, or renew that. Raises MappingError."""
        try:
            host = await self._igd.async_get_external_ip_address()
            public = str(ipaddress.IPv4Address(host or ""))
            try:
                await self._add(address, port, lifetime)
            except UpnpActionError as error:
                if error.error_code != _PERMANENT_ONLY:
                    raise
                await self._add(address, port, 0)
        except Exception as error:
            raise MappingError(f"the router opens no port: {error!r}") from error
        return Mapped(public, port, lifetime)

    async def _add(self, address: str, port: int, lifetime: int) -> None:
        await self._igd.async_add_port_mapping(
            *(ipaddress.IPv4Address(0), port, "UDP", port, ipaddress.IPv4Address(address)),
            *(True, "peerfetch", datetime.timedelta(seconds=lifetime)),
        )

    async def close(self, port: int) -> None:
        """Give a port back. Raises MappingError."""
        try:
            await self._igd.async_delete_port_mapping(ipaddress.IPv4Address(0), port, "UDP")
        except Exception as error:
            raise MappingError(f"the router keeps a port open: {error}") from error


class _Answers(asyncio.DatagramProtocol):
    """Takes the answers of routers. Close it after use.

    :ivar locations: where their descriptions are, with the host of each.
    """

    def __init__(self) -> None:
        self.locations: dict[str, str] = {}
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        for target in ssdp.TARGETS:
            self._transport.sendto(ssdp.search(target, SEARCH_TIME), ssdp.GROUP)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        location = ssdp.location_of(data, addr[0])
        if location is not None and len(self.locations) < MAX_ANSWERS:
            self.locations.setdefault(location, addr[0])

    def close(self) -> None:
        """Take no more."""
        if self._transport is not None:
            self._transport.close()


def _socket(address: str) -> socket.socket:
    """A socket from which those in the network of ``address`` are asked. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ssdp.TTL)
        sock.bind((address, 0))
    except OSError:
        sock.close()
        raise
    return sock


async def _search(address: str) -> dict[str, str]:
    """Where the descriptions of routers are, with the host of each. Raises OSError."""
    loop = asyncio.get_running_loop()
    answers = _Answers()
    sock = _socket(address)
    try:
        await unbroken(loop.create_datagram_endpoint(lambda: answers, sock=sock))
        await asyncio.sleep(SEARCH_TIME)
    finally:
        answers.close()
    return answers.locations


async def find_gateway(address: str) -> Gateway:
    """The router of the network in which we have ``address``. Raises MappingError where none there
    speaks UPnP-IGD.

    Where routers are, and that there are none, is kept for a while: a search takes two seconds.
    """
    kept = _answered.get(address)
    if kept is not None:
        gateway = await _first_of(kept)
        if gateway is not None:
            return gateway
        if not kept:
            raise MappingError("no router here speaks UPnP-IGD")
        _answered.forget(address)  # it is another network, or the router has moved
    try:
        locations = await _search(address)
    except OSError as error:
        raise MappingError(f"no router can be looked for: {error}") from error
    gateway = await _first_of(locations)
    if gateway is None:
        _answered.keep(address, {}, SILENT_FOR)
        raise MappingError("no router here speaks UPnP-IGD")
    _answered.keep(address, locations, FOUND_FOR)
    return gateway


async def _first_of(locations: dict[str, str]) -> Gateway | None:
    """The first router that is of use."""
    for location, host in locations.items():
        try:
            device = await UpnpFactory(_Requester(host)).async_create_device(location)
            return Gateway(IgdDevice(device, None))
        except Exception as error:
            logger.info("%s is no router of use: %r", host, error)
    return None
