"""Bring two peers together: offers, answers and candidates, over any signaling.

:func:`dial` makes a connection, :func:`answer` takes one; both give a :class:`Connected`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from peerfetch_fast._framing import MESSAGE_OVERHEAD
from peerfetch_fast.errors import (
    ConnectError,
    InvalidCandidate,
    InvalidState,
    PeerfetchError,
    PeerUnavailable,
    SignalingError,
)
from peerfetch_fast.known_peers import Trust
from peerfetch_fast.peerfetch1 import LABEL as OLD_LABEL
from peerfetch_fast.peerfetch1 import MAX_OLD_MESSAGE
from peerfetch_fast.restarts import Restarts
from peerfetch_fast.settings import MAX_RESUME_TIMEOUT
from peerfetch_fast.signaling.seam import Signal, SignalKind
from peerfetch_fast.switchboard import MAX_CANDIDATES, Switchboard, has_description
from peerfetch_fast.webrtc.candidates import candidate_from_dict, candidate_to_dict
from peerfetch_fast.webrtc.certificate import Certificate
from peerfetch_fast.webrtc.channel_link import LABEL, PROTOCOL, ChannelLink, link_over, open_channel
from peerfetch_fast.webrtc.descriptions import SessionDescription
from peerfetch_fast.webrtc.ice.servers import IceServer, with_handed_out
from peerfetch_fast.webrtc.transports import (
    Connection,
    ConnectionOptions,
    close_connection,
    open_connection,
)

__all__ = ["OCTETS_LABEL", "Connected", "Negotiation", "answer", "complete", "dial"]

logger = logging.getLogger(__name__)

_CANDIDATE = re.compile(r"^a=candidate:\S+ \d+ \S+ \d+ (\S+) ", re.MULTILINE)

_ANNOUNCED = re.compile(r"^a=max-message-size:(\d{1,15})(?=\s*$)", re.MULTILINE)

ANNOUNCED_BY_BROWSERS = 262_144
"""Bytes that Chromium and old devices announce as their largest message. A smaller value is a real
limit."""

OCTETS_LABEL = "peernet.http"
"""The label of a channel that carries HTTP/1.1 in octets (docs/peernet.md)."""

MAX_OLD_TAKEN = MAX_OLD_MESSAGE + 1
"""Bytes that are taken of a message of an old peer. This is one more than the limit, so that a
message that is too long fails its request and not the connection."""

MAX_MESSAGES = 2 * MAX_CANDIDATES
"""Signaling messages of one negotiation that wait to be read."""

MIN_MESSAGE_SIZE = 2 * MESSAGE_OVERHEAD
"""Bytes of the largest message that the other side must at least take."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The result of a negotiation: an open channel and the connection that it belongs to."""

    peer_id: str
    connection: Connection
    link: ChannelLink
    local_fingerprint: bytes
    """The SHA-256 of our certificate."""
    remote_fingerprint: bytes
    """The SHA-256 of the certificate that the other side used in the DTLS handshake."""
    old: bool
    """Whether ``peerfetch.1`` is spoken on it."""
    claimed: frozenset[str] = frozenset()
    """Addresses that the other side claims in its candidates. They are not verified."""


def as_browsers_take(sdp: str) -> str:
    """The description of an old client, with the message size that its browser really takes."""

    def larger(found: re.Match[str]) -> str:
        announced = int(found[1])
        if not ANNOUNCED_BY_BROWSERS <= announced < MAX_OLD_MESSAGE:
            return found[0]
        return f"a=max-message-size:{MAX_OLD_MESSAGE}"

    return _ANNOUNCED.sub(larger, sdp)


