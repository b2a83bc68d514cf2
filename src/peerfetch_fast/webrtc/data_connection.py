"""A peer connection for data channels: SDP, ICE, DTLS and SCTP of our own, on the native path.

It has the standard's names (RFC 9429 says what they do), as far as data channels need them, and
survives a change of network: an offer after ``restartIce()`` moves DTLS and SCTP to another path,
with all that is on its way (RFC 8445 section 9).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Literal

from peerfetch_fast.budget import Budget
from peerfetch_fast.errors import InvalidState
from peerfetch_fast.webrtc._path import DataPath
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings
from peerfetch_fast.webrtc.candidates import IceCandidate
from peerfetch_fast.webrtc.certificate import Certificate, generate_certificate
from peerfetch_fast.webrtc.channels import DataChannel
from peerfetch_fast.webrtc.data_transport import DataTransport
from peerfetch_fast.webrtc.descriptions import MAX_CANDIDATES, SessionDescription
from peerfetch_fast.webrtc.ice.candidate import Candidate
from peerfetch_fast.webrtc.ice.events import Selected
from peerfetch_fast.webrtc.ice.gathering import IceServer
from peerfetch_fast.webrtc.ice_transport import IceTransport
from peerfetch_fast.webrtc.jsep import Jsep, SignalingState
from peerfetch_fast.webrtc.listeners import MAX_UNHEARD, SafeEmitter

__all__ = ["DataConnection"]

logger = logging.getLogger(__name__)

ConnectionState = Literal["new", "connecting", "connected", "disconnected", "failed", "closed"]


class DataConnection(SafeEmitter):
    """A WebRTC peer connection that has data channels and nothing else.

    Emits ``icecandidate`` (an :class:`IceCandidate`, None after the last), ``datachannel``,
    ``connectionstatechange``, ``networkschanged`` when this machine's have, and ``pathlost`` again
    and again while nothing comes any more: an offer after :meth:`restartIce` is the way to go on.

    While the peer may still send candidates, ICE does not fail: whoever connects to a peer that
    never says that it has no more of them needs a deadline of its own.

    :param ice_servers: STUN and TURN servers; none by default.
    :param relay_only: whether to use TURN servers alone.
    :param direct_only: whether to use none, ours or the other side's.
    :param map_ports: whether to ask the router for ports (PCP, NAT-PMP, UPnP-IGD).
    :param association: bounds and timers of SCTP, and the controller of what we send.
    :param certificate: a certificate to keep, so that its fingerprint can stand for an identity; a
        new one by default.
    :param host_addresses: the local addresses to send from; None for all of this machine's.
    """

    transport: Literal["native"] = "native"

    max_channels = 16
    """Data channels open at once."""

    max_label = 256
    """Bytes of the label and of the protocol of a channel that the peer opens."""

    def __init__(
        self,
        *,
        ice_servers: Sequence[IceServer] = (),
        relay_only: bool = False,
        direct_only: bool = False,
        map_ports: bool = False,
        association: AssociationSettings | None = None,
        certificate: Certificate | None = None,
        host_addresses: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self._event_loop = asyncio.get_running_loop()
        self._certificate = certificate or generate_certificate()
        self._unheard = Budget(MAX_UNHEARD)
        self._state: ConnectionState = "new"
        self._closing: asyncio.Task[None] | None = None
        self._early: list[IceCandidate | None] = []
        self._path = DataPath()
        association = association or AssociationSettings()
        self._jsep = Jsep(self._certificate.fingerprint, association)
        self._ice = IceTransport(
            self._path,
            ice_servers=ice_servers,
            relay_only=relay_only,
            direct_only=direct_only,
            map_ports=map_ports,
            host_addresses=host_addresses,
            on_candidate=self._on_candidate,
            on_selected=self._on_selected,
            on_state=self._update_state,
            on_moved=lambda: self.emit("networkschanged"),
        )
        self._data = DataTransport(
            self._path,
            self._ice,
            self._jsep,
            self._certificate,
            association=association,
            max_channels=self.max_channels,
            max_label=self.max_label,
            on_channel=self._on_channel,
            on_state=self._update_state,
            on_silence=lambda: self.emit("pathlost"),
        )

    # -- states --------------------------------------------------------------------------------

    @property
    def connectionState(self) -> ConnectionState:
        """``new``, ``connecting``, ``connected``, ``disconnected``, ``failed`` or ``closed``."""
        return self._state

    @property
    def signalingState(self) -> SignalingState:
        """``stable``, ``have-local-offer``, ``have-remote-offer`` or ``closed``."""
        return self._jsep.signaling

    @property
    def iceGatheringState(self) -> str:
        """``new``, ``gathering`` or ``complete``."""
        if not self._ice.gatherer.begun:
            return "new"
        return "complete" if self._ice.gatherer.complete else "gathering"

    @property
    def localDescription(self) -> SessionDescription | None:
        """Our latest description, with the candidates that were found so far."""
        agent, gatherer = self._ice.agent, self._ice.gatherer
        if agent is None:
            return None
        return self._jsep.local_description(
            agent.ufrag, agent.password, gatherer.candidates, gatherer.complete
        )

    @property
    def remoteDescription(self) -> SessionDescription | None:
        """The other side's latest description, as it came."""
        return self._jsep.remote_description

    @property
    def max_message_size(self) -> int:
        """Bytes of the largest message that the other side takes; 0: any (RFC 8841 section 6)."""
        return self._jsep.max_message_size

    @property
    def local_fingerprint(self) -> bytes:
        """SHA-256 of this side's certificate: 32 bytes."""
        return self._certificate.fingerprint

    @property
    def remote_fingerprint(self) -> bytes:
        """SHA-256 of the certificate that the other side used in the DTLS handshake: 32 bytes.

        It is read from the handshake itself, not from what signaling has announced.

        Raises InvalidState if the handshake is not complete, or all is closed.
        """
        return self._data.remote_fingerprint

    @property
    def remote_address(self) -> str | None:
        """The IP address of the other side's end of the path; None while there is no path."""
        return None if self._ice.selected is None else self._ice.selected.address[0]

    @property
    def way(self) -> str | None:
        """``direct``, or ``relayed`` by a TURN server of either side; None while there is none."""
        selected = self._ice.selected
        if selected is None:
            return None
        return "relayed" if "relay" in (selected.local.type, selected.remote.type) else "direct"

    @property
    def why(self) -> str | None:
        """Why no better way is taken, for people to read; None for the best, and while there is no
        way.
        """
        return self._ice.why

    @property
    def relay(self) -> str | None:
        """Our TURN server, if data goes through one of ours."""
        return self._ice.relay

    @property
    def refused(self) -> int:
        """Datagrams that were not taken: of strangers, or of no kind that is expected."""
        refused = self._ice.gate.refused + self._path.datagrams_refused
        return refused if self._ice.agent is None else refused + self._ice.agent.refused

    # -- descriptions --------------------------------------------------------------------------

    def use_servers(self, ice_servers: Sequence[IceServer]) -> None:
        """Have the next offer or answer ask these STUN and TURN servers, as when their logins were
        renewed; none changes nothing.

        Raises InvalidIceServer if one of them cannot be used.
        """
        self._ice.gatherer.use_servers(ice_servers)

    def restartIce(self) -> None:
        """Have the next offer ask for another path."""
        self._jsep.wants_restart = True

    async def setLocalDescription(self) -> None:
        """Describe this side: an answer if there is an offer to answer, else an offer.

        Host candidates are known when it returns; those that come later are emitted.

        Raises InvalidState if the connection is closed.
        """
        self._check_open()
        restarts = self._jsep.describe()
        if self._ice.agent is None:
            self._ice.begin(controlling=True)
        elif restarts:
            self._ice.restart()
        # Before checks leave, which may carry DTLS.
        self._data.start()
        self._ice.gather()
        self._ice.settle()

    async def setRemoteDescription(self, description: SessionDescription) -> None:
        """Take what the other side says of itself. An offer takes the place of one of ours.

        Raises InvalidDescription if it cannot be used, or is an answer to nothing; IdentityChanged
        if it names another certificate than the one that was met; InvalidState if the connection is
        closed.
        """
        self._check_open()
        remote, restarts = self._jsep.take(description)
        if self._ice.agent is None:
            # A lite agent never checks, and leaves the choice to us (RFC 8445 section 6.1.1).
            self._ice.begin(controlling=remote.lite)
        elif restarts:
            self._ice.restart()
        # Before checks leave, which may carry DTLS.
        self._data.start()
        self._ice.set_remote(remote)
        early, self._early = self._early, []
        for kept in early:
            self._take(kept)
        self._ice.settle()

    async def addIceCandidate(self, candidate: IceCandidate | None) -> None:
        """Try a candidate of the other side, None after its last. One that comes before its
        description is kept for it, one of a section that was not accepted is ignored.

        Raises ValueError if it does not say which section it is of.
        """
        if candidate is not None and candidate.sdpMid is None and candidate.sdpMLineIndex is None:
            raise ValueError("a candidate needs sdpMid or sdpMLineIndex")
        if self._state == "closed":
            return
        if self._jsep.remote is None:
            if len(self._early) < MAX_CANDIDATES:
                self._early.append(candidate)
            else:
                logger.warning("more than %d early candidates: one was dropped", MAX_CANDIDATES)
            return
        self._take(candidate)
        self._ice.settle()

    def createDataChannel(
        self,
        label: str,
        *,
        maxPacketLifeTime: int | None = None,
        maxRetransmits: int | None = None,
        ordered: bool = True,
        protocol: str = "",
        negotiated: bool = False,
        id: int | None = None,
    ) -> DataChannel:
        """Open a data channel (WebRTC section 6.1). ``id`` counts for negotiated channels only.

        Raises ValueError if both limits on retransmission are given, or the number is taken;
        InvalidState if the connection is closed.
        """
        self._check_open()
        channel = DataChannel(
            self._data.channels,
            label,
            maxPacketLifeTime=maxPacketLifeTime,
            maxRetransmits=maxRetransmits,
            ordered=ordered,
            protocol=protocol,
            negotiated=negotiated,
            id=id if negotiated else None,
        )
        self._data.channels.open(channel)
        return channel

    def take_channels(self, count: int) -> None:
        """Take so many channels of the peer at once; before there is a connection."""
        self._data.take_channels(count)

    def take_messages(self, size: int) -> None:
        """Take messages of up to ``size`` bytes from who sends more than we announce, and of longer
        ones that much. To be called before the other side's description is set.
        """
        self._data.take_messages(size)

    def keep_silent(self, seconds: float) -> None:
        """Keep what is on its way for so long though nothing comes, if that is longer than half a
        minute. To be called before the other side's description is set.
        """
        self._data.patience = seconds

    @property
    def silence(self) -> float:
        """Seconds since anything came of the other side; infinite before."""
        return self._data.silence

    def networks_changed(self) -> None:
        """This machine has other addresses than before: send from those. That is noticed without
        this, unless ``host_addresses`` were given; where the kernel does not tell, in seconds.
        """
        if self._state not in ("failed", "closed"):
            self._ice.networks_changed()

    async def close(self) -> None:
        """Let go of everything; the other side is told. Idempotent."""
        if self._closing is None:
            self._closing = self._event_loop.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._jsep.signaling = "closed"
        self._data.close()
        await self._ice.close()
        self._set_state("closed")
        self.remove_all_listeners()

    def _check_open(self) -> None:
        if self._closing is not None:
            raise InvalidState("the connection is closed")

    def _take(self, candidate: IceCandidate | None) -> None:
        assert self._jsep.remote is not None
        if candidate is None:
            self._ice.end_of_remote()
        elif self._jsep.remote.section.is_of_data(candidate.sdpMid, candidate.sdpMLineIndex):
            self._ice.add(candidate.candidate)
        else:
            logger.info("a candidate of another section was ignored")

    # -- what the floors below tell ------------------------------------------------------------

    def _on_candidate(self, candidate: Candidate | None) -> None:
        found = candidate and IceCandidate(candidate, self._jsep.mid, self._jsep.line)
        self.emit("icecandidate", found)

    def _on_selected(self, way: Selected) -> None:
        self._data.moved(way)

    def _on_channel(self, channel: DataChannel) -> None:
        self.emit("datachannel", channel)
        channel.hold(self._unheard)

    # -- how it stands -------------------------------------------------------------------------

    def _update_state(self) -> None:
        if self._closing is not None or self._ice.agent is None:
            return
        ice, dtls = self._ice.agent.state, self._data.state
        if dtls == "closed":
            self._closing = self._event_loop.create_task(self._close())
        elif dtls == "failed" or (ice == "failed" and dtls != "connected"):
            self._set_state("failed")
        elif ice == "failed":
            # Nothing more goes there, but a restart may bring another path.
            self._ice.deselect()
            self._set_state("disconnected")
        elif ice == "disconnected":
            self._set_state("disconnected")
        elif dtls == "connected":
            self._set_state("connected")
        elif ice != "new":
            self._set_state("connecting")

    def _set_state(self, state: ConnectionState) -> None:
        if state != self._state and self._state != "closed":
            self._state = state
            self.emit("connectionstatechange")
