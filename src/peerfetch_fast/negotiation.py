"""Bring two peers together: offers, answers and candidates over PeerJS-style signaling.

A :class:`Switchboard` stands behind one signaling client and hands each message to the
negotiation it belongs to. :func:`dial` makes a connection, :func:`answer` takes one; both give a
:class:`Connected`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
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
from peerfetch_fast.settings import MAX_RESUME_TIMEOUT
from peerfetch_fast.signaling.client import SignalingClient, SignalMessage
from peerfetch_fast.signaling.messages import MessageType
from peerfetch_fast.signaling.ratelimit import TokenBucket
from peerfetch_fast.webrtc.candidates import IceCandidate, candidate_from_dict, candidate_to_dict
from peerfetch_fast.webrtc.certificate import Certificate
from peerfetch_fast.webrtc.descriptions import MAX_SDP, SessionDescription
from peerfetch_fast.webrtc.ice.gathering import IceServer
from peerfetch_fast.webrtc.link import LABEL, PROTOCOL, ChannelLink, open_channel
from peerfetch_fast.webrtc.transports import (
    DEFAULT_CONGESTION,
    Congestion,
    Connection,
    Transport,
    close_connection,
    open_connection,
)

__all__ = ["Connected", "Negotiation", "Offer", "Switchboard", "answer", "complete", "dial"]

logger = logging.getLogger(__name__)

MAX_CANDIDATES = 64
"""Candidates of one negotiation that are taken from the other side, each of at most
``candidates.MAX_CANDIDATE_LENGTH`` characters."""

_CANDIDATE = re.compile(r"^a=candidate:\S+ \d+ \S+ \d+ (\S+) ", re.MULTILINE)

_ANNOUNCED = re.compile(r"^a=max-message-size:(\d{1,15})(?=\s*$)", re.MULTILINE)

ANNOUNCED_BY_BROWSERS = 262_144
"""Bytes that Chromium announces, and old devices do. Who announces less means it."""

MAX_OLD_TAKEN = MAX_OLD_MESSAGE + 1
"""Bytes that are taken of a longer message of an old peer: so it is seen to be too long, which is
an error of its request alone."""

MAX_MESSAGES = 2 * MAX_CANDIDATES
"""Signaling messages of one negotiation that wait to be read."""

RESTART_INTERVAL = 3.0
"""Seconds between two attempts of ours to go on over another path."""

REPEAT_AFTER = 1.0
"""Seconds after which the offer of an attempt is said again: signaling may have given it to a
connection of the other side's that was lost with its network."""

SIGNALING_TIMEOUT = 5.0
"""Seconds that the way to the signaling server may take then, where there is none yet."""

LINGER = 10.0
"""Seconds for which signaling that was opened for such an attempt is kept after it."""

GONE_AFTER = 1.0
"""Seconds of silence after which we believe that the other side does not know our connection."""

GONE_BURST, GONE_RATE = 16, 4.0
"""Restarts of connections that are no more which are answered at once, and then a second."""

RESTART_BURST, RESTART_RATE = 5, 0.5
"""Restarts that the other side may ask for at once, and then a second; more are ignored."""

MIN_MESSAGE_SIZE = 2 * MESSAGE_OVERHEAD
"""Bytes of the largest message that the other side must at least take."""


@dataclass(frozen=True, slots=True)
class Connected:
    """What a negotiation has led to: an open channel and the connection that it belongs to."""

    peer_id: str
    connection: Connection
    link: ChannelLink
    local_fingerprint: bytes
    """SHA-256 of our certificate."""
    remote_fingerprint: bytes
    """SHA-256 of the certificate that the other side used in the DTLS handshake."""
    old: bool
    """Whether ``peerfetch.1`` is spoken on it."""
    claimed: frozenset[str] = frozenset()
    """Addresses that the other side says are its own; whether they are was not looked at."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Another peer wants to connect."""

    peer_id: str
    connection_id: str
    sdp: str
    payload: Mapping[str, object]
    """All that came with it."""


