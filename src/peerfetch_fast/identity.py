"""The identity of a peer: the fingerprint of its certificate, and the URL that carries it."""

from __future__ import annotations

import re
from typing import NamedTuple

from peerfetch_fast.errors import InvalidPin
from peerfetch_fast.webrtc.certificate import Certificate

__all__ = [
    "InvitationLink",
    "PeerUrl",
    "certificate_pin",
    "format_pin",
    "parse_invitation",
    "parse_peer_url",
    "parse_pin",
]

_PIN = re.compile(r"sha256:([0-9a-f]{64})")

# Programs that pass links on encode what they need not.
_INVITATION = re.compile(
    r"(?:https?://[^#\s]*#|peer://)?([A-Za-z0-9_-]{1,128})/?(?:#|%23)"
    r"sha256(?::|%3[Aa])([0-9a-f]{64})\.([0-9a-f]{32})"
)


def format_pin(fingerprint: bytes) -> str:
    """A SHA-256 fingerprint (32 bytes) as it is printed: ``sha256:`` and 64 hexadecimal digits."""
    return f"sha256:{fingerprint.hex()}"


def certificate_pin(certificate: Certificate) -> str:
    """The pin of one of our certificates."""
    return format_pin(certificate.fingerprint)


def parse_pin(text: str) -> bytes:
    """The fingerprint (32 bytes) in ``text``; also with colons and capitals, as in SDP.

    Raises InvalidPin.
    """
    kind, _, digits = text.strip().lower().partition(":")
    found = _PIN.fullmatch(f"{kind}:{digits.replace(':', '')}")
    if found is None:
        raise InvalidPin(
            f"{text!r} is no pin: write sha256: and the 64 digits that the proxy prints"
        )
    return bytes.fromhex(found[1])


class PeerUrl(NamedTuple):
    """The parts of ``peer://PEER-ID/TARGET#PIN``, of which all but the id may be left out."""

    peer_id: str
    target: str
    pin: str | None

    def __str__(self) -> str:
        return f"peer://{self.peer_id}{self.target}" + (f"#{self.pin}" if self.pin else "")


class InvitationLink(NamedTuple):
    """The parts of a link by which somebody is let in: ``PEER-ID#PIN.SECRET``."""

    peer_id: str
    pin: str
    secret: str

    def __str__(self) -> str:
        return f"{self.peer_id}#{self.pin}.{self.secret}"


def parse_invitation(text: str) -> InvitationLink | None:
    """The parts of an invitation, with or without ``peer://`` or the address of a page before it;
    None for what is none.
    """
    found = _INVITATION.fullmatch(text.strip())
    if found is None:
        return None
    return InvitationLink(found[1], f"sha256:{found[2]}", found[3])


def parse_peer_url(text: str) -> PeerUrl:
    """The parts of a ``peer://`` URL, or of an id alone. The parts are not validated."""
    rest, _, pin = text.removeprefix("peer://").partition("#")
    peer_id = re.split("[/?]", rest, maxsplit=1)[0]
    target = rest[len(peer_id) :]
    return PeerUrl(peer_id, target if target.startswith("/") else f"/{target}", pin or None)
