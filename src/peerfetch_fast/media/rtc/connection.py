"""A connection for media alone: ICE, DTLS and SRTP of our own, by one offer and its answer."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import Callable
from functools import cache
from typing import Literal

from peerfetch_fast.errors import InvalidDescription, InvalidState
from peerfetch_fast.media.rtc.descriptions import (
    Answered,
    Offer,
    Offered,
    read_fragment,
    write_answer,
    write_offer,
)
from peerfetch_fast.media.rtc.rtcp import is_rtcp
from peerfetch_fast.webrtc._dtls import Dtls, shared_context
from peerfetch_fast.webrtc._path import DataPath
from peerfetch_fast.webrtc._srtp import PROFILES, Srtp
from peerfetch_fast.webrtc.certificate import Certificate, generate_certificate
from peerfetch_fast.webrtc.ice.events import Selected
from peerfetch_fast.webrtc.ice_transport import IceTransport
from peerfetch_fast.webrtc.ticks import ticks
from peerfetch_fast.webrtc.transports import ConnectionOptions

__all__ = ["MediaConnection"]

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 30.0
"""Seconds until a connection that has not come about is given up."""

SILENCE_TIMEOUT = 20.0
"""Seconds without anything of the other side, checks included, after which it counts as gone."""

GATHER_TIMEOUT = 1.0
"""Seconds for which a description waits for what STUN and TURN servers say: no candidate of ours
can follow it."""

_KEYING_LABEL = "EXTRACTOR-dtls_srtp"

State = Literal["connecting", "connected", "closed"]


@cache
def _certificate() -> Certificate:
    """One for all media connections of this process: their fingerprint is told inside a session."""
    return generate_certificate()


class MediaConnection:
    """Answers one offer, or makes one. Close it after use.

    :param options: how connections to this peer are made.
    :param on_rtp: called with each RTP packet of the peer's, opened.
    :param on_rtcp: called with each compound RTCP packet of the peer's, opened.
    :param on_state: called when :attr:`state` has changed.
    """

    def __init__(
        self,
        options: ConnectionOptions,
        *,
        on_rtp: Callable[[bytes], object],
        on_rtcp: Callable[[bytes], object],
        on_state: Callable[[], object],
    ) -> None:
        self._own = _certificate()
        self._context = shared_context(self._own.der, self._own.private_key, ":".join(PROFILES))
        self._on_rtp, self._on_rtcp, self._on_state = on_rtp, on_rtcp, on_state
        self._path = DataPath()
        self._path.on_dtls = self._on_dtls
        self._gathered = asyncio.Event()
        self._ice = IceTransport(
            self._path,
            ice_servers=options.ice_servers,
            relay_only=False,
            direct_only=options.direct_only,
            map_ports=options.map_ports,
            host_addresses=None,
            on_candidate=self._on_candidate,
            on_selected=self._on_selected,
            on_state=self._check_ice,
            on_moved=lambda: None,
        )
        self._ice.gate.rtp = True
        self._remote: Offer | None = None
        self._passive = False
        self._sending: Srtp | None = None
        self._receiving: Srtp | None = None
        self._state: State = "connecting"
        self._began = self._heard_at = self._path.now()
        self._seen = 0
        ticks().add(self._watch)

    @property
    def state(self) -> State:
        """``connecting``, ``connected`` or ``closed``, by either side or for lack of a way."""
        return self._state

    @property
    def srtp(self) -> Srtp:
        """The keys to send with. Raises InvalidState before the connection has any."""
        if self._sending is None:
            raise InvalidState("the media connection is not connected")
        return self._sending

    async def answer(self, offer: Offer, answered: dict[str, Answered], stream: str) -> str:
        """The answer, after which the connection comes about.

        :param answered: and ``stream``: as of :func:`write_answer`.
        """
        self._remote = offer
        # Whoever answers the handshake chooses the protection: ours is the cheaper one.
        self._passive = offer.setup != "passive"
        ice = self._ice
        ice.begin(controlling=offer.lite)
        ice.set_remote(offer)
        await self._gather()
        assert ice.agent is not None
        return write_answer(
            offer,
            answered,
            session=secrets.randbits(62),
            ufrag=ice.agent.ufrag,
            password=ice.agent.password,
            fingerprint=self._own.fingerprint,
            setup="passive" if self._passive else "active",
            candidates=ice.gatherer.candidates,
            complete=True,
            stream=stream,
        )

    async def offer(self, tracks: list[Offered], stream: str) -> str:
        """An offer to send tracks; :meth:`take_answer` has the connection come about.

        :param stream: as of :func:`write_offer`.
        """
        ice = self._ice
        ice.begin(controlling=True)
        await self._gather()
        assert ice.agent is not None
        return write_offer(
            tracks,
            session=secrets.randbits(62),
            ufrag=ice.agent.ufrag,
            password=ice.agent.password,
            fingerprint=self._own.fingerprint,
            candidates=ice.gatherer.candidates,
            complete=True,
            stream=stream,
        )

    def take_answer(self, answer: Offer) -> None:
        """Take the answer to our offer. Raises InvalidDescription for a second, or one with no role
        in DTLS.
        """
        if answer.setup == "actpass" or self._remote is not None:
            raise InvalidDescription("this is no answer to the offer")
        self._remote = answer
        self._passive = answer.setup == "active"
        self._ice.set_remote(answer)
        self._ice.settle()

    async def _gather(self) -> None:
        self._ice.gather()
        self._ice.settle()
        try:
            async with asyncio.timeout(GATHER_TIMEOUT):
                await self._gathered.wait()
        except TimeoutError:
            logger.info("a STUN or TURN server is slow: its candidate is left out")

    def add_candidates(self, fragment: str) -> None:
        """Take more candidates of the other side (RFC 8840). Raises InvalidDescription."""
        candidates, complete = read_fragment(fragment)
        if self._state == "closed":
            return
        for candidate in candidates:
            self._ice.add(candidate)
        if complete:
            self._ice.end_of_remote()
        self._ice.settle()

    def send(self, datagrams: list[bytes]) -> None:
        """Send protected packets; they are lost where there is no way."""
        self._path.send_datagrams(datagrams)

    def send_rtcp(self, packet: bytes) -> None:
        """Send a compound RTCP packet."""
        self._path.send_datagrams([self.srtp.protect_rtcp(packet)])

    async def close(self) -> None:
        """Let go of everything; the other side is told. Idempotent."""
        ticks().remove(self._watch)
        self._path.on_rtp = None
        self._path.close()
        self._set_state("closed")
        await self._ice.close()

    # -- what the floors below tell ----------------------------------------------------------------

    def _on_candidate(self, candidate: object) -> None:
        if candidate is None:
            self._gathered.set()

    def _on_selected(self, way: Selected) -> None:
        if self._path.dtls is not None or self._remote is None:
            return
        logger.info("media goes from our %s to their %s", way.local.type, way.remote.type)
        self._path.start_dtls(
            Dtls(
                server=self._passive,
                certificate=self._own.der,
                private_key=self._own.private_key,
                fingerprints=list(self._remote.fingerprints),
                srtp_profiles=":".join(PROFILES),
                sink=self._path.output,
            )
        )

    def _on_dtls(self) -> None:
        dtls = self._path.dtls
        assert dtls is not None
        if dtls.state == "connected" and self._sending is None:
            self._take_keys(dtls)
        elif dtls.state in ("closed", "failed"):
            logger.info("a media connection has ended: %s", dtls.error or "closed by the peer")
            self._set_state("closed")

    def _take_keys(self, dtls: Dtls) -> None:
        """Begin SRTP (RFC 5764 section 4.2)."""
        profile = dtls.srtp_profile
        if profile is None:
            logger.info("a media connection has ended: the other side knows no SRTP of ours")
            self._set_state("closed")
            return
        key, salt = PROFILES[profile]
        material = dtls.export_keying_material(_KEYING_LABEL, 2 * (key + salt))
        keys = material[:key], material[key : 2 * key]
        salts = material[2 * key : 2 * key + salt], material[2 * key + salt :]
        ours = 1 if dtls.is_server else 0
        self._sending = Srtp(profile, keys[ours], salts[ours], True)
        self._receiving = Srtp(profile, keys[1 - ours], salts[1 - ours], False)
        self._path.on_rtp = self._on_datagram
        self._set_state("connected")

    def _on_datagram(self, data: bytes) -> None:
        assert self._receiving is not None
        if is_rtcp(data):
            opened = self._receiving.open_rtcp(data)
            if opened is not None:
                self._on_rtcp(opened)
        else:
            opened = self._receiving.open_rtp(data)
            if opened is not None:
                self._on_rtp(opened)

    def _check_ice(self) -> None:
        agent = self._ice.agent
        if agent is not None and agent.state == "failed":
            self._set_state("closed")

    def _watch(self) -> None:
        now = self._path.now()
        if self._path.datagrams_received != self._seen:
            self._seen, self._heard_at = self._path.datagrams_received, now
        agent = self._ice.agent
        heard = max(self._heard_at, -math.inf if agent is None else agent.heard_at)
        late = self._state == "connecting" and now - self._began > CONNECT_TIMEOUT
        if late or now - heard > SILENCE_TIMEOUT:
            self._set_state("closed")

    def _set_state(self, state: State) -> None:
        if state != self._state and self._state != "closed":
            self._state = state
            self._on_state()
