"""STUN messages (RFC 8489) as ICE has them: signed with a short-term credential."""

from __future__ import annotations

import hmac
import socket
import struct
import zlib
from collections.abc import Iterable

__all__ = [
    "MAX_MESSAGE",
    "Message",
    "StunError",
    "attribute",
    "error_code",
    "pack_address",
    "parse",
    "seal",
    "unpack_address",
]

REQUEST, INDICATION, RESPONSE, ERROR = 0x0001, 0x0011, 0x0101, 0x0111
"""Message types of the method Binding."""

MAPPED_ADDRESS = 0x0001
USERNAME = 0x0006
MESSAGE_INTEGRITY = 0x0008
ERROR_CODE = 0x0009
UNKNOWN_ATTRIBUTES = 0x000A
REALM = 0x0014
NONCE = 0x0015
MESSAGE_INTEGRITY_SHA256 = 0x001C
XOR_MAPPED_ADDRESS = 0x0020
PRIORITY = 0x0024
USE_CANDIDATE = 0x0025
FINGERPRINT = 0x8028
ICE_CONTROLLED = 0x8029
ICE_CONTROLLING = 0x802A

KNOWN = frozenset(
    (
        MAPPED_ADDRESS,
        USERNAME,
        ERROR_CODE,
        UNKNOWN_ATTRIBUTES,
        REALM,
        NONCE,
        MESSAGE_INTEGRITY_SHA256,
        XOR_MAPPED_ADDRESS,
        PRIORITY,
        USE_CANDIDATE,
    )
)
"""The comprehension-required attributes that are understood."""

COMPREHENSION_OPTIONAL = 0x8000
COOKIE = 0x2112A442
COOKIE_BYTES = COOKIE.to_bytes(4, "big")
FINGERPRINT_XOR = 0x5354554E
HEADER_LENGTH = 20
INTEGRITY_LENGTH = 24
FINGERPRINT_LENGTH = 8

MAX_MESSAGE = 1_500
"""Bytes of the longest message that is read: an Ethernet frame's."""

MAX_ATTRIBUTES = 32
"""Attributes in a message that is read; ICE's have up to ten."""

_HEADER = struct.Struct(">HHI12s")
_ATTRIBUTE = struct.Struct(">HH")
_FINGERPRINT = struct.Struct(">HHI")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class StunError(ValueError):
    """The datagram is not a STUN message."""


class Message:
    """One message. Attributes behind MESSAGE-INTEGRITY are not signed, and left out.

    :ivar kind: method and class, as on the wire.
    :ivar attributes: by number, the first of each (RFC 8489 section 14).
    :ivar unknown: numbers of attributes that had to be understood.
    """

    __slots__ = ("_data", "_signed", "attributes", "kind", "transaction", "unknown")

    def __init__(self, kind: int, transaction: bytes, attributes: dict[int, bytes]) -> None:
        self.kind = kind
        self.transaction = transaction
        self.attributes = attributes
        self.unknown: list[int] = []
        self._data = b""
        self._signed = 0

    def encode(self, key: bytes | None = None) -> bytes:
        """The message as it is sent, with MESSAGE-INTEGRITY if there is a key, and FINGERPRINT."""
        body = b"".join(attribute(*one) for one in self.attributes.items())
        return seal(self.kind, self.transaction, body, key)

    def verify(self, key: bytes) -> bool:
        """Whether a message that was read is signed with this key."""
        at = self._signed
        if not at:
            return False
        # The length is that of the message up to and with MESSAGE-INTEGRITY (section 14.5).
        length = (at + INTEGRITY_LENGTH - HEADER_LENGTH).to_bytes(2, "big")
        data = self._data
        digest = hmac.digest(key, data[:2] + length + data[4:at], "sha1")
        return hmac.compare_digest(digest, data[at + 4 : at + INTEGRITY_LENGTH])


