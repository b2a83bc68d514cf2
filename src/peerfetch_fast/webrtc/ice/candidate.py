"""Candidates: addresses at which an end may be reached (RFC 8445 section 5.1, RFC 8839)."""

from __future__ import annotations

import ipaddress
import zlib
from dataclasses import dataclass

__all__ = ["MAX_LINE", "Candidate", "canonical_host", "foundation", "priority"]

MAX_LINE = 1024
"""Characters of a candidate's line; real ones have about 150."""

MAX_FOUNDATION = 32
MAX_HOST = 255

TYPE_PREFERENCES = {"host": 126, "prflx": 110, "srflx": 100, "relay": 0}
"""RFC 8445 section 5.1.2.2."""


def priority(type: str, local_preference: int, component: int = 1) -> int:
    """A candidate's priority (RFC 8445 section 5.1.2.1).

    :param local_preference: from 0 to 65,535, which is best.
    """
    return TYPE_PREFERENCES[type] << 24 | local_preference << 8 | 256 - component


def foundation(type: str, transport: str, base: str, server: str = "") -> str:
    """The foundation: equal for candidates whose checks fare alike (RFC 8445 section 5.1.1.3).

    :param base: the address that is sent from.
    :param server: the address of the STUN or TURN server that was asked.
    """
    return str(zlib.crc32(f"{type}|{transport}|{base}|{server}".encode()))


def canonical_host(host: str) -> str:
    """An address as the socket names it; a name stays as it is."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address of an end, or a name of it that is still to be resolved."""

    foundation: str
    component: int
    transport: str
    priority: int
    host: str
    port: int
    type: str
    related_address: str | None = None
    related_port: int | None = None
    tcptype: str | None = None

    @classmethod
    def from_sdp(cls, line: str) -> Candidate:
        """Read what follows ``candidate:``. Extensions that mean nothing here are passed over.

        Raises ValueError if it is not a candidate, or of a kind that RFC 8445 does not know.
        """
        fields = line.split() if len(line) <= MAX_LINE else []
        if len(fields) < 8 or fields[6] != "typ":
            raise ValueError(f"not a candidate: {line[:MAX_LINE]!r}")
        extensions = dict(zip(fields[8::2], fields[9::2], strict=False))
        related_port = extensions.get("rport")
        candidate = cls(
            foundation=fields[0],
            component=_number(fields[1], 1, 256),
            transport=fields[2].lower(),
            priority=_number(fields[3], 0, 0xFFFFFFFF),
            host=canonical_host(fields[4]),
            port=_number(fields[5], 0, 65_535),
            type=fields[7].lower(),
            related_address=extensions.get("raddr"),
            related_port=None if related_port is None else _number(related_port, 0, 65_535),
            tcptype=extensions.get("tcptype"),
        )
        if (
            candidate.type not in TYPE_PREFERENCES
            or candidate.transport not in ("udp", "tcp")
            or len(candidate.foundation) > MAX_FOUNDATION
            or len(candidate.host) > MAX_HOST
        ):
            raise ValueError(f"not a candidate that can be used: {line!r}")
        return candidate

    def to_sdp(self) -> str:
        """The value of the attribute, after ``candidate:``."""
        # A scope is this machine's own affair.
        host = self.host.partition("%")[0]
        line = (
            f"{self.foundation} {self.component} {self.transport} {self.priority}"
            f" {host} {self.port} typ {self.type}"
        )
        if self.related_address is not None:
            line += f" raddr {self.related_address}"
        if self.related_port is not None:
            line += f" rport {self.related_port}"
        if self.tcptype is not None:
            line += f" tcptype {self.tcptype}"
        return line


def _number(text: str, low: int, high: int) -> int:
    # int() takes signs, spaces, underscores and the digits of every script.
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise ValueError(f"not a number: {text!r}")
    number = int(text)
    if not low <= number <= high:
        raise ValueError(f"a number is out of range: {text}")
    return number
