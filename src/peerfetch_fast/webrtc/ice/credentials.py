"""User fragments and passwords, which a restart replaces (RFC 8445 section 9)."""

from __future__ import annotations

from peerfetch_fast.webrtc.ice import stun

__all__ = ["Credentials"]


class Credentials:
    """The user names and passwords with which the two ends sign their checks.

    :ivar prefix: how the USERNAME of the peer's requests begins.
    :ivar local_key: what the peer's requests, and our answers, are signed with.
    :ivar remote_key: what our requests, and the peer's answers, are signed with; empty while the
        peer's password is not known.
    :ivar username: USERNAME of our requests, encoded.
    """

    __slots__ = ("local_key", "prefix", "remote_key", "remote_ufrag", "username")

    def __init__(self, ufrag: str, password: str) -> None:
        self.prefix = f"{ufrag}:".encode()
        self.local_key = password.encode()
        self.remote_ufrag = b""
        self.remote_key = b""
        self.username = b""

    def has_remote(self, ufrag: str, password: str) -> bool:
        """Whether these are the peer's."""
        return (self.remote_ufrag, self.remote_key) == (ufrag.encode(), password.encode())

    def set_remote(self, ufrag: str, password: str) -> None:
        """The peer has said what its own are."""
        self.remote_ufrag = ufrag.encode()
        self.remote_key = password.encode()
        name = self.remote_ufrag + b":" + self.prefix[:-1]
        self.username = stun.attribute(stun.USERNAME, name)

    def renew(self, ufrag: str, password: str) -> None:
        """Ours are others, for the same ones of the peer."""
        self.prefix = f"{ufrag}:".encode()
        self.local_key = password.encode()
        self.set_remote(self.remote_ufrag.decode(), self.remote_key.decode())

    def accepts(self, username: bytes) -> bool:
        """Whether a request's USERNAME is ours and, once that is known, the peer's."""
        if not self.remote_key:
            return username.startswith(self.prefix)
        return username == self.prefix + self.remote_ufrag