class Switchboard:
    """Hand the messages of one signaling client to the negotiations they belong to.

    :param on_offer: told of offers for data connections, and says whether one is taken: what comes
        behind it is then kept until :func:`answer` or :meth:`forget`. Without it they are ignored.
    :param dial_in: opens the signaling client where it is not there all the time but while
        :meth:`reachable`; always with the same peer id.
    """

    def __init__(
        self,
        on_offer: Callable[[Offer], bool] | None = None,
        *,
        dial_in: Callable[[], Awaitable[SignalingClient]] | None = None,
    ) -> None:
        self._on_offer = on_offer
        self._negotiations: dict[tuple[str, str], Negotiation | _Inbox] = {}
        self._gone = TokenBucket(GONE_RATE, GONE_BURST, 0.0)
        self._telling: set[asyncio.Task[None]] = set()
        self._dial_in = dial_in
        self._dialling_in = asyncio.Lock()
        self._reachable = 0
        self.signaling: SignalingClient | None = None

    @contextlib.asynccontextmanager
    async def reachable(self) -> AsyncIterator[None]:
        """Be connected to the signaling server meanwhile. Raises SignalingError."""
        self._reachable += 1
        try:
            async with self._dialling_in:
                if self.signaling is None and self._dial_in is not None:
                    self.signaling = await self._dial_in()
            yield
        finally:
            self._reachable -= 1
            if self._dial_in is not None and not self._reachable and self.signaling is not None:
                client, self.signaling = self.signaling, None
                await client.close()

    def message(self, message: SignalMessage) -> None:
        """Take in a message from the signaling server, whatever it holds."""
        payload = message.payload if isinstance(message.payload, dict) else {}
        if message.type in (MessageType.EXPIRE, MessageType.LEAVE):
            # Neither says which connection it is about: all of them with that peer.
            for (peer_id, _), negotiation in list(self._negotiations.items()):
                if peer_id == message.src:
                    negotiation.gone(message.type)
            return
        connection_id = payload.get("connectionId")
        if not isinstance(connection_id, str) or not 0 < len(connection_id) <= 128:
            logger.info("%s from %s without a connection id", message.type.value, message.src)
            return
        found = self._negotiations.get((message.src, connection_id))
        if message.type == MessageType.OFFER:
            sdp = _sdp_of(payload, "offer")
            if payload.get("restart") is True:
                if isinstance(found, Negotiation) and sdp is not None:
                    found.message(message.type, payload)
                elif found is None and sdp is not None:
                    self._tell_gone(message.src, connection_id)
            elif self._on_offer is not None and found is None and sdp is not None:
                self._offered(Offer(message.src, connection_id, sdp, payload), self._on_offer)
            else:
                logger.info("an offer from %s was ignored", message.src)
        elif found is not None:
            found.message(message.type, payload)

    def _offered(self, offer: Offer, take: Callable[[Offer], bool]) -> None:
        # Its candidates may come in this turn of the loop, before anybody has begun to answer.
        self._negotiations[offer.peer_id, offer.connection_id] = _Inbox()
        if not take(offer):
            self.forget(offer)

    def _tell_gone(self, peer_id: str, connection_id: str) -> None:
        """Who restarts a connection that we do not know, as after a crash, need not go on."""
        loop = asyncio.get_running_loop()
        if self._gone.take_if_there(loop.time()) > 0:
            return

        async def tell() -> None:
            answer = {"type": "data", "connectionId": connection_id, "gone": True}
            with contextlib.suppress(SignalingError):
                await self.send(MessageType.ANSWER, peer_id, answer)

        task = loop.create_task(tell())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def forget(self, offer: Offer) -> None:
        """Keep no messages for an offer any more that is not being answered."""
        key = offer.peer_id, offer.connection_id
        if isinstance(self._negotiations.get(key), _Inbox):
            del self._negotiations[key]

    async def send(self, type: MessageType, peer_id: str, payload: dict[str, object]) -> None:
        """Send to another peer. Raises SignalingError."""
        if self.signaling is None:
            raise SignalingError("the signaling client is not there yet")
        await self.signaling.send(type, peer_id, payload)


