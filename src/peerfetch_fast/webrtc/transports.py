"""Which transport carries a connection: the native data path, or aiortc's own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from peerfetch_fast.webrtc import HAVE_NATIVE
from peerfetch_fast.webrtc._sctp.settings import DEFAULT_CONGESTION, Congestion
from peerfetch_fast.webrtc.candidates import IceCandidate
from peerfetch_fast.webrtc.certificate import Certificate
from peerfetch_fast.webrtc.descriptions import SessionDescription

if TYPE_CHECKING:
    from peerfetch_fast.webrtc.ice.gathering import IceServer

__all__ = [
    "DEFAULT_CONGESTION",
    "Congestion",
    "Connection",
    "Transport",
    "check_transport",
    "close_connection",
    "open_connection",
]

logger = logging.getLogger(__name__)

Transport = Literal["auto", "native", "aiortc"]
"""What carries the data: the compiled data path, aiortc's in Python, or the best there is."""


class Connection(Protocol):
    """What :class:`~peerfetch_fast.webrtc.data_connection.DataConnection` is on any transport."""

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
    def restartIce(self) -> None: ...
    def networks_changed(self) -> None: ...
    async def close(self) -> None: ...


def check_transport(transport: Transport) -> Literal["native", "aiortc"]:
    """The transport that is meant.

    :raises ValueError: there is no such transport.
    :raises RuntimeError: it was not built.
    :raises MissingExtra: it is aiortc's, and aiortc is not installed.
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


def open_connection(
    transport: Transport = "auto",
    *,
    ice_servers: Sequence[IceServer] = (),
    relay_only: bool = False,
    congestion: Congestion = DEFAULT_CONGESTION,
    certificate: Certificate | None = None,
    host_addresses: Sequence[str] | None = None,
) -> Connection:
    """A new connection for data channels; see :class:`DataConnection` for the parameters.

    Raises as :func:`check_transport`.
    """
    if check_transport(transport) == "native":
        from peerfetch_fast.webrtc.data_connection import DataConnection

        return DataConnection(
            ice_servers=ice_servers,
            relay_only=relay_only,
            congestion=congestion,
            certificate=certificate,
            host_addresses=host_addresses,
        )
    from peerfetch_fast.webrtc._seam.stock import StockDataConnection

    return StockDataConnection(
        ice_servers=ice_servers,
        relay_only=relay_only,
        certificate=certificate,
        host_addresses=host_addresses,
    )


class Closable(Protocol):
    """What :func:`close_connection` closes."""

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
