"""The access token: proving that one knows it without sending it (docs/protocol.md, section 8).

Sans-I/O: fingerprints and proofs in, proofs and a verdict out.
"""

from __future__ import annotations

import hmac

from peerfetch_fast.errors import InvalidAccessToken

__all__ = ["MAX_TOKEN", "PROOF_LENGTH", "Access", "token_key"]

PROOF_LENGTH = 32
"""Bytes of a proof."""

MAX_TOKEN = 1024
"""Bytes of the longest access token, in UTF-8."""

_LABEL = b"peerfetch.2 access "


def token_key(token: str) -> bytes:
    """The key that a token stands for: its UTF-8. Raises InvalidAccessToken."""
    try:
        key = token.encode()
    except UnicodeEncodeError:
        raise InvalidAccessToken("the access token is no text") from None
    if not key:
        raise InvalidAccessToken("the access token is empty: leave it out to have none")
    if len(key) > MAX_TOKEN:
        raise InvalidAccessToken(f"the access token is longer than {MAX_TOKEN} bytes")
    return key


class Access:
    """One side's knowledge of the token, for one connection.

    A proof says who proves (the opener or the responder of the channel) and between which two
    certificates, so that it is worth nothing on any other connection, nor to the one it was shown.

    :param token: the access token.
    :param opener: whether this side opened the channel.
    :param local: SHA-256 of this side's certificate: 32 bytes.
    :param remote: SHA-256 of the certificate that the other side used in the DTLS handshake.

    Raises InvalidAccessToken.
    """

    def __init__(self, token: str, *, opener: bool, local: bytes, remote: bytes) -> None:
        key = token_key(token)
        ends = local + remote if opener else remote + local
        proofs = {
            role: hmac.digest(key, _LABEL + role + b"\0" + ends, "sha256")
            for role in (b"opener", b"responder")
        }
        self.proof = proofs[b"opener" if opener else b"responder"]
        """What this side shows."""
        self._expected = proofs[b"responder" if opener else b"opener"]

    def admits(self, proof: bytes) -> bool:
        """Whether the other side's proof is right, found out in constant time."""
        return hmac.compare_digest(proof, self._expected)
