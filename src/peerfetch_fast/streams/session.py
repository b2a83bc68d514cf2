"""The asyncio face of the stream engine: :class:`Session`, and in ``stream.py`` its streams."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from types import TracebackType

from peerfetch_fast import _framing
from peerfetch_fast._framing import CLOSED, Engine
from peerfetch_fast.errors import (
    AccessDenied,
    LinkClosed,
    MemoryExceeded,
    PeerfetchError,
    SessionClosed,
)
from peerfetch_fast.settings import Settings
from peerfetch_fast.streams.access import Access
from peerfetch_fast.streams.account import Account
from peerfetch_fast.streams.link import Link
from peerfetch_fast.streams.stream import Stream

__all__ = ["Session"]

logger = logging.getLogger(__name__)

RATE_INTERVAL = 0.02
"""Seconds over which the link's rate is measured."""

CHUNK_TIME = 0.001
"""Seconds of sending that a message may be: an urgent one waits for what has begun."""

MIN_CHUNK = 4 * 1024
"""Bytes below which smaller messages cost more than they save."""

BUFFER_TIME = 0.008
"""Seconds of sending that the link's buffer may hold: enough to bridge a turn of the event loop,
and what an urgent frame waits for at most."""

ACCOUNT_STEP = 64 * 1024
"""Bytes by which what is held must have changed before the account is told."""


