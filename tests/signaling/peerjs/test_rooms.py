"""Who is in which room, and whose word about an address counts."""

from __future__ import annotations

import pytest

from peerfetch_fast.signaling.peerjs.rooms import Rooms, client_address, room_id

SECRET = b"s" * 32
PROXIES = ("10.0.0.0/8", "::1")


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("8.8.8.8", ["1.1.1.1"], "8.8.8.8"),  # nobody asked whoever wrote that
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["1.1.1.1"], "1.1.1.1"),
        ("10.0.0.1", ["9.9.9.9, 1.1.1.1"], "1.1.1.1"),  # the first is what the client claims
        ("10.0.0.1", ["9.9.9.9", "1.1.1.1, 10.0.0.2"], "1.1.1.1"),
        ("::1", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", ["nonsense"], "nonsense"),
        (None, ["1.1.1.1"], None),
    ],
)
def test_the_client_is_the_last_address_that_no_proxy_of_ours_has(
    peer: str | None, forwarded: list[str], address: str | None
) -> None:
    assert client_address(peer, forwarded, PROXIES) == address


def test_the_same_network_is_the_same_room() -> None:
    assert room_id(SECRET, "8.8.8.8") == room_id(SECRET, "8.8.8.8")
    assert room_id(SECRET, "8.8.8.8") == room_id(SECRET, "::ffff:8.8.8.8")
    assert room_id(SECRET, "8.8.8.8") != room_id(SECRET, "8.8.8.9")
    assert room_id(SECRET, "8.8.8.8") != room_id(b"t" * 32, "8.8.8.8")
    assert room_id(SECRET, "2a00:1::1") == room_id(SECRET, "2a00:1::2:3")
    assert room_id(SECRET, "2a00:1::1") != room_id(SECRET, "2a00:1:0:1::1")
    assert room_id(SECRET, "192.168.1.2") == room_id(SECRET, "127.0.0.1")
    assert room_id(SECRET, "fe80::1%eth0") == room_id(SECRET, "10.1.1.1")
    assert room_id(SECRET, "nonsense") is None
    assert room_id(SECRET, None) is None


def test_a_room_lists_its_members_until_they_leave() -> None:
    rooms = Rooms(2)
    assert rooms.join("a", "x")
    assert rooms.join("a", "y")
    assert rooms.join("a", "x")
    assert rooms.members("a") == ["x", "y"]
    assert not rooms.join("a", "z")
    assert rooms.join("b", "y")
    assert rooms.members("a") == ["x"]
    assert rooms.leave("x")
    assert not rooms.leave("x")
    assert rooms.members("a") == []
    assert rooms._members.keys() == {"b"}
