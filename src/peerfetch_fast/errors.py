"""Every error that peerfetch-fast raises on purpose.

All derive from :class:`PeerfetchError`. The message is a sentence for the person who reads the
traceback; the class is for the program.
"""

from __future__ import annotations

__all__ = [
    "ConnectError",
    "FetchTimeout",
    "HeadTooLarge",
    "IdTaken",
    "InvalidCandidate",
    "InvalidDescription",
    "InvalidRequest",
    "LinkClosed",
    "MessageError",
    "MessageTruncated",
    "PeerUnavailable",
    "PeerUnresponsive",
    "PeerfetchError",
    "ProtocolError",
    "SessionClosed",
    "SignalingError",
    "StreamError",
    "StreamReset",
    "StreamStopped",
]


class PeerfetchError(Exception):
    """The base of them all."""


class ProtocolError(PeerfetchError):
    """One side broke the rules of ``peerfetch.2``; the session is over.

    :ivar code: the error code, from the table in ``docs/protocol.md``.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class SessionClosed(PeerfetchError):
    """The session ended, by either side's wish; it carries no further streams.

    :ivar code: the code that GOAWAY carried; 0 for an orderly end.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class LinkClosed(PeerfetchError):
    """The connection under the session is gone: closed, failed or cut."""


class PeerUnresponsive(LinkClosed):
    """Nothing was heard of the other side for longer than ``Settings.dead_after``."""


class StreamError(PeerfetchError):
    """One stream ended before its message was whole; its neighbours go on.

    :ivar code: the application's error code, from the table in ``docs/protocol.md``.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class StreamReset(StreamError):
    """The other side gave up sending (RESET_STREAM): what was read so far is not whole."""


class StreamStopped(StreamError):
    """The other side no longer reads (STOP_SENDING): what was written may not have been used."""


class MessageError(PeerfetchError):
    """The other side sent something that is no HTTP message (docs/protocol.md, section 7)."""


class HeadTooLarge(MessageError):
    """A head or trailers larger than the receiver allows."""


class MessageTruncated(MessageError):
    """A stream ended in the middle of an HTTP message."""


class InvalidRequest(PeerfetchError, ValueError):
    """The request cannot be sent as it stands."""


class FetchTimeout(PeerfetchError, TimeoutError):
    """The answer did not come within the time that ``fetch(timeout=…)`` allows."""


class ConnectError(PeerfetchError):
    """No connection to the peer came about."""


class SignalingError(PeerfetchError):
    """The signaling server could not be reached, refused us, or spoke nonsense."""


class IdTaken(SignalingError):
    """Another client holds the peer id that was asked for."""


class PeerUnavailable(SignalingError, ConnectError):
    """The signaling server knows no peer of that id."""


class InvalidDescription(PeerfetchError, ValueError):
    """A session description (SDP) from the peer cannot be used."""


class InvalidCandidate(PeerfetchError, ValueError):
    """An ICE candidate from the peer is not one."""
