"""Candidates that come one by one (RFC 8838), and how long an agent has patience (RFC 8863)."""

from __future__ import annotations

import dataclasses

import pytest
from tests.webrtc.ice.network import PUBLIC, End, Nat, Network, connected, two
from tests.webrtc.ice.wire import Peer

from peerfetch_fast.webrtc.ice import stun
from peerfetch_fast.webrtc.ice.candidate import Candidate
from peerfetch_fast.webrtc.ice.settings import AgentSettings


def test_candidates_before_and_behind_the_credentials() -> None:
    network = Network()
    one, other = two(network)
    one.open(1, "192.0.2.1")
    for candidate in one.candidates:
        assert other.agent.add_remote(candidate, network.now)
    assert other.agent.take_datagrams() == []
    network.run(5.0)
    other.agent.set_remote(one.ufrag, one.password, network.now)
    other.open(1, "192.0.2.2")
    one.agent.set_remote(other.ufrag, other.password, network.now)
    network.run(1.0)
    assert connected(one, other)  # one has never been told of a candidate


@pytest.mark.parametrize("ended", ["neither", "local", "remote", "both"])
def test_nothing_fails_before_its_time(ended: str) -> None:
    network = Network()
    end = End(network, "a", controlling=True)
    end.open(1, "192.0.2.1")
    end.agent.set_remote("peer", "p" * 22, network.now)
    if ended in ("local", "both"):
        end.agent.end_of_local(network.now)
    if ended in ("remote", "both"):
        end.agent.end_of_remote(network.now)
    end.flush()
    took = network.run_until(lambda: end.agent.state == "failed", within=80)
    assert took == pytest.approx(39.5 if ended == "both" else 69.5, abs=0.01)


def test_failed_pairs_wait_for_the_peers_checks() -> None:
    network = Network()
    end = End(network, "a", controlling=True)
    end.open(1, "192.0.2.1")
    peer = Peer(network, end)
    peer.silent.add(1)
    end.meet(peer)
    network.run(35.0)
    assert end.agent.state == "checking"
    peer.silent.clear()
    peer.check(1)
    network.run(0.1)
    assert connected(end)


def test_checks_that_go_on_are_not_cut_off() -> None:
    """A pair that came late has all its time."""
    network = Network()
    end = End(network, "a", controlling=True)
    end.open(1, "192.0.2.1")
    end.agent.set_remote("peer", "p" * 22, network.now)
    end.agent.end_of_local(network.now)
    network.run(38.0)
    peer = Peer(network, end)
    peer.silent.add(1)
    end.meet(peer)
    network.run(5.0)
    assert end.agent.state == "checking"
    network.run(20.0)
    assert end.agent.state == "failed"


def test_who_has_no_socket_and_will_have_none_fails_at_once() -> None:
    network = Network()
    end = End(network, "a", controlling=True)
    end.agent.set_remote("peer", "p" * 22, network.now)
    end.flush()
    assert end.agent.state == "checking"
    end.agent.end_of_local(network.now)
    end.flush()
    assert end.states == ["checking", "failed"]


def test_a_check_is_repeated_at_doubled_intervals_until_it_ends() -> None:
    """Twice as long between each two, and an end to it."""
    network = Network()
    end = End(network, "a", controlling=True)
    end.open(1, "192.0.2.1")
    peer = Peer(network, end)
    peer.silent.add(1)
    times: list[float] = []

    def tap(data: bytes, source: object, target: object) -> bool:
        times.append(round(network.now - 100.0, 2))
        return True

    network.tap = tap
    end.meet(peer)
    network.run(30.0)
    assert times == [0.0, 0.25, 0.75, 1.75, 3.75, 7.75, 11.75]
    assert len({request.transaction for request in peer.requests}) == 1


def test_checks_are_paced() -> None:
    network = Network()
    end = End(network, "a", controlling=True)
    end.open(1, "192.0.2.1")
    end.agent.set_remote("peer", "p" * 22, network.now)
    times: list[float] = []

    def tap(data: bytes, source: object, target: object) -> bool:
        times.append(network.now - 100.0)
        return True

    network.tap = tap
    for number in range(10):
        host = f"192.0.2.{100 + number}"
        candidate = Candidate(str(number), 1, "udp", 1 + number, host, 1, "host")
        assert end.agent.add_remote(candidate, network.now)
    end.flush()
    network.run(0.19)
    assert times == pytest.approx([0.02 * number for number in range(10)])


@pytest.mark.parametrize(
    "changes",
    [
        {"transport": "tcp", "tcptype": "passive"},
        {"component": 2},
        {"port": 0},
        {"host": "0.0.0.0"},
        {"host": "224.0.0.1"},
        {"host": "somebody.local"},
        {"host": "ff02::1"},
    ],
)
def test_candidates_that_are_of_no_use(changes: dict[str, object]) -> None:
    network = Network()
    end = End(network, "a", controlling=True)
    end.open(1, "192.0.2.1")
    good = Candidate("1", 1, "udp", 1, "192.0.2.9", 9, "host")
    assert not end.agent.add_remote(dataclasses.replace(good, **changes), network.now)  # type: ignore[arg-type]
    assert end.agent.add_remote(good, network.now)
    assert not end.agent.add_remote(good, network.now)  # known


def test_only_addresses_of_one_family_and_scope_are_paired() -> None:
    """IPv6 addresses of the link are for each other (RFC 8445 section 6.1.2.2)."""
    network = Network()
    end = End(network, "a", controlling=True)
    for base, host in enumerate(("192.0.2.1", "2001:db8::1", "fe80::1")):
        end.open(base, host)
    for host in ("192.0.2.9", "2001:db8::9", "fe80::9"):
        candidate = Candidate("1", 1, "udp", 1, host, 9, "host")
        assert end.agent.add_remote(candidate, network.now)
    pairs = {(pair.base, pair.address[0]) for pair in end.agent._checklist.pairs}
    assert pairs == {(0, "192.0.2.9"), (1, "2001:db8::9"), (2, "fe80::9")}


