"""A peer whose address changes is followed, and nobody else is."""

from __future__ import annotations

import pytest
from tests.webrtc.ice.network import End, Nat, Network, connected, two
from tests.webrtc.ice.wire import Peer, met

from peerfetch_fast.webrtc.ice import stun


def behind_a_router(network: Network, *, controlling: bool = True) -> tuple[End, End, Nat]:
    """An end at home, which is controlling or not, and another one in the open."""
    one, other = two(network)
    near, far = (one, other) if controlling else (other, one)
    home = Nat("198.51.100.1")
    near.open(1, "10.0.0.2", place="home", nat=home)
    far.open(1, "192.0.2.2")
    near.meet(far)
    far.meet(near, [])
    network.run(10.0)
    assert connected(near, far)
    return near, far, home


@pytest.mark.parametrize("controlling", [True, False])
def test_a_router_that_gives_a_new_port(controlling: bool) -> None:
    """At the controlling end or the controlled one, without a restart."""
    network = Network()
    near, far, home = behind_a_router(network, controlling=controlling)
    old = far.way
    home.forget()
    took = network.run_until(lambda: far.way != old, within=20)
    assert took < 7.5  # the next consent check shows the new port
    network.run(60.0)
    assert connected(near, far)
    assert "disconnected" not in far.states + near.states
    assert far.way == ("192.0.2.2", ("198.51.100.1", 40_001))
    assert far.selected is not None
    assert far.selected.remote.type == "prflx"


@pytest.mark.parametrize("controlling", [True, False])
def test_who_hears_nothing_finds_out_at_once(controlling: bool) -> None:
    """The owner calls for probes when data is not acknowledged: 1 s is enough then."""
    network = Network()
    near, far, home = behind_a_router(network, controlling=controlling)
    old = far.way
    home.forget()
    near.agent.probe(network.now)
    near.flush()
    assert network.run_until(lambda: far.way != old) <= 1.1


def test_data_that_cannot_be_told_apart_does_not_hold_up_the_move() -> None:
    """The owner may take data of the new address for data of the selected pair."""
    network = Network()
    one, other, home = behind_a_router(network)
    home.forget()
    one.agent.probe(network.now)
    one.flush()
    moved = network.now + 1.6
    while network.now < moved:
        other.agent.heard(network.now)
        network.run(0.1)
    assert other.way == ("192.0.2.2", ("198.51.100.1", 40_001))


def test_a_check_that_somebody_repeats_from_elsewhere_moves_nothing() -> None:
    network = Network()
    end, peer = met(network, controlling=False)
    network.run(10.0)
    way = end.way
    request = peer.request(nominate=True)
    stranger = Peer(network, end, "203.0.113.66")
    stranger.silent.add(1)  # it cannot sign an answer
    stranger.password = peer.password
    end.admitted.clear()
    for _ in range(5):
        stranger.send(request, 1)
        network.run(2.0)
    assert end.way == way
    assert connected(end)
    assert stranger.requests  # it was asked


def test_an_address_that_works_takes_over_when_the_old_one_is_silent() -> None:
    network = Network()
    end, peer = met(network, controlling=True)
    network.run(10.0)
    # It has another address, and the one that it had is no more.
    network.ends.remove(peer)  # type: ignore[arg-type]
    moved = Peer(network, end, "203.0.113.5")
    moved.check(1)
    assert network.run_until(lambda: end.way == ("192.0.2.1", moved.address)) < 0.5
    network.run(0.1)
    # The controlling end nominates where it goes.
    assert stun.USE_CANDIDATE in moved.requests[-1].attributes


def test_a_second_address_changes_nothing_while_the_first_answers() -> None:
    network = Network()
    end, peer = met(network, controlling=True)
    network.run(10.0)
    second = Peer(network, end, "203.0.113.5")
    for _ in range(20):
        second.check(1)
        network.run(1.7)
    assert end.way == ("192.0.2.1", peer.address)
    assert len(end.history) == 1


def test_the_controlled_end_follows_a_later_nomination() -> None:
    network = Network()
    end, peer = met(network, controlling=False)
    peer.check(1, nominate=True)
    network.run(10.0)
    second = Peer(network, end, "203.0.113.5")
    second.check(1, nominate=True)
    assert network.run_until(lambda: end.way == ("192.0.2.1", second.address)) < 0.1
    network.run(5.0)
    peer.check(1, nominate=True)
    network.run(0.1)
    assert end.way == ("192.0.2.1", peer.address)


def test_addresses_that_are_learned_are_bounded() -> None:
    """A peer that goes from address to address is followed for as long as it likes."""
    network = Network()
    end, peer = met(network, controlling=False)
    network.run(10.0)
    for number in range(200):
        network.ends.remove(peer)  # type: ignore[arg-type]
        peer = Peer(network, end, f"203.0.{number}.5")
        peer.check(1, nominate=True)
        network.run(0.1)
        assert end.way == ("192.0.2.1", peer.address)
        assert len(end.agent._checklist.remotes) <= 64
        assert len(end.agent._checklist.pairs) <= 100


def test_the_socket_of_the_selected_pair_is_gone() -> None:
    """The next that works takes its place, and it is looked whether it still does."""
    network = Network()
    one, other = two(network)
    one.open(1, "192.0.2.1")
    one.open(2, "192.0.2.11", preference=100)
    other.open(1, "192.0.2.2")
    one.meet(other)
    other.meet(one)
    network.run(10.0)
    assert one.way == ("192.0.2.1", ("192.0.2.2", 5001))
    one.close_socket(1)
    assert one.way == ("192.0.2.11", ("192.0.2.2", 5001))
    network.run(1.0)
    assert other.way == ("192.0.2.2", ("192.0.2.11", 5002))
    assert "disconnected" not in one.states + other.states


def test_a_way_that_was_not_used_for_long_is_checked_before_data_goes_there() -> None:
    """RFC 7675: consent does not last for ever."""
    network = Network(delay=0.05)
    one, other = two(network)
    one.open(1, "192.0.2.1")
    one.open(2, "192.0.2.11", preference=100)
    other.open(1, "192.0.2.2")
    one.meet(other)
    other.meet(one)
    network.run(300.0)
    one.close_socket(1)
    assert one.agent.state == "disconnected"
    assert network.run_until(lambda: connected(one)) < 0.2
    assert one.way == ("192.0.2.11", ("192.0.2.2", 5001))


def test_no_socket_is_left() -> None:
    network = Network()
    one, other = two(network)
    one.open(1, "192.0.2.1")
    other.open(1, "192.0.2.2")
    one.meet(other)
    other.meet(one)
    network.run(10.0)
    one.close_socket(1)
    assert one.agent.state == "disconnected"
    network.run(5.0)
    one.open(2, "192.0.2.12")  # another network
    network.run(3.0)
    assert connected(one, other)
    assert other.way == ("192.0.2.2", ("192.0.2.12", 5002))


def test_nothing_comes_back() -> None:
    network = Network()
    one, other = two(network)
    one.open(1, "192.0.2.1")
    other.open(1, "192.0.2.2")
    one.meet(other)
    other.meet(one)
    network.run(10.0)
    one.close_socket(1)
    network.run(35.0)
    assert one.agent.state == other.agent.state == "failed"
    assert one.states == ["checking", "connected", "disconnected", "failed"]
