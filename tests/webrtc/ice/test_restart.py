"""Restarts (RFC 8445 section 9): data goes on, and nothing moves that was not signed."""

from __future__ import annotations

import pytest
from tests.webrtc.ice.network import End, Network, connected, two
from tests.webrtc.ice.wire import Peer, met

from peerfetch_fast.webrtc.ice import stun


def linked(network: Network) -> tuple[End, End]:
    one, other = two(network)
    one.open(1, "192.0.2.1")
    other.open(1, "192.0.2.2")
    one.meet(other)
    other.meet(one)
    network.run(10.0)
    assert connected(one, other)
    return one, other


@pytest.mark.parametrize("first", ["set_remote", "restart"])
@pytest.mark.parametrize("controlling", [True, False])
def test_both_ends_have_new_credentials(first: str, controlling: bool) -> None:
    network = Network()
    one, other = linked(network)
    if not controlling:
        one, other = other, one
    one.restart("c")
    network.run(1.0)  # the offer is on its way
    assert connected(one, other)
    if first == "restart":
        other.restart("d")
    other.meet(one)
    if first == "set_remote":
        network.run(0.5)
        other.restart("d")
    network.run(1.0)  # the answer is
    one.meet(other)
    network.run(3.0)
    assert connected(one, other)
    for end in (one, other):
        assert len(end.history) == 2
        assert end.states == ["checking", "connected"]
        assert end.agent._previous is None
        assert (end.agent.ufrag, end.agent.password) == (end.ufrag, end.password)
    network.run(60.0)
    assert connected(one, other)


def test_a_new_network_while_the_old_one_is_gone() -> None:
    network = Network()
    one, other = linked(network)
    one.close_socket(1)
    one.candidates.clear()
    assert one.agent.state == "disconnected"
    one.restart("c")
    assert one.agent.state == "checking"
    one.open(2, "203.0.113.7")
    other.restart("d")
    other.meet(one)
    one.meet(other)
    assert network.run_until(lambda: connected(one, other)) < 0.3
    network.run(1.0)
    assert other.way == ("192.0.2.2", ("203.0.113.7", 5002))


def test_the_old_pair_is_kept_until_there_is_a_new_one() -> None:
    """For as long as the answer takes, and with consent."""
    network = Network()
    one, other = linked(network)
    one.restart("c")
    network.run(120.0)
    assert connected(one, other)
    assert len(one.history) == 1
    # The other one has not heard of it, and asks with the old credentials.
    assert other.agent._consent.pair is not None
    assert network.now - other.agent._consent.pair.answered < 7


def test_a_restart_that_the_peer_never_answers_ends_with_the_old_pair() -> None:
    network = Network()
    one, other = linked(network)
    one.restart("c")
    network.run(1.0)
    network.ends.remove(other)
    network.run(40.0)
    assert one.agent.state == "checking"
    assert one.agent._consent.pair is None


def test_a_restart_after_failure_connects() -> None:
    network = Network()
    one, other = linked(network)
    network.loss = 1.0
    network.run(60.0)
    assert one.agent.state == other.agent.state == "failed"
    network.loss = 0.0
    one.restart("c")
    other.restart("d")
    other.meet(one)
    one.meet(other)
    network.run(1.0)
    assert connected(one, other)
    assert one.states[2:] == ["disconnected", "failed", "checking", "connected"]


def test_the_same_credentials_again_are_no_restart() -> None:
    network = Network()
    one, other = linked(network)
    sent = network.sent
    for _ in range(10):
        one.meet(other)
        other.meet(one)
    network.run(0.1)
    assert network.sent - sent <= 4
    assert len(one.history) == 1


def test_restarts_that_cross_lead_to_one_path() -> None:
    """Both have begun one, and one of the offers is then answered."""
    network = Network()
    one, other = linked(network)
    one.restart("c")
    other.restart("d")
    network.run(0.1)
    other.meet(one)
    network.run(0.1)
    one.meet(other)
    network.run(3.0)
    assert connected(one, other)
    assert len(one.history) == len(other.history) == 2


def test_restarts_in_a_storm() -> None:
    network = Network()
    one, other = linked(network)
    for number in range(50):
        one.restart(f"c{number}")
        if number % 3 == 0:
            other.meet(one)
        if number % 7 == 0:
            other.restart(f"d{number}")
        network.run(0.05)
    other.restart("e")
    other.meet(one)
    one.meet(other)
    network.run(3.0)
    assert connected(one, other)
    assert "disconnected" not in one.states + other.states
    assert len(one.agent._checks._transactions) < 10


def test_checks_before_the_peers_new_credentials_are_answered() -> None:
    network = Network()
    end, peer = met(network, controlling=False)
    network.run(10.0)
    end.restart("c")
    peer.ufrag, peer.password = "anew", "q" * 22
    peer.answers.clear()
    peer.check(1, nominate=True)
    network.run(0.1)
    assert peer.answers[-1].kind == stun.RESPONSE
    assert len(end.history) == 1
    end.meet(peer, [])
    network.run(0.1)
    assert len(end.history) == 2


def test_old_credentials_are_answered_until_the_new_run_has_a_pair() -> None:
    network = Network()
    end, peer = met(network, controlling=False)
    network.run(10.0)
    old = peer.request(nominate=True)
    another = peer.request(nominate=True)
    end.restart("c")
    peer.send(old, 1)
    network.run(0.1)
    peer.ufrag, peer.password = "anew", "q" * 22
    end.meet(peer)
    network.run(0.1)
    assert len(end.history) == 2
    refused = end.agent.refused
    peer.send(another, 1)
    network.run(0.1)
    assert end.agent.refused == refused + 1


def test_who_has_not_the_credentials_changes_nothing() -> None:
    network = Network()
    one, _ = linked(network)
    stranger = Peer(network, one, "203.0.113.66")
    one.restart("c")
    for username, key in (("cccc:peer", "x"), ("aaaa:bbbb", "x"), ("dddd:peer", None)):
        stranger.check(1, nominate=True, username=username, key=key)
    network.run(1.0)
    assert stranger.raw == []
    assert len(one.history) == 1
    assert one.admitted == [("192.0.2.2", 5001)]
