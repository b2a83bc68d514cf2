"""How an association, a channel or a call to them fails."""

from __future__ import annotations

from peerfetch_fast.errors import LinkClosed, PeerfetchError

__all__ = [
    "AssociationAborted",
    "AssociationError",
    "AssociationLost",
    "ChannelClosed",
    "MessageTooLarge",
    "PeerViolation",
    "SendBufferFull",
    "TooManyChannels",
]


class AssociationError(LinkClosed):
    """The association ended otherwise than by both sides shutting it down.

    :ivar cause: the error cause of the ABORT, sent or received (RFC 9260 §3.3.10); 0 for none.
    """

    def __init__(self, message: str, cause: int = 0) -> None:
        super().__init__(message)
        self.cause = cause


class AssociationAborted(AssociationError):
    """One side sent an ABORT of its own will."""


class AssociationLost(AssociationError):
    """The peer stopped answering."""


class PeerViolation(AssociationError):
    """The peer broke SCTP's rules or exceeded a bound of ours."""


class ChannelClosed(LinkClosed):
    """The data channel is closing or closed: it sends no more."""


class SendBufferFull(PeerfetchError, BufferError):
    """More unsent data than ``AssociationSettings.send_buffer``; wait for ``BufferedAmountLow``."""


class MessageTooLarge(PeerfetchError, ValueError):
    """The message is larger than the peer takes."""


class TooManyChannels(PeerfetchError):
    """No stream is free for another data channel."""
