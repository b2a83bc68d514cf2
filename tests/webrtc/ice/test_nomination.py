"""Which pair is chosen: regular nomination, relays last, and peers that nominate everything."""

from __future__ import annotations

from typing import Any

import pytest
from tests.webrtc.ice.network import PUBLIC, End, Nat, Network, connected, two
from tests.webrtc.ice.wire import Peer

from peerfetch_fast.webrtc.ice import stun


def with_two_sockets(network: Network) -> tuple[End, Peer]:
    """A controlled end, the second of whose sockets is better, and a peer that it does not know."""
    end = End(network, "b", controlling=False)
    end.open(1, "192.0.2.1", preference=100)
    end.open(2, "192.0.2.2", preference=200)
    return end, Peer(network, end)


def test_the_controlling_end_nominates_one_pair() -> None:
    network = Network()
    nominated: list[tuple[object, object]] = []

    def tap(data: bytes, source: object, target: object) -> bool:
        message = stun.parse(data)
        if stun.USE_CANDIDATE in message.attributes:
            assert message.kind == stun.REQUEST
            assert stun.ICE_CONTROLLING in message.attributes
            nominated.append((source, target))
        return True

    network.tap = tap
    one, other = two(network)
    for end, host in ((one, "192.0.2.1"), (other, "192.0.2.2")):
        end.open(1, host)
        end.open(2, f"{host}0")
    one.meet(other)
    other.meet(one)
    network.run(4.0)
    assert connected(one, other)
    assert len(set(nominated)) == 1
    assert one.way is not None
    assert one.way[1] == nominated[0][1]
    assert other.way is not None
    assert other.way[1] == nominated[0][0]


def test_consent_checks_of_the_controlling_end_nominate() -> None:
    """So that a peer whose address has changed, or whose pair has, follows."""
    network = Network()
    one, other = two(network)
    one.open(1, "192.0.2.1")
    other.open(1, "192.0.2.2")
    one.meet(other)
    other.meet(one)
    network.run(3.0)
    seen: list[tuple[bool, bool]] = []

    def tap(data: bytes, source: object, target: object) -> bool:
        message = stun.parse(data)
        if message.kind == stun.REQUEST:
            attributes = message.attributes
            seen.append((stun.ICE_CONTROLLING in attributes, stun.USE_CANDIDATE in attributes))
        return True

    network.tap = tap
    network.run(10.0)
    assert set(seen) == {(True, True), (False, False)}


def relayed(network: Network, *, direct_after: float | None) -> tuple[End, End]:
    """Two ends with a relay each, between which a direct way opens later, or never."""
    one, other = two(network)
    home, work = Nat("198.51.100.1", symmetric=True), Nat("203.0.113.1", symmetric=True)
    one.open(1, "10.0.0.2", place="home", nat=home)
    other.open(1, "10.0.1.2", place="work", nat=work)
    one.open(2, "192.0.2.50", type="relay")
    one.meet(other)
    other.meet(one)
    if direct_after is not None:

        def open_up() -> None:
            home.symmetric = work.symmetric = False
            for end, peer in ((one, other), (other, one)):
                end.agent.add_remote(peer.reflexive(1), network.now)
            one.flush()
            other.flush()

        network.at(network.now + direct_after, open_up)
    return one, other


def test_a_relay_carries_data_at_once_and_is_nominated_when_nothing_better_comes() -> None:
    network = Network()
    one, other = relayed(network, direct_after=None)
    assert network.run_until(lambda: connected(one, other)) < 0.5
    assert one.way is not None
    assert one.way[0] == "192.0.2.50"
    pair = one.agent._consent.pair
    assert pair is not None
    assert not pair.nominated
    network.run(0.6)
    assert not pair.nominated
    network.run(0.6)
    assert pair.nominated


@pytest.mark.parametrize("after", [0.3, 2.5])
def test_a_direct_way_takes_the_place_of_a_relay(after: float) -> None:
    """Before the relay is nominated, and within the first seconds thereafter."""
    network = Network()
    one, other = relayed(network, direct_after=after)
    network.run(after + 2.0)
    assert one.way is not None
    assert (one.way[0], one.way[1][0]) == ("10.0.0.2", "203.0.113.1")
    assert other.selected is not None
    assert other.selected.remote.type != "relay"
    assert one.selected is not None
    # The old way, and the new one: nothing moves to and fro.
    assert len(one.history) == len(other.history) == 2


