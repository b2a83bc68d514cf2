"""The seam between a session and what carries its messages.

A session needs little of a channel: this is all of it.
:class:`peerfetch_fast.webrtc.channel_link.ChannelLink` stands
on a WebRTC data channel; :func:`memory_pair` joins two sessions in one process, where one protocol
is translated into another (:mod:`peerfetch_fast.peerfetch1`), and for tests and benchmarks.
"""

from __future__ import annotations

import asyncio
import random
from typing import Protocol

__all__ = ["Link", "LinkReceiver", "MemoryLink", "memory_pair"]


class LinkReceiver(Protocol):
    """The callbacks of a link to its session. None of these may raise."""

    def message_received(self, message: bytes | str) -> None:
        """One whole message has come, in whatever order."""

    def parts_received(self, head: bytes, body: bytes) -> None:
        """One whole message has come, cut in two where ``_wire.SPLITTER`` said."""

    def buffered_low(self) -> None:
        """``buffered_amount`` has fallen to ``low_water`` or below."""

    def link_closed(self, error: Exception | None) -> None:
        """Nothing more will come or go. Called once; ``error`` says why if it was not wished
        for.
        """


class Link(Protocol):
    """A reliable channel of messages that may arrive in any order; a session's are binary."""

    in_parts: bool
    """Whether messages are sent and received in two parts where that saves a copy."""

    resumes: bool
    """Whether the link looks after its path and can move to another one: what is silent may come
    back."""

    low_water: int
    """Bytes at which ``buffered_low`` is called on the way down."""

    @property
    def buffered_amount(self) -> int:
        """Bytes that send() took and that have not yet left."""

    @property
    def held(self) -> int:
        """Bytes of memory that the link holds: queued, in flight, and received in part."""

    @property
    def received(self) -> int:
        """A count that grows with every byte of a message that comes, as far as it is to be seen
        before the message is whole."""

    @property
    def max_message_size(self) -> int:
        """Bytes of the largest message that may be sent."""

    def attach(self, receiver: LinkReceiver) -> None:
        """Name who is told; messages that came before are told now."""

    def send(self, message: bytes | str) -> None:
        """Queue one message. Without effect on a closed link."""

    def send_parts(self, head: bytes, body: bytes, start: int, length: int) -> None:
        """Queue the message ``head + body[start:start+length]``. Only for links with
        ``in_parts``.
        """

    def flush(self) -> None:
        """Let what was queued leave now. Without it, it leaves at the end of a turn of the loop."""

    def close(self) -> None:
        """Close, without waiting for what is still queued. Idempotent; ``link_closed`` follows."""


class MemoryLink:
    """One end of a channel inside this process (see :func:`memory_pair`)."""

    in_parts = False
    resumes = False

    def __init__(self, rng: random.Random | None, delay: float, max_message_size: int) -> None:
        self.low_water = 0
        self.buffered_amount = 0
        self.received = 0
        self.max_message_size = max_message_size
        self.closed = False
        self._rng = rng
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._receiver: LinkReceiver | None = None
        self._early: list[bytes | str] = []
        self._queue: list[bytes | str] = []
        self._other: MemoryLink | None = None

    @property
    def held(self) -> int:
        return self.buffered_amount

    def attach(self, receiver: LinkReceiver) -> None:
        self._receiver = receiver
        early, self._early = self._early, []
        for message in early:
            receiver.message_received(message)

    def send(self, message: bytes | str) -> None:
        if self.closed:
            return
        self.buffered_amount += len(message)
        self._queue.append(message)
        if len(self._queue) == 1:
            if self._delay:
                self._loop.call_later(self._delay, self._carry)
            else:
                self._loop.call_soon(self._carry)

    def send_parts(self, head: bytes, body: bytes, start: int, length: int) -> None:
        self.send(head + body[start : start + length])

    def flush(self) -> None:
        """Nothing: what is under way together is delivered together."""

    def _carry(self) -> None:
        """Deliver what was queued, shuffled if a generator was given."""
        if self.closed or self._other is None:
            return
        messages, self._queue = self._queue, []
        if self._rng is not None:
            self._rng.shuffle(messages)
        high, self.buffered_amount = self.buffered_amount, 0
        for message in messages:
            self._other._deliver(message)
        if high > self.low_water and self._receiver is not None and not self.closed:
            self._receiver.buffered_low()

    def _deliver(self, message: bytes | str) -> None:
        if self.closed:
            return
        self.received += len(message)
        if self._receiver is None:
            self._early.append(message)
        else:
            self._receiver.message_received(message)

    def close(self) -> None:
        if not self.closed:
            self.cut(None)

    def cut(self, error: Exception | None) -> None:
        """Close both ends; what is under way is lost."""
        for end in (self, self._other):
            if end is not None and not end.closed:
                end.closed = True
                if end._receiver is not None:
                    end._loop.call_soon(end._receiver.link_closed, error)


def memory_pair(
    *, seed: int | None = None, delay: float = 0.0, max_message_size: int = 65536
) -> tuple[MemoryLink, MemoryLink]:
    """Two ends of a channel in this process, on the running loop.

    :param seed: shuffle messages that are under way together, reproducibly; None keeps their order.
    :param delay: seconds that each message takes.
    """
    rng = None if seed is None else random.Random(seed)  # noqa: S311 - not for secrets
    ends = [MemoryLink(rng, delay, max_message_size) for _ in range(2)]
    ends[0]._other, ends[1]._other = ends[1], ends[0]
    return ends[0], ends[1]
