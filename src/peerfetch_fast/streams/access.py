"""The access token and codes: proving that one knows them without sending them (docs/protocol.md,
sections 8 and 9).

Sans-I/O: fingerprints and proofs in, proofs and a verdict out.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence

from peerfetch_fast.errors import InvalidAccessToken
from peerfetch_fast.streams import cpace

__all__ = [
    "GUESSES",
    "MAX_TOKEN",
    "PROOF_LENGTH",
    "Access",
    "AnyAccess",
    "Code",
    "CodeAccess",
    "token_key",
]

PROOF_LENGTH = 32
"""Bytes of a proof."""

MAX_TOKEN = 1024
"""Bytes of the longest access token, in UTF-8."""

GUESSES = 3
"""Wrong guesses that burn a code."""

_LABEL = b"peerfetch.2 access "

_CODE_LABEL = b"peerfetch.2 code "


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

    called = "access token"
    """The name of the secret that both sides must know, for messages."""

    required = True
    """Whether the other side must prove it; if not, it is proved to whoever asks by proving it."""

    share: bytes | None = None
    """What the other side is sent to agree on a key, where what both know is no key itself."""

    def __init__(self, token: str, *, opener: bool, local: bytes, remote: bytes) -> None:
        self._opener = opener
        self._ends = local + remote if opener else remote + local
        self._prove_by(token_key(token))

    def _prove_by(self, key: bytes) -> None:
        proofs = {
            role: hmac.digest(key, _LABEL + role + b"\0" + self._ends, "sha256")
            for role in (b"opener", b"responder")
        }
        self.proof = proofs[b"opener" if self._opener else b"responder"]
        """This side's proof."""
        self._expected = proofs[b"responder" if self._opener else b"opener"]

    def admits(self, proof: bytes) -> bool:
        """Whether the other side's proof is right, found out in constant time."""
        return hmac.compare_digest(proof, self._expected)


class AnyAccess(Access):
    """What a device asks of who connects: any of several secrets, its token and those of links by
    which it has invited people.

    :param secrets: the secrets, of which none may be empty; at least one.
    :param required: see :attr:`Access.required`.
    :param on_proof: called with the secret that was proved, or None for a wrong proof. It must not
        raise.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        required: bool,
        on_proof: Callable[[str | None], object],
        local: bytes,
        remote: bytes,
    ) -> None:
        super().__init__(secrets[0], opener=False, local=local, remote=remote)
        self.required = required
        self._secrets = secrets
        self._on_proof = on_proof

    def admits(self, proof: bytes) -> bool:
        """See :meth:`Access.admits`. All are tried, whichever it is."""
        found: str | None = None
        for secret in self._secrets:
            self._prove_by(token_key(secret))
            if super().admits(proof):
                found = secret
        if found is not None:
            self._prove_by(token_key(found))
        self._on_proof(found)
        return found is not None


class Code:
    """A code as who has made it keeps it, over all connections by which it is tried.

    It lets one in, once, unless it is for many. Whoever shows a wrong proof has guessed, and after
    ``guesses`` of these, from wherever and whenever they came, it is worth nothing any more.

    :param words: what both sides know, whole (:mod:`peerfetch_fast.codes`).
    :param guesses: how many wrong ones burn it.
    :param for_many: whether it lets in as many as know it.
    """

    def __init__(self, words: str, guesses: int = GUESSES, *, for_many: bool = False) -> None:
        self.password = words.encode()
        self.guesses_left = guesses
        self._for_many = for_many
        self.used_by: bytes | None = None
        """SHA-256 of the certificate of whom it has let in last."""
        self.on_met: Callable[[], object] | None = None
        """Called when somebody has connected who may know it. It must not raise."""
        self.on_over: Callable[[], object] | None = None
        """Called when it has let one in or is burnt. It must not raise."""

    @property
    def over(self) -> bool:
        """Whether it lets nobody in any more."""
        used_up = self.used_by is not None and not self._for_many
        return used_up or self.guesses_left <= 0

    def try_proof(self, right: bool, certificate: bytes) -> bool:
        """Whether a proof by the owner of that certificate lets it in."""
        if self.over:
            return False
        if right:
            self.used_by = certificate
        else:
            self.guesses_left -= 1
        if self.over and self.on_over is not None:
            self.on_over()
        return right


class CodeAccess(Access):
    """The same with a code, which is too short for a key: both sides agree on one by CPace
    (:mod:`.cpace`), and who knows another code has another key.

    :param code: the code; the same object for all connections by which it is tried.
    :param scalar: 32 random bytes, used for this connection alone.
    """

    called = "code"

    def __init__(
        self, code: Code, *, opener: bool, local: bytes, remote: bytes, scalar: bytes
    ) -> None:
        self._opener = opener
        self._ends = local + remote if opener else remote + local
        self._code = code
        self._remote = remote
        self._exchange = cpace.Exchange(
            code.password, channel=_CODE_LABEL + self._ends, scalar=scalar
        )
        self.share = self._exchange.share
        self._agreed = False

    def take_share(self, share: bytes) -> None:
        """The other side's share has come: from now on there are proofs. Raises AccessDenied."""
        key = self._exchange.key(share, initiator=self._opener)
        self._prove_by(key[:PROOF_LENGTH])
        self._agreed = True

    def admits(self, proof: bytes) -> bool:
        """See :meth:`Access.admits`. A wrong proof is a guess, and a right one uses the code up."""
        if not self._agreed:  # a proof of something else: nobody has guessed
            return False
        return self._code.try_proof(super().admits(proof), self._remote)
