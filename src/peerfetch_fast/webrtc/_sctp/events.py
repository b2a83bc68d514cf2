"""The events of an association, besides messages and channels that the peer opens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peerfetch_fast.webrtc._sctp.channels import Channel

__all__ = [
    "BufferedAmountLow",
    "ChannelClosed",
    "ChannelClosing",
    "ChannelOpen",
    "Connected",
    "Disconnected",
    "Event",
]


@dataclass(frozen=True)
class Connected:
    """The association is established."""


@dataclass(frozen=True)
class Disconnected:
    """The association has ended; ``Association.error`` says why (None: it was shut down)."""


@dataclass(frozen=True)
class ChannelOpen:
    """A channel of ours carries messages from now on."""

    channel: Channel


@dataclass(frozen=True)
class ChannelClosing:
    """The peer closes the channel; what it sent before has been delivered."""

    channel: Channel


@dataclass(frozen=True)
class ChannelClosed:
    """The channel is gone, on both sides or with the association."""

    channel: Channel


# One is made for each message of a bulk transfer, and frozen ones take thrice as long to make.
@dataclass(slots=True, unsafe_hash=True)
class BufferedAmountLow:
    """The channel's buffered amount fell to its low threshold."""

    channel: Channel


Event = Connected | Disconnected | ChannelOpen | ChannelClosing | ChannelClosed | BufferedAmountLow
