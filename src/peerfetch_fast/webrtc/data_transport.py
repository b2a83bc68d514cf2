"""DTLS and SCTP of one connection: begun once there is a way, and watched from then on."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace

from peerfetch_fast.errors import InvalidState
from peerfetch_fast.webrtc._dtls import Context, Dtls, shared_context
from peerfetch_fast.webrtc._path import DataPath
from peerfetch_fast.webrtc._sctp.errors import AssociationError
from peerfetch_fast.webrtc._sctp.settings import MAX_RETRANSMISSIONS, AssociationSettings
from peerfetch_fast.webrtc.certificate import Certificate
from peerfetch_fast.webrtc.channels import Channels, DataChannel
from peerfetch_fast.webrtc.ice.events import Selected
from peerfetch_fast.webrtc.ice_transport import IceTransport
from peerfetch_fast.webrtc.jsep import Jsep
from peerfetch_fast.webrtc.sped import Sped
from peerfetch_fast.webrtc.ticks import ticks

__all__ = ["DataTransport"]

logger = logging.getLogger(__name__)

SRTP_PROFILES = "SRTP_AES128_CM_SHA1_80"
"""Offered because older stacks end a handshake without it, though no media follows."""

PROBE_AFTER = 1.0
"""Seconds of silence, while something should have come, after which the peer is asked by checks."""

RESTART_AFTER = 2.0
"""Seconds of silence, while something should have come, after which another path is asked for."""

UNHEARD_AFTER = 5.0
"""Seconds for which checks may be answered alone, while something else should have come: what is
sent may not arrive, or the other side may answer another way."""

QUIET_AFTER = 0.3
"""Seconds of silence after which what was sent before a change of path is sent again at once."""


class DataTransport:
    """The transport of data channels.

    :param max_channels: and ``max_label``: as of ``DataConnection``.
    :param on_channel: called with each channel that the peer opens.
    :param on_state: called when DTLS has changed its state.
    :param on_silence: called again and again while nothing comes that should.
    :ivar channels: the data channels.
    :ivar patience: seconds of silence after which the association ends at the earliest.
    """

    def __init__(
        self,
        path: DataPath,
        ice: IceTransport,
        jsep: Jsep,
        certificate: Certificate,
        *,
        association: AssociationSettings,
        max_channels: int,
        max_label: int,
        on_channel: Callable[[DataChannel], object],
        on_state: Callable[[], object],
        on_silence: Callable[[], object],
    ) -> None:
        self._path = path
        path.on_dtls = self._on_dtls
        self._ice = ice
        self._jsep = jsep
        self._certificate = certificate
        self._association = association
        self._max_channels = max_channels
        self._max_label = max_label
        self._max_message_size = association.max_message_size
        self._cut_messages = False
        self.patience = 0.0
        self._context: Context | None = None
        self._sped = Sped(self._flight, path.receive_embedded)
        self._on_state = on_state
        self._on_silence = on_silence
        self.channels = Channels(on_channel=on_channel, on_ended=self._on_ended)
        self._seen, self._heard_at = 0, -math.inf
        self._idle_at = -math.inf
        self._ticks = ticks()

    @property
    def state(self) -> str | None:
        """That of DTLS, though not connected before SCTP has begun; None before it has."""
        dtls = self._path.dtls
        if dtls is None:
            return None
        up = dtls.state == "connected" and self.channels.association is None
        return "connecting" if up else dtls.state

    @property
    def remote_fingerprint(self) -> bytes:
        """SHA-256 of the certificate of the handshake: 32 bytes.

        Raises InvalidState if the handshake is not complete, or all is closed.
        """
        dtls = self._path.dtls
        if dtls is None or dtls.state != "connected":
            raise InvalidState("the DTLS handshake is not complete")
        return dtls.peer_fingerprint

    @property
    def silence(self) -> float:
        """Seconds since anything came of the other side; infinite before."""
        if self._path.datagrams_received != self._seen:
            return 0.0  # something has since the last look
        agent = self._ice.agent
        heard = self._heard_at if agent is None else max(self._heard_at, agent.heard_at)
        return self._path.now() - heard

    def take_channels(self, count: int) -> None:
        """Take so many channels of the peer at once."""
        self._max_channels = count

    def take_messages(self, size: int) -> None:
        """Take messages of up to ``size`` bytes, and of longer ones that much."""
        self._max_message_size, self._cut_messages = size, True

    def start(self) -> None:
        """Begin DTLS, if it is known who begins, and there is a way, or checks may carry it."""
        jsep, agent = self._jsep, self._ice.agent
        if self._path.dtls is not None or agent is None:
            return
        if self._context is None:
            # Before the other side answers, as that takes a while.
            own = self._certificate
            self._context = shared_context(own.der, own.private_key, SRTP_PROFILES)
        self._sped.agreed = jsep.sped
        agent.extension = None if jsep.sped is False else self._sped
        # While there is an offer to answer, an answer of ours says who begins.
        if jsep.remote is None or jsep.signaling != "stable":
            return
        if self._ice.selected is None and not jsep.sped:
            return
        self._path.start_dtls(
            Dtls(
                server=jsep.setup == "passive",
                certificate=self._certificate.der,
                private_key=self._certificate.private_key,
                fingerprints=list(jsep.remote.fingerprints),
                srtp_profiles=SRTP_PROFILES,
                sink=self._path.output,
                keep_flight=bool(jsep.sped),
            )
        )
        self._on_state()

    def moved(self, way: Selected) -> None:
        """The path sends another way than before, or its first."""
        if self.channels.association is not None:
            logger.info("goes on from our %s", _described(way))
        if self._path.dtls is None:
            self.start()
        else:
            self._path.send_flight(self._sped.pending())
            self._start_sctp(self._path.dtls)
        if self._is_quiet():
            self._path.moved()

    def _flight(self) -> list[bytes]:
        dtls = self._path.dtls
        return [] if dtls is None else dtls.flight or []

    def close(self) -> None:
        """End the association and DTLS; the other side is told."""
        self.channels.stop("the peer connection was closed")
        self._path.close()
        self._ticks.remove(self._watch)

    def _on_dtls(self) -> None:
        dtls = self._path.dtls
        assert dtls is not None
        if dtls.state == "connected":
            self._start_sctp(dtls)
        elif dtls.state in ("closed", "failed"):
            logger.debug("DTLS has ended: %s", dtls.error or "closed by the peer")
        self._on_state()

    def _start_sctp(self, dtls: Dtls) -> None:
        """Begin SCTP, once DTLS is connected and there is a way."""
        remote, way = self._jsep.remote, self._ice.selected
        if self.channels.association is not None or way is None or dtls.state != "connected":
            return
        assert remote is not None
        size = self._max_message_size
        self.channels.start(
            self._path,
            replace(
                self._association,
                remote_port=remote.sctp_port,
                max_packet_size=dtls.max_plaintext,
                max_message_size=size,
                cut_messages=self._cut_messages,
                receive_window=max(self._association.receive_window, 2 * size),
                remote_max_message_size=min(self._jsep.max_message_size, 1 << 40),
                max_channels=self._max_channels,
                max_label=self._max_label,
                max_retransmissions=max(
                    self._association.max_retransmissions,
                    min(
                        math.ceil(self.patience / self._association.rto_min),
                        MAX_RETRANSMISSIONS,
                    ),
                ),
            ),
            seed=self._jsep.sctp_seed,
            client=not dtls.is_server,
            peer_init=self._jsep.begin_association(),
        )
        self._heard_at = self._path.now()
        logger.info("connected from our %s", _described(way))
        self._ticks.add(self._watch)

    def _on_ended(self, error: AssociationError | None) -> None:
        logger.debug("SCTP has ended: %s", error or "shut down")

    def _watch(self) -> None:
        """Look whether anything comes, and for another path if it should but does not."""
        now, seen = self._path.now(), self._path.datagrams_received
        agent, association = self._ice.agent, self.channels.association
        assert agent is not None
        assert association is not None
        if seen != self._seen:
            self._seen, self._heard_at = seen, now
            agent.heard(now)
        if agent.extension is not None and not self._sped.pending():
            agent.extension = None  # both sides are through, and checks need carry nothing
        if association.sender.queued == 0:
            self._idle_at = now  # nothing is awaited: silence means nothing
        # After a rest what was sent has its round trip first, and then a check has one.
        silence, awaited, patience = self.silence, now - self._idle_at, association.sender.rto
        if silence >= PROBE_AFTER and awaited >= patience:
            agent.probe(now)
            self._ice.settle()
        gone = agent.state != "connected" and self.state == "connected"
        lost = silence >= RESTART_AFTER and awaited >= 2 * patience
        unheard = now - max(self._heard_at, self._idle_at)
        if gone or lost or unheard >= UNHEARD_AFTER:
            self._on_silence()

    def _is_quiet(self) -> bool:
        """Whether the way until now may have lost what was sent on it."""
        return (
            self._path.datagrams_received == self._seen
            and self._path.now() - self._heard_at >= QUIET_AFTER
        )


def _described(way: Selected) -> str:
    return f"{way.local.type} candidate to their {way.remote.type} candidate, {way.address[0]}"