def as_browsers_take(sdp: str) -> str:
    """The description of an old client, with the size of messages that it takes in fact."""

    def larger(found: re.Match[str]) -> str:
        announced = int(found[1])
        if not ANNOUNCED_BY_BROWSERS <= announced < MAX_OLD_MESSAGE:
            return found[0]
        return f"a=max-message-size:{MAX_OLD_MESSAGE}"

    return _ANNOUNCED.sub(larger, sdp)


def _sdp_of(payload: dict[str, object], type: str) -> str | None:
    description = payload.get("sdp")
    if not isinstance(description, dict) or description.get("type") != type:
        return None
    sdp = description.get("sdp")
    return sdp if isinstance(sdp, str) and len(sdp) <= MAX_SDP else None


def _candidate_of(payload: dict[str, object], peer_id: str) -> Sequence[IceCandidate | None]:
    """The candidate in a message, if it can be used."""
    try:
        return (candidate_from_dict(payload.get("candidate")),)
    except InvalidCandidate as error:
        logger.info("a candidate of %s was ignored: %s", peer_id, error)
        return ()


class _Inbox:
    """What came behind an offer that nobody has begun to answer."""

    def __init__(self) -> None:
        self._candidates: list[dict[str, object]] = []
        self._gone: MessageType | None = None

    def message(self, type: MessageType, payload: dict[str, object]) -> None:
        """See :class:`Negotiation`."""
        if (
            type == MessageType.CANDIDATE
            and len(self._candidates) < MAX_CANDIDATES
            and _candidate_of(payload, "the other side")
        ):
            self._candidates.append(payload)

    def gone(self, type: MessageType) -> None:
        """See :class:`Negotiation`."""
        self._gone = type

    def empty_into(self, negotiation: Negotiation) -> None:
        """Give it what came."""
        for payload in self._candidates:
            negotiation.message(MessageType.CANDIDATE, payload)
        if self._gone is not None:
            negotiation.gone(self._gone)


