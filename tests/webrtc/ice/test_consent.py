"""Consent to send, and what silence leads to (RFC 7675)."""

from __future__ import annotations

import itertools

import pytest
from tests.webrtc.ice.network import End, Network, connected, two
from tests.webrtc.ice.wire import Peer

from peerfetch_fast.webrtc.ice import stun


def linked(network: Network, **options: bool) -> tuple[End, Peer]:
    end = End(network, "a", controlling=options.get("controlling", True))
    end.open(1, "192.0.2.1")
    peer = Peer(network, end)
    end.meet(peer)
    network.run(10.0)
    assert connected(end)
    return end, peer


def test_a_check_each_five_seconds() -> None:
    network = Network()
    _, peer = linked(network)
    peer.requests.clear()
    times = []
    for _ in range(20):
        known = len(peer.requests)
        network.run_until(lambda known=known: len(peer.requests) > known)
        times.append(network.now)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert all(3.9 < gap < 6.1 for gap in gaps)
    assert max(gaps) - min(gaps) > 0.5  # not in step with others
    assert len({request.transaction for request in peer.requests}) == 20


def test_consent_costs_4_datagrams_in_5_seconds() -> None:
    """Of both sides' consent, 4 datagrams in 5 s, and no timer besides."""
    network = Network()
    one, other = two(network)
    one.open(1, "192.0.2.1")
    other.open(1, "192.0.2.2")
    one.meet(other)
    other.meet(one)
    network.run(30.0)
    sent = network.sent
    network.run(100.0)
    assert 70 <= network.sent - sent <= 92


def test_silence_is_looked_into_and_ends_in_failure() -> None:
    network = Network()
    end, peer = linked(network)
    peer.silent.add(1)
    last = end.agent._consent.expires - 30.0
    quiet = network.run_until(lambda: end.agent.state == "disconnected", within=20)
    assert quiet < 6.0 + 6.0
    before = len(peer.requests)
    network.run(1.0)
    assert 4 <= len(peer.requests) - before <= 6  # PROBE_INTERVAL
    network.run_until(lambda: end.agent.state == "failed", within=40)
    assert network.now - last == pytest.approx(30.0, abs=0.01)
    sent = network.sent
    peer.check(1)
    network.run(60.0)
    assert network.sent == sent + 1  # ours; nothing more is sent by the end, and nothing answered
    assert end.states == ["checking", "connected", "disconnected", "failed"]


def test_an_answer_ends_the_silence() -> None:
    network = Network()
    end, peer = linked(network)
    peer.silent.add(1)
    network.run_until(lambda: end.agent.state == "disconnected", within=20)
    peer.silent.clear()
    assert network.run_until(lambda: connected(end)) < 0.5
    peer.requests.clear()
    network.run(3.0)
    assert len(peer.requests) <= 1


@pytest.mark.parametrize("forged", ["unsigned", "another key", "another address"])
def test_an_answer_that_is_not_the_peers_is_no_consent(forged: str) -> None:
    network = Network()
    end, peer = linked(network)
    peer.silent.add(1)
    peer.requests.clear()
    refused = end.agent.refused
    while end.agent.state != "failed":
        network.run(0.1)
        for request in peer.requests:
            key = {"unsigned": None, "another key": b"x"}.get(forged, peer.password.encode())
            mapped = stun.pack_address(("192.0.2.1", 5001), request.transaction)
            body = stun.attribute(stun.XOR_MAPPED_ADDRESS, mapped)
            data = stun.seal(stun.RESPONSE, request.transaction, body, key)
            source = ("203.0.113.66", 1) if forged == "another address" else None
            peer.send(data, 1, source=source)
        peer.requests.clear()
        assert network.now < 200
    assert end.agent.refused > refused


def test_requests_and_data_of_the_peer_are_no_consent() -> None:
    """They are signs of life, though: nothing is probed."""
    network = Network()
    end, peer = linked(network)
    peer.silent.add(1)
    peer.requests.clear()
    began = network.now
    while end.agent.state != "failed":
        peer.check(1)
        end.agent.heard(network.now)
        network.run(0.5)
        assert network.now - began < 40
    assert "disconnected" not in end.states
    assert len(peer.requests) < 10


def test_heard_at_is_when_the_peer_last_sent_anything() -> None:
    network = Network()
    end, peer = linked(network)
    peer.check(1)
    network.run(0.5)
    assert end.agent.heard_at == pytest.approx(network.now - 0.49, abs=0.02)
    end.agent.heard(network.now)
    assert end.agent.heard_at == network.now


def test_probes_stop_when_something_answers() -> None:
    network = Network()
    end, peer = linked(network)
    peer.requests.clear()
    for _ in range(3):
        end.agent.probe(network.now)
        end.flush()
    network.run(2.0)
    assert 1 <= len(peer.requests) <= 3
    end.agent.close()
    end.agent.probe(network.now)
    assert end.agent.take_datagrams() == []


def test_other_pairs_are_probed_too() -> None:
    network = Network()
    end = End(network, "a", controlling=True)
    end.open(1, "192.0.2.1")
    end.open(2, "192.0.2.11", preference=100)
    peer = Peer(network, end)
    end.meet(peer)
    network.run(10.0)
    assert end.way == ("192.0.2.1", peer.address)
    peer.silent.add(1)
    end.agent.probe(network.now)
    end.flush()
    took = network.run_until(lambda: end.way == ("192.0.2.11", peer.address))
    assert took <= 1.1
    assert "disconnected" not in end.states


def test_an_error_is_no_consent() -> None:
    network = Network()
    end, peer = linked(network)
    peer.refuses = 403
    network.run_until(lambda: end.agent.state == "failed", within=40)


def test_a_closed_agent_is_silent() -> None:
    network = Network()
    end, peer = linked(network)
    end.agent.close()
    end.flush()
    sent = network.sent
    peer.check(1)
    network.run(60.0)
    assert network.sent == sent + 1
    assert end.agent.state == "closed"
    assert end.agent.deadline() == float("inf")
    end.agent.set_remote("x", "y", network.now)
    end.restart("z")
    end.open(3, "192.0.2.3")
    assert not end.agent.add_remote(peer.candidates[0], network.now)
    assert end.agent.state == "closed"
    assert end.states[-1] == "closed"
    end.agent.close()
    assert end.agent.take_events() == []
