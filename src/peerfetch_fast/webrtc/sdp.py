"""The data channels of a session description (RFC 8841, RFC 8839, RFC 9429).

It reads what :func:`~peerfetch_fast.webrtc.descriptions.data_only` has left.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from peerfetch_fast.errors import InvalidDescription
from peerfetch_fast.webrtc.descriptions import DataDescription, data_only
from peerfetch_fast.webrtc.ice.candidate import Candidate

__all__ = [
    "Remote",
    "read",
    "read_candidates",
    "read_credentials",
    "read_fingerprints",
    "read_role",
    "write",
]

_FINGERPRINT = re.compile(r"([A-Za-z0-9-]{1,32}) ([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){0,127})")
_ICE_CHARS = re.compile(r"[A-Za-z0-9+/]+")

DIGESTS = {"sha-1": 20, "sha-224": 28, "sha-256": 32, "sha-384": 48, "sha-512": 64}
"""Bytes of the digests of RFC 8122 section 5 that anybody may use."""

MAX_SCTP_INIT = 1_024
"""Bytes of an INIT that is described; those of browsers have 30."""

_MIN_UFRAG, _MIN_PWD, _MAX_CREDENTIAL = 4, 22, 256
"""Characters (RFC 8839 section 5.4)."""


@dataclass(frozen=True, slots=True)
class Remote:
    """The other side's description of itself.

    :ivar ufrag: and ``password``: its ICE credentials.
    :ivar setup: its role in DTLS: ``active``, ``passive`` or ``actpass``.
    :ivar max_message_size: bytes of the largest message that it takes, 0 for any; None: it does not
        say.
    :ivar sctp_init: the INIT chunk that it would send, as it says (draft-hancke-tsvwg-snap).
    :ivar legacy: whether its section has the form from before RFC 8841 (``DTLS/SCTP``).
    """

    section: DataDescription
    ufrag: str
    password: str
    lite: bool
    ice_options: frozenset[str]
    fingerprints: tuple[tuple[str, bytes], ...]
    setup: str
    sctp_port: int
    sctp_init: bytes | None
    max_message_size: int | None
    legacy: bool
    candidates: tuple[Candidate, ...]
    complete: bool


def read(sdp: str) -> Remote:
    """Read the data channels of a description.

    Raises InvalidDescription if it has none, or lacks what a connection needs, or exceeds a bound.
    """
    section = data_only(sdp)
    session: dict[str, list[str]] = {}
    own: dict[str, list[str]] = {}
    where = session
    legacy = False
    formats = ""
    for line in section.sdp.split("\r\n"):
        if line.startswith("m="):
            _, _, profile, formats = line[2:].split(" ", 3)
            legacy = profile == "DTLS/SCTP"
            where = own
        elif line.startswith("a="):
            name, _, value = line[2:].partition(":")
            where.setdefault(name, []).append(value.strip())
    # A section's attributes take precedence over the session's (RFC 8839 section 5.4, RFC 8842
    # section 5.1).
    attributes = {**session, **own}

    def last(name: str) -> str | None:
        return attributes[name][-1] if name in attributes else None

    ufrag, password = read_credentials(last("ice-ufrag"), last("ice-pwd"))
    return Remote(
        section=section,
        ufrag=ufrag,
        password=password,
        lite="ice-lite" in attributes,
        ice_options=frozenset(" ".join(attributes.get("ice-options", ())).split()),
        fingerprints=read_fingerprints(attributes.get("fingerprint", [])),
        setup=read_role(last("setup")),
        sctp_port=_sctp_port(formats if legacy else last("sctp-port")),
        # The old form has no such thing.
        sctp_init=None if legacy else _sctp_init(last("sctp-init")),
        max_message_size=_size(last("max-message-size")),
        legacy=legacy,
        candidates=read_candidates(attributes.get("candidate", [])),
        complete="end-of-candidates" in attributes,
    )


def read_credentials(ufrag: str | None, password: str | None) -> tuple[str, str]:
    """The user fragment and the password of ICE. Raises InvalidDescription."""
    return (
        _credential(ufrag, _MIN_UFRAG, "ice-ufrag"),
        _credential(password, _MIN_PWD, "ice-pwd"),
    )


def _credential(value: str | None, least: int, name: str) -> str:
    if value is None:
        raise InvalidDescription(f"the description has no {name}")
    if not least <= len(value) <= _MAX_CREDENTIAL or not _ICE_CHARS.fullmatch(value):
        raise InvalidDescription(f"not an {name}: {value!r}")
    return value


def read_role(setup: str | None) -> str:
    """The role in DTLS (RFC 8842 section 5.2). Raises InvalidDescription."""
    if setup not in ("active", "passive", "actpass"):
        raise InvalidDescription(f"not a role in DTLS: {setup!r}")
    return setup


def read_fingerprints(values: list[str]) -> tuple[tuple[str, bytes], ...]:
    """Fingerprints by known algorithms; an unknown one refuses nothing (RFC 8122 section 5).

    Raises InvalidDescription.
    """
    found: list[tuple[str, bytes]] = []
    for value in values:
        match = _FINGERPRINT.fullmatch(value)
        if match is None:
            raise InvalidDescription(f"not a fingerprint: {value!r}")
        algorithm = match[1].lower()
        digest = bytes.fromhex(match[2].replace(":", ""))
        if algorithm not in DIGESTS:
            continue
        if len(digest) != DIGESTS[algorithm]:
            raise InvalidDescription(f"not a fingerprint: {value!r}")
        found.append((algorithm, digest))
    if not found:
        raise InvalidDescription("the description has no fingerprint that can be checked")
    return tuple(found)


def _sctp_port(value: str | None) -> int:
    # Without the attribute the port is 5000, as before RFC 8841.
    text = (value or "5000").split(" ")[0]
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:6]) < 65536:
        raise InvalidDescription(f"not an SCTP port: {value!r}")
    return int(text)


def _sctp_init(value: str | None) -> bytes | None:
    if value is None:
        return None
    try:
        init = binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        raise InvalidDescription(f"sctp-init is not base64: {value!r}") from None
    if len(init) > MAX_SCTP_INIT:
        raise InvalidDescription(f"sctp-init has {len(init)} bytes: at most {MAX_SCTP_INIT}")
    return init


def _size(value: str | None) -> int | None:
    # A malformed value counts as none.
    if value is None or not re.fullmatch("[0-9]{1,15}", value):
        return None
    return int(value)


def read_candidates(values: list[str]) -> tuple[Candidate, ...]:
    """One that makes no sense refuses nothing: the others may do (RFC 8839 section 5.1)."""
    found: list[Candidate] = []
    for value in values:
        try:
            found.append(Candidate.from_sdp(value))
        except ValueError:
            continue
    return tuple(found)


def write(
    *,
    session: int,
    version: int,
    mid: str,
    ufrag: str,
    password: str,
    fingerprint: bytes,
    setup: str,
    sctp_port: int,
    max_message_size: int,
    sctp_init: bytes | None,
    ice_options: Sequence[str],
    candidates: list[Candidate],
    complete: bool,
    answers: Remote | None,
) -> str:
    """A description of our side.

    :param session: names the connection, ``version`` this description of it (RFC 8866 section 5.2).
    :param sctp_port: the port of our association.
    :param sctp_init: the INIT chunk of our association, if it is to be said.
    :param ice_options: what our ICE can (RFC 8839 section 5.6).
    :param complete: whether no candidate follows.
    :param answers: the offer that it answers.
    """
    legacy = answers is not None and answers.legacy
    protocol = f"DTLS/SCTP {sctp_port}" if legacy else "UDP/DTLS/SCTP webrtc-datachannel"
    port = f"sctpmap:{sctp_port} webrtc-datachannel 65535" if legacy else f"sctp-port:{sctp_port}"
    head = [
        "v=0",
        f"o=- {session} {version} IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
    ]
    bundled = answers is None or bool(answers.section.mid)
    if bundled:
        head.append(f"a=group:BUNDLE {mid}")
    lines = [
        f"m=application 9 {protocol}",
        "c=IN IP4 0.0.0.0",
        *([f"a=mid:{mid}"] if bundled else []),
        f"a=ice-ufrag:{ufrag}",
        f"a=ice-pwd:{password}",
        f"a=ice-options:{' '.join(ice_options)}",
        f"a=fingerprint:sha-256 {fingerprint.hex(':').upper()}",
        f"a=setup:{setup}",
        f"a={port}",
        f"a=max-message-size:{max_message_size}",
        *(
            [f"a=sctp-init:{binascii.b2a_base64(sctp_init, newline=False).decode()}"]
            if sctp_init
            else []
        ),
        *(f"a=candidate:{candidate.to_sdp()}" for candidate in candidates),
        *(["a=end-of-candidates"] if complete else []),
    ]
    text = "".join(f"{line}\r\n" for line in [*head, *lines])
    return text if answers is None else answers.section.answered(text)
