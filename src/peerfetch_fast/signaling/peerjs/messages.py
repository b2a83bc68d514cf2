"""The messages of the PeerJS signaling protocol: their shapes, and the checks of those received.

Both sides use this file, so that neither sends what the other refuses. A message is one WebSocket
text message that holds a JSON object: ``type``, and where the type asks for them ``src``, ``dst``
and ``payload``. The payload is opaque here: only the peers read it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

import orjson

from peerfetch_fast.errors import SignalingError
from peerfetch_fast.signaling.peerjs.refusals import Refusal

__all__ = [
    "CLOSE_NORMAL",
    "CLOSE_POLICY",
    "CLOSE_SILENT",
    "CLOSE_TAKEN_OVER",
    "ENVELOPE",
    "FORWARDED",
    "MAX_ID_LENGTH",
    "MAX_TOKEN_LENGTH",
    "QUEUED",
    "BadMessage",
    "Message",
    "MessageType",
    "encode",
    "is_peer_id",
    "is_remote_id",
    "is_remote_token",
    "is_token",
    "parse",
]

# WebSocket close codes: RFC 6455 section 7.4.1, and from the range for private use (7.4.2).
CLOSE_NORMAL = 1000
CLOSE_POLICY = 1008
#: The same id and token connected anew: if the client did not do that itself, another one has both.
CLOSE_TAKEN_OVER = 4001
CLOSE_SILENT = 4002

#: The longest peer id, key and signaling token of ours, in characters.
MAX_ID_LENGTH = 128

#: The longest signaling token that a server takes, in characters: some programs use more than a
#: random value (a JWT, say).
MAX_TOKEN_LENGTH = 1024

#: Bytes that a server may add to a message that it passes on: the sender's id.
ENVELOPE = 1024

# Wider than PeerJS's own rule for ids (letters and digits, joined by single spaces, dashes or
# underscores), so that no id that a PeerJS client takes is refused. No dot and no slash: plug and
# play rooms put ids into URL paths.
_PEER_ID = re.compile(r"[A-Za-z0-9_-](?:[A-Za-z0-9 _-]*[A-Za-z0-9_-])?")
_TOKEN = re.compile(r"[!-~]+")


class MessageType(StrEnum):
    """The value of a message's ``type``; compares equal to that string."""

    OPEN = "OPEN"
    ID_TAKEN = "ID-TAKEN"
    ERROR = "ERROR"
    HEARTBEAT = "HEARTBEAT"
    OFFER = "OFFER"
    ANSWER = "ANSWER"
    CANDIDATE = "CANDIDATE"
    LEAVE = "LEAVE"
    EXPIRE = "EXPIRE"


#: The types that one peer sends to another.
FORWARDED = frozenset(
    {
        MessageType.OFFER,
        MessageType.ANSWER,
        MessageType.CANDIDATE,
        MessageType.LEAVE,
        MessageType.EXPIRE,
    }
)
#: The types of messages that wait for a destination which is not connected.
QUEUED = FORWARDED - {MessageType.LEAVE, MessageType.EXPIRE}

_TYPES = {member.value: member for member in MessageType}


class BadMessage(SignalingError):
    """The text that came is no message of the signaling protocol.

    :ivar refusal: the rule that it broke.
    """

    def __init__(self, refusal: Refusal, message: str) -> None:
        super().__init__(message)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Message:
    """One message. ``payload`` is any JSON value; None where there is none."""

    type: MessageType
    src: str | None = None
    dst: str | None = None
    payload: object = None


def is_peer_id(text: str) -> bool:
    """Whether ``text`` can be a peer id."""
    return len(text) <= MAX_ID_LENGTH and _PEER_ID.fullmatch(text) is not None


def is_token(text: str) -> bool:
    """Whether ``text`` can be a signaling token: printable ASCII without spaces."""
    return len(text) <= MAX_ID_LENGTH and _TOKEN.fullmatch(text) is not None


def is_remote_id(text: str) -> bool:
    """Whether ``text`` can be the id of a program that is not ours: PeerJS's servers take any, and
    here those that can be printed are taken.
    """
    return 0 < len(text) <= MAX_ID_LENGTH and text.isprintable()


def is_remote_token(text: str) -> bool:
    """Whether ``text`` can be the signaling token of a program that is not ours."""
    return 0 < len(text) <= MAX_TOKEN_LENGTH


def parse(data: str | bytes) -> Message:
    """Read one message.

    Raises BadMessage if it is not JSON, not of the right shape, or of no known type.
    """
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadMessage(Refusal.NOT_JSON, "the message is not JSON") from error
    if not isinstance(fields, dict):
        raise BadMessage(Refusal.BAD_SHAPE, "the message is not a JSON object")
    name = fields.get("type")
    if not isinstance(name, str):
        raise BadMessage(Refusal.BAD_SHAPE, "the message has no type")
    kind = _TYPES.get(name)
    if kind is None:
        raise BadMessage(Refusal.UNKNOWN_TYPE, "the message is of an unknown type")
    return Message(
        kind, _peer_id(fields, "src"), _peer_id(fields, "dst"), payload=fields.get("payload")
    )


def _peer_id(fields: dict[str, object], name: str) -> str | None:
    # PeerJS reads an empty id as none at all.
    value = fields.get(name) or None
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadMessage(Refusal.BAD_SHAPE, f"the message's {name} is not a string")
    if not is_remote_id(value):
        raise BadMessage(Refusal.BAD_ID, f"the message's {name} is not a peer id")
    return value


def encode(message: Message) -> bytes:
    """Write one message as JSON in UTF-8; fields that are None are left out.

    Raises BadMessage if the payload has no JSON form, or is nested too deeply for one.
    """
    fields: dict[str, object] = {"type": message.type.value}
    if message.src is not None:
        fields["src"] = message.src
    if message.dst is not None:
        fields["dst"] = message.dst
    if message.payload is not None:
        fields["payload"] = message.payload
    try:
        # A copy: orjson leaves its object in a buffer of kilobytes, which a queue would keep.
        return bytes(memoryview(orjson.dumps(fields)))
    except orjson.JSONEncodeError as error:
        raise BadMessage(Refusal.BAD_SHAPE, f"the payload has no JSON form: {error}") from error
