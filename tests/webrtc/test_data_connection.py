"""The data connection: with itself, with stock aiortc, and over another path."""

from __future__ import annotations

import asyncio
import base64
import re
from typing import Any

import aiortc
import pytest
from aiortc import RTCConfiguration
from tests.webrtc.peers import Channel, Peer, bare_connection, close, describe, exchange, join
from tests.webrtc.servers import dead_server, stun_server

from peerfetch_fast.errors import IdentityChanged, InvalidDescription, InvalidState
from peerfetch_fast.settings import MAX_RESUME_TIMEOUT
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings
from peerfetch_fast.webrtc.descriptions import SessionDescription
from peerfetch_fast.webrtc.ice.gathering import IceServer
from support import until

pytest.importorskip("peerfetch_fast.webrtc._path", reason="built without the native data path")

from peerfetch_fast.webrtc import data_transport


def ours() -> Peer:
    return Peer(bare_connection("native"))  # type: ignore[arg-type]


def stock() -> Peer:
    return Peer(aiortc.RTCPeerConnection(RTCConfiguration(iceServers=[])))


@pytest.mark.parametrize("make", [ours, stock])
@pytest.mark.parametrize("we_offer", [True, False])
async def test_connects(make: Any, we_offer: bool) -> None:
    peers = [ours(), make()]
    offerer, answerer = peers if we_offer else reversed(peers)
    channel = offerer.create_channel()
    await describe(offerer, answerer)
    await exchange(answerer, channel)
    await close(offerer, answerer)


def changed(description: SessionDescription, pattern: str) -> SessionDescription:
    return SessionDescription(re.sub(pattern, "", description.sdp), description.type)


SNAP, SPED = r"a=sctp-init:.*\r\n", r" sped googspedv1"


@pytest.mark.parametrize("offer", ["", SNAP, SPED, f"{SNAP}|{SPED}"])
@pytest.mark.parametrize("answer", ["", SNAP, SPED, f"{SNAP}|{SPED}"])
async def test_connects_with_what_both_have_agreed_on(offer: str, answer: str) -> None:
    """Also if a description has lost it on its way, and one end takes it for agreed."""

    one, other = ours(), ours()
    channel = one.create_channel()
    await one.connection.setLocalDescription()
    await other.connection.setRemoteDescription(
        changed(one.connection.localDescription, offer or "$^")
    )
    await other.connection.setLocalDescription()
    await one.connection.setRemoteDescription(
        changed(other.connection.localDescription, answer or "$^")
    )
    await exchange(other, channel)
    for peer in (one, other):
        assert bool(peer.connection._data._sped.received) is ("sped" not in offer + answer)
    await close(one, other)


class Flow:
    """Numbered messages, in order, while something else goes on."""

    def __init__(self, source: Channel, sink: Channel) -> None:
        self._source = source
        self._sink = sink
        self._ending = asyncio.Event()
        self._task = asyncio.ensure_future(self._send())

    async def _send(self) -> int:
        number = 0
        while not self._ending.is_set():
            self._source.send(b"%d" % number + bytes(1000))
            number += 1
            await asyncio.sleep(0.001)
        return number

    async def end(self) -> None:
        """All that was sent has come, once."""
        self._ending.set()
        count = await self._task
        got = await self._sink.receive(count)
        assert [int(bytes(one).rstrip(b"\0")) for one in got] == list(range(count))
        assert self._sink.messages.empty()


async def restart(offerer: Peer, answerer: Peer) -> None:
    offerer.connection.restartIce()
    await offerer.connection.setLocalDescription()
    await answerer.connection.setRemoteDescription(offerer.connection.localDescription)
    await answerer.connection.setLocalDescription()
    await offerer.connection.setRemoteDescription(answerer.connection.localDescription)


def credentials(peer: Peer) -> str:
    sdp = peer.connection.localDescription.sdp
    return next(line for line in sdp.splitlines() if line.startswith("a=ice-ufrag"))


@pytest.mark.parametrize("first_offers", [True, False])
async def test_goes_on_over_another_path(first_offers: bool) -> None:
    one, other = ours(), ours()
    sending, receiving = await join(one, other)
    flows = [Flow(sending, receiving), Flow(receiving, sending)]
    for _ in range(3):
        before = credentials(one), credentials(other)
        pair = (one, other) if first_offers else (other, one)
        await restart(*pair)
        assert credentials(one) != before[0]
        assert credentials(other) != before[1]
        await asyncio.sleep(0.2)
        assert one.connection.connectionState == other.connection.connectionState == "connected"
    for flow in flows:
        await flow.end()
    await close(one, other)


async def test_offers_that_cross_lead_to_one_path() -> None:
    """The one gives way: what both had begun leads to one new path."""

    one, other = ours(), ours()
    sending, receiving = await join(one, other)
    flow = Flow(sending, receiving)
    for peer in (one, other):
        peer.connection.restartIce()
        await peer.connection.setLocalDescription()
    await other.connection.setRemoteDescription(one.connection.localDescription)
    await other.connection.setLocalDescription()
    await one.connection.setRemoteDescription(other.connection.localDescription)
    await asyncio.sleep(0.2)
    await flow.end()
    assert one.connection.signalingState == other.connection.signalingState == "stable"
    await close(one, other)


