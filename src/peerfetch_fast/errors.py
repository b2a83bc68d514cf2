"""Every error that peerfetch-fast raises on purpose.

The message is a sentence for the person who reads the traceback; the class is for the program. They
are a tree by how they are caught::

    PeerfetchError
        NotConnected
            SessionEnded
                ProtocolError
                SessionClosed
                    AccessDenied
                    MemoryExceeded
                LinkClosed
                    PeerUnresponsive
                    RequestLost
            ConnectError
                RelayError
                MappingError
                IdentityChanged
                PeerLost
            SignalingError
                SignalingUnavailable
                IdTaken
                PeerUnavailable
        StreamError
            StreamReset
            StreamStopped
        MessageError
            HeadTooLarge
            MessageTruncated
            WireError
        InvalidRequest
        FetchTimeout
        RedirectError
        ApplicationError
        UpgradeRefused
        WebSocketClosed
        WebSocketError
        InvalidDescription
        InvalidIceServer
        InvalidPin
        InvalidAccessToken
        InvalidCode
        InvalidCandidate
        MissingExtra
        RendezvousError
        CameraError
        SharingError
            UnsafeName
            FilesExist
        InvalidState

PeerUnavailable is a ConnectError, too. What is a ValueError, TimeoutError or ImportError as well
derives from that besides.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

__all__ = [
    "AccessDenied",
    "ApplicationError",
    "Awaited",
    "CameraError",
    "ConnectError",
    "FetchTimeout",
    "FilesExist",
    "HeadTooLarge",
    "IdTaken",
    "IdentityChanged",
    "InvalidAccessToken",
    "InvalidCandidate",
    "InvalidCode",
    "InvalidDescription",
    "InvalidIceServer",
    "InvalidPin",
    "InvalidRequest",
    "InvalidState",
    "LinkClosed",
    "MappingError",
    "MemoryExceeded",
    "MessageError",
    "MessageTruncated",
    "MissingExtra",
    "NotConnected",
    "PeerLost",
    "PeerUnavailable",
    "PeerUnresponsive",
    "PeerfetchError",
    "ProtocolError",
    "RedirectError",
    "RelayError",
    "RendezvousError",
    "RequestLost",
    "SessionClosed",
    "SessionEnded",
    "SharingError",
    "SignalingError",
    "SignalingUnavailable",
    "StreamError",
    "StreamReset",
    "StreamStopped",
    "UnsafeName",
    "UpgradeRefused",
    "WebSocketClosed",
    "WebSocketError",
    "WireError",
]


class PeerfetchError(Exception):
    """The base of them all."""


class NotConnected(PeerfetchError):
    """There is no connection to the peer: none came about, or it is gone."""


class SessionEnded(NotConnected):
    """The session that a stream, a request or a WebSocket was on has ended."""


class ProtocolError(SessionEnded):
    """One side broke the rules of ``peerfetch.2``; the session is over.

    :ivar code: the error code, from the table in ``docs/protocol.md``.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class SessionClosed(SessionEnded):
    """The session ended, by either side's wish; it carries no further streams.

    :ivar code: the code that GOAWAY carried; 0 for an orderly end.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class AccessDenied(SessionClosed):
    """One side did not prove that it knows the access token or the code. Trying again will not
    help."""


class MemoryExceeded(SessionClosed):
    """More would be held for the other side than ``Settings.memory`` allows; or more for all peers
    than ``Limits.memory`` allows, and most of it for this one.
    """


class LinkClosed(SessionEnded):
    """The connection under the session is gone: closed, failed or cut."""


class PeerUnresponsive(LinkClosed):
    """Nothing was heard of the other side for longer than ``Settings.dead_after``."""


class RequestLost(LinkClosed):
    """The connection broke before the answer came, and the request was not repeated: it may have
    been carried out.
    """


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


class WireError(MessageError):
    """Octets on a connection that are no HTTP/1.1 message, or none that is tolerated.

    :ivar status: what a server answers such a request with.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class InvalidRequest(PeerfetchError, ValueError):
    """The request cannot be sent as it stands."""


