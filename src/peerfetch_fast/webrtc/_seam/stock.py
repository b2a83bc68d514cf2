"""A data connection as in ``webrtc/data_connection.py``, on aiortc's own transports."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
from collections.abc import Sequence
from typing import Any, Literal

from aiortc import (
    RTCCertificate,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCSessionDescription,
)
from aiortc.sdp import candidate_to_sdp
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key

from peerfetch_fast.errors import InvalidDescription
from peerfetch_fast.webrtc._sctp.settings import DEFAULT_CONGESTION, UNANNOUNCED_MESSAGE_SIZE
from peerfetch_fast.webrtc._seam.peer import PeerConnection, Section
from peerfetch_fast.webrtc.candidates import IceCandidate
from peerfetch_fast.webrtc.certificate import Certificate, generate_certificate
from peerfetch_fast.webrtc.descriptions import DataDescription, SessionDescription, data_only
from peerfetch_fast.webrtc.ice.candidate import Candidate
from peerfetch_fast.webrtc.ice.gathering import IceServer

__all__ = ["StockDataConnection"]

logger = logging.getLogger(__name__)

# RFC 8841 section 6.1.
_MAX_MESSAGE_SIZE = re.compile(r"^a=max-message-size:(\d{1,15})\s*$", re.MULTILINE)


class StockDataConnection(PeerConnection):
    """Accepts one section, of data channels: any other of an offer is answered with port 0, and
    nothing is made for it. It does not go on over another path.
    """

    transport: Literal["aiortc"] = "aiortc"
    max_channels = 16
    max_label = 256

    _described: DataDescription | None = None

    def __init__(
        self,
        *,
        ice_servers: Sequence[IceServer] = (),
        relay_only: bool = False,
        certificate: Certificate | None = None,
        host_addresses: Sequence[str] | None = None,
    ) -> None:
        certificate = certificate or generate_certificate()
        key: Any = load_der_private_key(certificate.private_key, None)
        super().__init__(
            RTCConfiguration(
                iceServers=[
                    RTCIceServer(_urls(server), server.username, server.credential)
                    for server in ice_servers
                ],
                iceTransportPolicy=(
                    RTCIceTransportPolicy.RELAY if relay_only else RTCIceTransportPolicy.ALL
                ),
            ),
            native=False,
            congestion=DEFAULT_CONGESTION,
            certificate=RTCCertificate(key, x509.load_der_x509_certificate(certificate.der)),
            host_addresses=host_addresses,
        )
        self.on("datachannel", self._bound_channels)

    def _bound_channels(self, channel: RTCDataChannel) -> None:
        """End the connection for what the native association refuses and aiortc's does not."""
        assert self.sctp is not None
        longest = max(len(channel.label.encode()), len(channel.protocol.encode()))
        if longest > self.max_label or len(self.sctp._data_channels) > self.max_channels:
            logger.warning("a peer opened more channels than allowed, or one with a long label")
            task = asyncio.ensure_future(self.close())
            self._connect_tasks.add(task)
            task.add_done_callback(self._connect_tasks.discard)

    def emit(self, event: str, *args: Any, **kwargs: Any) -> bool:
        """As in :class:`PeerConnection`, with candidates of our own kind."""
        if event == "icecandidate" and args[0] is not None:
            found = args[0]
            args = (
                IceCandidate(
                    Candidate.from_sdp(candidate_to_sdp(found)), found.sdpMid, found.sdpMLineIndex
                ),
            )
        return super().emit(event, *args, **kwargs)

    @property
    def max_message_size(self) -> int:
        """Bytes of the largest message that the other side takes; 0: any."""
        found = None if self._described is None else _MAX_MESSAGE_SIZE.search(self._described.sdp)
        return int(found[1]) if found else UNANNOUNCED_MESSAGE_SIZE

    @property
    def localDescription(self) -> Any:
        description = super().localDescription  # None before there is one, whatever aiortc says
        if self._described is None or not description or description.type == "offer":
            return description
        sdp = self._described.answered(description.sdp)
        return SessionDescription(sdp=sdp, type=description.type)

    def _sections(self) -> list[Section]:
        sections = super()._sections()
        if self._described is None:
            return sections
        return [section._replace(line=self._described.line) for section in sections]

    async def setRemoteDescription(self, sessionDescription: Any) -> None:
        """As in :class:`PeerConnection`.

        Raises InvalidDescription also for a description without data channels, for an answer to
        more than was offered, and for what exceeds the bounds of
        :mod:`peerfetch_fast.webrtc.descriptions`.
        """
        described = data_only(sessionDescription.sdp)
        if described.others and sessionDescription.type != "offer":
            raise InvalidDescription("the answer has sections that were not offered")
        self._described = described
        await super().setRemoteDescription(
            RTCSessionDescription(sdp=described.sdp, type=sessionDescription.type)
        )

    async def addIceCandidate(self, candidate: Any) -> None:
        """As in aiortc; a candidate of a section that was not accepted is ignored."""
        if candidate is not None and self._described is not None:
            if not self._described.is_of_data(candidate.sdpMid, candidate.sdpMLineIndex):
                logger.info("a candidate of another section was ignored")
                return
            candidate = dataclasses.replace(candidate, sdpMid=self._described.mid, sdpMLineIndex=0)
        await super().addIceCandidate(candidate)

    def take_messages(self, size: int) -> None:
        """aiortc's transport takes messages of any size."""

    def keep_silent(self, seconds: float) -> None:
        """It is kept for as long as aiortc does."""

    @property
    def silence(self) -> float:
        """aiortc does not tell."""
        return 0.0

    def use_servers(self, ice_servers: Sequence[IceServer]) -> None:
        """It gathers once."""

    def restartIce(self) -> None:
        """aiortc has no ICE restart."""

    def networks_changed(self) -> None:
        """It stays where it is."""


def _urls(server: IceServer) -> list[str]:
    return [server.urls] if isinstance(server.urls, str) else list(server.urls)
