"""Addresses of the peer to which no way is to be taken: those of its relays."""

from __future__ import annotations

import pytest
from tests.webrtc.ice.network import End, Network
from tests.webrtc.ice.wire import Peer

ELSEWHERE = ("198.51.100.9", 7)


def ends(network: Network) -> tuple[End, Peer]:
    end = End(network, "b", controlling=False)
    end.open(1, "192.0.2.1")
    peer = Peer(network, end)
    end.meet(peer, [])
    return end, peer


@pytest.mark.parametrize("before", [True, False])
def test_nothing_from_there_is_answered_nor_leads_there(before: bool) -> None:
    network = Network()
    end, peer = ends(network)
    if before:
        end.agent.exclude((peer.address[0], peer.address[1]), network.now)
    peer.check(1)
    network.run(1.0)
    assert bool(peer.raw) is not before
    if not before:
        end.agent.exclude((peer.address[0], peer.address[1]), network.now)
        end.flush()
    heard = len(peer.raw)
    peer.check(1)
    network.run(1.0)
    assert len(peer.raw) == heard
    assert end.agent.remote_types == set()
    assert end.agent.state != "connected"


def test_what_is_remembered_is_bounded() -> None:
    network = Network()
    end, peer = ends(network)
    end.agent.exclude((peer.address[0], peer.address[1]), network.now)
    for port in range(1, 1000):
        end.agent.exclude((ELSEWHERE[0], port), network.now)
    assert len(end.agent._excluded) == 64
