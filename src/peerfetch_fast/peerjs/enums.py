"""The names of events, errors and kinds. Each is also the string that PeerJS has for it."""

from __future__ import annotations

from enum import StrEnum, unique

__all__ = [
    "ConnectionEventType",
    "ConnectionType",
    "PeerErrorType",
    "PeerEventType",
    "SerializationType",
    "ServerMessageType",
    "SocketEventType",
]


@unique
class ConnectionEventType(StrEnum):
    """What a connection emits."""

    Open = "open"
    Stream = "stream"
    Data = "data"
    Close = "close"
    Error = "error"
    IceStateChanged = "iceStateChanged"


@unique
class ConnectionType(StrEnum):
    """What a connection carries."""

    Data = "data"
    Media = "media"


@unique
class PeerEventType(StrEnum):
    """What a peer emits."""

    Open = "open"
    Close = "close"
    Connection = "connection"
    Call = "call"
    Disconnected = "disconnected"
    Error = "error"


@unique
class PeerErrorType(StrEnum):
    """The ``type`` of an error."""

    BrowserIncompatible = "browser-incompatible"
    Disconnected = "disconnected"
    InvalidID = "invalid-id"
    InvalidKey = "invalid-key"
    Network = "network"
    PeerUnavailable = "peer-unavailable"
    SslUnavailable = "ssl-unavailable"
    ServerError = "server-error"
    SocketError = "socket-error"
    SocketClosed = "socket-closed"
    UnavailableID = "unavailable-id"
    WebRTC = "webrtc"


@unique
class SerializationType(StrEnum):
    """How a connection writes what it is given."""

    Binary = "binary"
    BinaryUTF8 = "binary-utf8"
    JSON = "json"
    Raw = "raw"
    Unserialized = "none"
    """Before PeerJS 1.5: what is raw since."""


@unique
class SocketEventType(StrEnum):
    """What the connection to the signaling server emitted; kept for the programs that import it."""

    Message = "message"
    Disconnected = "disconnected"
    Error = "error"
    Close = "close"


@unique
class ServerMessageType(StrEnum):
    """The ``type`` of a signaling message."""

    Heartbeat = "HEARTBEAT"
    Candidate = "CANDIDATE"
    Offer = "OFFER"
    Answer = "ANSWER"
    Open = "OPEN"
    Error = "ERROR"
    IdTaken = "ID-TAKEN"
    InvalidKey = "INVALID-KEY"
    Leave = "LEAVE"
    Expire = "EXPIRE"
