"""PCP's MAP (RFC 6887) and NAT-PMP (RFC 6886), as datagrams: both ask the router at one port."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from peerfetch_fast.errors import MappingError

__all__ = [
    "NONCE_SIZE",
    "PORT",
    "Mapped",
    "OldRouter",
    "nat_pmp_address_request",
    "nat_pmp_request",
    "parse_nat_pmp",
    "parse_nat_pmp_address",
    "parse_pcp",
    "pcp_request",
]

PORT = 5351
NONCE_SIZE = 12

_UDP = 17
_ANSWER = 0x80
_PCP, _MAP = 2, 1
_UNSUPPORTED_VERSION = 1
_MAPPED_IPV4 = bytes(10) + b"\xff\xff"

# The result codes of RFC 6887 section 7.4,
_REASONS = {
    2: "it is not allowed there",
    3: "it takes this for nonsense",
    4: "it cannot do that",
    7: "it has no connection itself",
    8: "it has no room for more",
    10: "we have as many as it gives to one",
    11: "it has no public address for us",
    12: "another router is between it and us",
}
# and, where they are others, of RFC 6886 section 3.5.
_NAT_PMP_REASONS = _REASONS | {
    3: "it has no connection itself",
    4: "it has no room for more",
    5: "it cannot do that",
}


class OldRouter(Exception):
    """It speaks NAT-PMP, and no PCP."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """A port of a router that leads to one of ours."""

    host: str
    port: int
    lifetime: float
    """Seconds for which it does."""


def pcp_request(address: str, port: int, lifetime: int, nonce: bytes, wanted: int) -> bytes:
    """Ask for a port (RFC 6887 sections 7.1 and 11.1).

    :param lifetime: seconds; 0 gives the port back.
    :param wanted: the port that the router should open, if it can.
    """
    ours = _MAPPED_IPV4 + ipaddress.IPv4Address(address).packed
    header = bytes((_PCP, _MAP, 0, 0)) + lifetime.to_bytes(4, "big") + ours
    ports = port.to_bytes(2, "big") + wanted.to_bytes(2, "big")
    return header + nonce + bytes((_UDP, 0, 0, 0)) + ports + _MAPPED_IPV4 + bytes(4)


def parse_pcp(data: bytes, port: int, nonce: bytes) -> Mapped | None:
    """The router's answer; None if the datagram does not answer this question.

    Raises OldRouter for one that speaks NAT-PMP alone (RFC 6887 section 9), MappingError for a
    refusal.
    """
    if len(data) >= 4 and data[0] == 0 and data[1] >= _ANSWER and data[3] == _UNSUPPORTED_VERSION:
        raise OldRouter
    if len(data) < 60 or data[0] != _PCP or data[1] != _ANSWER | _MAP:
        return None
    if data[24:36] != nonce or data[36] != _UDP or data[40:42] != port.to_bytes(2, "big"):
        return None
    if data[3]:
        raise _refusal(data[3], _REASONS)
    host = ipaddress.IPv6Address(data[44:60]).ipv4_mapped
    if host is None:
        return None
    lifetime = int.from_bytes(data[4:8], "big")
    return Mapped(str(host), int.from_bytes(data[42:44], "big"), lifetime)


def nat_pmp_address_request() -> bytes:
    """Ask for the public address (RFC 6886 section 3.2)."""
    return b"\0\0"


def parse_nat_pmp_address(data: bytes) -> str | None:
    """The public address. Raises MappingError."""
    if len(data) < 12 or data[:2] != bytes((0, _ANSWER)):
        return None
    _check_nat_pmp(data)
    return str(ipaddress.IPv4Address(data[8:12]))


def nat_pmp_request(port: int, lifetime: int, wanted: int) -> bytes:
    """Ask for a port (RFC 6886 section 3.3); a ``lifetime`` of 0 gives it back."""
    ports = port.to_bytes(2, "big") + (wanted if lifetime else 0).to_bytes(2, "big")
    return b"\0\1\0\0" + ports + lifetime.to_bytes(4, "big")


def parse_nat_pmp(data: bytes, port: int, host: str) -> Mapped | None:
    """The answer of a router whose public address is ``host``. Raises MappingError."""
    if len(data) < 16 or data[:2] != bytes((0, _ANSWER | 1)):
        return None
    _check_nat_pmp(data)
    if data[8:10] != port.to_bytes(2, "big"):
        return None
    return Mapped(host, int.from_bytes(data[10:12], "big"), int.from_bytes(data[12:16], "big"))


def _check_nat_pmp(data: bytes) -> None:
    code = int.from_bytes(data[2:4], "big")
    if code:
        raise _refusal(code, _NAT_PMP_REASONS)


def _refusal(code: int, reasons: Mapping[int, str]) -> MappingError:
    return MappingError(f"the router opens no port: {reasons.get(code, f'its code is {code}')}")
