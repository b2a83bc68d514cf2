"""Two agents find a way to each other."""

from __future__ import annotations

import pytest
from tests.webrtc.ice.network import Nat, Network, connected, two


def test_two_ends_on_one_network() -> None:
    network = Network(delay=0.025)
    one, other = two(network)
    one.open(1, "192.0.2.1")
    other.open(1, "192.0.2.2")
    one.meet(other)
    other.meet(one)
    # A check there and its answer back.
    assert network.run_until(lambda: connected(one, other)) == pytest.approx(0.05, abs=0.002)
    network.run(1.0)
    assert one.way == ("192.0.2.1", ("192.0.2.2", 5001))
    assert other.way == ("192.0.2.2", ("192.0.2.1", 5001))
    assert one.states == other.states == ["checking", "connected"]
    assert one.admitted == [("192.0.2.2", 5001)]
    assert len(one.history) == len(other.history) == 1


@pytest.mark.parametrize("symmetric", [False, True])
def test_two_routers_are_crossed(symmetric: bool) -> None:
    """Of which one may give each destination a port of its own."""
    network = Network()
    one, other = two(network)
    one.open(1, "10.0.0.2", place="home", nat=Nat("198.51.100.1", symmetric=symmetric))
    other.open(1, "10.0.1.2", place="work", nat=Nat("203.0.113.1"))
    one.reflexive(1)
    other.reflexive(1)
    one.meet(other)
    other.meet(one)
    if symmetric:
        # A router that lets in only what was asked for, port by port, does not let in this.
        network.run(20.0)
        assert not connected(one)
        return
    network.run_until(lambda: connected(one, other))
    network.run(1.0)
    assert one.way == ("10.0.0.2", ("203.0.113.1", 40_000))
    assert one.selected is not None
    assert one.selected.local.type == "host"


def test_the_first_packets_are_lost() -> None:
    for seed in range(20):
        network = Network(loss=0.3, seed=seed)
        one, other = two(network)
        one.open(1, "192.0.2.1")
        other.open(1, "192.0.2.2")
        one.meet(other)
        other.meet(one)
        network.run_until(lambda: connected(one, other), within=5)  # noqa: B023