class Negotiation:
    """One connection in the making, from either side, and while it lasts what moves it to another
    path. What it is for, a subclass may change.
    """

    restarts = True
    """Whether the other side takes an offer with the same connection id for a restart of ICE."""

    def __init__(
        self,
        switchboard: Switchboard,
        peer_id: str,
        connection_id: str,
        ice_servers: Sequence[IceServer],
        transport: Transport,
        congestion: Congestion,
        certificate: Certificate | None,
    ) -> None:
        self._switchboard = switchboard
        self._peer_id = peer_id
        self._connection_id = connection_id
        self._loop = asyncio.get_running_loop()
        self._incoming: asyncio.Queue[tuple[MessageType, dict[str, object]]] = asyncio.Queue(
            MAX_MESSAGES
        )
        self._outgoing: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._candidates_left = MAX_CANDIDATES
        self._polite = False
        self._restarting: asyncio.Task[None] | None = None
        self._repeated = False
        self._restart_answered: asyncio.Future[None] | None = None
        self._closing: asyncio.Future[None] | None = None
        self._restarts = TokenBucket(RESTART_RATE, RESTART_BURST, self._loop.time())
        self.connection = open_connection(
            transport,
            ice_servers=ice_servers,
            congestion=congestion,
            certificate=certificate,
        )
        if self.restarts:
            self.connection.keep_silent(MAX_RESUME_TIMEOUT)
        self.connection.on("icecandidate", self._on_candidate)
        self.connection.on("connectionstatechange", self._on_state)
        self.connection.on("pathlost", self._on_path_lost)
        self.connection.on("networkschanged", self._on_networks_changed)
        self.connected: asyncio.Future[ChannelLink] = self._loop.create_future()
        self.old = False
        self.claimed: set[str] = set()
        before = switchboard._negotiations.get((peer_id, connection_id))
        switchboard._negotiations[peer_id, connection_id] = self
        if isinstance(before, _Inbox):
            before.empty_into(self)

    async def offer(self) -> None:
        """Open our channel and send the offer."""
        about = self.open_channel()
        await self.connection.setLocalDescription()
        await self._describe(MessageType.OFFER, {"type": "data", **about})
        self._start(self._read())
        self._start(self._send_candidates())

    def open_channel(self) -> dict[str, object]:
        """Open the channel; what the offer says of it."""
        self._channel = open_channel(self.connection)
        self.watch(self._channel)
        return {
            "label": LABEL,
            "reliable": True,
            "serialization": "raw",
            "metadata": {"protocol": PROTOCOL},
        }

    def about_answer(self) -> dict[str, object]:
        """What an answer says, so that the other side sees that we are no old proxy."""
        return {"metadata": {"protocol": PROTOCOL}}

    def take_answer(self, payload: dict[str, object]) -> None:
        """Look at an answer before its description is used."""
        if payload.get("metadata") != {"protocol": PROTOCOL}:
            # An old proxy, which takes any channel for its own: until it has the description it
            # has not heard of ours, so that there will be only this.
            self._channel.close()
            self.connection.take_messages(MAX_OLD_TAKEN)
            self.watch(self.connection.createDataChannel(OLD_LABEL), old=True)

    def take_channel(self, channel: Any) -> bool:
        """Whether a channel that the other side opened is one to watch; then do."""
        kind = (channel.label, channel.protocol)
        if kind not in ((LABEL, PROTOCOL), (OLD_LABEL, "")):
            return False
        self.watch(channel, old=channel.label == OLD_LABEL)
        return True

    async def answer(self, sdp: str) -> None:
        """Take the offer and answer it; the other side opens the channel."""
        self._polite = True
        self.connection.on("datachannel", self._on_channel)
        self.claimed.update(_CANDIDATE.findall(sdp)[:MAX_CANDIDATES])
        await self._answer(sdp, self.about_answer())
        self._start(self._read())
        self._start(self._send_candidates())

    async def _answer(self, sdp: str, about: dict[str, object]) -> None:
        await self.connection.setRemoteDescription(SessionDescription(sdp, "offer"))
        await self.connection.setLocalDescription()
        await self._describe(MessageType.ANSWER, {"type": "data", **about})

    async def _describe(self, type: MessageType, payload: dict[str, object]) -> None:
        description = self.connection.localDescription
        payload["sdp"] = {"type": description.type, "sdp": description.sdp}
        payload["connectionId"] = self._connection_id
        await self._switchboard.send(type, self._peer_id, payload)

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

    def message(self, type: MessageType, payload: dict[str, object]) -> None:
        """A message of the other side that belongs here."""
        try:
            self._incoming.put_nowait((type, payload))
        except asyncio.QueueFull:
            logger.info("too many messages from %s: the rest is ignored", self._peer_id)

    async def _read(self) -> None:
        answered = self._polite
        while True:
            type, payload = await self._incoming.get()
            if type == MessageType.CANDIDATE:
                await self._take_candidates(payload)
            elif type == MessageType.ANSWER and not answered:
                answered = True
                await self._take_first_answer(payload)
            elif self._settled:
                try:
                    await self._take_restart(type, payload)
                except (PeerfetchError, OSError) as error:
                    # It has changed nothing: what is connected stays so.
                    logger.warning("a restart with %s was refused: %s", self._peer_id, error)

    @property
    def _settled(self) -> bool:
        return self.connected.done() and not self.connected.cancelled()

    async def _take_first_answer(self, payload: dict[str, object]) -> None:
        sdp = _sdp_of(payload, "answer")
        if sdp is None:
            raise ConnectError(f"the peer {self._peer_id} sent an answer without a description")
        self.take_answer(payload)
        self.claimed.update(_CANDIDATE.findall(sdp)[:MAX_CANDIDATES])
        await self.connection.setRemoteDescription(SessionDescription(sdp, "answer"))

    async def _take_candidates(self, payload: dict[str, object]) -> None:
        for candidate in _candidate_of(payload, self._peer_id):
            if self._candidates_left <= 0:
                logger.info("too many candidates from %s: the rest is ignored", self._peer_id)
                return
            self._candidates_left -= 1
            try:
                await self.connection.addIceCandidate(candidate)
            except ValueError as error:
                logger.info("a candidate of %s was ignored: %s", self._peer_id, error)
                continue
            if candidate is not None:
                self.claimed.add(candidate.candidate.host)

    # -- another path ----------------------------------------------------------------------------

    async def _take_restart(self, type: MessageType, payload: dict[str, object]) -> None:
        """An offer of the other side to go on over another path, or its answer to ours."""
        if type == MessageType.ANSWER and payload.get("gone") is True:
            self._take_gone()
            return
        sdp = _sdp_of(payload, "offer" if type == MessageType.OFFER else "answer")
        if not self.restarts or sdp is None:
            return
        ours = self.connection.signalingState == "have-local-offer"
        if type == MessageType.ANSWER:
            if ours:
                self._candidates_left = MAX_CANDIDATES
                await self.connection.setRemoteDescription(SessionDescription(sdp, "answer"))
                if self._restart_answered is not None and not self._restart_answered.done():
                    self._restart_answered.set_result(None)
        elif ours and not self._polite and self._wants_path:
            logger.info("the offers of two restarts have crossed: ours counts")
            # The other side is reachable now, and may not have been when we sent it.
            await self._repeat_restart()
        elif self._restarts.take_if_there(self._loop.time()) > 0:
            logger.info("%s restarts too often: one is ignored", self._peer_id)
        else:
            self._candidates_left = MAX_CANDIDATES
            await self._answer(sdp, self.about_answer())

    @property
    def _wants_path(self) -> bool:
        """Whether an offer of ours to restart still stands. One that was never answered is worth
        nothing any more once the old path carries data again.
        """
        return self._restarting is not None or self.connection.silence >= GONE_AFTER

    def _on_path_lost(self) -> None:
        if self._settled and self.restarts and not self.old and self._restarting is None:
            self._restarting = self._start(self._restart())

    def _on_networks_changed(self) -> None:
        """What is being tried may be stuck in the network that is gone, or wait for another."""
        if self._restarting is not None:
            self._restarting.cancel()
            self._restarting = None
        self._on_path_lost()

    async def _restart(self) -> None:
        """Offer to go on over another path, and give it time."""
        self._restart_answered = self._loop.create_future()
        async with contextlib.AsyncExitStack() as signaling:
            try:
                async with asyncio.timeout(SIGNALING_TIMEOUT):
                    await signaling.enter_async_context(self._switchboard.reachable())
                async with asyncio.timeout(RESTART_INTERVAL):
                    await self._offer_restart()
                    await asyncio.wait((self._restart_answered,), timeout=REPEAT_AFTER)
                    if not self._restart_answered.done():
                        await self._repeat_restart()
                    await self._restart_answered
                await asyncio.sleep(RESTART_INTERVAL)
            except TimeoutError:
                # Signaling that was opened for this may be stuck in the network that is lost.
                logger.info("%s has not answered a restart yet", self._peer_id)
                return
            except (PeerfetchError, OSError) as error:
                # Signaling may be gone with the same network, and come back.
                logger.info("no restart with %s: %s", self._peer_id, error)
                await asyncio.sleep(1.0)
                return
            finally:
                if self._restarting is asyncio.current_task():
                    self._restarting = None
            # The other side may have candidates, or an offer of its own, on their way.
            await asyncio.sleep(LINGER)

    async def _offer_restart(self) -> None:
        self.connection.restartIce()
        await self.connection.setLocalDescription()
        logger.info("another path to %s is looked for", self._peer_id)
        self._repeated = False
        await self._describe_restart()

    async def _repeat_restart(self) -> None:
        """Say the offer of this attempt again, once."""
        if not self._repeated:
            self._repeated = True
            await self._describe_restart()

    async def _describe_restart(self) -> None:
        about = {"type": "data", "restart": True, **self.about_answer()}
        await self._describe(MessageType.OFFER, about)

    def _take_gone(self) -> None:
        """The other side does not know the connection any more that we want to restart."""
        if self._restarting is not None and self.connection.silence >= GONE_AFTER:
            logger.info("%s was started anew", self._peer_id)
            self._closing = asyncio.ensure_future(self.connection.close())

    def gone(self, type: MessageType) -> None:
        """The other side left, or the signaling server found nobody to give our messages to."""
        if type == MessageType.LEAVE:
            self.fail(ConnectError(f"the peer {self._peer_id} left"))
            return
        self.fail(
            PeerUnavailable(
                f"no peer {self._peer_id} is connected to the signaling server: "
                "check the id, and that the device is switched on"
            )
        )

    def fail(self, error: BaseException) -> None:
        """Give up."""
        if not self.connected.done():
            if not isinstance(error, PeerfetchError):
                error = ConnectError(f"the connection to {self._peer_id} failed: {error}")
            self.connected.set_exception(error)

    async def _send_candidates(self) -> None:
        while True:
            candidate = await self._outgoing.get()
            try:
                await self._switchboard.send(
                    MessageType.CANDIDATE,
                    self._peer_id,
                    {"candidate": candidate, "type": "data", "connectionId": self._connection_id},
                )
            except SignalingError:
                # Later it is of use to a restart alone, whose offer has it.
                if not self._settled:
                    raise

    def _on_candidate(self, candidate: object) -> None:
        if candidate is not None:
            self._outgoing.put_nowait(candidate_to_dict(candidate))  # type: ignore[arg-type]

    def _on_state(self) -> None:
        if self.connection.connectionState in ("failed", "closed"):
            self.fail(ConnectError(f"no path to the peer {self._peer_id} was found"))
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
        """Connect with this channel, once it is open.

        :param old: whether its messages are no frames of ``peerfetch.2``.
        """
        link = ChannelLink(self.connection, channel, frames=not old)

        def opened() -> None:
            if not self.connected.done():
                self.old = old
                self.connected.set_result(link)

        if channel.readyState == "open":
            opened()
        else:
            channel.on("open", opened)

    def finish(self, *, lasting: bool) -> None:
        """The negotiation has come to its end.

        :param lasting: whether the connection goes on, and may move to another path.
        """
        if not lasting:
            self._forget()
        if self._settled:
            self.connected.exception()
        else:
            self.connected.cancel()

    def _forget(self) -> None:
        key = self._peer_id, self._connection_id
        if self._switchboard._negotiations.get(key) is self:
            del self._switchboard._negotiations[key]
        for task in self._tasks:
            task.cancel()


