"""A session with a peer that is replaced by a new one when it breaks."""

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
    NotConnected,
    PeerfetchError,
    PeerLost,
    SessionClosed,
)
from peerfetch_fast.networks import watch_networks
from peerfetch_fast.signaling.backoff import Backoff
from peerfetch_fast.streams.session import Session

__all__ = ["GIVE_UP_AFTER", "Established", "PeerState", "ReconnectingSession"]

logger = logging.getLogger(__name__)

GIVE_UP_AFTER = 600.0
"""Seconds of attempts to reach a lost peer: long enough for a router and a device to boot."""

BACKOFF_INITIAL = 0.5
"""Seconds before the first attempt to reconnect, at most."""

BACKOFF_MAXIMUM = 15.0
"""Seconds between two attempts, at most."""

STABLE_AFTER = 10.0
"""Seconds that a session must last for the next loss to start with a short back-off."""

# Errors that are worth another attempt, and their subclasses that are not. Any other error ends the
# session with the peer for good.
_TRANSIENT = (NotConnected, OSError)
_FINAL = (IdentityChanged, AccessDenied)


class PeerState(Enum):
    """Whether there is a session with the peer."""

    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"


class Connection(Protocol):
    """The connection that carries a session."""

    @property
    def transport(self) -> str:
        """The name of the transport."""

    @property
    def remote_address(self) -> str | None:
        """The IP address of the other side's end of the path; None while there is no path."""

    @property
    def way(self) -> str | None:
        """``direct``, or ``relayed`` by a TURN server of either side; None while there is none."""

    @property
    def why(self) -> str | None:
        """Why no better way is taken, for people to read; None for the best, or if that is not
        known.
        """

    @property
    def relay(self) -> str | None:
        """Our TURN server, if data goes through one of ours."""

    async def close(self) -> None:
        """Close the connection. Idempotent."""


@dataclass(frozen=True, eq=False, slots=True)
class Established:
    """A session, and the connection that carries it."""

    session: Session
    connection: Connection
    fingerprint: bytes
    """The SHA-256 of the other side's certificate."""
    began: float = field(default_factory=time.time)
    """The time at which it was established, in seconds since 1970."""


class ReconnectingSession:
    """The sessions with one peer, one after the other. Make it inside a running event loop.

    :param established: the first session.
    :param dial: makes another session when one has ended; None for the first session alone.
    :param origin: the prefix of this peer's URLs.
    :param give_up_after: seconds of attempts after which a lost peer is given up.
    :param rng: the source of the jitter of the back-off.
    """

    def __init__(
        self,
        established: Established,
        dial: Callable[[], Awaitable[Established]] | None = None,
        *,
        origin: str = "",
        give_up_after: float = GIVE_UP_AFTER,
        rng: random.Random | None = None,
    ) -> None:
        self.current = established
        """The latest session; while reconnecting, the one that has ended or is silent."""
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
        self._retiring: dict[Established, asyncio.Task[None]] = {}
        self._backoff.opened(self._loop.time())
        self._attend(established)
        self._keeper = self._loop.create_task(self._keep())

    @property
    def state(self) -> PeerState:
        """Whether there is a session now."""
        return self._state

    @property
    def error(self) -> PeerfetchError | None:
        """The reason why there will be no more sessions; None while there may be."""
        return self._error

    @property
    def reconnects(self) -> bool:
        """Whether a session that ends is followed by another."""
        return self._dial is not None

    async def wait_for(self, *states: PeerState) -> PeerState:
        """Wait until the state is, or has just been, in one of ``states``, and return which."""
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

        Raises the error that ended the sessions for good: PeerLost, SessionClosed or LinkClosed, as
        a rule.
        """
        while True:
            if self._error is not None:
                raise self._error
            session = self.current.session
            if not session.ending and not session.silent:
                return session
            if self._state is PeerState.CONNECTED:  # the keeper task has not noticed the loss yet
                await self.wait_for(PeerState.RECONNECTING, PeerState.CLOSED)
            else:
                await self.wait_for(PeerState.CONNECTED, PeerState.CLOSED)

    async def close(self) -> None:
        """Close in order: running requests are completed, new ones are refused."""
        self._end(SessionClosed("this side closed the connection"))
        await self.current.session.close()
        await self._let_go()

    async def abort(self) -> None:
        """Close at once; running requests fail."""
        self._end(SessionClosed("this side closed the connection"))
        for established in (self.current, *self._retiring):
            established.session.abort()
        await self._let_go()

    # -- inside ----------------------------------------------------------------------------------

    def _set_state(self, state: PeerState) -> None:
        self._state = state
        for waiter, states in self._waiters.items():
            if state in states and not waiter.done():
                waiter.set_result(state)

    def _attend(self, established: Established) -> None:
        """Update the state: a session whose path is silent counts as reconnecting, too."""

        def on_silence() -> None:
            if self.current is established and not established.session.ending:
                silent = established.session.silent
                logger.info("the peer %s", "is silent" if silent else "is heard again")
                self._set_state(PeerState.RECONNECTING if silent else PeerState.CONNECTED)

        established.session.on_silence = on_silence
        if established.session.silent:
            on_silence()

    def _end(self, error: PeerfetchError) -> None:
        if self._error is None:
            self._error = error
            self._keeper.cancel()
            self._retire(self.current)
            self._set_state(PeerState.CLOSED)

    async def _let_go(self) -> None:
        await asyncio.wait((self._keeper, *self._retiring.values()))

    def _retire(self, established: Established) -> None:
        """Wait for a session to end, and close its connection.

        In a task of its own, so that a caller that is cancelled leaves nothing half-closed.
        """

        async def see_off() -> None:
            await established.session.wait_closed()
            try:
                await established.connection.close()
            except Exception:
                logger.exception("a connection did not close in order")

        if established not in self._retiring:
            self._retiring[established] = self._loop.create_task(see_off())
            self._retiring[established].add_done_callback(lambda _: self._retiring.pop(established))

    async def _keep(self) -> None:
        try:
            while True:
                session = self.current.session
                await session.wait_ending()
                self._retire(self.current)
                if self._dial is None or isinstance(session.error, _FINAL):
                    self._end(session.error or SessionClosed("the other side ended the session"))
                    return
                logger.info("the session has ended: %s", session.error or "the other side leaves")
                self._set_state(PeerState.RECONNECTING)
                self.current = await self._redial(self._dial)
                self._set_state(PeerState.CONNECTED)
                self._attend(self.current)
        except PeerfetchError as error:
            self._end(error)
        except Exception as error:
            # No exception may escape into the event loop.
            logger.exception("connecting again failed")
            self._end(ConnectError(f"connecting again failed: {error!r}"))

    async def _rest(self, seconds: float) -> None:
        """Wait for ``seconds``, or until this machine's networks change."""
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

    async def _redial(self, dial: Callable[[], Awaitable[Established]]) -> Established:
        """The next session.

        Raises PeerLost, and errors of ``dial`` that are not worth another attempt.
        """
        latest: BaseException | None = None
        give_up_at = self._loop.time() + self._give_up_after
        while (left := give_up_at - self._loop.time()) > 0:
            delay = min(self._backoff.failed(self._loop.time()), left)
            logger.info("connecting again in %.1f s", delay)
            await self._rest(delay)
            try:
                established = await dial()
            except _FINAL:
                raise
            except _TRANSIENT as error:
                logger.info("%s", error)
                latest = error
                continue
            self._backoff.opened(self._loop.time())
            return established
        raise PeerLost(
            f"the connection broke, and the peer was not found again for {self._give_up_after:g} s"
            + (f": {latest}" if latest else "")
        ) from latest