class Session:
    """Many streams over one :class:`.link.Link`. Make it inside a running event loop.

    :param link: an open link; the session is its receiver from now on.
    :param opener: whether this side opened the channel. The two ends must differ.
    :param settings: what this side grants and tolerates.
    :param accepting: whether the other side may open streams; if not, they are refused with
        REQUEST_REJECTED.
    :param access: if both sides must prove that they know the access token; this one then opens no
        stream before the other has.
    :param account: where all that is held for the other side is counted; by default one of
        ``Settings.memory`` bytes. The session closes it.
    """

    def __init__(
        self,
        link: Link,
        *,
        opener: bool,
        settings: Settings | None = None,
        accepting: bool = True,
        access: Access | None = None,
        account: Account | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.account = account or Account(self.settings.memory, setting="Settings.memory")
        """The account of all that is held for the other side; other holders ask it for a share."""
        self.account.on_exceeded = self._exceeded
        self._share = self.account.share()
        self._counted = 0
        self._link = link
        self._accepting = accepting
        self._loop = asyncio.get_running_loop()
        self._engine = Engine(
            self.settings,
            opener=opener,
            now=self._loop.time(),
            max_message_size=link.max_message_size,
            access=access,
            resumes=link.resumes,
        )
        self.on_silence: Callable[[], object] | None = None
        """Called when :attr:`silent` has changed. It must not raise."""
        self.on_stream: Callable[[Stream], object] | None = None
        """Called with each stream that the other side opens, a turn of the loop earlier than
        :meth:`accept` would return it. It must not raise."""
        self._accepted: deque[Stream] = deque()
        self._acceptors: deque[asyncio.Future[None]] = deque()
        self._openers: deque[asyncio.Future[None]] = deque()
        self._provers: deque[asyncio.Future[None]] = deque()
        self._flush_scheduled = False
        self._link_buffer = self.settings.link_buffer
        self._rate_time = self._loop.time()
        self._rate_left = 0
        self._link_had_room = True
        self._link_is_closed = False
        self._ending: asyncio.Future[None] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._error: PeerfetchError | None = None
        link.low_water = self._link_buffer // 2
        self._timer_at = self._engine.deadline() or 0.0
        self._timer = self._loop.call_at(self._timer_at, self._on_timer)
        link.attach(self)
        self._schedule_flush()

    # -- for the user ----------------------------------------------------------------------------

    @property
    def error(self) -> PeerfetchError | None:
        """Why the session is over, or None while it is not."""
        return self._error

    @property
    def ending(self) -> bool:
        """Whether no stream can be opened any more: GOAWAY was said, or the session is over."""
        return self._ending.done()

    @property
    def silent(self) -> bool:
        """Whether nothing is heard of the other side, whose network may have changed: it may come
        back until ``Settings.resume_timeout`` is over.
        """
        return self._error is None and self._engine.silent

    @property
    def round_trip(self) -> float | None:
        """Seconds that the latest PING took, or None."""
        rtt = self._engine.rtt
        return rtt if rtt >= 0 else None

    @property
    def open_streams(self) -> int:
        """The number of streams that are not closed."""
        return self._engine.open_streams

    @property
    def sent(self) -> int:
        """Bytes that all streams together have sent."""
        return self._engine.sent

    @property
    def received(self) -> int:
        """Bytes that all streams together have received."""
        return self._engine.highest

    @property
    def proved(self) -> bool:
        """Whether the other side has proved that it knows the access token, or need not."""
        return self._engine.proved

    async def wait_proved(self) -> None:
        """Return when :attr:`proved` holds.

        Raises AccessDenied when the proof is wrong or does not come, and what else has ended the
        session. The responder's session goes on after a wrong proof: ending it is left to its
        user, who does not hurry.
        """
        engine = self._engine
        while self._error is None and not engine.proved and not engine.proof_wrong:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._provers.append(waiter)
            try:
                await waiter
            finally:
                self._provers.remove(waiter)
        if self._error is not None:
            raise self._error
        if engine.proof_wrong:
            raise AccessDenied("the other side does not know the access token")

    async def open_stream(self) -> Stream:
        """Open a stream, waiting while the other side allows no more of them.

        Raises SessionClosed, LinkClosed, AccessDenied or ProtocolError when the session has ended
        or is ending.
        """
        while True:
            if self._error is not None:
                raise self._error
            core = self._engine.open()
            if core is not None:
                if self._engine.open_streams == 1:
                    self._arm()
                return Stream(self, core)
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._openers.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake_one(self._openers)
                raise
            finally:
                if waiter in self._openers:
                    self._openers.remove(waiter)

    async def accept(self) -> Stream:
        """The next stream that the other side opened. Raises as :meth:`open_stream` does."""
        while not self._accepted:
            if self._error is not None:
                raise self._error
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._acceptors.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._acceptors:
                    self._acceptors.remove(waiter)
        return self._accepted.popleft()

    async def close(self) -> None:
        """End in order: no new streams, those open go on to their end, then the link is closed."""
        self._engine.goaway()
        self._set_ending()
        self._wake_all(self._openers)
        self._schedule_flush()
        await self.wait_closed()

    def abort(self, code: int = _framing.NO_ERROR, reason: str = "closed") -> None:
        """End at once: the other side is told, open streams fail on both sides."""
        if self._error is None:
            self._engine.abort(code, reason)
            self._finish(SessionClosed(f"this side ended the session: {reason}", code))

    async def wait_ending(self) -> None:
        """Return when no more streams can be opened (see :attr:`ending`)."""
        await asyncio.shield(self._ending)

    async def wait_closed(self) -> None:
        """Return when the session is over and its link closed, for whatever reason."""
        await asyncio.shield(self._closed)

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self.close()
        else:
            self.abort()
            await self.wait_closed()

    # -- for the link ----------------------------------------------------------------------------

    def message_received(self, message: bytes | str) -> None:
        """One message from the link (:class:`~peerfetch_fast.streams.link.LinkReceiver`)."""
        if self._error is not None:
            return
        try:
            if type(message) is bytes:
                self._engine.receive(message, self._loop.time())
            else:
                self._engine.violation("a text message")
        except PeerfetchError as error:
            self._finish(error)
            return
        self._settle()

    def parts_received(self, head: bytes, body: bytes) -> None:
        """One message from the link, in two parts."""
        if self._error is not None:
            return
        try:
            self._engine.receive_parts(head, body, self._loop.time())
        except PeerfetchError as error:
            self._finish(error)
            return
        self._settle()

    def buffered_low(self) -> None:
        """The link has room again."""
        if self._error is None:
            now = self._loop.time()
            # The other side has acknowledged data: a sign of life.
            self._engine.heard(now)
            if self._send(now):
                self._count()
        elif self._link.buffered_amount == 0:
            self._link.close()

    def link_closed(self, error: Exception | None) -> None:
        """The link is gone."""
        self._link_is_closed = True
        if self._error is None:
            ending = self._engine.goaway_sent or self._engine.goaway_received
            if ending and not self.open_streams:
                self._finish(SessionClosed("the session has ended"))
            else:
                lost = error if isinstance(error, PeerfetchError) else None
                self._finish(lost or LinkClosed(f"the connection is gone: {error or 'closed'}"))
        self._timer.cancel()
        if not self._closed.done():
            self._closed.set_result(None)

    # -- inside ----------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Pass on what the engine has to tell, and have it send what it owes."""
        engine = self._engine
        for core in engine.take_dirty():
            flags = core.take_flags()
            stream: Stream | None = core.owner
            if stream is None:
                self._take(Stream(self, core))
            else:
                stream._wake(flags)
            if flags & CLOSED:
                core.owner = None  # nothing more comes; without the cycle, it need not wait for gc
        flags = engine.take_flags()
        if flags:
            if flags & _framing.MORE_CREDIT:
                self._schedule_flush()
            if flags & (_framing.MORE_STREAMS | _framing.GOAWAY_RECEIVED):
                self._wake_all(self._openers)
            if flags & _framing.PROOF_RECEIVED:
                self._wake_all(self._provers)
            if flags & _framing.SILENCE and self.on_silence is not None:
                self.on_silence()
            if flags & _framing.GOAWAY_RECEIVED:
                engine.goaway()
                self._set_ending()
        if engine.owes:
            self._schedule_flush()
        elif engine.finished:
            self._finish(SessionClosed("the session has ended"))
        self._count()

    def _take(self, stream: Stream) -> None:
        """The other side has opened a stream."""
        if self._engine.open_streams == 1:
            self._arm()
        if self.on_stream is not None:
            self.on_stream(stream)
        elif self._accepting:
            self._accepted.append(stream)
            self._wake_one(self._acceptors)
        else:
            stream.cancel(_framing.REQUEST_REJECTED)

    def _count(self) -> None:
        """Tell the account what is held now."""
        held = self._engine.held + self._link.held
        if abs(held - self._counted) >= ACCOUNT_STEP and self._error is None:
            self._counted = held
            self._share.set(held)

    def _exceeded(self, error: MemoryExceeded) -> None:
        if self._error is None:
            logger.warning("a session was closed: %s", error)
            self._engine.abort(error.code, "too much is held for you at once")
            self._finish(error)

    def _set_ending(self) -> None:
        if not self._ending.done():
            self._ending.set_result(None)

    def _schedule_flush(self) -> None:
        """Send at the end of this turn of the loop, so that what is written together leaves
        together.
        """
        if (
            not self._flush_scheduled
            and self._error is None
            # A full link calls buffered_low when it wants more.
            and self._link.buffered_amount < self._link_buffer
        ):
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self._error is None:
            self._send(self._loop.time())
            # At once: to wait for the end of the next turn costs what a bulk transfer does in one.
            self._link.flush()
            self._count()

    def _send(self, now: float) -> bool:
        """Give the link what it has room for; whether that was all."""
        link, engine, most = self._link, self._engine, self._link_buffer
        before, in_parts, sent_all = engine.sent, link.in_parts, False
        while link.buffered_amount < most:
            message = engine.next_message(now, in_parts)
            if message is None:
                self._link_had_room = sent_all = True
                break
            if type(message) is tuple:
                link.send_parts(*message)
            else:
                link.send(message)  # type: ignore[arg-type]
            if self._error is not None:
                return True
        if engine.sent != before and now - self._rate_time >= RATE_INTERVAL:
            self._adapt(now)
        if engine.unsettled:
            self._settle()
        if engine.finished:
            self._finish(SessionClosed("the session has ended"))
        return sent_all

    def _adapt(self, now: float) -> None:
        """Size messages and the link's buffer by what the link carries. A fast one gets larger
        messages, as each costs the same on both sides; a slow one smaller ones and less of them, so
        that what is urgent overtakes the rest.
        """
        elapsed = now - self._rate_time
        engine, limits = self._engine, self.settings
        left = engine.sent - self._link.buffered_amount
        rate = (left - self._rate_left) / elapsed
        chunk = max(MIN_CHUNK, min(int(rate * CHUNK_TIME), limits.fast_chunk_size))
        # A link that had room would have carried more: it is no slower than that.
        if not self._link_had_room or chunk > engine.chunk_size:
            engine.set_chunk_size(chunk)
            self._link_buffer = min(max(2 * chunk, int(rate * BUFFER_TIME)), limits.link_buffer)
            self._link.low_water = self._link_buffer // 2
            # One that has grown may hold less than its new low water, which is then never crossed.
            self._schedule_flush()
        self._rate_time, self._rate_left, self._link_had_room = now, left, False

    def _on_timer(self) -> None:
        now = self._loop.time()
        deadline = self._engine.deadline()
        if deadline is None:
            return
        if deadline <= now:
            try:
                self._engine.handle_timeout(now)
            except PeerfetchError as error:
                self._finish(error)
                return
            self._schedule_flush()
            self._settle()
        self._arm()

    def _arm(self) -> None:
        """Have the timer fire when the engine wants it: sooner once a stream is open. One that is
        too early may stay: to move it with each message would cost more.
        """
        deadline = self._engine.deadline()
        if deadline is not None and not self._loop.time() < self._timer_at <= deadline:
            self._timer.cancel()
            self._timer_at = deadline  # of uvloop, a handle that is due has no when()
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _finish(self, error: PeerfetchError) -> None:
        """The session is over: say so to the other side if that is owed, to everyone here, once."""
        if self._error is not None:
            return
        self._error = error
        self._set_ending()
        self._timer.cancel()
        if not self._link_is_closed:
            message = self._engine.next_message(self._loop.time())
            if message is not None:
                self._link.send(message)
        self.account.close()
        streams = self._engine.detach(error)
        for core in streams:
            stream: Stream | None = core.owner
            if stream is not None:
                stream._wake(~0)
        self._wake_all(self._acceptors)
        self._wake_all(self._openers)
        self._wake_all(self._provers)
        if self._link_is_closed:
            return
        if self._link.buffered_amount == 0:
            self._link.close()
        else:
            self._link.low_water = 0
            self._timer = self._loop.call_later(self.settings.close_timeout, self._link.close)

    @staticmethod
    def _wake_one(waiters: deque[asyncio.Future[None]]) -> None:
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
                return

    @staticmethod
    def _wake_all(waiters: deque[asyncio.Future[None]]) -> None:
        for waiter in waiters:
            with contextlib.suppress(asyncio.InvalidStateError):
                waiter.set_result(None)
