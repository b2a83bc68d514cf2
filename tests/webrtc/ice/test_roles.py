"""Both ends believe that they nominate, or neither does (RFC 8445 section 7.3.1.1)."""

from __future__ import annotations

import pytest
from tests.webrtc.ice.network import End, Network, connected
from tests.webrtc.ice.wire import Peer, met

from peerfetch_fast.webrtc.ice import stun


@pytest.mark.parametrize("controlling", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_two_ends_of_one_role(controlling: bool, seed: int) -> None:
    network = Network(seed=seed, loss=0.1 if seed % 2 else 0.0)
    one, other = (End(network, name, controlling=controlling) for name in (f"a{seed}", f"b{seed}"))
    one.open(1, "192.0.2.1")
    other.open(1, "192.0.2.2")
    one.meet(other)
    other.meet(one)
    network.run(4.0)
    assert connected(one, other)
    assert one.agent.controlling is not other.agent.controlling
    for end in (one, other):
        pair = end.agent._consent.pair
        assert pair is not None
        assert pair.nominated


@pytest.mark.parametrize(
    ("controlling", "tie_breaker", "changes"),
    [(True, 0, False), (True, 2**64 - 1, True), (False, 0, True), (False, 2**64 - 1, False)],
)
def test_the_tie_breaker_decides(controlling: bool, tie_breaker: int, changes: bool) -> None:
    network = Network()
    end = End(network, "a", controlling=controlling)
    end.open(1, "192.0.2.1")
    peer = Peer(network, end)
    end.meet(peer, [])
    role = stun.ICE_CONTROLLING if controlling else stun.ICE_CONTROLLED
    peer.check(1, role=role, tie_breaker=tie_breaker)
    network.run(0.1)
    (answer,) = peer.answers
    assert (answer.kind == stun.RESPONSE) is changes
    assert stun.error_code(answer) == (0 if changes else 487)
    assert (end.agent.controlling is not controlling) is changes


def test_a_role_that_is_refused_is_changed() -> None:
    """With another tie breaker, so that the next conflict is another."""
    network = Network()
    end = End(network, "a", controlling=True)
    end.open(1, "192.0.2.1")
    peer = Peer(network, end)
    peer.refuses = 487
    end.meet(peer)
    network.run_until(lambda: not end.agent.controlling)
    peer.refuses = 0
    network.run(1.0)
    assert connected(end)
    first, last = peer.requests[0], peer.requests[-1]
    assert first.attributes[stun.ICE_CONTROLLING] != last.attributes[stun.ICE_CONTROLLED]


def test_a_conflict_in_the_credentials_of_before_changes_nothing() -> None:
    network = Network()
    end, peer = met(network, controlling=True)
    network.run(10.0)
    late = peer.request(role=stun.ICE_CONTROLLING, tie_breaker=2**64 - 1)
    end.restart("c")
    peer.send(late, 1)
    network.run(0.1)
    assert end.agent.controlling
