"""Who is let in, without sockets: guests are plain strings."""

from __future__ import annotations

import pytest

from peerfetch_fast.signaling.doorman import Doorman
from peerfetch_fast.signaling.peerjs.refusals import Refusal


def test_so_many_of_one_address() -> None:
    doorman: Doorman[str] = Doorman(10, 2)
    for guest in ("a", "b"):
        assert doorman.refusal("192.0.2.1") is None
        doorman.enter(guest, "192.0.2.1")
    assert doorman.refusal("192.0.2.1") is Refusal.TOO_MANY_OF_ADDRESS
    assert doorman.refusal("192.0.2.2") is None
    doorman.leave("a")
    doorman.leave("a")
    assert doorman.refusal("192.0.2.1") is None
    assert len(doorman) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_addresses_of_one_ipv6_network_count_as_one(one: str, other: str, same: bool) -> None:
    doorman: Doorman[str] = Doorman(10, 1)
    doorman.enter("guest", one)
    assert (doorman.refusal(other) is not None) == same


def test_trusted_proxies_bring_those_of_many_addresses() -> None:
    doorman: Doorman[str] = Doorman(3, 1, ("10.0.0.0/8",))
    for guest in ("a", "b", "c"):
        assert doorman.refusal("10.1.2.3") is None
        doorman.enter(guest, "10.1.2.3")
    assert doorman.refusal("10.1.2.3") is Refusal.TOO_MANY_CONNECTIONS
    doorman.leave("b")
    assert doorman.refusal("10.1.2.3") is None


def test_the_silent_give_way_in_their_order() -> None:
    doorman: Doorman[str] = Doorman(3, 3)
    full, elsewhere = Refusal.TOO_MANY_CONNECTIONS, "192.0.2.9"
    for guest in ("a", "b", "c"):
        doorman.enter(guest, "192.0.2.1")
    doorman.spoken("a")
    assert doorman.longest_silent(full, elsewhere) == "b"
    doorman.leave("b")
    assert doorman.longest_silent(full, elsewhere) == "c"
    doorman.spoken("c")
    doorman.spoken("gone")
    assert doorman.longest_silent(full, elsewhere) is None


def test_the_silent_of_an_address_give_way_to_others_of_it() -> None:
    doorman: Doorman[str] = Doorman(10, 2)
    for guest, address in (("a", "192.0.2.1"), ("b", "192.0.2.2"), ("c", "192.0.2.2")):
        doorman.enter(guest, address)
    refusal = doorman.refusal("192.0.2.2")
    assert refusal is Refusal.TOO_MANY_OF_ADDRESS
    assert doorman.longest_silent(refusal, "192.0.2.2") == "b"
    doorman.spoken("b")
    assert doorman.longest_silent(refusal, "192.0.2.2") == "c"
    doorman.spoken("c")
    assert doorman.longest_silent(refusal, "192.0.2.2") is None


def test_nothing_is_kept_of_who_is_gone() -> None:
    doorman: Doorman[int] = Doorman(10, 10)
    for guest in range(1000):
        doorman.enter(guest, f"192.0.2.{guest % 250}")
        doorman.leave(guest)
    assert not doorman._counts
    assert not doorman._keys
    assert not doorman._silent
    assert not doorman._silent_of