class Negotiation:
    """Sets up one connection, from either side, and restarts ICE while it lasts. A subclass may
    change the channel and its purpose.
    """

    restartable = True
    """Whether the other side takes an offer with the same connection id for a restart of ICE."""

    def __init__(
        self,
        switchboard: Switchboard,
        peer_id: str,
        connection_id: str,
        options: ConnectionOptions,
        certificate: Certificate | None = None,
    ) -> None:
        self._switchboard = switchboard
        self._peer_id = peer_id
        self._connection_id = connection_id
        self._loop = asyncio.get_running_loop()
        self._incoming: asyncio.Queue[Signal] = asyncio.Queue(MAX_MESSAGES)
        self._outgoing: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._candidates_left = MAX_CANDIDATES
        self._own_servers = options.ice_servers
        self.lack = options.lack
        options = replace(options, ice_servers=self._servers())
        self.connection = connection = open_connection(options, certificate=certificate)
        if self.restartable:
            connection.keep_silent(MAX_RESUME_TIMEOUT)
        self._restarts = Restarts(
            connection,
            switchboard,
            peer_id,
            describe=self._describe_restart,
            renew=lambda: connection.use_servers(self._servers()),
            new_description=self._count_candidates_anew,
            start=self._start,
        )
        connection.on("icecandidate", self._on_candidate)
        connection.on("connectionstatechange", self._on_state)
        connection.on("pathlost", self._on_path_lost)
        connection.on("networkschanged", self._on_networks_changed)
        self.connected: asyncio.Future[ChannelLink] = self._loop.create_future()
        self.old = False
        self.claimed: set[str] = set()
        switchboard.enter(peer_id, connection_id, self)

    def _servers(self) -> Sequence[IceServer]:
        """Our own STUN and TURN servers, and those that the signaling service hands out now."""
        return with_handed_out(self._own_servers, self._switchboard.ice_servers)

    async def offer(self) -> None:
        """Open our channel and send the offer."""
        offer = self.open_channel(self._signal(SignalKind.OFFER))
        await self.connection.setLocalDescription()
        await self._describe(offer)
        self._start(self._read())
        self._start(self._send_candidates())

    def open_channel(self, offer: Signal) -> Signal:
        """Open the channel, and return ``offer`` with its label and protocol."""
        self._channel = open_channel(self.connection)
        self.watch(self._channel)
        return replace(offer, label=LABEL, protocol=PROTOCOL)

    def about_answer(self, answer: Signal) -> Signal:
        """``answer`` with the protocol, by which the other side knows that we are no old proxy."""
        return replace(answer, protocol=PROTOCOL)

    def take_answer(self, answer: Signal) -> None:
        """Inspect an answer before its description is used."""
        if answer.protocol != PROTOCOL:
            # The other side is an old proxy, which serves the first channel that opens. Our channel
            # is not open yet, so it is closed and replaced by an old one.
            self._channel.close()
            self.connection.take_messages(MAX_OLD_TAKEN)
            self.watch(self.connection.createDataChannel(OLD_LABEL), old=True)

    def take_channel(self, channel: Any) -> bool:
        """Watch a channel of the other side if its label is one of ours; return whether it is."""
        kind = (channel.label, channel.protocol)
        if kind not in ((LABEL, PROTOCOL), (OLD_LABEL, ""), (OCTETS_LABEL, "")):
            return False
        self.watch(channel, old=channel.label == OLD_LABEL)
        return True

    async def answer(self, sdp: str) -> None:
        """Take the offer and answer it; the other side opens the channel."""
        self._restarts.polite = True
        self.connection.on("datachannel", self._on_channel)
        self.claimed.update(_CANDIDATE.findall(sdp)[:MAX_CANDIDATES])
        await self.connection.setRemoteDescription(SessionDescription(sdp, "offer"))
        await self.connection.setLocalDescription()
        await self._describe(self.about_answer(self._signal(SignalKind.ANSWER)))
        self._start(self._read())
        self._start(self._send_candidates())

    def _signal(self, kind: SignalKind) -> Signal:
        return Signal(kind, self._peer_id, self._connection_id)

    async def _describe(self, signal: Signal) -> None:
        description = self.connection.localDescription
        await self._switchboard.send(replace(signal, sdp=description.sdp))

    async def _describe_restart(self, kind: SignalKind) -> None:
        signal = self.about_answer(self._signal(kind))
        await self._describe(replace(signal, restart=kind is SignalKind.OFFER))

    def _count_candidates_anew(self) -> None:
        self._candidates_left = MAX_CANDIDATES

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if self._settled:
                logger.error("moving to another path failed", exc_info=error)
            self.fail(error)

    # -- what the other side says ----------------------------------------------------------------

    def take(self, signal: Signal) -> None:
        """See :class:`.switchboard.Receiver`."""
        try:
            self._incoming.put_nowait(signal)
        except asyncio.QueueFull:
            logger.info("too many messages from %s: the rest is ignored", self._peer_id)

    async def _read(self) -> None:
        answered = self._restarts.polite
        while True:
            signal = await self._incoming.get()
            if signal.kind is SignalKind.CANDIDATE:
                await self._take_candidate(signal)
            elif signal.kind is SignalKind.ANSWER and not answered:
                answered = True
                await self._take_first_answer(signal)
            elif self._settled and self.restartable:
                try:
                    await self._restarts.take(signal)
                except (PeerfetchError, OSError) as error:
                    # A restart that fails changes nothing: the connection stays up on its path.
                    logger.warning("a restart with %s was refused: %s", self._peer_id, error)

    @property
    def _settled(self) -> bool:
        return self.connected.done() and not self.connected.cancelled()

    async def _take_first_answer(self, answer: Signal) -> None:
        if not has_description(answer):
            raise ConnectError(f"the peer {self._peer_id} sent an answer without a description")
        self.take_answer(answer)
        self.claimed.update(_CANDIDATE.findall(answer.sdp)[:MAX_CANDIDATES])
        await self.connection.setRemoteDescription(SessionDescription(answer.sdp, "answer"))

    async def _take_candidate(self, signal: Signal) -> None:
        if self._candidates_left <= 0:
            logger.info("too many candidates from %s: the rest is ignored", self._peer_id)
            return
        try:
            candidate = candidate_from_dict(signal.candidate)
            self._candidates_left -= 1
            await self.connection.addIceCandidate(candidate)
        except (InvalidCandidate, ValueError) as error:
            logger.info("a candidate of %s was ignored: %s", self._peer_id, error)
            return
        # Once connected, nobody asks for these any more. They would add up, because each restart
        # allows for more candidates.
        if candidate is not None and not self._settled:
            self.claimed.add(candidate.candidate.host)

    def _on_path_lost(self) -> None:
        if self._may_restart:
            self._restarts.begin()

    def _on_networks_changed(self) -> None:
        if self._may_restart:
            self._restarts.begin_anew()

    @property
    def _may_restart(self) -> bool:
        return self._settled and self.restartable and not self.old

    def lost(self, kind: SignalKind) -> None:
        """See :class:`.switchboard.Receiver`."""
        if kind is SignalKind.LEFT:
            self.fail(ConnectError(f"the peer {self._peer_id} left"))
            return
        self.fail(
            PeerUnavailable(
                f"no peer {self._peer_id} is connected to the signaling server: "
                "check the id, and that the device is switched on"
            )
        )

    def fail(self, error: BaseException) -> None:
        """End the negotiation with ``error``, unless the connection is open."""
        if not self.connected.done():
            if not isinstance(error, PeerfetchError):
                error = ConnectError(f"the connection to {self._peer_id} failed: {error}")
            self.connected.set_exception(error)

    async def _send_candidates(self) -> None:
        while True:
            candidate = await self._outgoing.get()
            try:
                signal = replace(self._signal(SignalKind.CANDIDATE), candidate=candidate)
                await self._switchboard.send(signal)
            except SignalingError:
                # Once connected, only a restart needs the candidate, and its offer includes it.
                if not self._settled:
                    raise

    def _on_candidate(self, candidate: object) -> None:
        if candidate is not None:
            self._outgoing.put_nowait(candidate_to_dict(candidate))  # type: ignore[arg-type]

    def _on_state(self) -> None:
        if self.connection.connectionState in ("failed", "closed"):
            self.fail(ConnectError(f"no path to the peer {self._peer_id} was found{self.lack}"))
            self._forget()

    def _on_channel(self, channel: Any) -> None:
        if self.connected.done() or not self.take_channel(channel):
            logger.info(
                "a channel %r (%r) of %s was closed: not ours",
                channel.label,
                channel.protocol,
                self._peer_id,
            )
            channel.close()

    def watch(self, channel: Any, *, old: bool = False) -> None:
        """Complete the negotiation with this channel once it is open.

        :param old: whether the channel speaks ``peerfetch.1``.
        """
        frames = not old and channel.label != OCTETS_LABEL
        link = link_over(self.connection, channel, frames=frames)

        def opened() -> None:
            if not self.connected.done():
                self.old = old
                self.connected.set_result(link)

        if channel.readyState == "open":
            opened()
        else:
            channel.on("open", opened)

    def finish(self, *, lasting: bool) -> None:
        """End the negotiation.

        :param lasting: whether the connection goes on, and may move to another path.
        """
        if not lasting:
            self._forget()
        if self._settled:
            self.connected.exception()
        else:
            self.connected.cancel()

    def _forget(self) -> None:
        self._switchboard.leave(self._peer_id, self._connection_id, self)
        for task in self._tasks:
            task.cancel()


