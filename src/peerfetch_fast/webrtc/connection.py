"""The peer connection: aiortc's interface, with candidates that trickle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from peerfetch_fast.webrtc._sctp.settings import DEFAULT_CONGESTION, Congestion
from peerfetch_fast.webrtc._seam import aiortc
from peerfetch_fast.webrtc._seam.peer import PeerConnection
from peerfetch_fast.webrtc.transports import Transport, check_transport

__all__ = ["RTCPeerConnection"]


class RTCPeerConnection(PeerConnection):
    """A WebRTC peer connection with the interface of :class:`aiortc.RTCPeerConnection`.

    What differs: ``setLocalDescription`` returns once host candidates are known, and those that
    come later are emitted as ``icecandidate`` (an :class:`aiortc.RTCIceCandidate`, then None);
    no STUN or TURN server is asked that was not given; a description that cannot be used is an
    :class:`~peerfetch_fast.errors.InvalidDescription`.

    While the peer may still send candidates, ICE does not fail: whoever connects to a peer that
    never says that it has no more of them needs a deadline of its own.

    :param configuration: ICE servers and policies; none by default.
    :param transport: what carries the data: the ``native`` data path, ``aiortc``'s own, or ``auto``
        for the native one where it was built.
    :param congestion: the native data path's controller of what we send: ``bbr`` models the path,
        ``cubic`` and ``rfc9260`` back off at every loss. aiortc's transport has its own.
    :param certificate: a certificate to keep, so that its fingerprint can stand for an identity;
        a new one by default.
    :param host_addresses: the local addresses to gather host candidates on; by default all of
        this machine's, or 127.0.0.1 where it has no other.
    """

    def __init__(
        self,
        configuration: aiortc.RTCConfiguration | None = None,
        *,
        transport: Transport = "auto",
        congestion: Congestion = DEFAULT_CONGESTION,
        certificate: aiortc.RTCCertificate | None = None,
        host_addresses: Sequence[str] | None = None,
    ) -> None:
        if congestion not in get_args(Congestion):
            raise ValueError(f"no such congestion controller: {congestion!r}")
        super().__init__(
            configuration,
            native=check_transport(transport) == "native",
            congestion=congestion,
            certificate=certificate,
            host_addresses=host_addresses,
        )

    @property
    def transport(self) -> Transport:
        """Which transport is used: ``native`` or ``aiortc``."""
        return "native" if self._native else "aiortc"
