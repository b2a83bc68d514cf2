"""Which transport carries a connection: the native data path, or aiortc's own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from peerfetch_fast.webrtc import HAVE_NATIVE
from peerfetch_fast.webrtc._sctp.settings import DEFAULT_CONGESTION, AssociationSettings, Congestion
from peerfetch_fast.webrtc.candidates import IceCandidate
from peerfetch_fast.webrtc.certificate import Certificate
from peerfetch_fast.webrtc.descriptions import SessionDescription

if TYPE_CHECKING:
    from peerfetch_fast.webrtc.ice.gathering import IceServer

__all__ = [
    "DEFAULT_CONGESTION",
    "Congestion",
    "Connection",
    "ConnectionOptions",
    "Transport",
    "check_transport",
    "close_connection",
    "connection_options",
    "open_connection",
]

logger = logging.getLogger(__name__)

Transport = Literal["auto", "native", "aiortc"]
"""The transport of data: the compiled data path, aiortc's in Python, or the best there is."""


class Connection(Protocol):
    """The interface of a data connection on any transport, as DataConnection has it."""

    @property
    def transport(self) -> Literal["native", "aiortc"]: ...
    @property
    def connectionState(self) -> Any: ...
    @property
    def signalingState(self) -> Any: ...
    @property
    def localDescription(self) -> Any: ...
    @property
    def max_message_size(self) -> int: ...
    @property
    def local_fingerprint(self) -> bytes: ...
    @property
    def remote_fingerprint(self) -> bytes: ...
    @property
    def remote_address(self) -> str | None: ...
    @property
    def way(self) -> str | None: ...
    @property
    def why(self) -> str | None: ...
    @property
    def relay(self) -> str | None: ...
    def on(self, event: str, listener: Any) -> Any: ...
    def remove_listener(self, event: str, listener: Any) -> None: ...
    async def setLocalDescription(self) -> None: ...
    async def setRemoteDescription(self, description: SessionDescription, /) -> None: ...
    async def addIceCandidate(self, candidate: IceCandidate | None, /) -> None: ...
    @property
    def createDataChannel(self) -> Callable[..., Any]: ...
    def take_messages(self, size: int) -> None: ...
    def keep_silent(self, seconds: float) -> None: ...
    @property
    def silence(self) -> float: ...
    def use_servers(self, ice_servers: Sequence[IceServer]) -> None: ...
    def restartIce(self) -> None: ...
    def networks_changed(self) -> None: ...
    async def close(self) -> None: ...


def check_transport(transport: Transport) -> Literal["native", "aiortc"]:
    """The transport that is meant.

    Raises ValueError if there is no such transport; RuntimeError if it was not built; MissingExtra
    if it is aiortc's, and aiortc is not installed.
    """
    if transport not in get_args(Transport):
        raise ValueError(f"no such transport: {transport!r}")
    if transport == "native" and not HAVE_NATIVE:
        raise RuntimeError("peerfetch-fast was built without its native data path")
    if transport == "auto" and not HAVE_NATIVE:
        warn_of_slowness()
    if HAVE_NATIVE and transport != "aiortc":
        return "native"
    from peerfetch_fast.webrtc import _seam as _seam  # whoever cannot have it is told at once

    return "aiortc"


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """The options of connections."""

    ice_servers: Sequence[IceServer] = ()
    """STUN and TURN servers (on aiortc's transport, of several of a kind the first counts)."""
    transport: Transport = "auto"
    """The transport of the data."""
    association: AssociationSettings = field(default_factory=AssociationSettings)
    """Bounds and timers of SCTP, and the controller of what we send, on the native transport. The
    size of packets, channels and labels are bounded by the connection, and the peer's port and
    message size are those that it describes."""
    direct_only: bool = False
    """Whether no relay is used, ours or the other side's; on the native transport alone."""

    map_ports: bool = False
    """Whether the router is asked for ports; on the native transport alone."""

    @property
    def lack(self) -> str:
        """The advice behind a sentence that says that there is no path."""
        return "; relays were left out, as direct_only asks" if self.direct_only else ""


def connection_options(
    ice_servers: Sequence[IceServer],
    transport: Transport,
    congestion: Congestion,
    association: AssociationSettings | None,
    direct_only: bool = False,
    map_ports: bool = False,
) -> ConnectionOptions:
    """The options that a program has given one by one. Raises ValueError."""
    if (direct_only or map_ports) and check_transport(transport) != "native":
        raise ValueError("direct_only and map_ports need the native transport")
    settings = replace(association or AssociationSettings(), congestion=congestion)
    return ConnectionOptions(tuple(ice_servers), transport, settings, direct_only, map_ports)


def open_connection(
    options: ConnectionOptions | None = None, *, certificate: Certificate | None = None
) -> Connection:
    """A new connection for data channels. Raises as :func:`check_transport`."""
    options = options or ConnectionOptions()
    if check_transport(options.transport) == "native":
        from peerfetch_fast.webrtc.data_connection import DataConnection

        return DataConnection(
            ice_servers=options.ice_servers,
            direct_only=options.direct_only,
            map_ports=options.map_ports,
            association=options.association,
            certificate=certificate,
        )
    from peerfetch_fast.webrtc._seam.stock import StockDataConnection

    return StockDataConnection(ice_servers=options.ice_servers, certificate=certificate)


class Closable(Protocol):
    """A connection that :func:`close_connection` can close."""

    async def close(self) -> None: ...


async def close_connection(connection: Closable) -> None:
    """Close to the end, whoever is cancelled meanwhile: a half-closed one keeps its sockets."""
    closing = asyncio.ensure_future(connection.close())
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await asyncio.wait((closing,))
        raise


@cache
def warn_of_slowness() -> None:
    """Say once what is missing."""
    logger.warning("built without the native data path: aiortc's carries the data, slower")
