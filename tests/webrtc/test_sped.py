"""DTLS within checks: by the rules, and over a network that loses, repeats and reorders."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from tests.webrtc.ice.network import End, Nat, Network

from peerfetch_fast.webrtc.certificate import generate_certificate
from peerfetch_fast.webrtc.ice.events import Address
from peerfetch_fast.webrtc.sped import ACK, DATA, MAX_ACKS, MAX_CARRIED, Sped

_dtls = pytest.importorskip("peerfetch_fast.webrtc._dtls")

CERTIFICATES = generate_certificate(), generate_certificate()
THERE: Address = ("192.0.2.1", 5000)


class SpedEnd(End):
    """An end of ICE with DTLS, whose timers never expire: in virtual time no time passes for it."""

    def __init__(self, network: Network, name: str, *, controlling: bool, server: bool) -> None:
        super().__init__(network, name, controlling=controlling)
        own, peer = CERTIFICATES if server else reversed(CERTIFICATES)
        self.sink = _dtls.ListSink()
        self.dtls = _dtls.Dtls(
            server=server,
            certificate=own.der,
            private_key=own.private_key,
            fingerprints=[("sha-256", peer.fingerprint)],
            srtp_profiles="SRTP_AES128_CM_SHA1_80",
            sink=self.sink,
            keep_flight=True,
        )
        self.sped = Sped(lambda: self.dtls.flight, self.deliver)
        self.agent.extension = self.sped
        self.early: list[bytes] = []
        self.plaintexts: list[bytes] = []
        self.connected_at = 0.0

    def begin(self, other: End) -> None:
        """Both descriptions are known here."""
        self.sped.agreed = True
        self.dtls.start()
        for data in self.early:
            self.deliver(data)
        self.meet(other)

    def deliver(self, data: bytes) -> None:
        if self.dtls.state == "new":
            self.early.append(data)
            return
        self.plaintexts += self.dtls.receive(data)
        if self.dtls.state == "connected" and not self.connected_at:
            self.connected_at = self.now

    def flush(self) -> None:
        before = self.selected
        super().flush()
        sent, self.sink.datagrams[:] = list(self.sink.datagrams), []
        if before is None and self.selected is not None:
            sent = self.sped.pending()
        for data in sent:
            self.say(data)

    def receive(self, data: bytes, base: int, source: Address) -> None:
        super().receive(data, base, source)
        arrived, self.data = self.data, []
        for one in arrived:
            self.deliver(one)
        self.flush()


def pair(network: Network, *, we_serve: bool = True) -> tuple[SpedEnd, SpedEnd]:
    """Who offers, and who answers."""
    return (
        SpedEnd(network, "a", controlling=True, server=we_serve),
        SpedEnd(network, "b", controlling=False, server=not we_serve),
    )


def up(*ends: SpedEnd) -> bool:
    return all(end.dtls.state == "connected" for end in ends)


@pytest.mark.parametrize(
    ("we_serve", "routers", "ours", "theirs"),
    [(True, False, 1.0, 1.5), (False, False, 2.0, 1.5), (True, True, 2.0, 2.5)],
)
def test_the_handshake_takes_so_many_round_trips(
    we_serve: bool, routers: bool, ours: float, theirs: float
) -> None:
    """Of the handshake, from the moment at which the answer comes; without, it takes three."""
    network = Network(delay=0.1)
    offerer, answerer = pair(network, we_serve=we_serve)
    if routers:
        offerer.open(1, "10.0.0.1", place="home", nat=Nat("192.0.2.1"))
        offerer.reflexive(1)
    else:
        offerer.open(1, "192.0.2.1")
    answerer.open(1, "192.0.2.2")
    answerer.begin(offerer)
    network.run(0.15)  # signaling takes a little longer than the way that checks go
    arrived = network.now
    offerer.begin(answerer)
    network.run_until(lambda: up(offerer, answerer))
    for end, trips in ((offerer, ours), (answerer, theirs)):
        assert end.connected_at - arrived == pytest.approx(trips * 0.2, abs=0.01)


@pytest.mark.parametrize("we_serve", [True, False])
@pytest.mark.parametrize("seed", range(15))
def test_over_a_network_that_loses_repeats_and_reorders(we_serve: bool, seed: int) -> None:
    """Checks carry it through, without a timer of DTLS."""
    network = Network(delay=0.05, loss=0.3, seed=seed)
    network.jitter, network.duplication = 0.1, 0.3
    offerer, answerer = pair(network, we_serve=we_serve)
    offerer.open(1, "192.0.2.1")
    answerer.open(1, "192.0.2.2")
    answerer.begin(offerer)
    network.run(network.delay)
    offerer.begin(answerer)
    network.run_until(lambda: up(offerer, answerer))
    network.loss = 0.0
    network.run_until(lambda: None not in (offerer.selected, answerer.selected))
    for end, other in ((offerer, answerer), (answerer, offerer)):
        assert end.dtls.send(b"hello")
        end.flush()
        network.run(0.5)
        assert other.plaintexts == [b"hello"]


def test_checks_before_the_answer_are_taken() -> None:
    """The answerer's come before its answer does: what they carry waits for it."""
    network = Network(delay=0.1)
    offerer, answerer = pair(network)
    offerer.open(1, "192.0.2.1")
    answerer.open(1, "192.0.2.2")
    answerer.begin(offerer)
    network.run(0.5)
    # It came once, and is known to have come.
    assert offerer.early == answerer.dtls.flight
    assert not answerer.sped.pending()
    assert offerer.sped.received == 1


