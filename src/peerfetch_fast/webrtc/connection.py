"""The peer connection: aiortc's interface, with candidates that trickle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from aiortc import RTCCertificate, RTCConfiguration

from peerfetch_fast.webrtc._seam.peer import PeerConnection

__all__ = ["RTCPeerConnection", "Transport"]

Transport = Literal["auto", "aiortc"]


class RTCPeerConnection(PeerConnection):
    """A WebRTC peer connection with the interface of :class:`aiortc.RTCPeerConnection`.

    What differs: ``setLocalDescription`` returns once host candidates are known, and those that
    come later are emitted as ``icecandidate`` (an :class:`aiortc.RTCIceCandidate`, then None);
    no STUN or TURN server is asked that was not given; a description that cannot be used is an
    :class:`~peerfetch_fast.errors.InvalidDescription`.

    While the peer may still send candidates, ICE does not fail: whoever connects to a peer that
    never says that it has no more of them needs a deadline of its own.

    :param configuration: ICE servers and policies; none by default.
    :param transport: what carries the data: ``aiortc``, or ``auto`` for the best there is.
    :param certificate: a certificate to keep, so that its fingerprint can stand for an identity;
        a new one by default.
    :param host_addresses: the local addresses to gather host candidates on; by default all of
        this machine's, or 127.0.0.1 where it has no other.
    """

    def __init__(
        self,
        configuration: RTCConfiguration | None = None,
        *,
        transport: Transport = "auto",
        certificate: RTCCertificate | None = None,
        host_addresses: Sequence[str] | None = None,
    ) -> None:
        if transport not in ("auto", "aiortc"):
            raise ValueError(f"no such transport: {transport!r}")
        super().__init__(configuration, certificate=certificate, host_addresses=host_addresses)
        self.transport = "aiortc"
        """What carries the data."""
