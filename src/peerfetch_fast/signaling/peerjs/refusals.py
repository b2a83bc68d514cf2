"""The reasons for refusals of the signaling server: the keys of its counters."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Refusal"]


class Refusal(StrEnum):
    """One reason for which a message, a handshake or a client was refused."""

    # Messages. The sender stays connected, except after OVERSIZED and UNDECODABLE, which
    # leave the WebSocket without a boundary to go on from (RFC 6455 section 7.1.7).
    OVERSIZED = "oversized"
    UNDECODABLE = "undecodable"
    BINARY = "binary"
    NOT_JSON = "not-json"
    BAD_SHAPE = "bad-shape"
    BAD_ID = "bad-id"
    UNKNOWN_TYPE = "unknown-type"
    NOT_FOR_CLIENTS = "not-for-clients"
    FORGED_SRC = "forged-src"
    QUEUE_FULL = "queue-full"
    EXPIRED = "expired"
    THROTTLED = "throttled"

    # Connections.
    TOO_MANY_OF_ADDRESS = "too-many-of-address"
    TOO_MANY_CONNECTIONS = "too-many-connections"
    NO_REQUEST = "no-request"
    TOO_MUCH_INCOMING = "too-much-incoming"

    # Handshakes.
    MISSING_PARAMETERS = "missing-parameters"
    WRONG_KEY = "wrong-key"
    ID_TAKEN = "id-taken"
    TOO_MANY_CLIENTS = "too-many-clients"

    # Handshakes and requests of browsers.
    FOREIGN_ORIGIN = "foreign-origin"

    # Requests about rooms.
    WRONG_TOKEN = "wrong-token"  # noqa: S105
    WRONG_ROOM = "wrong-room"
    ROOM_FULL = "room-full"

    # Clients that had been let in.
    SILENT = "silent"
    SLOW_READER = "slow-reader"
