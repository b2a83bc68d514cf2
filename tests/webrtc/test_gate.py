"""What the datagrams of strangers change: nothing, on either transport, side and at any moment."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import aiortc
import pytest
from aioice import stun
from aiortc import RTCCertificate
from aiortc.rtcdtlstransport import SRTP_PROFILES
from OpenSSL import SSL
from tests.webrtc.peers import Channel, Peer, bare_connection, close, describe, exchange
from tests.webrtc.servers import stun_server
from tests.webrtc.test_connection import url, with_servers

from peerfetch_fast.webrtc import HAVE_NATIVE, gate
from peerfetch_fast.webrtc.connection import RTCPeerConnection
from peerfetch_fast.webrtc.ice.gathering import IceServer
from support import until

FLOOD = 50_000
PEER, OTHER, STRANGER = (("192.0.2.1", port) for port in (1, 2, 3))
DTLS = b"\x16\xfe\xfd" + bytes(20)
RTP = b"\x80" + bytes(20)


def client_hello() -> bytes:
    """The first flight of somebody else."""
    context = RTCCertificate.generateCertificate()._create_ssl_context(SRTP_PROFILES)
    connection = SSL.Connection(context)
    connection.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    return connection.bio_read(1500)


def alert(level: int, code: int, epoch: int = 0) -> bytes:
    return bytes([21, 254, 253, 0, epoch]) + bytes(6) + bytes([0, 2, level, code])


BLIND = [
    b"",
    b"\x80",
    b"\x80" + bytes(1600),
    b"\x80\xc8" + bytes(26),
    b"\xbf" + bytes(20_000),
    alert(2, 40),
    alert(1, 0),
    alert(2, 40, epoch=1),
    client_hello(),
    DTLS + bytes(1600),
    DTLS + bytes(20_000),
    *(bytes([first]) + bytes(40) for first in range(256)),
    b"\x00\x01" + bytes(2000),
    bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST)),
]


aiortc_only = partial(RTCPeerConnection, transport="aiortc", host_addresses=["127.0.0.1"])


class Stranger:
    """Sends all of it to each address of peers."""

    def __init__(self, *peers: Peer) -> None:
        self._peers = peers
        self._sockets = {
            family: socket.socket(family, socket.SOCK_DGRAM)
            for family in (socket.AF_INET, socket.AF_INET6)
        }

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *_: Any) -> None:
        for sender in self._sockets.values():
            sender.close()

    def addresses(self) -> Iterator[tuple[str, int]]:
        for peer in self._peers:
            if is_ours(peer):
                for found in peer.connection._ice.gatherer.candidates:  # type: ignore[attr-defined]
                    yield found.host, found.port
            elif peer.connection.sctp is not None:
                transport = peer.connection.sctp.transport.transport
                for candidate in transport.iceGatherer.getLocalCandidates():
                    yield candidate.ip, candidate.port

    def send(self, datagrams: list[bytes]) -> None:
        for address in self.addresses():
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            for data in datagrams:
                self._sockets[family].sendto(data, address)


def is_ours(peer: Peer) -> bool:
    return not isinstance(peer.connection, aiortc.RTCPeerConnection)


def agent(peer: Peer) -> Any:
    if is_ours(peer):
        return peer.connection
    return peer.connection.sctp.transport.transport._connection


async def has_refused(*peers: Peer) -> None:
    for peer in peers:
        await until(lambda peer=peer: agent(peer).refused > 100)


# -- the gate by itself ----------------------------------------------------------------------------


def gate_and_taken() -> tuple[gate.Gate, list[bytes]]:
    taken: list[bytes] = []
    return gate.Gate(taken.append), taken


def test_only_admitted_addresses_get_in() -> None:
    door, taken = gate_and_taken()
    door.receive(DTLS, PEER)
    door.admit(PEER)
    assert taken == []
    door.receive(DTLS, PEER)
    door.receive(DTLS, STRANGER)
    assert taken == [DTLS]
    assert door.refused == 2


def test_rtp_gets_in_where_media_was_agreed() -> None:
    door, taken = gate_and_taken()
    door.admit(PEER)
    for first in range(256):
        door.receive(bytes([first]), PEER)
    assert {data[0] for data in taken} == set(range(20, 64))
    door.rtp = True
    door.receive(RTP, PEER)
    assert taken[-1] == RTP


@pytest.mark.parametrize("data", [b"", DTLS + bytes(1500), RTP + bytes(1500)])
def test_what_nobody_sends_is_refused(data: bytes) -> None:
    door, taken = gate_and_taken()
    door.rtp = True
    door.expect(PEER)
    door.receive(data, PEER)
    door.admit(PEER)
    door.receive(data, PEER)
    assert taken == []
    assert door.refused == 2


def test_what_candidates_send_early_is_kept_and_bounded() -> None:
    door, taken = gate_and_taken()
    door.expect(PEER)
    door.expect(OTHER)
    door.receive(DTLS, STRANGER)
    for source in (OTHER, PEER):
        for number in range(gate.MAX_EARLY // 2):
            door.receive(DTLS + bytes([number]), source)
    door.receive(DTLS, PEER)
    assert door.refused == 2
    assert taken == []
    door.admit(PEER)
    assert taken == [DTLS + bytes([number]) for number in range(gate.MAX_EARLY // 2)]
    # From now on nothing is kept.
    door.expect(OTHER)
    door.receive(DTLS, OTHER)
    door.admit(OTHER)
    assert len(taken) == gate.MAX_EARLY // 2


def test_the_oldest_address_gives_way() -> None:
    door, taken = gate_and_taken()
    sources = [("192.0.2.1", port) for port in range(1, gate.MAX_SOURCES + 2)]
    for source in sources:
        assert door.admit(source)
    for source in sources:
        door.receive(DTLS, source)
    assert len(taken) == gate.MAX_SOURCES
    assert door.refused == 1
    assert door.admit(sources[0])
    assert not door.admit(sources[-1])


# -- connections -----------------------------------------------------------------------------------


async def at_moment(moment: str, stranger: Stranger, peers: list[Peer]) -> Channel:
    """Connect, and have the stranger send all it has at one moment of it."""
    offerer, answerer = peers
    channel = offerer.create_channel()

    def watch_ours(connection: Any) -> None:
        told: set[str] = set()

        def changed() -> None:
            ice = connection._ice.agent.state
            dtls = None if connection._path.dtls is None else connection._path.dtls.state
            now = {"ICE checking", *(["ICE completed"] if ice == "connected" else [])}
            now |= {f"DTLS {dtls}"} if dtls else set()
            if moment in now - told:
                stranger.send(BLIND)
            told.update(now)

        settle, on_dtls = connection._ice.settle, connection._path.on_dtls
        connection._ice.settle = lambda: (settle(), changed())
        connection._path.on_dtls = lambda: (on_dtls(), changed())

    def watch(peer: Peer) -> None:
        if is_ours(peer):
            return watch_ours(peer.connection)
        transport = peer.connection.sctp.transport

        def changed(kind: str, state: str) -> None:
            if moment == f"{kind} {state}":
                stranger.send(BLIND)

        transport.on("statechange", lambda: changed("DTLS", transport.state))
        transport.transport.on("statechange", lambda: changed("ICE", transport.transport.state))
        return None

    watch(offerer)
    await offerer.connection.setLocalDescription()
    if moment == "gathered":
        stranger.send(BLIND)
        await has_refused(offerer)
    await answerer.connection.setRemoteDescription(offerer.connection.localDescription)
    watch(answerer)
    await answerer.connection.setLocalDescription()
    if moment == "described":
        stranger.send(BLIND)
        await has_refused(*peers)
    await offerer.connection.setRemoteDescription(answerer.connection.localDescription)
    return channel


MOMENTS = ["gathered", "described", "ICE checking", "ICE completed"]
MOMENTS += ["DTLS connecting", "DTLS connected"]


@pytest.fixture(params=["native", "aiortc", "data"])
def any_pc(request: Any) -> Any:
    """Make a peer connection over either transport, or one of our own."""
    if request.param != "aiortc" and not HAVE_NATIVE:
        pytest.skip("not built")
    if request.param == "data":
        return partial(bare_connection, "native")
    return partial(RTCPeerConnection, transport=request.param)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("moment", MOMENTS)
async def test_strangers_change_nothing_at(any_pc: Any, moment: str, address: str) -> None:
    try:
        socket.create_server((address, 0), family=socket.getaddrinfo(address, 0)[0][0]).close()
    except OSError:
        pytest.skip("no IPv6 here")
    peers = [Peer(any_pc(host_addresses=[address])) for _ in range(2)]
    with Stranger(*peers) as stranger:
        channel = await at_moment(moment, stranger, peers)
        await exchange(peers[1], channel)
        await has_refused(peers[0])
        channel.send(b"still here")
        await close(*peers)


async def test_a_flood_of_strangers_changes_nothing(any_pc: Any) -> None:
    peers = [Peer(any_pc(host_addresses=["127.0.0.1"])) for _ in range(2)]
    channel = peers[0].create_channel()
    await describe(*peers)
    await channel.opened.wait()
    other = await peers[1].channels.get()
    with Stranger(*peers) as stranger:
        for number in range(FLOOD // 100):
            stranger.send([BLIND[(100 * number + i) % len(BLIND)] for i in range(50)])
            await asyncio.sleep(0)
            if number % 50 == 0:
                for source, sink in ((channel, other), (other, channel)):
                    source.send(b"meanwhile")
                    assert await sink.messages.get() == b"meanwhile"
    await has_refused(*peers)
    assert [peer.connection.connectionState for peer in peers] == ["connected"] * 2
    await close(*peers)


async def test_strangers_at_a_relay_change_nothing(any_pc: Any) -> None:
    async with stun_server() as address:
        if any_pc.func is bare_connection:
            server = IceServer(url("turn", address), "u", "p")
            peers = [Peer(any_pc(ice_servers=[server], relay_only=True)) for _ in range(2)]
        else:
            servers = with_servers(url("turn", address), relay_only=True)
            peers = [Peer(any_pc(servers)) for _ in range(2)]
        channel = peers[0].create_channel()
        await describe(*peers)
        forwarding = [
            asyncio.ensure_future(source.forward_candidates(sink))
            for source, sink in (peers, peers[::-1])
        ]
        await asyncio.gather(*forwarding)
        await exchange(peers[1], channel)
        with Stranger(*peers) as stranger:
            for _ in range(5):
                stranger.send(BLIND[:-2])  # the rest looks to the server as if it were its
                await asyncio.sleep(0)
        await has_refused(*peers)
        channel.send(b"still here")
        await until(lambda: channel.raw.bufferedAmount == 0)
        assert [peer.connection.connectionState for peer in peers] == ["connected"] * 2
        await close(*peers)


async def test_a_peer_that_signals_no_candidates_is_heard(any_pc: Any) -> None:
    """Its address is learned from its checks."""

    offerer, answerer = Peer(any_pc()), Peer(any_pc())
    channel = offerer.create_channel()
    await offerer.connection.setLocalDescription()
    sdp = re.sub(r"a=candidate:.*\r\n", "", offerer.connection.localDescription.sdp)
    sdp = sdp.replace("a=end-of-candidates\r\n", "")
    await answerer.connection.setRemoteDescription(aiortc.RTCSessionDescription(sdp, "offer"))
    await answerer.connection.setLocalDescription()
    await offerer.connection.setRemoteDescription(answerer.connection.localDescription)
    await exchange(answerer, channel)
    await close(offerer, answerer)


async def test_what_a_candidate_sends_before_its_first_check_is_not_lost(pc: Any) -> None:
    peer, offerer = (Peer(pc(host_addresses=["127.0.0.1"])) for _ in range(2))
    offerer.create_channel()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", 0))
        await offerer.connection.setLocalDescription()
        sdp = re.sub(r"a=candidate:.*\r\n", "", offerer.connection.localDescription.sdp)
        line = f"a=candidate:1 1 udp 1 127.0.0.1 {sender.getsockname()[1]} typ host\r\na=end-of"
        await peer.connection.setRemoteDescription(
            aiortc.RTCSessionDescription(sdp.replace("a=end-of", line), "offer")
        )
        # Before we answer nothing reads what comes.
        transport = peer.connection.sctp.transport.transport
        await transport.iceGatherer.gather()
        connection = agent(peer)
        (candidate,) = transport.iceGatherer.getLocalCandidates()
        address = candidate.ip, candidate.port
        for number in range(20):
            sender.sendto(DTLS + bytes([number]), address)
        sender.sendto(DTLS + bytes(1500), address)
        await until(lambda: connection.refused == 5)
        assert connection._queue.empty()
        check = stun.Message(
            stun.Method.BINDING,
            stun.Class.REQUEST,
            attributes={
                "USERNAME": f"{connection.local_username}:{agent(offerer).local_username}",
                "PRIORITY": 1,
            },
        )
        check.add_message_integrity(connection.local_password.encode())
        taken: list[bytes] = []
        connection.data_received = lambda data, component: taken.append(data)
        sender.sendto(bytes(check), address)
        await until(lambda: taken)
        assert taken == [DTLS + bytes([number]) for number in range(gate.MAX_EARLY)]
    await close(peer, offerer)


async def connect_with_media(pc: Any) -> tuple[Peer, Peer, Channel, Channel]:
    offerer, answerer = (Peer(pc(host_addresses=["127.0.0.1"])) for _ in range(2))
    offerer.connection.addTransceiver("audio")
    channel = offerer.create_channel()
    await describe(offerer, answerer)
    await channel.opened.wait()
    return offerer, answerer, channel, await answerer.channels.get()


async def test_no_datagram_of_the_peer_ends_the_reader(pc: Any) -> None:
    offerer, answerer, channel, other = await connect_with_media(pc)
    pair = agent(offerer)._nominated[1]
    for data in BLIND:
        if data[:1] >= b"\x80":
            pair.protocol.transport.sendto(data, pair.remote_addr)
    await until(lambda: agent(answerer).gate.rtp)
    for source, sink in ((channel, other), (other, channel)):
        source.send(b"still here")
        assert await sink.messages.get() == b"still here"
    assert answerer.connection.connectionState == "connected"
    await close(offerer, answerer)


async def test_no_fault_of_a_parser_ends_the_reader() -> None:
    peers = [Peer(aiortc_only()) for _ in range(2)]
    channel = peers[0].create_channel()
    await describe(*peers)
    await channel.opened.wait()
    other = await peers[1].channels.get()
    transport = peers[1].connection.sctp.transport
    handle, faults = transport._data_receiver._handle_data, []

    async def fail(data: bytes) -> None:
        faults.append(data)
        transport._data_receiver._handle_data = handle
        raise KeyError("a parser's")

    transport._data_receiver._handle_data = fail
    channel.send(b"lost, and sent again")
    assert await other.messages.get() == b"lost, and sent again"
    assert len(faults) == 1
    await close(*peers)


async def test_a_handshake_that_gets_no_answer_fails(monkeypatch: Any) -> None:
    """aiortc lets OpenSSL's error out."""
    monkeypatch.setattr(SSL.Connection, "DTLSv1_get_timeout", lambda self: 0.0)

    def give_up(self: Any) -> None:
        raise SSL.Error([])

    monkeypatch.setattr(SSL.Connection, "DTLSv1_handle_timeout", give_up)

    peers = [Peer(aiortc_only()) for _ in range(2)]
    peers[0].create_channel()
    await describe(*peers)
    for peer in peers:
        await peer.failed.wait()
    await close(*peers)
