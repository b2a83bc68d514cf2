"""Attributes that go along with checks and their answers (SPED)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.webrtc.ice.network import Network, connected, two

from peerfetch_fast.webrtc.ice import stun
from peerfetch_fast.webrtc.ice.events import Address

FLIGHT = 0xC070


class Extension:
    def __init__(self, name: bytes) -> None:
        self.name = name
        self.sent = 0
        self.received: list[bytes] = []
        self.log: list[str] = []

    def outgoing(
        self, request: bool, base: int, address: Address, now: float
    ) -> Sequence[tuple[int, bytes]]:
        self.sent += 1
        self.log.append("asks" if request else "answers")
        return [(FLIGHT, self.name + b"%d" % self.sent)]

    def incoming(
        self, attributes: Mapping[int, bytes], base: int, address: Address, now: float
    ) -> None:
        self.log.append("hears")
        self.received.append(attributes[FLIGHT])


def test_checks_and_answers_carry_what_the_extension_says() -> None:
    network = Network()
    one, other = two(network)
    ours, theirs = Extension(b"one"), Extension(b"other")
    one.agent.extension, other.agent.extension = ours, theirs
    assert one.agent.extension is ours
    one.open(1, "192.0.2.1")
    other.open(1, "192.0.2.2")
    one.meet(other)
    network.run(0.01)
    other.meet(one)
    network.run(1.0)
    assert connected(one, other)
    assert ours.received[0] == b"other1"
    assert theirs.received[0] == b"one1"
    # The answer to a request knows what the request has brought.
    assert theirs.log[theirs.log.index("answers") - 1] == "hears"
    assert set(ours.received) <= {b"other%d" % n for n in range(1, theirs.sent + 1)}


def test_what_nobody_has_signed_is_not_heard() -> None:
    network = Network()
    one, other = two(network)
    ours = Extension(b"one")
    one.agent.extension = ours
    one.open(1, "192.0.2.1")
    other.open(1, "192.0.2.2")
    one.meet(other)
    other.meet(one)
    heard = len(ours.received)
    attributes = {stun.USERNAME: b"aaaa:bbbb", FLIGHT: b"forged"}
    data = stun.Message(stun.REQUEST, bytes(12), attributes).encode(b"x" * 24)
    one.receive(data, 1, ("192.0.2.2", 5001))
    assert len(ours.received) == heard
