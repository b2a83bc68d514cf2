from __future__ import annotations

import socket
import struct
import sys

import ifaddr
import pytest

from peerfetch_fast import interfaces
from peerfetch_fast.interfaces import (
    host_addresses,
    interface_addresses,
    is_ours,
    netlink_messages,
    source_addresses,
)


def test_the_addresses_are_those_that_the_c_library_tells() -> None:
    theirs = {
        (ip.ip if isinstance(ip.ip, str) else ip.ip[0], adapter.name)
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    }
    assert ("127.0.0.1", "lo") in theirs or sys.platform != "linux"
    ours = set(interface_addresses())
    assert ours <= theirs
    # The library tells those of interfaces that are down, too.
    assert not any(interfaces._is_up(name) for _, name in theirs - ours)


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux's kernel")
def test_a_sandbox_without_netlink_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError

    there = set(interface_addresses())
    monkeypatch.setattr(interfaces, "_from_kernel", refuse)
    assert set(interface_addresses()) >= there > set()


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def told(family: int, *attributes: bytes, index: int = 1, flags: int = 0) -> list[tuple[str, str]]:
    message = struct.pack("=BBBBI", family, 8, flags, 0, index) + b"".join(attributes)
    return list(interfaces._address(message))


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux's kernel")
def test_what_the_kernel_says_of_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
    label = attribute(3, b"lo\0")
    assert told(socket.AF_INET, attribute(1, theirs), attribute(2, ours), label) == [
        ("10.0.0.1", "lo")
    ]
    six = attribute(1, bytes(15) + b"\1")
    assert told(socket.AF_INET6, six) == [("::1", "lo")]
    assert told(socket.AF_INET, label) == []
    assert told(socket.AF_UNIX, attribute(1, ours)) == []
    assert told(socket.AF_INET, attribute(1, ours), index=2**31 - 1) == []
    # Nothing can be sent from an address before it is known that no other machine has it.
    tentative, failed, optimistic = 0x40, 0x08, 0x04
    assert told(socket.AF_INET6, six, flags=tentative) == []
    assert told(socket.AF_INET6, six, flags=failed) == []
    assert told(socket.AF_INET6, six, flags=tentative | optimistic) == [("::1", "lo")]
    monkeypatch.setattr(interfaces, "_is_up", lambda _: False)
    assert told(socket.AF_INET6, six) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        bytes((socket.AF_INET,)),
        struct.pack("=BBBBI", socket.AF_INET, 8, 0, 0, 1) + struct.pack("=HH", 0, 9) * 4,
        struct.pack("=BBBBI", socket.AF_INET, 8, 0, 0, 1) + struct.pack("=HH", 2**16 - 1, 2) * 4,
        struct.pack("=BBBBI", socket.AF_INET, 8, 0, 0, 1) + attribute(2, b"short"),
        struct.pack("=BBBBI", socket.AF_INET, 8, 0, 0, 1) + attribute(2, b""),
    ],
)
def test_lengths_that_lead_nowhere(body: bytes) -> None:
    assert list(interfaces._address(body)) == []


def test_half_a_message_of_the_kernel_is_none() -> None:
    whole = struct.pack("=IHHII", 21, 7, 0, 0, 0) + b"12345"
    assert list(netlink_messages(whole)) == [(7, b"12345")]
    assert list(netlink_messages(whole + bytes(3) + whole)) == [(7, b"12345")] * 2
    assert list(netlink_messages(whole + bytes(3) + whole[:-1])) == [(7, b"12345")]
    assert list(netlink_messages(bytes(40))) == []
    assert list(netlink_messages(bytes(5))) == []


@pytest.mark.parametrize(
    ("there", "used"),
    [
        ([], ["127.0.0.1"]),
        (["127.0.0.1", "::1"], ["127.0.0.1"]),
        (["127.0.0.1", "192.0.2.1", "2001:db8::1"], ["192.0.2.1", "2001:db8::1"]),
        (["192.0.2.1", "fe80::1", "169.254.0.1"], ["192.0.2.1"]),
        (["127.0.0.1", "fe80::1"], ["fe80::1%eth0"]),
        (["192.0.2.1", "192.0.2.1"], ["192.0.2.1"]),
    ],
)
def test_addresses_that_others_may_reach(
    monkeypatch: pytest.MonkeyPatch, there: list[str], used: list[str]
) -> None:
    found = [(address, "eth0") for address in there]
    monkeypatch.setattr(interfaces, "interface_addresses", lambda: found)
    assert host_addresses() == used


def test_addresses_are_told_interface_by_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [("192.0.2.1", "eth0"), ("192.0.2.2", "wlan0"), ("2001:db8::1", "eth0")]
    monkeypatch.setattr(interfaces, "interface_addresses", lambda: found)
    assert host_addresses() == ["192.0.2.1", "2001:db8::1", "192.0.2.2"]


def test_whose_an_address_is() -> None:
    assert is_ours("127.0.0.1")
    assert not is_ours("192.0.2.99")
    assert not is_ours("2001:db8::99")
    assert all(is_ours(address) for address in source_addresses())