async def dial(
    switchboard: Switchboard,
    peer_id: str,
    *,
    trust: Trust,
    certificate: Certificate | None = None,
    options: ConnectionOptions | None = None,
    timeout: float,
) -> Connected:
    """Connect to ``peer_id`` within ``timeout`` seconds, if ``trust`` accepts its certificate; with
    our ``certificate``, or one for this connection alone.

    Raises PeerUnavailable, SignalingError, ConnectError, and what ``trust`` raises.
    """
    connection_id = f"pf_{secrets.token_hex(16)}"
    negotiation = Negotiation(
        switchboard, peer_id, connection_id, options or ConnectionOptions(), certificate
    )
    return await complete(negotiation, negotiation.offer, peer_id, timeout, trust)


async def answer(
    switchboard: Switchboard,
    offer: Signal,
    *,
    certificate: Certificate,
    options: ConnectionOptions | None = None,
    timeout: float,
) -> Connected:
    """Answer an offer, with our ``certificate``; return once the other side's channel is open.

    Raises SignalingError, ConnectError.
    """
    negotiation = Negotiation(
        switchboard,
        offer.peer_id,
        offer.connection_id,
        options or ConnectionOptions(),
        certificate,
    )
    sdp = offer.sdp
    if offer.label == OLD_LABEL:
        sdp = as_browsers_take(sdp)
        negotiation.connection.take_messages(MAX_OLD_TAKEN)
    return await complete(negotiation, partial(negotiation.answer, sdp), offer.peer_id, timeout)


