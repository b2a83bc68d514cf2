"""A line to one peer: the session there is now, and another one when that breaks."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from peerfetch_fast.errors import (
    AccessDenied,
    ConnectError,
    IdentityChanged,
    LinkClosed,
    PeerfetchError,
    PeerLost,
    ProtocolError,
    SessionClosed,
    SignalingError,
)
from peerfetch_fast.networks import watch_networks
from peerfetch_fast.session import Session
from peerfetch_fast.signaling.backoff import Backoff

__all__ = ["GIVE_UP_AFTER", "Call", "Line", "PeerState"]

logger = logging.getLogger(__name__)

GIVE_UP_AFTER = 600.0
"""Seconds for which a lost peer is looked for: long enough for a router and a device to start."""

BACKOFF_INITIAL = 0.5
"""Seconds that the first new attempt waits, at most."""

BACKOFF_MAXIMUM = 15.0
"""Seconds between two attempts, at most."""

STABLE_AFTER = 10.0
"""Seconds that a session must hold for the next loss to be met with a quick attempt."""

# What time may heal, but for those that must not be tried again unasked; anything else ends the
# line.
_TRANSIENT = (
    ConnectError,
    SignalingError,
    LinkClosed,
    SessionClosed,
    ProtocolError,  # a device that speaks nonsense today may be mended tomorrow
    OSError,
)
_FINAL = (IdentityChanged, AccessDenied)


class PeerState(Enum):
    """Where a line stands."""

    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"


class Connection(Protocol):
    """What carries a session."""

    @property
    def transport(self) -> str:
        """Its name."""

    @property
    def remote_address(self) -> str | None:
        """The IP address of the other side's end of the path; None while there is no path."""

    @property
    def way(self) -> str | None:
        """``direct``, or ``relayed`` by a TURN server of either side; None while there is none."""

    async def close(self) -> None:
        """Let go of everything. Idempotent."""


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """One session of a line, and the connection that carries it."""

    session: Session
    connection: Connection
    fingerprint: bytes
    """SHA-256 of the certificate that the other side has shown."""
    began: float = field(default_factory=time.time)
    """When it came about, in seconds since 1970."""


