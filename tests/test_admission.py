"""Whom a server takes, in a time of its own."""

from __future__ import annotations

import logging

import pytest

from peerfetch_fast.addresses import in_same_realm, network_of
from peerfetch_fast.admission import LOG_INTERVAL, Admission, RefusalCounts
from peerfetch_fast.settings import Limits


def no_room() -> bool:
    return False


def test_places_are_bounded_in_all_and_for_each_peer() -> None:
    admission = Admission(Limits(max_peers=3, peer_connections=2))
    assert admission.offer("a", 0, no_room) is None
    assert admission.offer("a", 0, no_room) is None
    assert admission.offer("a", 0, no_room) == "too many connections of one peer"
    assert admission.offer("b", 0, no_room) is None
    assert admission.offer("c", 0, no_room) == "too many peers"
    admission.leave("a")
    assert admission.offer("c", 0, no_room) is None

    def make_room() -> bool:
        admission.leave("a")
        return True

    assert admission.offer("d", 0, make_room) is None
    assert admission.offer("e", 0, no_room) == "too many peers"


def test_offers_of_one_peer() -> None:
    admission = Admission(Limits(offer_burst=3, offer_rate=0.5))

    def offer(peer_id: str, now: float) -> str | None:
        reason = admission.offer(peer_id, now, no_room)
        if reason is None:
            admission.leave(peer_id)
        return reason

    assert [offer("a", 0) for _ in range(5)] == [None] * 3 + ["too many offers of one peer"] * 2
    assert offer("b", 0) is None
    # Refusals do not count, so that who waits is let in.
    assert offer("a", 1.9) == "too many offers of one peer"
    assert offer("a", 2.1) is None


def test_requests_of_one_peer() -> None:
    admission = Admission(Limits(request_burst=2, request_rate=4))
    admission.offer("a", 0, no_room)
    assert [admission.request("a", 0) for _ in range(3)] == [0, 0, 0.25]
    assert admission.request("b", 0) == 0
    assert admission.request("a", 0.25) == 0
    # Nothing is kept of who is not there.
    admission.leave("a")
    assert admission._requests.keys() == {"b"}


def test_three_failures_lock_out_for_a_time_and_slow_ones_are_forgiven() -> None:
    admission = Admission(Limits(access_failures=3, access_lockout=100))
    for now in (0, 10, 20):
        assert not admission.locked_out(("a",), now)
        admission.failed(("a",), now)
    assert admission.locked_out(("a",), 20)
    assert admission.offer("a", 20, no_room) == "too many wrong access tokens"
    assert not admission.locked_out(("b",), 20)
    assert admission.locked_out(("a",), 119)
    assert not admission.locked_out(("a",), 120)
    # Slow failures are forgiven, as the typing errors that they may be.
    for now in (1000, 1060, 1120):
        admission.failed(("b",), now)
    assert not admission.locked_out(("b",), 1120)


def test_failures_that_are_an_access_lockout_apart_lock_nobody_out() -> None:
    admission = Admission(Limits(access_failures=2, access_lockout=100))
    for now in (0, 100):
        admission.failed(("a",), now)
    assert not admission.locked_out(("a",), 100)
    # Of those, only the second counts against who wants to prove now.
    assert admission.may_prove(("a",), 100)
    assert not admission.may_prove(("a",), 100)


def test_failures_of_one_remote_are_bounded() -> None:
    admission = Admission(Limits(access_failures=3))
    for now in range(1000):
        admission.failed(("a",), now)
    assert [failure.time for failure in admission._failures._entries["a"]] == [997, 998, 999]


def test_addresses_of_one_network() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1%eth0") == "2001:db8::/64"
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8::1")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("my-device") == "my-device"


def test_an_attacker_with_several_addresses_is_one() -> None:
    admission = Admission(Limits(access_failures=5, access_lockout=600))
    addresses = ("203.0.113.5", "2001:db8:5::1")
    guesses = 0
    for number in range(20):
        peer_id, heard_from = f"peer-{number}", addresses[number % 2]
        if not admission.locked_out((peer_id, heard_from, *addresses), number):
            guesses += 1
            admission.failed((peer_id, heard_from), number)
    assert guesses == 5
    # One who says an address is its own, and is not heard from there, has not locked it out.
    for number in range(5):
        admission.failed((f"liar-{number}", "203.0.113.6"), 30)
    assert not admission.locked_out(("victim", "203.0.113.7"), 31)
    assert admission.locked_out(("another", "203.0.113.7", "203.0.113.6"), 31)


def test_guesses_at_the_same_time_are_as_many_as_one_after_the_other() -> None:
    admission = Admission(Limits(access_failures=5, access_lockout=600))
    one = [(f"peer-{number}", "203.0.113.5") for number in range(32)]
    let = [remotes for remotes in one if admission.may_prove(remotes, 0)]
    assert len(let) == 5
    admission.failed(let[0], 1)
    admission.heard(let[0])
    assert not admission.may_prove(one[9], 1)
    admission.heard(let[1])  # a right one
    assert admission.may_prove(one[9], 1)
    for remotes in (*let[2:], one[9]):
        admission.heard(remotes)
    assert not admission._proving
    # What is long ago holds nobody up.
    for time in range(5):
        admission.failed(one[0], time)
    assert not admission.locked_out(one[0], 700)
    assert admission.may_prove(one[0], 700)


def test_private_addresses_are_told_apart_by_where_they_are_seen() -> None:
    claimed = ("192.168.1.7", "8.8.8.8", "2a00:1450::1", "fe80::1%eth0", "x.local", "")
    assert in_same_realm(claimed, "9.9.9.9") == ["8.8.8.8", "2a00:1450::1"]
    assert in_same_realm(claimed, "192.168.1.3") == list(claimed[:4])


def test_what_is_remembered_is_bounded() -> None:
    admission = Admission(Limits(remotes=10, offer_burst=1, access_failures=1))
    for number in range(1000):
        assert admission.offer(f"peer-{number}", 0, no_room) in (None, "too many peers")
        admission.failed((f"peer-{number}",), 0)
    assert len(admission._offers._entries) == len(admission._failures._entries) == 10
    assert admission.locked_out(("peer-999",), 0)
    assert not admission.locked_out(("peer-0",), 0)


def test_refusals_are_logged_at_a_bounded_rate(caplog: pytest.LogCaptureFixture) -> None:
    refused = RefusalCounts()
    with caplog.at_level(logging.WARNING):
        for number in range(1000):
            refused.add("too many peers", "a", number / 1000)
        refused.add("no access token", "b", 0, ": a hint")
        refused.add("too many peers", "c", LOG_INTERVAL)
        for now in (0, 1, LOG_INTERVAL):
            refused.add("too many offers", "d", now)
    assert refused.counts == {"too many peers": 1001, "no access token": 1, "too many offers": 3}
    assert [record.getMessage() for record in caplog.records] == [
        "refused a: too many peers",
        "refused b: no access token: a hint",
        "refused c: too many peers (1000 since last told)",
        "refused d: too many offers",
        "refused d: too many offers (2 since last told)",
    ]


@pytest.mark.parametrize("name", Limits.__slots__)
def test_limits_that_make_no_sense(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 0})