async def dial(
    switchboard: Switchboard,
    peer_id: str,
    *,
    trust: Trust,
    ice_servers: Sequence[IceServer] = (),
    transport: Transport = "auto",
    congestion: Congestion = DEFAULT_CONGESTION,
    timeout: float,
) -> Connected:
    """Connect to ``peer_id``, if it is the one that ``trust`` says, within ``timeout`` seconds.

    Raises PeerUnavailable, SignalingError, ConnectError, and what ``trust`` raises.
    """
    negotiation = Negotiation(
        switchboard,
        peer_id,
        f"pf_{secrets.token_hex(8)}",
        ice_servers,
        transport,
        congestion,
        None,
    )
    return await complete(negotiation, negotiation.offer, peer_id, timeout, trust)


async def answer(
    switchboard: Switchboard,
    offer: Offer,
    *,
    certificate: Certificate,
    ice_servers: Sequence[IceServer] = (),
    transport: Transport = "auto",
    congestion: Congestion = DEFAULT_CONGESTION,
    timeout: float,
) -> Connected:
    """Take an offer, with our ``certificate``; return once the other side's channel is open.

    Raises SignalingError, ConnectError.
    """
    negotiation = Negotiation(
        switchboard,
        offer.peer_id,
        offer.connection_id,
        ice_servers,
        transport,
        congestion,
        certificate,
    )
    sdp = offer.sdp
    if offer.payload.get("label") == OLD_LABEL:
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
    """Do ``begin`` of a negotiation and wait for its channel. Raises as :func:`dial`."""
    connection = negotiation.connection

    async def whole() -> Connected:
        await begin()
        link = await negotiation.connected
        try:
            remote = connection.remote_fingerprint
        except InvalidState:
            raise ConnectError(f"the connection to {peer_id} was closed at once") from None
        if trust is not None:
            # In a thread, because it waits for the disk and for other processes.
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
            ) from None
        raise
    finally:
        negotiation.finish(lasting=lasting)
