"""aiortc's peer connection with our transports under it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import aiortc
from aioice.ice import CandidatePair
from aiortc import (
    RTCCertificate,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceCandidate,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidStateError
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcicetransport import RTCIceTransport
from aiortc.sdp import MediaDescription, SessionDescription, candidate_from_sdp
from cryptography.hazmat.primitives.hashes import SHA256

from peerfetch_fast.budget import Budget
from peerfetch_fast.errors import InvalidDescription
from peerfetch_fast.webrtc import HAVE_NATIVE
from peerfetch_fast.webrtc._sctp.settings import (
    UNANNOUNCED_MESSAGE_SIZE,
    AssociationSettings,
    Congestion,
)
from peerfetch_fast.webrtc._seam.dtls import GatedDtlsTransport
from peerfetch_fast.webrtc._seam.gatherer import TricklingGatherer
from peerfetch_fast.webrtc._seam.ice import TricklingConnection
from peerfetch_fast.webrtc.candidates import IceCandidate
from peerfetch_fast.webrtc.descriptions import MAX_CANDIDATES
from peerfetch_fast.webrtc.listeners import MAX_UNHEARD, HeldChannel, SafeEmitter

if HAVE_NATIVE:
    from peerfetch_fast.webrtc._seam.channels import NativeDataChannel, NativeSctpTransport
    from peerfetch_fast.webrtc._seam.native import NativeConnection, NativeDtlsTransport

__all__ = ["PeerConnection", "StockDataChannel"]

logger = logging.getLogger(__name__)

FINGERPRINT = re.compile("[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2})*")
"""The digest as RFC 8122 section 5 writes it."""


class StockDataChannel(HeldChannel, RTCDataChannel):
    """aiortc's own data channel. aiortc makes them, and they are made one of these afterwards."""


class Section(NamedTuple):
    """A media section of the local description and the gatherer of its candidates."""

    line: int
    media: MediaDescription
    gatherer: TricklingGatherer


