"""Move a connection to another path by ICE restarts (RFC 8445 §9; docs/protocol.md, section 1)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.signaling.ratelimit import TokenBucket
from peerfetch_fast.signaling.seam import Signal, SignalKind
from peerfetch_fast.switchboard import Switchboard, has_description
from peerfetch_fast.webrtc.descriptions import SessionDescription
from peerfetch_fast.webrtc.transports import Connection

__all__ = ["Restarts"]

logger = logging.getLogger(__name__)

RESTART_INTERVAL = 3.0
"""Seconds between two restarts of ours."""

REPEAT_AFTER = 1.0
"""Seconds after which the offer of a restart is sent again: signaling may have sent it to a
connection that the other side has lost with its network."""

SIGNALING_TIMEOUT = 5.0
"""Seconds that connecting to the signaling server may take for a restart."""

LINGER = 10.0
"""Seconds for which a signaling connection that was opened for a restart is kept after it."""

GONE_AFTER = 1.0
"""Seconds of silence on the path after which a GONE for our connection is believed."""

RESTART_BURST, RESTART_RATE = 5, 0.5
"""Restarts that the other side may ask for in a burst, and then each second; more are ignored."""


class Restarts:
    """The restarts of one connection, ours and the other side's.

    :param peer_id: the other side.
    :param describe: sends our description as an offer or an answer.
    :param renew: called before candidates of ours are gathered, whose servers may have other logins
        by then.
    :param new_description: called before a new description of the other side is applied; its
    candidates are counted from zero.
    :param start: runs a coroutine until the connection ends.
    """

    def __init__(
        self,
        connection: Connection,
        switchboard: Switchboard,
        peer_id: str,
        *,
        describe: Callable[[SignalKind], Awaitable[None]],
        renew: Callable[[], None],
        new_description: Callable[[], None],
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._connection = connection
        self._switchboard = switchboard
        self._peer_id = peer_id
        self._describe = describe
        self._renew = renew
        self._new_description = new_description
        self._start = start
        self._loop = asyncio.get_running_loop()
        self.polite = False
        """Whether we give way when an offer of the other side crosses ours."""
        self._attempt: asyncio.Task[None] | None = None
        self._repeated = False
        self._answered: asyncio.Future[None] | None = None
        self._closing: asyncio.Future[None] | None = None
        self._bucket = TokenBucket(RESTART_RATE, RESTART_BURST, self._loop.time())

    async def take(self, signal: Signal) -> None:
        """Take a restart offer of the other side, or its answer to ours.

        Raises what the connection does for a description that it refuses; nothing has changed then.
        """
        if signal.kind is SignalKind.GONE:
            self._take_gone()
            return
        if not has_description(signal):
            return
        ours = self._connection.signalingState == "have-local-offer"
        if signal.kind is SignalKind.ANSWER:
            if ours:
                self._new_description()
                await self._connection.setRemoteDescription(
                    SessionDescription(signal.sdp, "answer")
                )
                if self._answered is not None and not self._answered.done():
                    self._answered.set_result(None)
        elif ours and not self.polite and self._wants_path:
            logger.info("the offers of two restarts have crossed: ours counts")
            # The other side may not have been reachable when we sent the offer. It is now.
            await self._repeat()
        elif self._bucket.take_if_there(self._loop.time()) > 0:
            logger.info("%s restarts too often: one is ignored", self._peer_id)
        else:
            self._new_description()
            await self._connection.setRemoteDescription(SessionDescription(signal.sdp, "offer"))
            self._renew()
            await self._connection.setLocalDescription()
            await self._describe(SignalKind.ANSWER)

    @property
    def _wants_path(self) -> bool:
        """Whether a restart offer of ours is still pending. An unanswered one is void once the old
        path carries data again.
        """
        return self._attempt is not None or self._connection.silence >= GONE_AFTER

    def begin(self) -> None:
        """Begin a restart, unless one is under way."""
        if self._attempt is None:
            self._attempt = self._start(self._restart())

    def begin_anew(self) -> None:
        """Begin a new restart: one that is under way may be stuck in a network that is gone."""
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None
        self.begin()

    async def _restart(self) -> None:
        """Offer a restart, and wait for its outcome."""
        self._answered = self._loop.create_future()
        async with contextlib.AsyncExitStack() as signaling:
            try:
                async with asyncio.timeout(SIGNALING_TIMEOUT):
                    await signaling.enter_async_context(self._switchboard.reachable())
                async with asyncio.timeout(RESTART_INTERVAL):
                    await self._offer()
                    await asyncio.wait((self._answered,), timeout=REPEAT_AFTER)
                    if not self._answered.done():
                        await self._repeat()
                    await self._answered
                await asyncio.sleep(RESTART_INTERVAL)
            except TimeoutError:
                # The signaling connection of this attempt may be stuck in the lost network.
                logger.info("%s has not answered a restart yet", self._peer_id)
                return
            except (PeerfetchError, OSError) as error:
                # The signaling connection may be lost with the same network, and will reconnect.
                logger.info("no restart with %s: %s", self._peer_id, error)
                await asyncio.sleep(1.0)
                return
            finally:
                if self._attempt is asyncio.current_task():
                    self._attempt = None
            # Candidates or an offer of the other side may still be on their way.
            await asyncio.sleep(LINGER)

    async def _offer(self) -> None:
        self._renew()
        self._connection.restartIce()
        await self._connection.setLocalDescription()
        logger.info("another path to %s is looked for", self._peer_id)
        self._repeated = False
        await self._describe(SignalKind.OFFER)

    async def _repeat(self) -> None:
        """Send the offer of this attempt again, once."""
        if not self._repeated:
            self._repeated = True
            await self._describe(SignalKind.OFFER)

    def _take_gone(self) -> None:
        """The other side reports that it no longer knows the connection."""
        if self._attempt is not None and self._connection.silence >= GONE_AFTER:
            logger.info("%s was started anew", self._peer_id)
            self._closing = asyncio.ensure_future(self._connection.close())
