"""Find devices: on the local network without any server, by DNS-SD over multicast DNS (RFC 6763,
6762), and in the room of a signaling server.

The former needs the package ``zeroconf`` (the extra ``discovery``).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from peerfetch_fast.errors import InvalidPin, PeerfetchError, SignalingError
from peerfetch_fast.identity import parse_pin
from peerfetch_fast.interfaces import interface_addresses
from peerfetch_fast.signaling.peerjs.messages import is_peer_id
from peerfetch_fast.signaling.seam import checked_service, is_local, join

if TYPE_CHECKING:
    from zeroconf import ServiceInfo
    from zeroconf.asyncio import AsyncZeroconf

__all__ = ["Found", "advertise", "ask_room", "browse"]

SERVICE = "_peerfetch._tcp.local."

MAX_FOUND = 256
"""Devices that one search returns."""

RESOLVE_TIMEOUT = 2.0
"""Seconds that a device may take to answer with its records."""

MAX_TOLD = 255
"""Bytes of one key/value pair of a TXT record (RFC 6763 §6.1)."""


@dataclass(frozen=True, slots=True)
class Found:
    """A device and the address that it announces. Nothing of this is authenticated."""

    name: str
    peer_id: str
    signaling: str
    pin: str | None


@contextlib.asynccontextmanager
async def advertise(peer_id: str, signaling: str, pin: str) -> AsyncIterator[None]:
    """Announce this device on the local network while the block runs.

    Raises PeerfetchError without ``zeroconf``, where multicast is not possible, or for a URL that
    is too long to be announced.
    """
    zeroconf = _zeroconf()
    told = {"id": peer_id, "signaling": signaling, "pin": pin}
    if any(len(f"{name}={value}".encode()) > MAX_TOLD for name, value in told.items()):
        raise PeerfetchError(
            f"{signaling} is too long for multicast DNS to announce it: it takes {MAX_TOLD} bytes"
        )
    # The port of the signaling server: the device itself listens on no port of its own.
    parts = urlsplit(signaling)
    port = parts.port or (443 if parts.scheme.endswith("s") else 80)
    name = f"{socket.gethostname().partition('.')[0][:40] or 'device'}-{peer_id[:8]}"
    info = zeroconf.ServiceInfo(
        SERVICE,
        f"{name}.{SERVICE}",
        port=port,
        properties=told,
        server=f"{name}.local.",
        parsed_addresses=_addresses(),
    )
    async with _multicast() as multicast:
        await (await multicast.async_register_service(info, allow_name_change=True))
        try:
            yield
        finally:
            await (await multicast.async_unregister_service(info))


async def ask_room(signaling: str) -> list[Found]:
    """The members of a signaling server's plug and play room; of a PeerNet server, those in the
    rooms that its URL names who offer the services that it names. Raises SignalingError.
    """
    service = join(signaling, secrets.token_hex(16), on_signal=lambda _: None, takes_offers=False)
    try:
        await service.start()
        return [Found("", peer_id, signaling, None) for peer_id in await service.peers()]
    finally:
        await service.close()


async def browse(seconds: float) -> list[Found]:
    """The devices that answer within ``seconds``. Raises as :func:`advertise` does."""
    zeroconf = _zeroconf()
    names: dict[str, None] = {}

    def on_change(
        zeroconf: object, service_type: str, name: str, state_change: object, **_: object
    ) -> None:
        if len(names) < MAX_FOUND:
            names[name] = None

    async with _multicast() as multicast:
        browser = zeroconf.asyncio.AsyncServiceBrowser(
            multicast.zeroconf, SERVICE, handlers=[on_change]
        )
        try:
            await asyncio.sleep(seconds)
        finally:
            await browser.async_cancel()

        async def resolve(name: str) -> Found | None:
            info = zeroconf.asyncio.AsyncServiceInfo(SERVICE, name)
            if not await info.async_request(multicast.zeroconf, RESOLVE_TIMEOUT * 1000):
                return None
            return _found(info)

        found = await asyncio.gather(*map(resolve, names))
    return [device for device in found if device is not None]


def _found(info: ServiceInfo) -> Found | None:
    """The device that a service describes; None if the records, which anybody can send, are
    unusable.
    """
    told = {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in info.properties.items()
        if value is not None
    }
    name = info.name.removesuffix(f".{SERVICE}")
    if not name.isprintable() or not is_peer_id(told.get("id", "")):
        return None
    try:
        signaling = checked_service(told.get("signaling", ""))
        if "pin" in told:
            parse_pin(told["pin"])
    except (SignalingError, InvalidPin):
        return None
    if not signaling.isprintable() or is_local(signaling):
        return None
    return Found(name, told["id"], signaling, told.get("pin"))


def _addresses() -> list[str]:
    return [
        address
        for address, _ in interface_addresses()
        if "." in address and not address.startswith("127.")
    ] or ["127.0.0.1"]


def _zeroconf() -> ModuleType:
    try:
        import zeroconf
        import zeroconf.asyncio
    except ImportError:
        raise PeerfetchError(
            "to find devices without a server, install zeroconf: "
            "pip install 'peerfetch-fast[discovery]'"
        ) from None
    return zeroconf


@contextlib.asynccontextmanager
async def _multicast() -> AsyncIterator[AsyncZeroconf]:
    zeroconf = _zeroconf()
    try:
        multicast = zeroconf.asyncio.AsyncZeroconf()
    except (OSError, RuntimeError) as error:
        raise PeerfetchError(f"multicast DNS is not possible here: {error}") from None
    try:
        yield multicast
    except zeroconf.Error as error:
        raise PeerfetchError(f"multicast DNS has failed: {error!r}") from None
    finally:
        await multicast.async_close()
