"""CPace, a balanced password-authenticated key exchange: CPACE-X25519-SHA512 of
draft-irtf-cfrg-cpace-21, initiator-responder.

Sans-I/O: the secret scalar is passed in. The map to the curve does not run in constant time, which
is harmless for codes that live for minutes and have three guesses. It is not meant for passwords
that people use again.
"""

from __future__ import annotations

import hashlib

from peerfetch_fast.errors import AccessDenied
from peerfetch_fast.keys import x25519

__all__ = ["SHARE_LENGTH", "Exchange"]

SHARE_LENGTH = 32
"""Bytes of a share, of a scalar, and of a coordinate."""

_DSI = b"CPace255"
_DSI_ISK = b"CPace255_ISK"
_HASH_BLOCK = 128

# The field of Curve25519 and its curve v^2 = u^3 + A u^2 + u (RFC 7748 §4.1).
_P = 2**255 - 19
_A = 486662


class Exchange:
    """One side of one exchange.

    :param password: what both sides know.
    :param channel: what both sides know of the channel (CI of the draft).
    :param scalar: 32 random bytes, used for this exchange alone.
    :param session: the session's id, if both sides know one.
    """

    def __init__(
        self, password: bytes, *, channel: bytes, scalar: bytes, session: bytes = b""
    ) -> None:
        self._scalar = scalar
        self._session = session
        self.share = _multiply(scalar, _generator(password, channel, session))
        """The share for the other side: 32 bytes."""

    def key(
        self, share: bytes, *, initiator: bool, local_data: bytes = b"", remote_data: bytes = b""
    ) -> bytes:
        """The key that both sides have where both know the password: 64 bytes.

        :param share: what the other side has sent.
        :param initiator: whether this side sent its share first.
        :param local_data: what went along with our share (ADa or ADb of the draft).
        :param remote_data: what came along with the other.

        Raises AccessDenied for a share that would make the key known to everybody.
        """
        secret = _multiply(self._scalar, share)
        ours, theirs = _joined(self.share, local_data), _joined(share, remote_data)
        transcript = ours + theirs if initiator else theirs + ours
        return hashlib.sha512(_joined(_DSI_ISK, self._session, secret) + transcript).digest()


def _multiply(scalar: bytes, point: bytes) -> bytes:
    """X25519, and the check that the draft asks for (scalar_mult_vfy): 32 bytes.

    Raises AccessDenied for a point of low order, and for one of another length.
    """
    try:
        return x25519(scalar, point)
    except ValueError:
        raise AccessDenied("the other side sent a share that is no part of an exchange") from None


def _generator(password: bytes, channel: bytes, session: bytes) -> bytes:
    """The point that stands for the password on this channel (calculate_generator)."""
    before = len(_joined(_DSI)) + len(_joined(password))
    padding = bytes(max(0, _HASH_BLOCK - 1 - before))
    text = _joined(_DSI, password, padding, channel, session)
    digest = hashlib.sha512(text).digest()[:SHARE_LENGTH]
    # RFC 7748 §5: the highest bit is no part of a coordinate.
    number = int.from_bytes(digest, "little") & ((1 << 255) - 1)
    return _elligator2(number % _P).to_bytes(SHARE_LENGTH, "little")


def _elligator2(r: int) -> int:
    """The map of a number to the curve (RFC 9380 §6.7.1, with Z = 2), its u-coordinate alone.

    It takes the same steps whatever the number is.
    """
    v = -_A * pow(1 + 2 * r * r, _P - 2, _P) % _P
    # 1 where there is a point with this coordinate, otherwise -1 (or 0 for the number 0).
    square = pow(v * (v * (v + _A) + 1) % _P, (_P - 1) // 2, _P)
    return (square * v - (1 - square) * _A * ((_P + 1) // 2)) % _P


def _joined(*parts: bytes) -> bytes:
    """All parts, each behind its length in LEB128 (lv_cat)."""
    joined = bytearray()
    for part in parts:
        length = len(part)
        while length > 0x7F:
            joined.append(length & 0x7F | 0x80)
            length >>= 7
        joined.append(length)
        joined += part
    return bytes(joined)
