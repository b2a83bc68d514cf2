"""Hand the signals of one signaling service to the negotiations that they belong to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from peerfetch_fast.errors import InvalidCandidate, SignalingError
from peerfetch_fast.signaling.ratelimit import TokenBucket
from peerfetch_fast.signaling.seam import Signal, Signaling, SignalKind
from peerfetch_fast.webrtc.candidates import candidate_from_dict
from peerfetch_fast.webrtc.descriptions import MAX_SDP
from peerfetch_fast.webrtc.ice.servers import IceServer

__all__ = ["MAX_CANDIDATES", "Receiver", "Switchboard", "has_description"]

logger = logging.getLogger(__name__)

MAX_CANDIDATES = 64
"""Candidates of the other side that one negotiation uses, each of at most
``candidates.MAX_CANDIDATE_LENGTH`` characters."""

GONE_BURST, GONE_RATE = 16, 4.0
"""Restarts of unknown connections that are answered in a burst, and then each second."""


def has_description(signal: Signal) -> bool:
    """Whether an offer or an answer has a description that is not too long."""
    return 0 < len(signal.sdp) <= MAX_SDP


class Receiver(Protocol):
    """Receives the signals of one connection. Its methods must not raise."""

    def take(self, signal: Signal) -> None:
        """Take a signal of the other side."""

    def lost(self, kind: SignalKind) -> None:
        """Take note that the other side has LEFT, or is ABSENT."""


class Switchboard:
    """Hand the signals of one signaling service to the negotiations that they belong to.

    The owner sets :attr:`signaling`, with :meth:`take` as its ``on_signal``.

    :param on_offer: called with each offer of a new connection; returns whether to take it. Signals
    that follow a taken offer are kept until a negotiation enters or :meth:`forget` is called.
    None to ignore offers.
    :param lasting: whether ``signaling`` stays started; if not, it is started for the blocks of
    :meth:`reachable`.
    """

    def __init__(
        self, on_offer: Callable[[Signal], bool] | None = None, *, lasting: bool = True
    ) -> None:
        self._on_offer = on_offer
        self._receivers: dict[tuple[str, str], Receiver] = {}
        self._gone = TokenBucket(GONE_RATE, GONE_BURST, 0.0)
        self._telling: set[asyncio.Task[None]] = set()
        self._lasting = lasting
        self._starting = asyncio.Lock()
        self._started = False
        self._reachable = 0
        self.signaling: Signaling | None = None

    @property
    def ice_servers(self) -> Sequence[IceServer]:
        """STUN and TURN servers that the service hands out."""
        return () if self.signaling is None else self.signaling.ice_servers

    @contextlib.asynccontextmanager
    async def reachable(self) -> AsyncIterator[None]:
        """Stay connected to the signaling service during the block. Raises SignalingError."""
        if self._lasting or self.signaling is None:
            yield
            return
        self._reachable += 1
        try:
            async with self._starting:
                if not self._started:
                    await self.signaling.start()
                    self._started = True
            yield
        finally:
            self._reachable -= 1
            if not self._reachable and self._started:
                self._started = False
                await self.signaling.close()

    def take(self, signal: Signal) -> None:
        """Take a signal of the service, however malformed."""
        if signal.kind in (SignalKind.LEFT, SignalKind.ABSENT):
            # Neither kind names a connection, so both concern all connections with that peer.
            for (peer_id, _), receiver in list(self._receivers.items()):
                if peer_id == signal.peer_id:
                    receiver.lost(signal.kind)
            return
        found = self._receivers.get((signal.peer_id, signal.connection_id))
        if signal.kind is not SignalKind.OFFER:
            if found is not None:
                found.take(signal)
        elif not has_description(signal):
            logger.info("an offer from %s has no description: ignored", signal.peer_id)
        elif signal.restart:
            if found is None:
                self._tell_gone(signal)
            elif not isinstance(found, _Inbox):
                found.take(signal)
        elif self._on_offer is not None and found is None:
            self._offered(signal, self._on_offer)
        else:
            logger.info("an offer from %s was ignored", signal.peer_id)

    def _offered(self, offer: Signal, take: Callable[[Signal], bool]) -> None:
        # Candidates may come in the same turn of the loop, before a negotiation enters.
        self._receivers[offer.peer_id, offer.connection_id] = _Inbox()
        if not take(offer):
            self.forget(offer)

    def _tell_gone(self, offer: Signal) -> None:
        """Answer a restart of a connection that we do not know, as after a crash, with GONE, so
        that the peer connects anew.
        """
        loop = asyncio.get_running_loop()
        if self._gone.take_if_there(loop.time()) > 0:
            return

        async def tell() -> None:
            with contextlib.suppress(SignalingError):
                await self.send(Signal(SignalKind.GONE, offer.peer_id, offer.connection_id))

        task = loop.create_task(tell())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def enter(self, peer_id: str, connection_id: str, receiver: Receiver) -> None:
        """Hand a connection's signals to ``receiver``, first those that were kept."""
        before = self._receivers.get((peer_id, connection_id))
        self._receivers[peer_id, connection_id] = receiver
        if isinstance(before, _Inbox):
            before.empty_into(receiver)

    def leave(self, peer_id: str, connection_id: str, receiver: Receiver) -> None:
        """Hand ``receiver`` no more signals. Idempotent."""
        if self._receivers.get((peer_id, connection_id)) is receiver:
            del self._receivers[peer_id, connection_id]

    def forget(self, offer: Signal) -> None:
        """Drop the signals that were kept for an offer, unless a negotiation has entered."""
        key = offer.peer_id, offer.connection_id
        if isinstance(self._receivers.get(key), _Inbox):
            del self._receivers[key]

    async def send(self, signal: Signal) -> None:
        """Send to another peer. Raises SignalingError."""
        if self.signaling is None:
            raise SignalingError("the signaling service is not there yet")
        await self.signaling.send(signal)


class _Inbox:
    """The signals that followed an offer, until a negotiation enters."""

    def __init__(self) -> None:
        self._candidates: list[Signal] = []
        self._lost: SignalKind | None = None

    def take(self, signal: Signal) -> None:
        """Keep a valid candidate; drop anything else."""
        if signal.kind is not SignalKind.CANDIDATE or len(self._candidates) >= MAX_CANDIDATES:
            return
        try:
            candidate_from_dict(signal.candidate)
        except InvalidCandidate as error:
            logger.info("a candidate of %s was ignored: %s", signal.peer_id, error)
        else:
            self._candidates.append(signal)

    def lost(self, kind: SignalKind) -> None:
        """Keep the kind."""
        self._lost = kind

    def empty_into(self, receiver: Receiver) -> None:
        """Hand everything that was kept to ``receiver``."""
        for signal in self._candidates:
            receiver.take(signal)
        if self._lost is not None:
            receiver.lost(self._lost)