class Awaited(Enum):
    """The steps of a request that may have to wait."""

    CONNECTION = "connection"
    STREAM = "stream"
    HEAD = "head"
    PIECE = "piece"
    UPLOAD = "upload"


class FetchTimeout(PeerfetchError, TimeoutError):
    """The answer did not come within the time that ``fetch(timeout=…)`` allows.

    :ivar waited_for: what was waited for.
    """

    def __init__(self, message: str, waited_for: Awaited) -> None:
        super().__init__(message)
        self.waited_for = waited_for


class RedirectError(PeerfetchError):
    """The answer is a redirect that was not to be, or cannot be, followed."""


class ApplicationError(PeerfetchError):
    """The application that was to be served did not start."""


class UpgradeRefused(PeerfetchError):
    """The other side answered a request for a WebSocket or a tunnel as if it were any request.

    :ivar status: the status of its answer.
    :ivar headers: the header fields of it: ordered, repeatable, case-insensitive.
    :ivar body: its beginning.
    """

    def __init__(
        self, message: str, status: int, headers: CIMultiDictProxy[str], body: bytes
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.body = body


class WebSocketClosed(PeerfetchError):
    """The WebSocket is closed.

    :ivar code: the code that it was closed with (RFC 6455 §7.4.1); 1005 for none, 1006 when it
        broke off.
    :ivar reason: the words that came with the code.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the WebSocket is closed: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class WebSocketError(PeerfetchError):
    """The other side sent what a WebSocket does not allow, or a message that is too large.

    :ivar code: what the WebSocket is closed with (RFC 6455 §7.4.1).
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class ConnectError(NotConnected):
    """No connection to the peer came about."""


class RelayError(ConnectError):
    """A TURN server does not relay for us."""


class MappingError(ConnectError):
    """A router opens no port for us."""


class IdentityChanged(ConnectError):
    """The peer's certificate is not the one that is known: perhaps somebody stands between."""


class PeerLost(ConnectError):
    """The connection broke, and the peer was not found again in time."""


class SignalingError(NotConnected):
    """The signaling server could not be reached, refused us, or spoke nonsense."""


class SignalingUnavailable(SignalingError):
    """The signaling server is not there, or not able just now: later it may be."""


class IdTaken(SignalingError):
    """Another client holds the peer id that was asked for."""


class PeerUnavailable(SignalingError, ConnectError):
    """The signaling server knows no peer of that id."""


class InvalidDescription(PeerfetchError, ValueError):
    """A session description (SDP) from the peer cannot be used."""


class InvalidIceServer(PeerfetchError, ValueError):
    """A given STUN or TURN server cannot be used."""


class InvalidPin(PeerfetchError, ValueError):
    """A given fingerprint of a certificate is none."""


class InvalidAccessToken(PeerfetchError, ValueError):
    """A given access token cannot be one."""


class InvalidCode(PeerfetchError, ValueError):
    """A given code for pairing is none."""


class InvalidCandidate(PeerfetchError, ValueError):
    """An ICE candidate from the peer is not one."""


class MissingExtra(PeerfetchError, ImportError):
    """A feature needs a package that is not installed; the message says which extra to
    install."""


class RendezvousError(PeerfetchError):
    """A rendezvous server cannot do what it is for: relays, or a certificate."""


class CameraError(PeerfetchError):
    """A camera or a microphone gives no pictures or no sound, or none that can be passed on."""


class SharingError(PeerfetchError):
    """Files were not shared or received."""


class UnsafeName(SharingError):
    """Somebody offers a file under a name by which it must not be kept here."""


class FilesExist(SharingError):
    """Files would have to be overwritten, which nobody has allowed."""


class InvalidState(PeerfetchError):
    """A connection or channel is not in the state that the call needs."""
