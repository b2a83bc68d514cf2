"""Whom the agent answers, and how much work others can cause."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from tests.webrtc.ice.network import End, Network
from tests.webrtc.ice.wire import Peer

from peerfetch_fast.webrtc.ice import answers, stun


def listening(network: Network, *, described: bool = True) -> tuple[End, Peer]:
    """An end that may have heard of its peer, and the peer, which has not been checked yet."""
    end = End(network, "b", controlling=False)
    end.open(1, "192.0.2.1")
    peer = Peer(network, end)
    if described:
        end.meet(peer, [])
    return end, peer


FORGED: dict[str, Callable[[Peer], bytes]] = {
    "unsigned": lambda peer: stun.seal(stun.REQUEST, bytes(12), _username(peer), None),
    "another password": lambda peer: peer.request(key="x" * 22),
    "another end's name": lambda peer: peer.request(username="nobody:peer"),
    "another peer's name": lambda peer: peer.request(username="bbbb:nobody"),
    "half a name": lambda peer: peer.request(username="bbbb:"),
    "no name": lambda peer: stun.seal(stun.REQUEST, bytes(12), b"", peer.end.password.encode()),
    "the name elsewhere": lambda peer: stun.seal(
        stun.REQUEST, bytes(12), stun.attribute(0x8022, b"bbbb:peer"), peer.end.password.encode()
    ),
    "another method": lambda peer: b"\0\3" + peer.request()[2:],
    "an indication": lambda peer: b"\0\x11" + peer.request()[2:],
    "an answer to nothing": lambda peer: stun.seal(stun.RESPONSE, bytes(12), b"", b"x"),
    "cut off": lambda peer: peer.request()[:-4],
    "too long": lambda peer: peer.request(extra={0x8022: bytes(1_450)}),
    "changed": lambda peer: peer.request()[:-20] + bytes(20),
    "nothing": lambda peer: b"\0\1",
}


def _username(peer: Peer) -> bytes:
    return stun.attribute(stun.USERNAME, f"bbbb:{peer.ufrag}".encode())


@pytest.mark.parametrize("name", FORGED)
def test_what_the_peer_has_not_signed_is_not_answered(name: str) -> None:
    """Its sender may be another than it says, and who gets an answer is hit by it."""
    network = Network()
    end, peer = listening(network)
    peer.send(FORGED[name](peer), 1)
    network.run(1.0)
    assert peer.raw == []
    assert end.agent.refused == 1
    assert end.admitted == []
    peer.check(1)
    network.run(0.1)
    assert peer.answers[-1].kind == stun.RESPONSE
    assert end.admitted == [peer.address]


def test_a_socket_that_there_is_not() -> None:
    network = Network()
    end, peer = listening(network)
    end.agent.receive(peer.request(), 7, peer.address, network.now)
    assert end.agent.refused == 1
    assert end.agent.take_datagrams() == []


def test_before_the_peer_is_known_its_fragment_is_not_asked_for() -> None:
    network = Network()
    end, peer = listening(network, described=False)
    peer.check(1, username="bbbb:anybody", nominate=True)
    peer.check(1, nominate=True, source=("192.0.2.201", 1))
    network.run(0.1)
    assert peer.answers[0].kind == stun.RESPONSE
    assert end.selected is None
    assert end.admitted == [peer.address, ("192.0.2.201", 1)]
    peer.raw.clear()
    end.meet(peer, [])
    network.run(0.1)
    # Of the two, the one that has named the peer is checked.
    assert peer.requests == []
    assert {pair.address for pair in end.agent._checklist.pairs} == {("192.0.2.201", 1)}


def test_checks_before_the_description_are_bounded() -> None:
    network = Network()
    end, peer = listening(network, described=False)
    for number in range(100):
        peer.check(1, source=(f"192.0.2.{number}", 7_000))
    network.run(0.1)
    assert len(end.agent._checklist.early) == 16


def test_requests_that_are_answered_in_a_second_are_bounded() -> None:
    network = Network()
    end, peer = listening(network)
    for _ in range(500):
        peer.check(1)
    network.run(0.5)
    assert len(peer.answers) == 200
    assert end.agent.refused == 300
    network.run(1.0)
    peer.check(1)
    network.run(0.1)
    assert len(peer.answers) == 201


def test_forged_requests_do_not_use_up_the_peers_share() -> None:
    network = Network()
    _, peer = listening(network)
    for _ in range(1_000):
        peer.check(1, key="x")
    peer.check(1)
    network.run(0.1)
    assert len(peer.answers) == 1


def test_a_budget_is_of_one_second() -> None:
    budget = answers.Budget(2)
    assert [budget.take(now) for now in (5.0, 5.1, 5.2, 6.0, 6.1, 6.2)] == [
        True,
        True,
        False,
        True,
        True,
        False,
    ]
    assert budget.take(2.0)  # another clock


def test_what_has_to_be_understood_is_named() -> None:
    network = Network()
    end, peer = listening(network)
    peer.check(1, extra={0x7FFF: b"?", 0xC0FF: b"?"}, nominate=True)
    network.run(0.1)
    (answer,) = peer.answers  # signed, which Peer looks at
    assert stun.error_code(answer) == 420
    assert answer.attributes[stun.UNKNOWN_ATTRIBUTES] == b"\x7f\xff"
    assert end.selected is None


def test_the_answer_says_where_the_request_came_from() -> None:
    network = Network()
    _, peer = listening(network)
    peer.check(1)
    network.run(0.1)
    value = peer.answers[0].attributes[stun.XOR_MAPPED_ADDRESS]
    assert stun.unpack_address(value, peer.answers[0].transaction) == peer.address


def test_sources_are_bounded() -> None:
    """Of more, the oldest has to show itself again, which is told once more."""
    network = Network()
    end, peer = listening(network)
    addresses = [(f"192.0.2.{number}", 7_000) for number in range(17)]
    for address in addresses * 2:
        peer.check(1, source=address)
        network.run(0.02)
    assert end.admitted == addresses * 2
    peer.check(1, source=addresses[-1])
    network.run(0.1)
    assert len(end.admitted) == 34


def test_a_peer_that_checks_from_everywhere_is_bounded() -> None:
    network = Network()
    end, peer = listening(network)
    for number in range(5_000):
        peer.check(1, source=(f"10.0.{number // 250}.{number % 250}", 7_000))
        if number % 150 == 0:
            network.run(1.0)
    network.run(1.0)
    checklist = end.agent._checklist
    assert len(checklist.remotes) <= 64
    assert len(checklist.pairs) <= 100
    assert len(checklist.triggered) <= 100
    assert len(end.agent._checks._transactions) <= 256
    network.run(60.0)
    assert len(end.agent._checks._transactions) <= 1


def test_a_role_that_is_refused_again_and_again() -> None:
    network = Network()
    _, peer = listening(network)
    peer.refuses = 487
    peer.check(1)
    network.run(1.0)
    assert len(peer.requests) <= 55  # one each Ta


def test_anything_is_taken_or_refused() -> None:
    network = Network()
    end, peer = listening(network)
    rng = random.Random(2)
    for _ in range(2_000):
        data = bytearray(peer.request(nominate=rng.random() < 0.5))
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        end.agent.receive(bytes(data), 1, peer.address, network.now)
    # A few are as they were, or changed where nothing is signed.
    assert 1_950 <= end.agent.refused <= 1_999
    assert end.agent.refused + len(end.agent.take_datagrams()) <= 2_001