async def test_another_certificate_changes_nothing() -> None:
    one, other, stranger = ours(), ours(), ours()
    sending, receiving = await join(one, other)
    flow = Flow(sending, receiving)
    stranger.create_channel()
    await stranger.connection.setLocalDescription()
    for peer in (one, other):
        with pytest.raises(IdentityChanged):
            await peer.connection.setRemoteDescription(stranger.connection.localDescription)
        assert peer.connection.signalingState == "stable"
    await asyncio.sleep(0.1)
    await flow.end()
    await close(one, other, stranger)


async def test_what_is_no_description_changes_nothing() -> None:
    one, other = ours(), ours()
    sending, receiving = await join(one, other)
    flow = Flow(sending, receiving)
    answer = other.connection.localDescription
    for wrong in (SessionDescription("v=0", "offer"), answer):  # an answer to no offer
        with pytest.raises(InvalidDescription):
            await one.connection.setRemoteDescription(wrong)
    await flow.end()
    await close(one, other)


async def test_a_socket_that_is_lost_is_made_up_for() -> None:
    """Its network is back: other sockets, and the peer follows, without a word of signaling."""

    one, other = ours(), ours()
    sending, receiving = await join(one, other)
    flow = Flow(sending, receiving)
    await asyncio.sleep(0.05)
    sockets = one.connection._ice.sockets
    before = set(sockets.ports)
    for base in before:
        sockets.lost(base, OSError("the network is down"))
    assert one.connection.connectionState == "disconnected"
    one.connection.networks_changed()
    assert before.isdisjoint(sockets.ports)
    await until(lambda: one.connection.connectionState == "connected")
    await flow.end()
    await close(one, other)


async def test_silence_is_told_of_while_something_is_awaited() -> None:
    one, other = ours(), ours()
    sending, _ = await join(one, other)
    lost = asyncio.Event()
    one.connection.on("pathlost", lost.set)
    await asyncio.sleep(1.5)
    assert not lost.is_set()
    # The other end is gone without a word.
    for base in list(other.connection._ice.sockets.ports):
        other.connection._ice.sockets.close_port(base)
    sending.send(b"is anybody there?")
    await lost.wait()
    await close(one, other)


async def test_a_long_rest_before_something_is_sent_is_no_silence() -> None:
    one, other = ours(), ours()
    sending, _ = await join(one, other)
    lost = asyncio.Event()
    one.connection.on("pathlost", lost.set)
    data = one.connection._data
    await until(lambda: data.channels.association.sender.in_flight == 0)
    data._watch()
    # Nothing has come for a minute, as nothing was sent.
    data._heard_at -= 60
    one.connection._ice.agent._consent.pair.heard -= 60
    for base in list(other.connection._ice.sockets.ports):
        other.connection._ice.sockets.close_port(base)
    sending.send(b"is anybody there?")
    while not data.channels.association.sender.in_flight:
        await asyncio.sleep(0)
    data._watch()
    assert not lost.is_set()
    await lost.wait()  # but it is one once that stays without an answer
    await close(one, other)


async def test_without_a_path_another_is_asked_for_until_there_is_one() -> None:
    """Also while a restart of ours is not answered, and nothing is in flight for want of a path."""

    one, other = ours(), ours()
    sending, _ = await join(one, other)
    lost: asyncio.Queue[None] = asyncio.Queue()
    one.connection.on("pathlost", lambda: lost.put_nowait(None))
    sending.send(bytes(100_000))
    for base in one.connection._ice.sockets.ports:
        one.connection._ice.sockets.lost(base, OSError("the network is down"))
    for _ in range(3):
        one.connection.restartIce()
        await one.connection.setLocalDescription()
        await lost.get()
    await close(one, other)


@pytest.mark.parametrize("answered", [0, 1], ids=["the first", "the second"])
async def test_an_offer_to_restart_that_is_repeated_is_the_same(answered: int) -> None:
    """Whichever of them is answered, and however often."""

    one, other = ours(), ours()
    sending, receiving = await join(one, other)
    flow = Flow(sending, receiving)
    before, offers = credentials(one), []
    for _ in range(2):
        one.connection.restartIce()
        await one.connection.setLocalDescription()
        offers.append(one.connection.localDescription)
        assert credentials(one) != before
    answers = []
    for offer in offers:
        await other.connection.setRemoteDescription(offer)
        await other.connection.setLocalDescription()
        answers.append(other.connection.localDescription)
    await one.connection.setRemoteDescription(answers[answered])
    await asyncio.sleep(0.2)
    assert one.connection.connectionState == other.connection.connectionState == "connected"
    agent = one.connection._ice.agent
    assert agent._consent.pair.credentials is agent._checklist.credentials
    await flow.end()
    await close(one, other)