async def complete(
    negotiation: Negotiation,
    begin: Callable[[], Awaitable[None]],
    peer_id: str,
    timeout: float,
    trust: Trust | None = None,
) -> Connected:
    """Call ``begin`` of a negotiation and wait for its channel. Raises as :func:`dial`."""
    connection = negotiation.connection

    async def whole() -> Connected:
        await begin()
        link = await negotiation.connected
        try:
            remote = connection.remote_fingerprint
        except InvalidState:
            raise ConnectError(f"the connection to {peer_id} was closed at once") from None
        if trust is not None:
            # In a thread: a check reads files and waits for locks of other processes.
            await asyncio.to_thread(trust.check, peer_id, remote, lasting=not negotiation.old)
        if link.max_message_size < MIN_MESSAGE_SIZE:
            raise ConnectError(
                f"the peer {peer_id} takes no messages above {link.max_message_size} bytes: "
                f"{MIN_MESSAGE_SIZE} are needed"
            )
        return Connected(
            peer_id,
            connection,
            link,
            connection.local_fingerprint,
            remote,
            negotiation.old,
            frozenset(negotiation.claimed),
        )

    lasting = False
    try:
        async with asyncio.timeout(timeout):
            found = await whole()
        lasting = True
        return found
    except BaseException as error:
        await close_connection(connection)
        if isinstance(error, TimeoutError):
            raise ConnectError(
                f"the connection to {peer_id} did not come about within {timeout:g} s"
                f"{negotiation.lack}"
            ) from None
        raise
    finally:
        negotiation.finish(lasting=lasting)
