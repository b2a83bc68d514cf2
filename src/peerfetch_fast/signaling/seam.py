"""The seam between a negotiation and the signaling service that carries its messages.

:func:`join` makes the :class:`Signaling` of one peer id, by the scheme of the service's URL.
The services are PeerJS-compatible servers (:mod:`.peerjs.service`), PeerNet servers
(:mod:`.peernet.service`), this process (:mod:`.local`) and the hub of a Smoke node
(:mod:`.smoke.client`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from peerfetch_fast.errors import SignalingError
from peerfetch_fast.signaling.peernet.address import Address, is_peernet
from peerfetch_fast.webrtc.ice.servers import IceServer

__all__ = ["Signal", "SignalKind", "Signaling", "checked_service", "is_local", "join"]


class SignalKind(Enum):
    """The kind of a :class:`Signal`."""

    OFFER = "offer"
    ANSWER = "answer"
    CANDIDATE = "candidate"
    GONE = "gone"
    """The connection that is to be restarted is not known any more."""
    LEFT = "left"
    """The peer has taken leave of the service."""
    ABSENT = "absent"
    """The peer did not connect in time to receive a signal."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One message from or to another peer. LEFT and ABSENT concern all connections with it."""

    kind: SignalKind
    peer_id: str
    """The receiver of a signal that is sent, the sender of one that came."""
    connection_id: str = ""
    """An id with at least 64 random bits, chosen by the offering side."""
    sdp: str = ""
    """The description in an offer or an answer; empty if there is none that can be used."""
    candidate: object = None
    """The RTCIceCandidateInit of a CANDIDATE; None says that there are no more."""
    protocol: str | None = None
    """The protocol that the sender of an offer or an answer speaks."""
    label: str | None = None
    """The label of the channel that an offer is about."""
    restart: bool = False
    """Whether an OFFER gives a connection another path."""
    about: Mapping[str, object] = field(default_factory=dict)
    """Other members of the message, as the service's own programs send them."""


class Signaling(Protocol):
    """One peer id at a signaling service. It can be started anew after it was closed."""

    @property
    def peer_id(self) -> str:
        """The id by which others reach us. Raises SignalingError before the service gave one."""

    @property
    def token(self) -> str:
        """The secret that proves to the service that the id is ours, now and in a later run."""

    @property
    def ice_servers(self) -> Sequence[IceServer]:
        """STUN and TURN servers that the service hands out, with logins that are good now; none
        before it was started.
        """

    async def start(self) -> None:
        """Connect, and return once the service knows us; later, by the same id.

        Raises SignalingError; IdTaken if somebody else has our id.
        """

    async def send(self, signal: Signal) -> None:
        """Pass a signal to the peer that it names. Raises SignalingError if it cannot be sent."""

    async def peers(self) -> list[str]:
        """The ids of the other peers that let themselves be found. Raises SignalingError."""

    async def be_found(self) -> None:
        """Be listed in the :meth:`peers` of others, until cancelled."""

    async def close(self) -> None:
        """Take leave of the service. Idempotent."""


def join(
    service: str,
    peer_id: str | None = None,
    *,
    on_signal: Callable[[Signal], None],
    on_lost: Callable[[SignalingError], None] | None = None,
    token: str | None = None,
    pin: str | None = None,
    takes_offers: bool = True,
) -> Signaling:
    """Our signaling at a service, not started yet.

    :param service: its URL: ``ws://`` or ``wss://`` of a PeerJS-compatible server,
        ``peernet+https://`` or ``peernet+http://`` of a PeerNet server, with ``?room=ROOM`` for a
        room, or ``local:NAME`` for a place in this process.
    :param peer_id: the id to be known by; None for one that the service gives.
    :param on_signal: called with every signal of others. An exception of it is logged.
    :param on_lost: called once if the service is lost for good.
    :param token: proves that the id is ours; None for a random one.
    :param pin: ``sha256:…`` of the TLS certificate by which the server is known, in place of a
        check of its name and issuer.
    :param takes_offers: whether others may connect to us; if not, a service that can do without
        is not told of us.

    Raises SignalingError if the URL, the id or the token cannot be used, InvalidPin.
    """
    if service.startswith("smoke:"):
        from peerfetch_fast.signaling.smoke.client import HubClient

        return HubClient.named(service).join(on_signal, accepts=True)
    if is_local(service):
        from peerfetch_fast.signaling.local import LocalService

        return LocalService.named(service).join(peer_id, on_signal=on_signal)
    if is_peernet(service):
        from peerfetch_fast.signaling.peernet.service import PeerNetSignaling

        return PeerNetSignaling(
            service,
            peer_id,
            on_signal=on_signal,
            on_lost=on_lost,
            token=token,
            pin=pin,
            takes_offers=takes_offers,
        )
    from peerfetch_fast.signaling.peerjs.service import PeerJsSignaling

    return PeerJsSignaling(
        service, peer_id, on_signal=on_signal, on_lost=on_lost, token=token, pin=pin
    )


def is_local(service: str) -> bool:
    """Whether a URL is that of a place in this process, where nobody else can be."""
    return service.startswith("local:")


def checked_service(service: str) -> str:
    """The URL of a service as :func:`join` takes it. Raises SignalingError if it is none."""
    if is_local(service):
        return service
    if is_peernet(service):
        return Address.parse(service).url
    from peerfetch_fast.signaling.peerjs.endpoint import Endpoint
    from peerfetch_fast.signaling.peerjs.settings import SignalingClientSettings

    return Endpoint(service, SignalingClientSettings()).url
