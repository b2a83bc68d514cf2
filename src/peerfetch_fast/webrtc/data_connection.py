"""A peer connection for data channels: SDP, ICE, DTLS and SCTP of our own, on the native path.

It has the standard's names (RFC 9429 says what they do), as far as data channels need them, and
survives a change of network: an offer after ``restartIce()`` moves DTLS and SCTP to another path,
with all that is on its way (RFC 8445 section 9).
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
import random
import secrets
from collections.abc import Sequence
from typing import Literal

from peerfetch_fast.budget import Budget
from peerfetch_fast.errors import IdentityChanged, InvalidDescription, InvalidState
from peerfetch_fast.webrtc._dtls import Dtls
from peerfetch_fast.webrtc._path import Path
from peerfetch_fast.webrtc._sctp.errors import AssociationError
from peerfetch_fast.webrtc._sctp.settings import (
    DEFAULT_CONGESTION,
    UNANNOUNCED_MESSAGE_SIZE,
    AssociationSettings,
    Congestion,
)
from peerfetch_fast.webrtc.candidates import IceCandidate
from peerfetch_fast.webrtc.certificate import Certificate, generate_certificate
from peerfetch_fast.webrtc.channels import Channels, DataChannel
from peerfetch_fast.webrtc.descriptions import MAX_CANDIDATES, SessionDescription
from peerfetch_fast.webrtc.gate import Address, Gate
from peerfetch_fast.webrtc.gatherer import Gatherer
from peerfetch_fast.webrtc.ice.agent import Agent
from peerfetch_fast.webrtc.ice.candidate import Candidate
from peerfetch_fast.webrtc.ice.events import (
    Admitted,
    Event,
    Selected,
    ServerAnswered,
    ServerSilent,
    StateChanged,
)
from peerfetch_fast.webrtc.ice.gathering import IceServer, resolve_mdns
from peerfetch_fast.webrtc.listeners import MAX_UNHEARD, SafeEmitter
from peerfetch_fast.webrtc.sdp import Remote, read, write
from peerfetch_fast.webrtc.sockets import Sockets

__all__ = ["DataConnection"]

logger = logging.getLogger(__name__)

ConnectionState = Literal["new", "connecting", "connected", "disconnected", "failed", "closed"]
SignalingState = Literal["stable", "have-local-offer", "have-remote-offer", "closed"]

SRTP_PROFILES = "SRTP_AES128_CM_SHA1_80"
"""Offered because older stacks end a handshake without it, though no media follows."""

WATCH_INTERVAL = 1.0
"""Seconds between two looks at whether anything comes."""

RESTART_AFTER = 2.0
"""Seconds of silence, while something should have come, after which another path is asked for."""

QUIET_AFTER = 0.3
"""Seconds of silence after which what was sent before a change of path is sent again at once."""


class DataConnection(SafeEmitter):
    """A WebRTC peer connection that has data channels and nothing else.

    Emits ``icecandidate`` (an :class:`IceCandidate`, None after the last), ``datachannel``,
    ``connectionstatechange``, and ``pathlost`` when nothing comes any more, each second until it
    does: an offer after :meth:`restartIce` is the way to go on.

    While the peer may still send candidates, ICE does not fail: whoever connects to a peer that
    never says that it has no more of them needs a deadline of its own.

    :param ice_servers: STUN and TURN servers; none by default.
    :param relay_only: whether to use TURN servers alone.
    :param congestion: the controller of what we send.
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
        congestion: Congestion = DEFAULT_CONGESTION,
        certificate: Certificate | None = None,
        host_addresses: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self._event_loop = asyncio.get_running_loop()
        self._congestion: Congestion = congestion
        self._certificate = certificate or generate_certificate()
        self._max_message_size = AssociationSettings.max_message_size
        self._cut_messages = False
        self._unheard = Budget(MAX_UNHEARD)
        self._state: ConnectionState = "new"
        self._closing: asyncio.Task[None] | None = None
        # What was agreed.
        self._signaling: SignalingState = "stable"
        self._restart = False  # asked for with the next offer
        self._restarted = False  # our credentials are newer than the other side's
        self._session, self._version = secrets.randbits(62), 0
        self._local_type: str | None = None
        self._announcing = False
        self._mid = "0"
        self._setup = "actpass"
        self._remote: Remote | None = None
        self._remote_description: SessionDescription | None = None
        self._early: list[IceCandidate | None] = []
        self._resolving: set[asyncio.Task[None]] = set()
        # The way there.
        self._path = Path()
        self._path.on_dtls = self._on_dtls
        self._gate = Gate(self._path.receive)
        self._path.on_early = self._gate.receive
        self._agent: Agent | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._settling = False
        self._selected: Selected | None = None
        self._sockets = Sockets(self._path, self._gate, self._on_stun, self._on_socket_lost)
        self._gatherer = Gatherer(
            self._sockets,
            ice_servers,
            relay_only,
            host_addresses,
            query=self._on_query,
            found=self._on_found,
            finished=self._on_gathered,
        )
        # What goes over it.
        self._channels = Channels(on_channel=self._on_channel, on_ended=self._on_association_ended)
        self._seen, self._heard_at = 0, -math.inf
        self._watcher: asyncio.TimerHandle | None = None

    # -- states --------------------------------------------------------------------------------

    @property
    def connectionState(self) -> ConnectionState:
        """``new``, ``connecting``, ``connected``, ``disconnected``, ``failed`` or ``closed``."""
        return self._state

    @property
    def signalingState(self) -> SignalingState:
        """``stable``, ``have-local-offer``, ``have-remote-offer`` or ``closed``."""
        return self._signaling

    @property
    def iceGatheringState(self) -> str:
        """``new``, ``gathering`` or ``complete``."""
        if not self._gatherer.begun:
            return "new"
        return "complete" if self._gatherer.complete else "gathering"

    @property
    def localDescription(self) -> SessionDescription | None:
        """Our latest description, with the candidates that were found so far."""
        if self._local_type is None or self._agent is None:
            return None
        answers = self._remote if self._local_type == "answer" else None
        sdp = write(
            session=self._session,
            version=self._version,
            mid=self._mid,
            ufrag=self._agent.ufrag,
            password=self._agent.password,
            fingerprint=self._certificate.fingerprint,
            setup=self._setup if self._local_type == "answer" else "actpass",
            max_message_size=AssociationSettings.max_message_size,
            candidates=self._gatherer.candidates,
            complete=self._gatherer.complete,
            answers=answers,
        )
        return SessionDescription(sdp, self._local_type)

    @property
    def remoteDescription(self) -> SessionDescription | None:
        """The other side's latest description, as it came."""
        return self._remote_description

    @property
    def max_message_size(self) -> int:
        """Bytes of the largest message that the other side takes; 0: any (RFC 8841 section 6)."""
        size = None if self._remote is None else self._remote.max_message_size
        return UNANNOUNCED_MESSAGE_SIZE if size is None else size

    @property
    def local_fingerprint(self) -> bytes:
        """SHA-256 of this side's certificate: 32 bytes."""
        return self._certificate.fingerprint

    @property
    def remote_fingerprint(self) -> bytes:
        """SHA-256 of the certificate that the other side used in the DTLS handshake: 32 bytes.

        It is read from the handshake itself, not from what signaling has announced.

        :raises InvalidState: the handshake is not complete, or all is closed.
        """
        dtls = self._path.dtls
        if dtls is None or dtls.state != "connected":
            raise InvalidState("the DTLS handshake is not complete")
        return dtls.peer_fingerprint

    @property
    def remote_address(self) -> str | None:
        """The IP address of the other side's end of the path; None while there is no path."""
        return None if self._selected is None else self._selected.address[0]

    @property
    def refused(self) -> int:
        """Datagrams that were not taken: of strangers, or of no kind that is expected."""
        refused = self._gate.refused + self._path.datagrams_refused
        return refused if self._agent is None else refused + self._agent.refused

    # -- descriptions --------------------------------------------------------------------------

    def restartIce(self) -> None:
        """Have the next offer ask for another path."""
        self._restart = True

    async def setLocalDescription(self) -> None:
        """Describe this side: an answer if there is an offer to answer, else an offer.

        Host candidates are known when it returns; those that come later are emitted.

        :raises InvalidState: the connection is closed.
        """
        self._check_open()
        answering = self._signaling == "have-remote-offer"
        if self._agent is None:
            self._make_agent(controlling=True)
        elif self._restart and not answering:
            self._restart_agent()
        self._restart = False
        self._version += 1
        self._local_type = "answer" if answering else "offer"
        self._signaling = "stable" if answering else "have-local-offer"
        fresh = not self._gatherer.begun
        # Those that are in the description need no message of their own.
        self._announcing = False
        self._gatherer.gather_hosts()
        self._announcing = True
        self._gatherer.gather_late()
        if fresh and self._gatherer.complete:
            self._event_loop.call_soon(self._on_gathered)
        self._settle()
        self._start_dtls()

    async def setRemoteDescription(self, description: SessionDescription) -> None:
        """Take what the other side says of itself. An offer takes the place of one of ours.

        :raises InvalidDescription: it cannot be used, or is an answer to nothing.
        :raises IdentityChanged: it names another certificate than the one that was met.
        :raises InvalidState: the connection is closed.
        """
        self._check_open()
        offered = description.type == "offer"
        remote = read(description.sdp)
        if remote.section.others and not offered:
            raise InvalidDescription("the answer has sections that were not offered")
        if not offered and self._signaling != "have-local-offer":
            raise InvalidDescription("an answer to no offer")
        before = self._remote
        if before is not None and set(before.fingerprints) != set(remote.fingerprints):
            raise IdentityChanged("the other side goes on with another certificate")
        self._remote, self._remote_description = remote, description
        self._signaling = "have-remote-offer" if offered else "stable"
        if offered:
            self._mid = remote.section.mid or "0"
        if before is None:
            self._choose_role(offered)
        if self._agent is None:
            # Who is lite never checks, and leaves the choice to us (RFC 8445 section 6.1.1).
            self._make_agent(controlling=remote.lite)
        elif offered and before is not None and before.ufrag != remote.ufrag:
            # The other side restarts, and so do we (RFC 8839 section 4.4.1.1.1). If our own offer
            # to do so has crossed it, our credentials are new already.
            if not self._restarted:
                self._restart_agent()
            self._restarted = False
        elif not offered:
            self._restarted = False
        assert self._agent is not None
        now = self._path.now()
        self._agent.set_remote(remote.ufrag, remote.password, now, lite=remote.lite)
        for candidate in remote.candidates:
            self._add(candidate)
        if remote.complete:
            self._agent.end_of_remote(now)
        early, self._early = self._early, []
        for kept in early:
            self._take(kept)
        self._settle()
        self._start_dtls()

    async def addIceCandidate(self, candidate: IceCandidate | None) -> None:
        """Try a candidate of the other side, None after its last. One that comes before its
        description is kept for it, one of a section that was not accepted is ignored.

        :raises ValueError: it does not say which section it is of.
        """
        if candidate is not None and candidate.sdpMid is None and candidate.sdpMLineIndex is None:
            raise ValueError("a candidate needs sdpMid or sdpMLineIndex")
        if self._state == "closed":
            return
        if self._remote is None or self._agent is None:
            if len(self._early) < MAX_CANDIDATES:
                self._early.append(candidate)
            else:
                logger.warning("more than %d early candidates: one was dropped", MAX_CANDIDATES)
            return
        self._take(candidate)
        self._settle()

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

        :raises ValueError: both limits on retransmission are given, or the number is taken.
        :raises InvalidState: the connection is closed.
        """
        self._check_open()
        channel = DataChannel(
            self._channels,
            label,
            maxPacketLifeTime=maxPacketLifeTime,
            maxRetransmits=maxRetransmits,
            ordered=ordered,
            protocol=protocol,
            negotiated=negotiated,
            id=id if negotiated else None,
        )
        self._channels.open(channel)
        return channel

    def take_messages(self, size: int) -> None:
        """Take messages of up to ``size`` bytes from who sends more than we announce, and of longer
        ones that much. To be called before the other side's description is set.
        """
        self._max_message_size, self._cut_messages = size, True

    def networks_changed(self) -> None:
        """This machine has other addresses than before: send from those."""
        if self._gatherer.begun and self._state not in ("failed", "closed"):
            self._gatherer.gather_hosts()
            self._settle()

    async def close(self) -> None:
        """Let go of everything; the other side is told. Idempotent."""
        if self._closing is None:
            self._closing = self._event_loop.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._signaling = "closed"
        self._channels.stop("the peer connection was closed")
        self._path.close()
        resolving = list(self._resolving)
        for task in resolving:
            task.cancel()
        if self._agent is not None:
            self._agent.close()
        for timer in (self._timer, self._watcher):
            if timer is not None:
                timer.cancel()
        await asyncio.gather(*resolving, return_exceptions=True)
        await self._gatherer.close()
        await self._sockets.close()
        self._set_state("closed")
        self.remove_all_listeners()

    # -- what was agreed -----------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closing is not None:
            raise InvalidState("the connection is closed")

    def _make_agent(self, *, controlling: bool) -> None:
        ufrag, password = _new_credentials()
        self._agent = Agent(
            controlling=controlling, ufrag=ufrag, password=password, random=random.SystemRandom()
        )

    def _restart_agent(self) -> None:
        assert self._agent is not None
        self._restarted = True
        self._agent.restart(*_new_credentials(), self._path.now())

    def _choose_role(self, offered: bool) -> None:
        """Who begins DTLS (RFC 8842 section 5)."""
        assert self._remote is not None
        theirs = self._remote.setup
        if offered:
            self._setup = "passive" if theirs == "active" else "active"
        else:
            # An answer decides; one that does not is of a peer that means to begin.
            self._setup = "active" if theirs == "passive" else "passive"

    def _take(self, candidate: IceCandidate | None) -> None:
        assert self._remote is not None
        assert self._agent is not None
        if candidate is None:
            self._agent.end_of_remote(self._path.now())
        elif self._remote.section.is_of_data(candidate.sdpMid, candidate.sdpMLineIndex):
            self._add(candidate.candidate)
        else:
            logger.info("a candidate of another section was ignored")

    def _add(self, candidate: Candidate) -> None:
        if not candidate.host.endswith(".local"):
            self._try(candidate, hidden=False)
        elif len(self._resolving) < MAX_CANDIDATES:
            task = self._event_loop.create_task(self._resolve(candidate))
            self._resolving.add(task)
            task.add_done_callback(self._resolving.discard)

    async def _resolve(self, candidate: Candidate) -> None:
        address = await resolve_mdns(candidate.host)
        if address is None:
            logger.info("nobody here is called %s", candidate.host)
        elif self._state != "closed":
            self._try(dataclasses.replace(candidate, host=address), hidden=True)
            self._settle()

    def _try(self, candidate: Candidate, *, hidden: bool) -> None:
        assert self._agent is not None
        self._gate.expect((candidate.host, candidate.port))
        self._agent.add_remote(candidate, self._path.now(), hidden=hidden)

    # -- candidates of ours --------------------------------------------------------------------

    def _on_query(self, server: Address, base: int) -> None:
        assert self._agent is not None
        self._agent.query_server(server, base, self._path.now())
        self._settle()

    def _on_found(self, candidate: Candidate, base: int) -> None:
        assert self._agent is not None
        self._agent.add_local(candidate, base, self._path.now())
        self._settle()
        if self._announcing:
            line = 0 if self._remote is None else self._remote.section.line
            self.emit("icecandidate", IceCandidate(candidate, self._mid, line))

    def _on_gathered(self) -> None:
        if self._agent is not None and self._state != "closed":
            self._agent.end_of_local(self._path.now())
            self._settle()
            self.emit("icecandidate", None)

    # -- the path ------------------------------------------------------------------------------

    def _on_stun(self, data: bytes, base: int, address: Address) -> None:
        if self._agent is not None and self._state != "closed":
            self._agent.receive(data, base, address, self._path.now())
            self._settle()

    def _on_socket_lost(self, base: int) -> None:
        self._gatherer.drop(base)
        if self._agent is not None:
            self._agent.remove_base(base, self._path.now())
            self._settle()

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, math.inf
        if self._agent is not None:
            self._agent.handle_timeout(self._path.now())
            self._settle()

    def _settle(self) -> None:
        """Do what the agent asks for."""
        agent = self._agent
        if agent is None or self._settling:
            return
        self._settling = True
        try:
            while True:
                for base, address, data in agent.take_datagrams():
                    self._sockets.send(base, address, data)
                events = agent.take_events()
                if not events:
                    break
                for event in events:
                    self._on_event(event)
        finally:
            self._settling = False
        self._arm(agent.deadline())

    def _arm(self, deadline: float) -> None:
        # A timer that is too early fires for nothing, which costs less than moving it each time.
        if deadline >= self._timer_at or self._state == "closed":
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        delay = max(deadline - self._path.now(), 0.0)
        self._timer = self._event_loop.call_later(math.ceil(delay * 1000) / 1000, self._on_timer)

    @staticmethod
    def _way(pair: Selected) -> str:
        return (
            f"{pair.local.type} candidate to their {pair.remote.type} candidate, {pair.address[0]}"
        )

    def _on_event(self, event: Event) -> None:
        match event:
            case Admitted():
                # Those datagrams first that came first.
                self._gate.admit(event.address)
                self._path.admit(event.address)
            case Selected():
                self._selected = event
                self._sockets.select(event.base, event.address)
                if self._channels.association is not None:
                    logger.info("goes on from our %s", self._way(event))
                self._start_dtls()
                if self._is_quiet():
                    self._path.moved()
            case ServerAnswered():
                self._gatherer.answered(event.base, event.server, event.mapped)
            case ServerSilent():
                self._gatherer.silent(event.base, event.server)
            case StateChanged():
                self._update_state()

    # -- DTLS and SCTP -------------------------------------------------------------------------

    def _start_dtls(self) -> None:
        if self._path.dtls is not None or self._remote is None or self._selected is None:
            return
        if self._signaling != "stable":
            return  # an answer of ours says who begins
        self._path.start_dtls(
            Dtls(
                server=self._setup == "passive",
                certificate=self._certificate.der,
                private_key=self._certificate.private_key,
                fingerprints=list(self._remote.fingerprints),
                srtp_profiles=SRTP_PROFILES,
                sink=self._path.output,
            )
        )
        self._update_state()

    def _on_dtls(self) -> None:
        dtls = self._path.dtls
        assert dtls is not None
        if dtls.state == "connected":
            self._start_sctp(dtls)
        elif dtls.state in ("closed", "failed"):
            logger.debug("DTLS has ended: %s", dtls.error or "closed by the peer")
        self._update_state()

    def _start_sctp(self, dtls: Dtls) -> None:
        assert self._remote is not None
        size = self._max_message_size
        self._channels.start(
            self._path,
            AssociationSettings(
                remote_port=self._remote.sctp_port,
                max_packet_size=dtls.max_plaintext,
                max_message_size=size,
                cut_messages=self._cut_messages,
                receive_window=max(AssociationSettings.receive_window, 2 * size),
                remote_max_message_size=min(self.max_message_size, 1 << 40),
                max_channels=self.max_channels,
                max_label=self.max_label,
                congestion=self._congestion,
            ),
            client=not dtls.is_server,
        )
        self._heard_at = self._path.now()
        if self._selected is not None:
            logger.info("connected from our %s", self._way(self._selected))
        self._watcher = self._event_loop.call_later(WATCH_INTERVAL, self._watch)

    def _on_channel(self, channel: DataChannel) -> None:
        self.emit("datachannel", channel)
        channel.hold(self._unheard)

    def _on_association_ended(self, error: AssociationError | None) -> None:
        logger.debug("SCTP has ended: %s", error or "shut down")

    def _watch(self) -> None:
        """Look whether anything comes, and for another path if it should but does not."""
        self._watcher = self._event_loop.call_later(WATCH_INTERVAL, self._watch)
        now, seen = self._path.now(), self._path.datagrams_received
        agent, association = self._agent, self._channels.association
        assert agent is not None
        assert association is not None
        if seen != self._seen:
            self._seen, self._heard_at = seen, now
            agent.heard(now)
        silence = now - max(self._heard_at, agent.heard_at)
        awaited = association.sender.in_flight > 0
        if awaited and silence >= WATCH_INTERVAL:
            agent.probe(now)
        self._settle()
        if self._state == "disconnected" or (awaited and silence >= RESTART_AFTER):
            self.emit("pathlost")

    def _is_quiet(self) -> bool:
        """Whether the way until now may have lost what was sent on it."""
        return (
            self._path.datagrams_received == self._seen
            and self._path.now() - self._heard_at >= QUIET_AFTER
        )

    # -- how it stands -------------------------------------------------------------------------

    def _update_state(self) -> None:
        if self._closing is not None or self._agent is None:
            return
        ice = self._agent.state
        dtls = None if self._path.dtls is None else self._path.dtls.state
        if dtls == "closed":
            self._closing = self._event_loop.create_task(self._close())
        elif dtls == "failed" or (ice == "failed" and dtls != "connected"):
            self._set_state("failed")
        elif ice == "failed":
            # Nothing more goes there, but a restart may bring another path.
            self._selected = None
            self._path.deselect()
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


def _new_credentials() -> tuple[str, str]:
    """A user fragment and a password: 32 and 128 bits (RFC 8445 section 5.3)."""
    return secrets.token_hex(4), secrets.token_hex(16)