def parse(data: bytes) -> Message:
    """Read a datagram.

    Raises StunError if it is not a well-formed message, or its FINGERPRINT is wrong.
    """
    size = len(data)
    if not HEADER_LENGTH <= size <= MAX_MESSAGE:
        raise StunError("not of a message's length")
    kind, length, cookie, transaction = _HEADER.unpack_from(data)
    if kind >= 0x4000 or cookie != COOKIE or length & 3 or length != size - HEADER_LENGTH:
        raise StunError("not a message's header")
    attributes: dict[int, bytes] = {}
    message = Message(kind, transaction, attributes)
    at, count = HEADER_LENGTH, 0
    while at < size:
        name, length = _ATTRIBUTE.unpack_from(data, at)
        start = at + 4
        after = start + (length + 3 & ~3)
        count += 1
        if after > size or count > MAX_ATTRIBUTES:
            raise StunError("an attribute does not fit")
        if name == FINGERPRINT:
            _check_fingerprint(data, at, length)
        elif message._signed:
            pass
        elif name == MESSAGE_INTEGRITY:
            if length != INTEGRITY_LENGTH - 4:
                raise StunError("MESSAGE-INTEGRITY is not of its length")
            message._data, message._signed = data, at
        elif name not in attributes:
            attributes[name] = data[start : start + length]
            if name < COMPREHENSION_OPTIONAL and name not in KNOWN:
                message.unknown.append(name)
        at = after
    return message


def _check_fingerprint(data: bytes, at: int, length: int) -> None:
    if length != 4 or at + FINGERPRINT_LENGTH != len(data):
        raise StunError("FINGERPRINT is not the last attribute")
    if zlib.crc32(data[:at]) ^ FINGERPRINT_XOR != int.from_bytes(data[at + 4 :], "big"):
        raise StunError("FINGERPRINT is wrong")


def attribute(name: int, value: bytes) -> bytes:
    """One attribute, padded."""
    length = len(value)
    return _ATTRIBUTE.pack(name, length) + value + _PADDING[length & 3]


def seal(kind: int, transaction: bytes, body: bytes, key: bytes | None) -> bytes:
    """A message of attributes that are encoded: header, MESSAGE-INTEGRITY and FINGERPRINT."""
    length = len(body)
    if key is not None:
        length += INTEGRITY_LENGTH
        data = _HEADER.pack(kind, length, COOKIE, transaction) + body
        body += b"\0\x08\0\x14" + hmac.digest(key, data, "sha1")
    data = _HEADER.pack(kind, length + FINGERPRINT_LENGTH, COOKIE, transaction) + body
    return data + _FINGERPRINT.pack(FINGERPRINT, 4, zlib.crc32(data) ^ FINGERPRINT_XOR)


def pack_address(address: tuple[str, int], transaction: bytes) -> bytes:
    """The value of XOR-MAPPED-ADDRESS (RFC 8489 section 14.2).

    Raises OSError if the host is not an address.
    """
    host, port = address
    if ":" in host:
        # A scope is this machine's own affair.
        family, packed = 2, socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    else:
        family, packed = 1, socket.inet_pton(socket.AF_INET, host)
    head = struct.pack(">HH", family, port ^ COOKIE >> 16)
    return head + _xor(packed, COOKIE_BYTES + transaction)


def unpack_address(value: bytes, transaction: bytes | None) -> tuple[str, int]:
    """The address in XOR-MAPPED-ADDRESS, or without a transaction in MAPPED-ADDRESS.

    Raises StunError if there is none.
    """
    if len(value) == 8 and value[1] == 1:
        family = socket.AF_INET
    elif len(value) == 20 and value[1] == 2:
        family = socket.AF_INET6
    else:
        raise StunError("not an address")
    port, packed = int.from_bytes(value[2:4], "big"), value[4:]
    if transaction is not None:
        port ^= COOKIE >> 16
        packed = _xor(packed, COOKIE_BYTES + transaction)
    return socket.inet_ntop(family, packed), port


def _xor(value: bytes, mask: bytes) -> bytes:
    size = len(value)
    mixed = int.from_bytes(value, "big") ^ int.from_bytes(mask[:size], "big")
    return mixed.to_bytes(size, "big")


def error_code(message: Message) -> int:
    """The code in ERROR-CODE; 0 if there is none (RFC 8489 section 14.8)."""
    value = message.attributes.get(ERROR_CODE, b"")
    return (value[2] & 7) * 100 + value[3] if len(value) >= 4 else 0


def pack_error(code: int, reason: str, unknown: Iterable[int] = ()) -> bytes:
    """ERROR-CODE, and UNKNOWN-ATTRIBUTES if there are any, encoded."""
    value = struct.pack(">HBB", 0, *divmod(code, 100)) + reason.encode()
    names = b"".join(name.to_bytes(2, "big") for name in unknown)
    return attribute(ERROR_CODE, value) + (attribute(UNKNOWN_ATTRIBUTES, names) if names else b"")
