"""A session's link over one WebRTC data channel."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from peerfetch_fast._framing import SPLITTER
from peerfetch_fast.errors import LinkClosed
from peerfetch_fast.link import LinkReceiver
from peerfetch_fast.webrtc.transports import Connection

__all__ = ["LABEL", "MAX_EARLY", "PROTOCOL", "ChannelLink", "open_channel"]

LABEL = "peerfetch"
PROTOCOL = "peerfetch.2"

# What a size of 0 stands for (RFC 8841 §6.1).
_UNLIMITED = 1 << 30

MAX_EARLY = 1 << 20
"""Bytes that may come before there is a session, each message counted with what it costs to keep.
What the protocol lets a peer send so early is a quarter of this."""
_MESSAGE_COST = 100


def open_channel(connection: Connection) -> Any:
    """The channel that docs/protocol.md, section 1 asks for, from the opener's side."""
    return connection.createDataChannel(LABEL, ordered=False, protocol=PROTOCOL)


def _deliver(channel: Any, callback: Callable[[bytes | str], object]) -> None:
    """Have ``channel`` give its messages to ``callback`` and nobody else."""
    if hasattr(channel, "on_message"):
        channel.on_message = callback  # the native channel calls it itself, once a message
    else:
        channel.remove_all_listeners("message")
        channel.on("message", callback)


class ChannelLink:
    """A :class:`~peerfetch_fast.link.Link` over ``channel`` of ``connection``.

    Make it as soon as there is a channel: messages may come before the channel reports open, and
    are kept until :meth:`attach`.

    :param frames: whether messages hold frames of ``peerfetch.2``, and may be cut between a frame's
        head and its data.
    """

    def __init__(self, connection: Connection, channel: Any, *, frames: bool = True) -> None:
        self._connection = connection
        self._channel = channel
        self._receiver: LinkReceiver | None = None
        self._early: list[bytes | str] = []
        self._closed = False
        self._native = native = hasattr(channel, "send_parts")
        self.in_parts = native and frames
        self.resumes = native and frames
        self._error: Exception | None = None
        self._early_size = 0
        _deliver(channel, self._on_early)
        if native:
            channel.on_low = self._on_low
        else:
            channel.on("bufferedamountlow", self._on_low)
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
        if self._native:
            core = self._channel.native
            return 0 if core is None else int(core.buffered_amount)
        return int(self._channel.bufferedAmount)

    @property
    def held(self) -> int:
        """Bytes of memory that the channel's association holds, as far as it is ours to see."""
        return int(self._channel.held if self._native else self._channel.bufferedAmount)

    @property
    def received(self) -> int:
        """See :class:`~peerfetch_fast.link.Link`; aiortc's transport shows nothing of it."""
        return self._channel.received if self._native else 0

    @cached_property
    def max_message_size(self) -> int:
        """Bytes of the largest message that the other side takes (RFC 8841), once it has described
        itself.
        """
        return min(self._connection.max_message_size or _UNLIMITED, _UNLIMITED)

    def attach(self, receiver: LinkReceiver) -> None:
        """Name who is told; messages that came before are told now."""
        self._receiver = receiver
        if self._native and not self._closed:
            self._channel.on_low = receiver.buffered_low
        _deliver(self._channel, receiver.message_received)
        if self.in_parts:
            self._channel.take_parts(SPLITTER, receiver.parts_received)
        early, self._early = self._early, []
        for message in early:
            receiver.message_received(message)
        if self._closed:
            receiver.link_closed(self._error)

    def send(self, message: bytes | str) -> None:
        """Queue one message. Without effect unless the channel is open."""
        if self._channel.readyState == "open":
            self._channel.send(message)

    def send_parts(self, head: bytes, body: bytes, start: int, length: int) -> None:
        """Queue one message in two parts. Without effect unless the channel is open."""
        if self._channel.readyState == "open":
            self._channel.send_parts(head, body, start, length)

    def flush(self) -> None:
        """See :class:`~peerfetch_fast.link.Link`; aiortc's transport sends by itself."""
        if self._native:
            self._channel.flush()

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