def test_ipv6_addresses_connect() -> None:
    network = Network()
    one, other = two(network)
    one.open(1, "2001:db8::1")
    other.open(1, "2001:db8::2")
    one.meet(other)
    other.meet(one)
    network.run(1.0)
    assert one.way == ("2001:db8::1", ("2001:db8::2", 5001))


def test_bases_candidates_and_pairs_are_bounded_and_the_worst_given_up() -> None:
    network = Network()
    settings = AgentSettings(max_remote_candidates=5, max_pairs=12, max_bases=4)
    end = End(network, "a", controlling=True, settings=settings)
    for base in range(6):
        end.open(base, f"192.0.2.{base}", preference=base)
    taken = [
        end.agent.add_remote(
            Candidate(str(number), 1, "udp", 1 + number, f"192.0.2.{100 + number}", 1, "host"),
            network.now,
        )
        for number in range(7)
    ]
    assert taken == [True] * 5 + [False] * 2
    pairs = end.agent._checklist.pairs
    assert len(pairs) == 12
    # Those that were given up are the worst.
    assert [pair.priority for pair in pairs] == sorted((p.priority for p in pairs), reverse=True)
    assert {pair.remote.priority for pair in pairs} == {3, 4, 5}


def test_signaled_candidates_are_not_given_up_for_learned_ones() -> None:
    network = Network()
    end = End(network, "a", controlling=True, settings=AgentSettings(max_remote_candidates=3))
    end.open(1, "192.0.2.1")
    peer = Peer(network, end)
    end.meet(peer)
    for number in range(5):
        peer.check(1, source=(f"203.0.113.{number}", 1))
        network.run(0.05)
    hosts = [host for host, _ in end.agent._checklist.remotes]
    assert hosts == ["192.0.2.200", "203.0.113.3", "203.0.113.4"]


def test_a_candidate_that_was_learned_is_signaled_later() -> None:
    """It is a relay's, say, and no longer preferred."""
    network = Network()
    end = End(network, "b", controlling=False)
    end.open(1, "192.0.2.1")
    peer = Peer(network, end)
    end.meet(peer, [])
    peer.check(1)
    network.run(1.0)
    pair = end.agent._consent.pair
    assert pair is not None
    assert (pair.remote.type, pair.relayed) == ("prflx", False)
    relay = dataclasses.replace(peer.candidates[0], type="relay")
    assert end.agent.add_remote(relay, network.now)
    assert (pair.remote.type, pair.relayed) == ("relay", True)
    assert len(end.agent._checklist.pairs) == 1


def test_an_address_that_hides_behind_a_name_is_not_told_to_relays() -> None:
    network = Network()
    one, other = two(network)
    one.open(1, "192.0.2.1")
    one.open(2, "192.0.2.50", type="relay")
    other.open(1, "192.0.2.2")
    assert one.agent.add_remote(other.candidates[0], network.now, hidden=True)
    assert [pair.base for pair in one.agent._checklist.pairs] == [1]
    one.open(3, "192.0.2.51", type="relay")
    assert [pair.base for pair in one.agent._checklist.pairs] == [1]


def test_the_address_that_a_check_shows_is_ours() -> None:
    """A server-reflexive candidate that no server has told of (RFC 8445 section 7.2.5.3.1)."""
    network = Network()
    one, other = two(network)
    one.open(1, "10.0.0.2", place="home", nat=Nat("198.51.100.1"))
    other.open(1, "192.0.2.2", place=PUBLIC)
    one.meet(other)
    other.meet(one)
    network.run(3.0)
    pair = one.agent._consent.pair
    assert pair is not None
    local = pair.local
    assert (local.type, local.host, local.port) == ("prflx", "198.51.100.1", 40_000)
    assert (local.related_address, local.related_port) == ("10.0.0.2", 5001)


def test_alike_pairs_wait_for_the_first_of_them() -> None:
    """RFC 8445 section 6.1.2.6: what has one foundation fares alike."""
    network = Network()
    end = End(network, "a", controlling=True)
    end.open(1, "192.0.2.1")
    end.agent.set_remote("peer", "p" * 22, network.now)
    asked: list[object] = []

    def tap(data: bytes, source: object, target: tuple[str, int]) -> bool:
        asked.append(target[0])
        return True

    network.tap = tap
    for number, kind in enumerate(("one", "one", "two")):
        host = f"192.0.2.{100 + number}"
        candidate = Candidate(kind, 1, "udp", 9 - number, host, 1, "host")
        assert end.agent.add_remote(candidate, network.now)
    end.flush()
    network.run(0.2)
    assert asked == ["192.0.2.100", "192.0.2.102"]
    network.run(17.0)  # the first has failed, and is no obstacle any more
    assert "192.0.2.101" in asked


def test_a_success_frees_those_that_are_alike() -> None:
    network = Network()
    end = End(network, "a", controlling=True)
    end.open(1, "192.0.2.1")
    peer = Peer(network, end)
    kind = peer.candidates[0].foundation
    second = Peer(network, end, "192.0.2.201")
    second.candidates[0] = dataclasses.replace(second.candidates[0], foundation=kind, priority=1)
    end.meet(peer, peer.candidates + second.candidates)
    network.run(0.1)
    assert [stun.USERNAME in request.attributes for request in second.requests] == [True]
