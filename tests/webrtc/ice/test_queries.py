"""STUN servers are asked how they see our sockets."""

from __future__ import annotations

import pytest
from tests.webrtc.ice.network import End, Network
from tests.webrtc.ice.wire import Peer

from peerfetch_fast.webrtc.ice import stun
from peerfetch_fast.webrtc.ice.events import ServerAnswered, ServerSilent
from peerfetch_fast.webrtc.ice.queries import MAX_QUERIES

SERVER = "192.0.2.99", 3478
MAPPED = "198.51.100.7", 40_007


def asking(network: Network) -> tuple[End, stun.Message]:
    """An end that has asked, and what it has asked."""
    end = End(network, "a", controlling=True)
    end.open(1, "192.0.2.1")
    end.agent.query_server(SERVER, 1, network.now)
    ((base, address, data),) = end.agent.take_datagrams()
    assert (base, address) == (1, SERVER)
    return end, stun.parse(data)


def answer(request: stun.Message, body: bytes, kind: int = stun.RESPONSE) -> bytes:
    return stun.seal(kind, request.transaction, body, None)


def mapped(request: stun.Message, address: tuple[str, int] = MAPPED) -> bytes:
    packed = stun.pack_address(address, request.transaction)
    return stun.attribute(stun.XOR_MAPPED_ADDRESS, packed)


def test_a_server_answers() -> None:
    network = Network()
    end, request = asking(network)
    assert request.kind == stun.REQUEST
    assert request.attributes == {}
    end.receive(answer(request, mapped(request)), 1, SERVER)
    assert end.others == [ServerAnswered(1, SERVER, MAPPED)]
    assert end.admitted == []  # nobody's DTLS is taken from there
    end.receive(answer(request, mapped(request)), 1, SERVER)
    assert len(end.others) == 1


def test_a_mapping_is_kept_while_the_peer_is_waited_for() -> None:
    """Routers forget one after 30 s, and the answer to an offer may take longer."""
    network = Network()
    end, request = asking(network)
    end.receive(answer(request, mapped(request)), 1, SERVER)
    sent: list[tuple[float, int, object]] = []

    def tap(data: bytes, source: object, target: object) -> bool:
        sent.append((network.now - 100.0, stun.parse(data).kind, target))
        return True

    network.tap = tap
    network.run(61.0)
    assert sent == [(15.0 * number, stun.INDICATION, SERVER) for number in (1, 2, 3, 4)]
    peer = Peer(network, end)
    end.meet(peer)
    network.run(3.0)
    sent.clear()
    network.run(60.0)
    assert SERVER not in {target for _, _, target in sent}  # consent keeps what is used


@pytest.mark.parametrize("end_by", ["failure", "the socket", "closing"])
def test_a_mapping_is_not_kept_for_nothing(end_by: str) -> None:
    network = Network()
    end, request = asking(network)
    end.receive(answer(request, mapped(request)), 1, SERVER)
    assert end.agent.deadline() == network.now + 15.0
    if end_by == "failure":
        end.agent.set_remote("peer", "p" * 22, network.now)
        end.agent._fail()
    elif end_by == "the socket":
        end.close_socket(1)
    else:
        end.agent.close()
    assert end.agent.deadline() == float("inf")


def test_a_server_of_rfc_3489() -> None:
    network = Network()
    end, request = asking(network)
    body = stun.attribute(stun.MAPPED_ADDRESS, bytes.fromhex("00019c47c6336407"))
    end.receive(answer(request, body), 1, SERVER)
    assert end.others == [ServerAnswered(1, SERVER, MAPPED)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        stun.attribute(stun.XOR_MAPPED_ADDRESS, b"\0\1"),
        stun.attribute(stun.MAPPED_ADDRESS, bytes.fromhex("00019c4700000000")),
        stun.attribute(stun.MAPPED_ADDRESS, bytes.fromhex("00010000c6336407")),
    ],
)
def test_a_server_that_answers_nonsense(body: bytes) -> None:
    network = Network()
    end, request = asking(network)
    end.receive(answer(request, body), 1, SERVER)
    assert end.others == [ServerSilent(1, SERVER)]


def test_a_server_that_refuses() -> None:
    network = Network()
    end, request = asking(network)
    end.receive(answer(request, stun.pack_error(500, "No"), stun.ERROR), 1, SERVER)
    assert end.others == [ServerSilent(1, SERVER)]


def test_a_server_that_is_silent() -> None:
    network = Network()
    end, _ = asking(network)
    sent = network.sent
    took = network.run_until(lambda: bool(end.others), within=10)
    assert end.others == [ServerSilent(1, SERVER)]
    assert took == pytest.approx(7.75, abs=0.01)
    assert network.sent - sent == 4


def test_somebody_else_answers() -> None:
    network = Network()
    end, request = asking(network)
    end.open(2, "192.0.2.2")
    data = answer(request, mapped(request))
    end.receive(data, 1, ("192.0.2.98", 3478))
    end.receive(data, 2, SERVER)
    end.receive(data[:-9], 1, SERVER)
    assert end.others == []
    assert end.agent.refused == 3
    end.receive(data, 1, SERVER)
    assert len(end.others) == 1


def test_sockets_that_there_are_not() -> None:
    network = Network()
    end, request = asking(network)
    end.agent.query_server(SERVER, 9, network.now)
    end.close_socket(1)
    assert end.others == [ServerSilent(9, SERVER), ServerSilent(1, SERVER)]
    end.receive(answer(request, mapped(request)), 1, SERVER)
    assert len(end.others) == 2


def test_questions_are_bounded() -> None:
    network = Network()
    end, _ = asking(network)
    for port in range(MAX_QUERIES):
        end.agent.query_server(("192.0.2.99", 1 + port), 1, network.now)
    end.flush()
    assert end.others == [ServerSilent(1, SERVER)]  # the oldest has made room
    network.run(20.0)
    assert len(end.others) == MAX_QUERIES + 1


def test_after_failure_a_server_is_still_asked() -> None:
    """A restart follows, which needs candidates."""
    network = Network()
    end, request = asking(network)
    end.agent.set_remote("peer", "p" * 22, network.now)
    end.agent._fail()
    end.receive(answer(request, mapped(request)), 1, SERVER)
    assert end.others == [ServerAnswered(1, SERVER, MAPPED)]