async def test_a_way_on_which_only_checks_are_answered_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Something on the way lets nothing else through, or the other side answers another way."""
    monkeypatch.setattr(data_transport, "RESTART_AFTER", 1000.0)
    monkeypatch.setattr(data_transport, "UNHEARD_AFTER", 1.0)

    one, other = ours(), ours()
    sending, _ = await join(one, other)
    lost = asyncio.Event()
    one.connection.on("pathlost", lost.set)
    await asyncio.sleep(2.5)
    assert not lost.is_set()  # nothing is awaited
    one.connection._path.deselect()
    sending.send(b"is anybody there?")
    await lost.wait()
    assert one.connection.connectionState == "connected"
    await close(one, other)


async def test_relays_alone_where_there_is_none_fail_soon() -> None:
    offerer = Peer(bare_connection("native", relay_only=True))  # type: ignore[arg-type]
    answerer = ours()
    offerer.create_channel()
    await describe(offerer, answerer)
    await offerer.failed.wait()
    await close(offerer, answerer)


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_closing_at_any_moment_leaves_nothing(turns: int) -> None:
    """``run`` looks for tasks and sockets that are left."""

    offerer, answerer = ours(), ours()
    offerer.create_channel()
    await describe(offerer, answerer)
    for _ in range(turns):
        await asyncio.sleep(0)
    await close(*((offerer, answerer) if turns % 2 else (answerer, offerer)))


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_closing_while_servers_are_asked_leaves_nothing(turns: int) -> None:
    with dead_server() as (host, port):
        urls = [f"stun:{host}:{port}", f"turn:{host}:{port}"]
        offerer = Peer(
            bare_connection("native", ice_servers=[IceServer(urls, "u", "p")])  # type: ignore[arg-type]
        )
        offerer.create_channel()
        await offerer.connection.setLocalDescription()
        for _ in range(turns):
            await asyncio.sleep(0)
        await close(offerer)


async def test_a_restart_makes_no_other_relay() -> None:
    async with stun_server() as (host, port):
        servers = [IceServer(f"turn:{host}:{port}", "u", "p")]
        one, other = (
            Peer(bare_connection("native", ice_servers=servers))  # type: ignore[arg-type]
            for _ in range(2)
        )
        await join(one, other)
        for peer in (one, other):
            await peer.all_candidates()
        for _ in range(3):
            await restart(one, other)
            for peer in (one, other):
                await peer.all_candidates()
                assert peer.connection.localDescription.sdp.count(" typ relay ") == 1
        await close(one, other)


async def test_a_relay_that_its_server_does_not_know_any_more_is_replaced_by_a_restart() -> None:
    """A router has given us another port, which is another client's."""

    def relays(peer: Peer) -> list[str]:
        sdp = peer.connection.localDescription.sdp
        return [line for line in sdp.splitlines() if " typ relay " in line]

    async with stun_server(anew=True) as (host, port):
        servers = [IceServer(f"turn:{host}:{port}", "u", "p")]
        one = Peer(bare_connection("native", ice_servers=servers))  # type: ignore[arg-type]
        other = ours()
        await join(one, other)
        await one.all_candidates()
        (before,) = relays(one)
        await restart(one, other)
        await one.all_candidates()
        (after,) = relays(one)
        assert after != before
        await close(one, other)


async def test_closed_is_closed() -> None:
    one, other = ours(), ours()
    await join(one, other)
    await close(one)
    await until(lambda: other.connection.connectionState == "closed")
    await close(one, other)
    for peer in (one, other):
        with pytest.raises(InvalidState):
            peer.create_channel()
        with pytest.raises(InvalidState):
            await peer.connection.setLocalDescription()
        with pytest.raises(InvalidState):
            _ = peer.connection.remote_fingerprint


async def test_the_settings_of_the_association_are_those_that_were_given() -> None:
    given = AssociationSettings(local_port=6000, max_message_size=100_000, receive_window=1 << 20)
    connection = bare_connection(association=given)
    connection.createDataChannel("")
    await connection.setLocalDescription()
    init = re.search(r"a=sctp-init:(.*)\r\n", connection.localDescription.sdp)
    assert init is not None
    # RFC 9260 §3.3.2: behind the chunk's head and the tag.
    assert int.from_bytes(base64.b64decode(init[1])[8:12], "big") == 1 << 20
    assert "a=sctp-port:6000\r\n" in connection.localDescription.sdp
    assert "a=max-message-size:100000\r\n" in connection.localDescription.sdp
    await connection.close()


@pytest.mark.parametrize("given", [{"local_port": 6000}, {"rto_min": 0.001}])
async def test_an_association_with_settings_of_its_own_connects(given: dict[str, Any]) -> None:
    one = Peer(bare_connection(association=AssociationSettings(**given)))
    one.connection.keep_silent(MAX_RESUME_TIMEOUT)
    other = ours()
    await join(one, other)
    await close(one, other)