class Table:
    """The rules alone, with a flight that the test sets."""

    def __init__(self, *flight: bytes, agreed: bool | None = True) -> None:
        self.flight = list(flight)
        self.taken: list[bytes] = []
        self.sped = Sped(lambda: self.flight, self.taken.append)
        self.sped.agreed = agreed

    def sends(self, *, request: bool = True) -> dict[int, bytes]:
        return dict(self.sped.outgoing(request, 1, THERE, 0.0))

    def hears(self, attributes: dict[int, bytes]) -> None:
        self.sped.incoming(attributes, 1, THERE, 0.0)


def crc(*datagrams: bytes) -> bytes:
    return b"".join(zlib.crc32(one).to_bytes(4, "big") for one in datagrams)


def handshake(number: int) -> bytes:
    return b"\x16%d" % number


def test_a_flight_goes_round_until_it_is_acknowledged() -> None:
    table = Table(*(handshake(number) for number in range(3)))
    assert [table.sends()[DATA] for _ in range(4)] == [handshake(n) for n in (0, 1, 2, 0)]
    table.hears({ACK: crc(handshake(1), b"another")})
    assert [table.sends()[DATA] for _ in range(3)] == [handshake(n) for n in (2, 0, 2)]
    table.hears({ACK: crc(handshake(0), handshake(2))})
    assert table.sends() == {ACK: b""}
    table.flight = [handshake(7)]
    assert table.sends()[DATA] == handshake(7)


def test_what_has_come_is_acknowledged_once_and_the_newest_first_of_all() -> None:
    table = Table()
    for number in (1, 2, 2, 3, 4, 5):
        table.hears({DATA: handshake(number)})
    assert table.taken == [handshake(number) for number in (1, 2, 2, 3, 4, 5)]
    assert table.sends()[ACK] == crc(*(handshake(number) for number in (2, 3, 4, 5)))
    assert table.sped.received == MAX_ACKS


@pytest.mark.parametrize("data", [b"", b"drop me", b"\x15alert", b"\x17data", b"\x80rtp", b"\0"])
def test_what_is_no_handshake_is_not_taken(data: bytes) -> None:
    table = Table()
    table.hears({DATA: data})
    assert table.taken == []
    assert table.sends() == {ACK: b""}


@pytest.mark.parametrize("acks", [b"\0", b"\0" * 1400, b"\xff" * 63])
def test_acknowledgements_of_nothing_change_nothing(acks: bytes) -> None:
    table = Table(handshake(1))
    table.hears({ACK: acks})
    assert table.sends()[DATA] == handshake(1)


def test_who_has_not_agreed_is_told_nothing_unless_it_speaks_of_it() -> None:
    for agreed in (None, False):
        table = Table(handshake(1), agreed=agreed)
        assert table.sends() == {}
        table.hears({})
        assert table.sends(request=False) == {}
    table = Table(agreed=None)
    table.hears({DATA: handshake(1)})
    assert table.sends() == {}
    table.hears({DATA: handshake(1)})
    assert table.sends(request=False) == {ACK: crc(handshake(1))}


def test_many_checks_do_not_make_a_flood() -> None:
    table = Table(b"\x16" + bytes(899))
    carried = sum(len(table.sends().get(DATA, b"")) for _ in range(100))
    assert MAX_CARRIED - 900 < carried <= MAX_CARRIED
    assert table.sends() == {ACK: b""}  # the check itself goes on
    table.hears({})
    assert DATA in table.sends()


def test_flights_fit_into_checks() -> None:
    """Whatever certificate: with what a check has besides, less than an IPv6 packet must carry."""
    ends: list[Any] = list(pair(Network()))
    ends[1].dtls.start()
    ends[0].dtls.start()
    for _ in range(4):
        for end, other in (ends, reversed(ends)):
            sent, end.sink.datagrams[:] = list(end.sink.datagrams), []
            for data in sent:
                assert len(data) <= _dtls.FLIGHT_SIZE
                other.deliver(data)
    assert up(*ends)
