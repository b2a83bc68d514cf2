from __future__ import annotations

import socket
import struct
import sys

import ifaddr
import pytest

from peerfetch_fast import interfaces
from peerfetch_fast.interfaces import interface_addresses


def test_the_addresses_are_those_that_the_c_library_tells() -> None:
    theirs = {
        (ip.ip if isinstance(ip.ip, str) else ip.ip[0], adapter.name)
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    }
    assert ("127.0.0.1", "lo") in theirs or sys.platform != "linux"
    assert set(interface_addresses()) == theirs


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux's kernel")
def test_a_sandbox_without_netlink_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError

    there = set(interface_addresses())
    monkeypatch.setattr(interfaces, "_from_kernel", refuse)
    assert set(interface_addresses()) == there


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def told(family: int, *attributes: bytes, index: int = 1) -> list[tuple[str, str]]:
    return list(
        interfaces._address(struct.pack("=BBBBI", family, 8, 0, 0, index) + b"".join(attributes))
    )


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux's kernel")
def test_what_the_kernel_says_of_an_address() -> None:
    ours, theirs = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
    label = attribute(3, b"lo\0")
    assert told(socket.AF_INET, attribute(1, theirs), attribute(2, ours), label) == [
        ("10.0.0.1", "lo")
    ]
    assert told(socket.AF_INET6, attribute(1, bytes(15) + b"\1")) == [("::1", "lo")]
    assert told(socket.AF_INET, label) == []
    assert told(socket.AF_UNIX, attribute(1, ours)) == []
    assert told(socket.AF_INET, attribute(1, ours), index=2**31 - 1) == []
    # A length that leads nowhere ends, too.
    assert told(socket.AF_INET, struct.pack("=HH", 0, 9) * 4) == []


def test_half_a_message_of_the_kernel_ends() -> None:
    assert list(interfaces._messages(bytes(40))) == [(0, b""), (0, b"")]
    assert list(interfaces._messages(bytes(5))) == []