def test_a_relay_is_not_waited_for_when_no_direct_way_is_left() -> None:
    network = Network()
    one, other = two(network)
    one.open(1, "192.0.2.50", type="relay")
    other.open(1, "192.0.2.60", type="relay")
    one.meet(other)
    other.meet(one)
    network.run(0.2)
    pair = one.agent._consent.pair
    assert pair is not None
    assert pair.nominated


def test_of_all_that_a_peer_nominates_the_best_wins() -> None:
    """Chromium, Firefox and aioice have USE-CANDIDATE in every check."""
    network = Network()
    end, peer = with_two_sockets(network)
    end.meet(peer)
    for base in (1, 2, 1):
        peer.check(base, nominate=True)
        network.run(0.1)
    assert end.way == ("192.0.2.2", peer.address)
    # Its own checks have found the better one first.
    assert [one.base for one in end.history] == [2, 1, 2]


def test_a_nomination_that_comes_before_the_pair_works_counts() -> None:
    network = Network()
    end, peer = with_two_sockets(network)
    peer.silent.add(1)
    end.meet(peer)
    peer.check(1, nominate=True)
    network.run(0.5)
    assert end.way == ("192.0.2.2", peer.address)  # it works, and nothing better is known
    peer.silent.clear()
    network.run(1.0)
    assert end.way == ("192.0.2.1", peer.address)


def test_a_controlling_end_does_not_take_nominations() -> None:
    network = Network()
    end = End(network, "a", controlling=True)
    end.open(1, "192.0.2.1", preference=200)
    end.open(2, "192.0.2.2", preference=100)
    peer = Peer(network, end)
    end.meet(peer)
    network.run(1.0)
    peer.check(2, nominate=True)
    network.run(10.0)
    assert end.way == ("192.0.2.1", peer.address)


def test_a_peer_that_is_lite() -> None:
    """It makes no checks, and follows what we nominate (RFC 8445 section 2.5)."""
    network = Network()
    end = End(network, "b", controlling=False)
    end.open(1, "192.0.2.1")
    peer = Peer(network, end)
    end.agent.set_remote(peer.ufrag, peer.password, network.now, lite=True)
    end.meet(peer)
    assert end.agent.controlling
    network.run(1.0)
    assert connected(end)
    assert any(stun.USE_CANDIDATE in request.attributes for request in peer.requests)
    # It leaves the choice to us, whatever else it says.
    peer.check(1, role=stun.ICE_CONTROLLING, tie_breaker=2**64 - 1)
    network.run(0.1)
    assert end.agent.controlling
    assert stun.error_code(peer.answers[-1]) == 487


def test_a_nominated_pair_that_fails_leaves_the_next() -> None:
    network = Network()
    end = End(network, "a", controlling=True)
    end.open(1, "192.0.2.1", preference=200)
    end.open(2, "192.0.2.2", preference=100)
    peer = Peer(network, end)
    end.meet(peer)
    network.run_until(lambda: len(peer.requests) > 2)
    peer.silent.add(1)
    network.run(30.0)
    assert connected(end)
    assert end.way == ("192.0.2.2", peer.address)


def test_a_nomination_that_is_refused_leaves_the_next() -> None:
    class Choosy(Peer):
        def answer(self, request: stun.Message, source: Any, key: bytes | None = None) -> bytes:
            nominates = stun.USE_CANDIDATE in request.attributes
            self.refuses = 400 if nominates and source[0] == "192.0.2.1" else 0
            return super().answer(request, source, key)

    network = Network()
    end = End(network, "a", controlling=True)
    end.open(1, "192.0.2.1", preference=200)
    end.open(2, "192.0.2.2", preference=100)
    peer = Choosy(network, end)
    # The better one works first, and is the only one for a while.
    peer.silent.add(2)
    end.meet(peer)
    network.run(0.1)
    peer.silent.clear()
    network.run(3.0)
    assert connected(end)
    refused = [one for one in peer.requests if stun.USE_CANDIDATE in one.attributes]
    assert len(refused) < 10  # it is not asked again and again
    nominated = {pair.base for pair in end.agent._checklist.pairs if pair.nominated}
    assert nominated <= {2}


def test_ends_in_one_place_do_not_go_through_their_router() -> None:
    network = Network()
    home = Nat("198.51.100.1")
    one, other = two(network)
    one.open(1, "10.0.0.2", place="home", nat=home)
    other.open(1, "10.0.0.3", place="home", nat=home)
    one.reflexive(1)
    other.reflexive(1)
    one.meet(other)
    other.meet(one)
    network.run(6.0)
    assert one.way == ("10.0.0.2", ("10.0.0.3", 5001))
    assert PUBLIC not in {socket.place for socket in one.sockets.values()}
