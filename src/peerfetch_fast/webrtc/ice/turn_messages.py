"""The messages of a TURN client (RFC 8656), and their signatures (RFC 8489 section 9.2)."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import NamedTuple

from peerfetch_fast.printable import printable
from peerfetch_fast.webrtc.ice import stun
from peerfetch_fast.webrtc.ice.events import Address

__all__ = [
    "ALLOCATE",
    "CHANNEL_BIND",
    "CREATE_PERMISSION",
    "DATA_INDICATION",
    "KNOWN",
    "REFRESH",
    "Credentials",
    "Failure",
    "FrameError",
    "StreamFrames",
    "channel_data",
    "lifetime_of",
    "peer_address",
    "refusal",
    "send_indication",
]

ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND = 0x0003, 0x0004, 0x0008, 0x0009
"""Methods, which are also the types of their requests."""

SUCCESS, ERROR = 0x0100, 0x0110
"""The bits that the type of an answer has beside those of its request."""

SEND_INDICATION = 0x0016
DATA_INDICATION = 0x0017

CHANNEL_NUMBER = 0x000C
LIFETIME = 0x000D
XOR_PEER_ADDRESS = 0x0012
DATA = 0x0013
XOR_RELAYED_ADDRESS = 0x0016
REQUESTED_TRANSPORT = 0x0019
DONT_FRAGMENT = 0x001A
RESERVATION_TOKEN = 0x0022

KNOWN = frozenset((CHANNEL_NUMBER, LIFETIME, XOR_PEER_ADDRESS, DATA, XOR_RELAYED_ADDRESS)) | {
    REQUESTED_TRANSPORT,
    DONT_FRAGMENT,
    RESERVATION_TOKEN,
}
"""Attributes that must be understood, and are, besides those of STUN."""

UDP = b"\x11\0\0\0"
"""The protocol in REQUESTED-TRANSPORT."""

MAX_USERNAME = 508
"""Bytes of a user name (RFC 8489 section 14.3)."""

MAX_CHALLENGE = 763
"""Bytes of a realm, and of a nonce (RFC 8489 sections 14.9 and 14.10)."""

MAX_REASON = 100
"""Characters of a server's reason that are shown."""

UNAUTHENTICATED, MISMATCH, STALE_NONCE = 401, 437, 438
"""Error codes: a request is to be signed, there is no such allocation, the nonce is too old."""

_CHANNEL = struct.Struct(">HH")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class Failure(NamedTuple):
    """Why there is no allocation.

    :ivar code: that the server gave; 0: it was silent, or answered what is no answer.
    :ivar reason: in words.
    """

    code: int
    reason: str


class FrameError(ValueError):
    """The octets of a stream are not TURN's."""


class Credentials:
    """A user's long-term credential, of which the server's realm makes a key.

    The key is RFC 5389's, by MD5, which RFC 8489 has servers take as well.

    :param username: at most MAX_USERNAME bytes of UTF-8; None: there is no login.

    Raises ValueError if it is longer.
    """

    def __init__(self, username: str | None, password: str | None) -> None:
        self._username = (username or "").encode()
        if len(self._username) > MAX_USERNAME:
            raise ValueError(f"the user name is longer than {MAX_USERNAME} bytes")
        self._password = None if username is None else (password or "").encode()
        self._realm: bytes | None = None
        self._nonce = b""
        self.key: bytes | None = None

    def take_challenge(self, code: int, message: stun.Message) -> bool:
        """Take the realm and the nonce of an answer that wants a request signed, or signed anew.

        :returns: whether it can be.
        """
        realm = message.attributes.get(stun.REALM, self._realm)
        nonce = message.attributes.get(stun.NONCE)
        if self._password is None or realm is None or nonce is None:
            return False
        if len(realm) > MAX_CHALLENGE or len(nonce) > MAX_CHALLENGE:
            return False
        if code == STALE_NONCE and self._realm is None:
            return False
        self._realm, self._nonce = realm, nonce
        secret = b":".join((self._username, realm, self._password))
        self.key = hashlib.md5(secret, usedforsecurity=False).digest()
        return True

    def sign(self, kind: int, transaction: bytes, body: bytes) -> bytes:
        """A request, with what the server has asked for."""
        if self.key is not None:
            assert self._realm is not None
            body += stun.attribute(stun.USERNAME, self._username)
            body += stun.attribute(stun.REALM, self._realm)
            body += stun.attribute(stun.NONCE, self._nonce)
        return stun.seal(kind, transaction, body, self.key)


class StreamFrames:
    """Cuts what a stream brings into messages and channel data (RFC 8656 section 3.1).

    It holds one incomplete frame at most: a frame's length has two bytes.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._wanted = 4

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that are complete.

        Raises FrameError if what comes is neither.
        """
        held = self._held
        held += data
        # Looked at only when all of it is there, and cut off once: linear, however it comes.
        at = 0
        while len(held) - at >= self._wanted:
            if held[at] >> 6 > 1:
                raise FrameError("neither a message nor channel data")
            head = 4 if held[at] >> 6 else stun.HEADER_LENGTH
            whole = head + int.from_bytes(held[at + 2 : at + 4], "big")
            self._wanted = whole + (-whole & 3)
            if len(held) - at < self._wanted:
                break
            yield bytes(memoryview(held)[at : at + whole])
            at += self._wanted
            self._wanted = 4
        del held[:at]


def channel_data(channel: int, data: bytes, *, padded: bool) -> bytes:
    """A datagram through a channel; ``padded`` as streams have it."""
    frame = _CHANNEL.pack(channel, len(data)) + data
    return frame + _PADDING[len(data) & 3] if padded else frame


def send_indication(transaction: bytes, peer: Address, data: bytes) -> bytes:
    """A datagram to a peer without a channel. Raises OSError for what is no address."""
    body = peer_address(peer, transaction) + stun.attribute(DATA, data)
    return stun.seal(SEND_INDICATION, transaction, body, None)


def peer_address(peer: Address, transaction: bytes) -> bytes:
    """XOR-PEER-ADDRESS. Raises OSError for what is no address."""
    return stun.attribute(XOR_PEER_ADDRESS, stun.pack_address(peer, transaction))


def lifetime_of(message: stun.Message) -> int | None:
    """The seconds in LIFETIME."""
    value = message.attributes.get(LIFETIME, b"")
    return int.from_bytes(value, "big") if len(value) == 4 else None


def refusal(message: stun.Message) -> Failure:
    """The code and the reason of an error."""
    reason = message.attributes.get(stun.ERROR_CODE, b"")[4:].decode(errors="replace")
    return Failure(stun.error_code(message), printable(reason, MAX_REASON) or "no reason given")
