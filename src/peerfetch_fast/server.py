"""Be reachable: :func:`serve` answers the requests of whoever connects through signaling."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType

from aiortc import RTCIceServer

from peerfetch_fast.errors import PeerfetchError, SignalingError
from peerfetch_fast.http.server import Handler, serve_session
from peerfetch_fast.http.upstream import Upstream
from peerfetch_fast.negotiation import Offer, Switchboard, answer
from peerfetch_fast.peer import Peer
from peerfetch_fast.session import Session
from peerfetch_fast.settings import Settings
from peerfetch_fast.signaling.client import SignalingClient
from peerfetch_fast.webrtc.connection import Transport

__all__ = ["Server", "serve"]

logger = logging.getLogger(__name__)

MAX_PEERS = 32
"""Peers connected or connecting at once; further offers are ignored."""

ANSWER_TIMEOUT = 30.0
"""Seconds that an offered connection may take to open."""

DRAIN_TIMEOUT = 10.0
"""Seconds that running requests are given when the server closes."""


class Server:
    """Answers peers until closed. Made by :func:`serve`; close it, or use ``async with``."""

    def __init__(
        self,
        handler: Handler,
        close_handler: Callable[[], Awaitable[None]],
        *,
        ice_servers: Sequence[RTCIceServer],
        transport: Transport,
        settings: Settings | None,
        max_peers: int,
    ) -> None:
        self.refused: Counter[str] = Counter()
        """What was refused, and how often."""
        self._handler = handler
        self._close_handler = close_handler
        self._ice_servers = ice_servers
        self._transport: Transport = transport
        self._settings = settings
        self._max_peers = max_peers
        self._switchboard = Switchboard(self._on_offer)
        self._tasks: set[asyncio.Task[None]] = set()
        self._peers: set[Peer] = set()
        self._closing = False
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def peer_id(self) -> str:
        """The id by which this side can be reached."""
        assert self._switchboard.signaling is not None
        return self._switchboard.signaling.peer_id

    @property
    def peers(self) -> frozenset[Peer]:
        """The peers that are connected now."""
        return frozenset(self._peers)

    async def _start(self, signaling: str, peer_id: str | None) -> None:
        client = SignalingClient(
            signaling,
            peer_id,
            on_message=self._switchboard.message,
            on_closed=self._on_signaling_lost,
        )
        self._switchboard.signaling = client
        await client.start()

    def _on_signaling_lost(self, error: SignalingError) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)

    def _on_offer(self, offer: Offer) -> None:
        if self._closing:
            return
        if len(self._tasks) >= self._max_peers:
            self.refused["too many peers"] += 1
            logger.warning(
                "an offer of %s was refused: %d peers are enough", offer.peer_id, self._max_peers
            )
            return
        task = asyncio.get_running_loop().create_task(self._serve_peer(offer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve_peer(self, offer: Offer) -> None:
        try:
            connected = await answer(
                self._switchboard,
                offer,
                ice_servers=self._ice_servers,
                transport=self._transport,
                timeout=ANSWER_TIMEOUT,
            )
        except PeerfetchError as error:
            self.refused["connection failed"] += 1
            logger.info("no connection with %s: %s", offer.peer_id, error)
            return
        except Exception:
            self.refused["connection failed"] += 1
            logger.exception("no connection with %s", offer.peer_id)
            return
        peer = Peer(connected, Session(connected.link, opener=False, settings=self._settings))
        self._peers.add(peer)
        logger.info("%s is connected", offer.peer_id)
        try:
            if self._closing:
                peer.session.abort()
            await serve_session(peer.session, self._handler)
        finally:
            self._peers.discard(peer)
            await peer.abort()
            logger.info("%s is gone: %s", offer.peer_id, peer.session.error)

    async def wait_closed(self) -> None:
        """Return when :meth:`close` was called. Raises SignalingError when the signaling server
        is lost
        for good (our id was taken by another, say)."""
        await asyncio.shield(self._failed)

    async def close(self, *, timeout: float = DRAIN_TIMEOUT) -> None:
        """Take no new peers or requests, give running ones ``timeout`` seconds, then end."""
        if self._closing:
            return
        self._closing = True
        if self._switchboard.signaling is not None:
            await self._switchboard.signaling.close()
        closing = [asyncio.ensure_future(peer.session.close()) for peer in self._peers]
        if closing:
            await asyncio.wait(closing, timeout=timeout)
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for waiting in closing:
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
        await self._close_handler()
        if not self._failed.done():
            self._failed.set_result(None)
        else:
            self._failed.exception()

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


async def serve(
    target: str,
    *,
    signaling: str,
    peer_id: str | None = None,
    ice_servers: Sequence[RTCIceServer] = (),
    transport: Transport = "auto",
    settings: Settings | None = None,
    max_peers: int = MAX_PEERS,
) -> Server:
    """Forward the requests of peers to ``target``, an HTTP server's URL.

    :param signaling: URL of the PeerJS-compatible server through which we are found.
    :param peer_id: the id to be found by; by default the server gives one.
    :param ice_servers: STUN and TURN servers; none by default.
    :param transport: what carries the data.
    :param settings: limits of each session.
    :param max_peers: peers at once.

    Raises SignalingError, IdTaken, and ValueError for a target that is no HTTP URL.
    """
    upstream = Upstream(target)
    server = Server(
        upstream,
        upstream.close,
        ice_servers=ice_servers,
        transport=transport,
        settings=settings,
        max_peers=max_peers,
    )
    try:
        await server._start(signaling, peer_id)
    except BaseException:
        await server.close()
        raise
    return server