class PeerConnection(SafeEmitter, RTCPeerConnection):
    """Trickles candidates, keeps to one certificate and refuses descriptions it cannot use.

    :param configuration: as in aiortc, but without servers no server is asked.
    :param native: whether the native data path carries it; it must have been built.
    :param congestion: the native data path's controller.
    :param certificate: the DTLS certificate; None for a new one.
    :param host_addresses: addresses to gather host candidates on; None for all of this machine's.
    """

    def __init__(
        self,
        configuration: aiortc.RTCConfiguration | None,
        *,
        native: bool,
        congestion: Congestion,
        certificate: RTCCertificate | None,
        host_addresses: Sequence[str] | None,
    ) -> None:
        configuration = configuration or RTCConfiguration()
        if configuration.iceServers is None:
            # aiortc would ask a server of Google's.
            configuration = dataclasses.replace(configuration, iceServers=[])
        super().__init__(configuration)
        if certificate is not None:
            self._set_private("certificates", [certificate])
        self._native = native
        self._congestion: Congestion = congestion
        self._host_addresses = host_addresses
        self._connect_tasks: set[asyncio.Task[Any]] = set()
        self._gathering_announced = False
        self._unheard = Budget(MAX_UNHEARD)
        self._early_candidates: list[RTCIceCandidate | None] = []

    # -- aiortc's private names --------------------------------------------------------------

    def _private(self, name: str) -> Any:
        return getattr(self, f"_RTCPeerConnection__{name}")

    def _set_private(self, name: str, value: Any) -> None:
        setattr(self, f"_RTCPeerConnection__{name}", value)

    def _RTCPeerConnection__createDtlsTransport(self) -> RTCDtlsTransport:
        configuration: RTCConfiguration = self._private("configuration")
        # A section that may be bundled later has the credentials of the first.
        first = next(self._dtls_transports(), None)
        parameters = first.transport.iceGatherer.getLocalParameters() if first else None
        gatherer = TricklingGatherer(
            servers=configuration.iceServers or [],
            policy=configuration.iceTransportPolicy,
            host_addresses=self._host_addresses,
            username=parameters.usernameFragment if parameters else None,
            password=parameters.password if parameters else None,
            connection=NativeConnection if self._native else TricklingConnection,
        )
        gatherer.on("statechange", lambda: self._gatherer_changed(gatherer))
        gatherer.on("localcandidate", lambda candidate: self._trickle(gatherer, candidate))

        ice_transport = RTCIceTransport(gatherer)
        ice_transport.on("statechange", self._private("updateIceConnectionState"))
        ice_transport.on("statechange", self._private("updateConnectionState"))
        self._private("iceTransports").add(ice_transport)

        dtls_class = NativeDtlsTransport if self._native else GatedDtlsTransport
        dtls_transport = dtls_class(ice_transport, self._private("certificates"))
        dtls_transport.on("statechange", self._private("updateConnectionState"))
        self._private("dtlsTransports").add(dtls_transport)

        for update in ("IceGatheringState", "IceConnectionState", "ConnectionState"):
            self._private(f"update{update}")()
        return dtls_transport

    def _RTCPeerConnection__createSctpTransport(self) -> None:
        # aiortc's makes its own kind of transport, on the same DTLS transport that ours will have.
        cast(Any, super())._RTCPeerConnection__createSctpTransport()
        theirs: Any = self._private("sctp")
        if not self._native:
            theirs._remote_max_message_size = UNANNOUNCED_MESSAGE_SIZE
            return
        ours = NativeSctpTransport(
            cast(NativeDtlsTransport, theirs.transport),
            self._congestion,
            max_channels=AssociationSettings.max_channels,
            max_label=AssociationSettings.max_label,
        )
        ours._bundled = theirs._bundled
        ours.on("datachannel", lambda channel: self.emit("datachannel", channel))
        self._set_private("sctp", ours)

    async def _RTCPeerConnection__connect(self) -> None:
        # aiortc starts this in tasks that it forgets.
        task = asyncio.current_task()
        assert task is not None
        self._connect_tasks.add(task)
        try:
            await cast(Any, super())._RTCPeerConnection__connect()
        except (ConnectionError, InvalidStateError) as exc:
            # Closed or cut off meanwhile, which the states tell.
            logger.debug("connecting came to nothing: %r", exc)
        finally:
            self._connect_tasks.discard(task)

    def _dtls_transports(self) -> Iterator[RTCDtlsTransport]:
        for transceiver in self._private("transceivers"):
            yield transceiver.receiver.transport
        if self.sctp is not None:
            yield self.sctp.transport

    # -- events ------------------------------------------------------------------------------

    def emit(self, event: str, *args: Any, **kwargs: Any) -> bool:
        """As in pyee; a channel keeps its messages for listeners that come after this."""
        if event != "datachannel":
            return super().emit(event, *args, **kwargs)
        channel: RTCDataChannel = args[0]
        if not self._native:
            channel.__class__ = StockDataChannel
        handled = super().emit(event, channel)
        cast(HeldChannel, channel).hold(self._unheard)
        return handled

    # -- certificates ------------------------------------------------------------------------

    @property
    def local_fingerprint(self) -> bytes:
        """SHA-256 of this side's certificate: 32 bytes."""
        certificate: RTCCertificate = self._private("certificates")[0]
        return certificate._cert.fingerprint(SHA256())

    @property
    def remote_fingerprint(self) -> bytes:
        """SHA-256 of the certificate that the other side used in the DTLS handshake: 32 bytes.

        It is read from the handshake itself, not from what signaling has announced.

        Raises InvalidStateError if the data channels' handshake is not complete, or all is closed.
        """
        transport = None if self.sctp is None else self.sctp.transport
        if transport is None or transport.state != "connected":
            raise InvalidStateError("the DTLS handshake is not complete")
        if self._native:
            try:
                return cast(NativeDtlsTransport, transport).peer_fingerprint
            except RuntimeError:  # closed, which the transport's state tells of a moment later
                raise InvalidStateError("the DTLS connection is closed") from None
        assert transport._ssl is not None
        certificate = transport._ssl.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        return certificate.fingerprint(SHA256())

    @property
    def remote_address(self) -> str | None:
        """The IP address of the other side's end of the path; None while there is no path."""
        if self.sctp is None:
            return None
        connection = self.sctp.transport.transport._connection
        pair: CandidatePair | None = connection._nominated.get(1)
        return None if pair is None else str(pair.remote_addr[0])

    @property
    def way(self) -> str | None:
        """``direct``, or ``relayed`` by a TURN server of either side; None while there is none."""
        if self.sctp is None:
            return None
        pair: CandidatePair | None = self.sctp.transport.transport._connection._nominated.get(1)
        if pair is None:
            return None
        kinds = (pair.local_candidate.type, pair.remote_candidate.type)
        return "relayed" if "relay" in kinds else "direct"

    @property
    def why(self) -> None:
        """Not known on aiortc's transport."""

    @property
    def relay(self) -> None:
        """Not known on aiortc's transport."""

    # -- candidates --------------------------------------------------------------------------

    def _sections(self) -> list[Section]:
        description: SessionDescription | None = self._private("localDescription")()
        owners = {t.mid: t.receiver.transport for t in self._private("transceivers")}
        if self.sctp is not None:
            owners[self.sctp.mid] = self.sctp.transport
        return [
            Section(line, media, cast(TricklingGatherer, owner.transport.iceGatherer))
            for line, media in enumerate(description.media if description else [])
            if (owner := owners.get(media.rtp.muxId)) is not None
        ]

    def _trickle(self, gatherer: TricklingGatherer, candidate: RTCIceCandidate) -> None:
        sections = [section for section in self._sections() if section.gatherer is gatherer]
        if not sections:
            return
        for section in sections:
            section.media.ice_candidates.append(candidate)
        # Bundled sections share their candidates, which are told of with the first.
        line, media, _ = sections[0]
        self.emit(
            "icecandidate",
            dataclasses.replace(candidate, sdpMid=media.rtp.muxId, sdpMLineIndex=line),
        )
        # With the relay policy there was nothing to connect from until now.
        self._connect_tasks.add(asyncio.create_task(self._RTCPeerConnection__connect()))

    def _gatherer_changed(self, gatherer: TricklingGatherer) -> None:
        if gatherer.state == "completed":
            for section in self._sections():
                if section.gatherer is gatherer:
                    section.media.ice_candidates_complete = True
        self._private("updateIceGatheringState")()
        self._announce_end()

    def _announce_end(self) -> None:
        """Tell of the end of candidates once all sections have theirs."""
        if self._gathering_announced and self.iceGatheringState == "complete":
            self._gathering_announced = False
            self.emit("icecandidate", None)

    # -- the standard's methods ----------------------------------------------------------------

    def createDataChannel(
        self,
        label: str,
        maxPacketLifeTime: int | None = None,
        maxRetransmits: int | None = None,
        ordered: bool = True,
        protocol: str = "",
        negotiated: bool = False,
        id: int | None = None,
    ) -> Any:
        """As in aiortc; ``id`` counts for negotiated channels only, as in the standard."""
        self._private("assertNotClosed")()
        if not self._native:
            channel = super().createDataChannel(
                label, maxPacketLifeTime, maxRetransmits, ordered, protocol, negotiated, id
            )
            channel.__class__ = StockDataChannel
            return channel
        if self.sctp is None:
            self._RTCPeerConnection__createSctpTransport()
        sctp = cast(NativeSctpTransport, self.sctp)
        return sctp.open(
            NativeDataChannel(
                sctp.channels,
                label,
                maxPacketLifeTime=maxPacketLifeTime,
                maxRetransmits=maxRetransmits,
                ordered=ordered,
                protocol=protocol,
                negotiated=negotiated,
                id=id if negotiated else None,
            )
        )

    async def setLocalDescription(
        self, sessionDescription: RTCSessionDescription | None = None
    ) -> None:
        """As in aiortc, but returns once host candidates are known.

        Those that come later are emitted as ``icecandidate`` events, each an
        :class:`aiortc.RTCIceCandidate`, and None after the last.
        """
        fresh = any(
            transport.transport.iceGatherer.state == "new" for transport in self._dtls_transports()
        )
        await super().setLocalDescription(sessionDescription)
        if fresh:
            self._gathering_announced = True
        for section in self._sections():
            section.gatherer.gather_late()
        self._announce_end()

    async def setRemoteDescription(self, sessionDescription: RTCSessionDescription) -> None:
        """As in aiortc.

        Raises InvalidDescription if it cannot be parsed or lacks what a connection needs; the peer
        connection is then of no further use and to be closed.
        """
        try:
            check_description(SessionDescription.parse(sessionDescription.sdp))
            await super().setRemoteDescription(sessionDescription)
        except (InvalidStateError, InvalidDescription):
            raise
        except Exception as exc:
            # aiortc's parser is made of assertions, conversions and look-ups that any line may
            # fail; the sender of the description chooses which.
            raise InvalidDescription(f"unusable description: {exc!r}") from exc
        # A transport that was still gathering may have been bundled away.
        self._announce_end()
        early, self._early_candidates = self._early_candidates, []
        for candidate in early:
            await self.addIceCandidate(candidate)

    async def addIceCandidate(self, candidate: RTCIceCandidate | IceCandidate | None) -> None:
        """As in aiortc; one that comes before the description is kept for it.

        Raises ValueError if the candidate does not say which section it is of.
        """
        if isinstance(candidate, IceCandidate):
            ours, candidate = candidate, candidate_from_sdp(candidate.candidate.to_sdp())
            candidate.sdpMid, candidate.sdpMLineIndex = ours.sdpMid, ours.sdpMLineIndex
        if self._private("remoteDescription")() is not None:
            await super().addIceCandidate(candidate)
            return
        if candidate is not None and candidate.sdpMid is None and candidate.sdpMLineIndex is None:
            raise ValueError("Candidate must have either sdpMid or sdpMLineIndex")
        if len(self._early_candidates) < MAX_CANDIDATES:
            self._early_candidates.append(candidate)
        else:
            logger.warning("more than %d early candidates: one was dropped", MAX_CANDIDATES)

    async def close(self) -> None:
        try:
            await super().close()
        except Exception:
            # aiortc's lists after an odd description must not keep sockets and tasks.
            logger.exception("a peer connection did not close in order")
            for transport in (*self._private("dtlsTransports"), *self._private("iceTransports")):
                with contextlib.suppress(Exception):
                    await transport.stop()
            self.remove_all_listeners()
            self._private("isClosed").set_result(True)
        tasks = [task for task in self._connect_tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def check_description(description: SessionDescription) -> None:
    """Refuse what aiortc would accept and trip over later, in a task that nobody awaits.

    Raises InvalidDescription if a section is of an unknown kind or has no fingerprint, no role or
    no SCTP port; or two have the same name, two have data channels, or a group names none.
    """
    names = [media.rtp.muxId for media in description.media if media.rtp.muxId]
    if len(set(names)) < len(names):
        raise InvalidDescription("two media sections have the same mid")
    if sum(media.kind == "application" for media in description.media) > 1:
        raise InvalidDescription("more than one section of data channels")
    for group in description.group:
        if not {str(item) for item in group.items} <= set(names):
            raise InvalidDescription("a group of sections that are not there")
    for media in description.media:
        if media.kind not in ("audio", "video", "application"):
            raise InvalidDescription(f"unknown kind of media section: {media.kind!r}")
        if media.dtls is None or not media.dtls.fingerprints:
            raise InvalidDescription("a media section has no DTLS fingerprint or role")
        for fingerprint in media.dtls.fingerprints:
            if not FINGERPRINT.fullmatch(fingerprint.value):
                raise InvalidDescription(f"not a fingerprint: {fingerprint.value!r}")
        if media.kind == "application":
            port = media.sctp_port if media.profile != "DTLS/SCTP" else int(media.fmt[0])
            if port is None or not 0 < port < 65536:
                raise InvalidDescription("the data channel's section has no SCTP port")
