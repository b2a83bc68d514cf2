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
    """The events of a connection."""

    Open = "open"
    Stream = "stream"
    Data = "data"
    Close = "close"
    Error = "error"
    IceStateChanged = "iceStateChanged"


@unique
class ConnectionType(StrEnum):
    """The kinds of connections."""

    Data = "data"
    Media = "media"


@unique
class PeerEventType(StrEnum):
    """The events of a peer."""

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
    """The encodings of a connection's values."""

    Binary = "binary"
    BinaryUTF8 = "binary-utf8"
    JSON = "json"
    Raw = "raw"
    Unserialized = "none"
    """The name of ``raw`` before PeerJS 1.5."""


@unique
class SocketEventType(StrEnum):
    """The events of the connection to the signaling server; kept for programs that import them."""

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
