"""A session's link over one WebRTC data channel: ours, or aiortc's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from peerfetch_fast.errors import LinkClosed
from peerfetch_fast.streams._wire import SPLITTER
from peerfetch_fast.streams.link import LinkReceiver
from peerfetch_fast.webrtc.transports import Connection

if TYPE_CHECKING:
    from peerfetch_fast.webrtc.channels import DataChannel

__all__ = ["LABEL", "MAX_EARLY", "PROTOCOL", "ChannelLink", "link_over", "open_channel"]

LABEL = "peerfetch"
PROTOCOL = "peerfetch.2"

# The size that 0 stands for (RFC 8841 §6.1).
_UNLIMITED = 1 << 30

MAX_EARLY = 1 << 20
"""Bytes that may come before there is a session, each message counted with what it costs to keep.
What the protocol lets a peer send so early is a quarter of this."""
_MESSAGE_COST = 100


def open_channel(connection: Connection) -> Any:
    """The channel that docs/protocol.md, section 1 asks for, from the opener's side."""
    return connection.createDataChannel(LABEL, ordered=False, protocol=PROTOCOL)


def link_over(connection: Connection, channel: Any, *, frames: bool = True) -> ChannelLink:
    """The :class:`~peerfetch_fast.streams.link.Link` over ``channel`` of ``connection``.

    Make it as soon as there is a channel: messages may come before the channel reports open, and
    are kept until :meth:`ChannelLink.attach`.

    :param frames: whether messages hold frames of ``peerfetch.2``, and may be cut between a frame's
        head and its data.
    """
    if connection.transport == "native":
        return NativeLink(connection, channel, frames=frames)
    return StockLink(connection, channel)


class ChannelLink(ABC):
    """A :class:`~peerfetch_fast.streams.link.Link`. Made by :func:`link_over`."""

    in_parts = False
    resumes = False

    def __init__(self, connection: Connection, channel: Any) -> None:
        self._connection = connection
        self._channel = channel
        self._receiver: LinkReceiver | None = None
        self._early: list[bytes | str] = []
        self._closed = False
        self._error: Exception | None = None
        self._early_size = 0
        self._deliver(self._on_early)
        channel.on("close", self._on_close)
        connection.on("connectionstatechange", self._on_state)

    @property
    def channel(self) -> Any:
        """The channel, for those who know what they do with it."""
        return self._channel

    @property
    def low_water(self) -> int:
        """Bytes at which the receiver's ``buffered_low`` is called on the way down."""
        return int(self._channel.bufferedAmountLowThreshold)

    @low_water.setter
    def low_water(self, value: int) -> None:
        self._channel.bufferedAmountLowThreshold = value

    @property
    def buffered_amount(self) -> int:
        """Bytes that the channel holds and has not yet sent."""
        return int(self._channel.bufferedAmount)

    @property
    def held(self) -> int:
        """Bytes of memory that the channel's association holds, as far as it is ours to see."""
        return self.buffered_amount

    @property
    def received(self) -> int:
        """See :class:`~.streams.link.Link`; aiortc's transport shows nothing of it."""
        return 0

    @cached_property
    def max_message_size(self) -> int:
        """Bytes of the largest message that the other side takes (RFC 8841), once it has described
        itself.
        """
        return min(self._connection.max_message_size or _UNLIMITED, _UNLIMITED)

    def attach(self, receiver: LinkReceiver) -> None:
        """Name who is told; messages that came before are told now."""
        self._receiver = receiver
        self._listen(receiver)
        early, self._early = self._early, []
        for message in early:
            receiver.message_received(message)
        if self._closed:
            receiver.link_closed(self._error)

    def _listen(self, receiver: LinkReceiver) -> None:
        self._deliver(receiver.message_received)

    @abstractmethod
    def _deliver(self, callback: Callable[[bytes | str], object]) -> None:
        """Have the channel give its messages to ``callback`` and nobody else."""

    @abstractmethod
    def send(self, message: bytes | str) -> None:
        """Queue one message. Without effect unless the channel is open."""

    @abstractmethod
    def send_parts(self, head: bytes, body: bytes, start: int, length: int) -> None:
        """Queue one message in two parts, where ``in_parts``. Without effect unless the channel is
        open.
        """

    @abstractmethod
    def flush(self) -> None:
        """See :class:`~.streams.link.Link`."""

    def close(self) -> None:
        """Close the channel. Idempotent."""
        if not self._closed:
            if self._channel.readyState in ("connecting", "open"):
                self._channel.close()
            self._on_close()

    def _on_early(self, message: bytes | str) -> None:
        if self._closed:
            return
        self._early_size += len(message) + _MESSAGE_COST
        if self._early_size <= MAX_EARLY:
            self._early.append(message)
            return
        self._lose(LinkClosed("the other side sent too much before the session began"))
        if self._channel.readyState in ("connecting", "open"):
            self._channel.close()

    def _on_low(self) -> None:
        if self._receiver is not None and not self._closed:
            self._receiver.buffered_low()

    def _on_state(self) -> None:
        state = self._connection.connectionState
        if state in ("failed", "closed"):
            self._lose(LinkClosed(f"the peer connection has {state}"))

    def _on_close(self) -> None:
        self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if not self._closed:
            self._closed = True
            self._error = error
            if self._receiver is not None:
                self._receiver.link_closed(error)


class NativeLink(ChannelLink):
    """Over a :class:`~.channels.DataChannel`, which calls back once a message and emits nothing."""

    _channel: DataChannel

    def __init__(self, connection: Connection, channel: DataChannel, *, frames: bool) -> None:
        super().__init__(connection, channel)
        self.in_parts = self.resumes = frames
        channel.on_low = self._on_low

    @property
    def buffered_amount(self) -> int:
        native = self._channel.native
        return 0 if native is None else native.buffered_amount

    @property
    def held(self) -> int:
        return self._channel.held

    @property
    def received(self) -> int:
        return self._channel.received

    def _listen(self, receiver: LinkReceiver) -> None:
        super()._listen(receiver)
        if not self._closed:
            self._channel.on_low = receiver.buffered_low
        if self.in_parts:
            self._channel.take_parts(SPLITTER, receiver.parts_received)

    def _deliver(self, callback: Callable[[bytes | str], object]) -> None:
        self._channel.on_message = callback

    def send(self, message: bytes | str) -> None:
        self._channel.put(message)

    def send_parts(self, head: bytes, body: bytes, start: int, length: int) -> None:
        self._channel.put_parts(head, body, start, length)

    def flush(self) -> None:
        self._channel.flush()


class StockLink(ChannelLink):
    """Over a data channel of aiortc."""

    def __init__(self, connection: Connection, channel: Any) -> None:
        super().__init__(connection, channel)
        channel.on("bufferedamountlow", self._on_low)

    def _deliver(self, callback: Callable[[bytes | str], object]) -> None:
        self._channel.remove_all_listeners("message")
        self._channel.on("message", callback)

    def send(self, message: bytes | str) -> None:
        if self._channel.readyState == "open":
            self._channel.send(message)

    def send_parts(self, head: bytes, body: bytes, start: int, length: int) -> None:
        self.send(head + body[start : start + length])

    def flush(self) -> None:
        """Nothing: aiortc sends by itself."""