class Line:
    """The sessions with one peer, one after the other. Make it inside a running event loop.

    :param call: the first.
    :param dial: makes another when one has ended; without it, the line ends with its first session.
    :param origin: what the URLs of this peer begin with.
    :param give_up_after: seconds for which a lost peer is looked for.
    :param rng: where the jitter of the back-off comes from.
    """

    def __init__(
        self,
        call: Call,
        dial: Callable[[], Awaitable[Call]] | None = None,
        *,
        origin: str = "",
        give_up_after: float = GIVE_UP_AFTER,
        rng: random.Random | None = None,
    ) -> None:
        self.call = call
        """The latest call; while the line is reconnecting, the one that has ended."""
        self.origin = origin
        self._dial = dial
        self._give_up_after = give_up_after
        self._backoff = Backoff(
            BACKOFF_INITIAL,
            BACKOFF_MAXIMUM,
            STABLE_AFTER,
            rng if rng is not None else random.Random(),  # noqa: S311 - jitter is no secret
        )
        self._loop = asyncio.get_running_loop()
        self._state = PeerState.CONNECTED
        self._waiters: dict[asyncio.Future[PeerState], frozenset[PeerState]] = {}
        self._error: PeerfetchError | None = None
        self._retiring: dict[Call, asyncio.Task[None]] = {}
        self._backoff.opened(self._loop.time())
        self._attend(call)
        self._keeper = self._loop.create_task(self._keep())

    @property
    def state(self) -> PeerState:
        """Where the line stands."""
        return self._state

    @property
    def error(self) -> PeerfetchError | None:
        """Why the line is closed, or None while it is not."""
        return self._error

    @property
    def reconnects(self) -> bool:
        """Whether a session that ends is followed by another."""
        return self._dial is not None

    async def wait_for(self, *states: PeerState) -> PeerState:
        """Wait until the line is, or has just been, in one of ``states``, and return which."""
        if self._state in states:
            return self._state
        waiter: asyncio.Future[PeerState] = self._loop.create_future()
        self._waiters[waiter] = frozenset(states)
        try:
            return await waiter
        finally:
            del self._waiters[waiter]

    async def session(self) -> Session:
        """The session to open streams on, waiting for the next where there is none.

        Raises what ended the line: PeerLost, SessionClosed or LinkClosed, as a rule.
        """
        while True:
            if self._error is not None:
                raise self._error
            session = self.call.session
            if not session.ending and not session.silent:
                return session
            if self._state is PeerState.CONNECTED:  # the keeper has yet to see it
                await self.wait_for(PeerState.RECONNECTING, PeerState.CLOSED)
            else:
                await self.wait_for(PeerState.CONNECTED, PeerState.CLOSED)

    async def close(self) -> None:
        """End in order: running requests go on to their end, new ones are refused."""
        self._end(SessionClosed("this side closed the connection"))
        await self.call.session.close()
        await self._let_go()

    async def abort(self) -> None:
        """End at once; running requests fail."""
        self._end(SessionClosed("this side closed the connection"))
        for call in (self.call, *self._retiring):
            call.session.abort()
        await self._let_go()

    # -- inside ----------------------------------------------------------------------------------

    def _set_state(self, state: PeerState) -> None:
        self._state = state
        for waiter, states in self._waiters.items():
            if state in states and not waiter.done():
                waiter.set_result(state)

    def _attend(self, call: Call) -> None:
        """Reconnecting is also to wait for a session whose network has changed."""

        def on_silence() -> None:
            if self.call is call and not call.session.ending:
                silent = call.session.silent
                logger.info("the peer %s", "is silent" if silent else "is heard again")
                self._set_state(PeerState.RECONNECTING if silent else PeerState.CONNECTED)

        call.session.on_silence = on_silence
        if call.session.silent:
            on_silence()

    def _end(self, error: PeerfetchError) -> None:
        if self._error is None:
            self._error = error
            self._keeper.cancel()
            self._retire(self.call)
            self._set_state(PeerState.CLOSED)

    async def _let_go(self) -> None:
        await asyncio.wait((self._keeper, *self._retiring.values()))

    def _retire(self, call: Call) -> None:
        """Let a session go on to its end, and then let go of its connection.

        In a task of its own, so that whoever is cancelled meanwhile leaves nothing half-closed.
        """

        async def see_off() -> None:
            await call.session.wait_closed()
            try:
                await call.connection.close()
            except Exception:
                logger.exception("a connection did not close in order")

        if call not in self._retiring:
            self._retiring[call] = self._loop.create_task(see_off())
            self._retiring[call].add_done_callback(lambda _: self._retiring.pop(call))

    async def _keep(self) -> None:
        try:
            while True:
                session = self.call.session
                await session.wait_ending()
                self._retire(self.call)
                if self._dial is None or isinstance(session.error, _FINAL):
                    self._end(session.error or SessionClosed("the other side ended the session"))
                    return
                logger.info("the session has ended: %s", session.error or "the other side leaves")
                self._set_state(PeerState.RECONNECTING)
                self.call = await self._redial(self._dial)
                self._set_state(PeerState.CONNECTED)
                self._attend(self.call)
        except PeerfetchError as error:
            self._end(error)
        except Exception as error:
            # Nothing may escape into the event loop.
            logger.exception("connecting again failed")
            self._end(ConnectError(f"connecting again failed: {error!r}"))

    async def _rest(self, seconds: float) -> None:
        """Wait, unless this machine comes into another network."""
        moved = asyncio.Event()
        watch = watch_networks(lambda _: moved.set())
        try:
            async with asyncio.timeout(seconds):
                await moved.wait()
            self._backoff.reset()
        except TimeoutError:
            pass
        finally:
            watch.stop()

    async def _redial(self, dial: Callable[[], Awaitable[Call]]) -> Call:
        """The next call. Raises PeerLost, and what ``dial`` raises if time cannot heal it."""
        latest: BaseException | None = None
        give_up_at = self._loop.time() + self._give_up_after
        while (left := give_up_at - self._loop.time()) > 0:
            delay = min(self._backoff.failed(self._loop.time()), left)
            logger.info("connecting again in %.1f s", delay)
            await self._rest(delay)
            try:
                call = await dial()
            except _FINAL:
                raise
            except _TRANSIENT as error:
                logger.info("%s", error)
                latest = error
                continue
            self._backoff.opened(self._loop.time())
            return call
        raise PeerLost(
            f"the connection broke, and the peer was not found again for {self._give_up_after:g} s"
            + (f": {latest}" if latest else "")
        ) from latest
