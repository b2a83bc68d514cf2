from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import socket
import sys
import time
from functools import partial
from typing import Any

import aiortc
import pytest
from aiortc import (
    InvalidStateError,
    RTCCertificate,
    RTCConfiguration,
    RTCIceServer,
    RTCIceTransportPolicy,
)
from aiortc.sdp import candidate_from_sdp
from tests.webrtc.peers import Peer, close, describe, exchange, join
from tests.webrtc.servers import dead_server, stun_server

from peerfetch_fast.errors import InvalidDescription
from peerfetch_fast.webrtc import HAVE_NATIVE
from peerfetch_fast.webrtc._seam import ice
from peerfetch_fast.webrtc.candidates import candidate_from_dict
from peerfetch_fast.webrtc.connection import RTCPeerConnection
from peerfetch_fast.webrtc.descriptions import MAX_CANDIDATES
from peerfetch_fast.webrtc.listeners import MAX_UNHEARD
from support import until


def with_servers(*urls: str, relay_only: bool = False) -> RTCConfiguration:
    servers = [RTCIceServer(urls=url, username="u", credential="p") for url in urls]
    policy = RTCIceTransportPolicy.RELAY if relay_only else RTCIceTransportPolicy.ALL
    return RTCConfiguration(iceServers=servers, iceTransportPolicy=policy)


def url(scheme: str, address: tuple[str, int]) -> str:
    return f"{scheme}:{address[0]}:{address[1]}"


@pytest.mark.parametrize(
    "other",
    [
        partial(RTCPeerConnection, transport="auto"),
        partial(RTCPeerConnection, transport="aiortc"),
        aiortc.RTCPeerConnection,
    ],
    ids=["auto", "over aiortc", "stock aiortc"],
)
@pytest.mark.parametrize("we_offer", [True, False])
async def test_connects_with_itself_and_with_aiortc(pc: Any, other: Any, we_offer: bool) -> None:
    peers = [Peer(pc()), Peer(other(RTCConfiguration(iceServers=[])))]
    offerer, answerer = peers if we_offer else reversed(peers)
    channel = offerer.create_channel()
    await describe(offerer, answerer)
    await exchange(answerer, channel)
    await close(offerer, answerer)


async def test_a_peer_that_announces_no_size_is_sent_65535_bytes_at_most(pc: Any) -> None:
    """pion v3 and webrtc-rs say nothing, and fail at 65,536."""

    offerer, answerer = Peer(pc()), Peer(pc())
    channel = offerer.create_channel()
    await offerer.connection.setLocalDescription()
    await answerer.connection.setRemoteDescription(offerer.connection.localDescription)
    await answerer.connection.setLocalDescription()
    answer = answerer.connection.localDescription
    said = re.sub(r"a=max-message-size:\d+\r\n", "", answer.sdp)
    assert said != answer.sdp
    await offerer.connection.setRemoteDescription(
        aiortc.RTCSessionDescription(sdp=said, type="answer")
    )
    await exchange(answerer, channel)
    channel.send(bytes(65_535))
    with pytest.raises(ValueError, match="65536 bytes"):
        channel.send(bytes(65_536))
    with pytest.raises(ValueError, match="65536 bytes"):
        channel.send("é" * 32_768)
    await close(offerer, answerer)


def without_candidates(description: Any) -> tuple[Any, list[str]]:
    lines = description.sdp.split("\r\n")
    found = [line for line in lines if line.startswith("a=candidate:")]
    kept = [line for line in lines if not line.startswith(("a=candidate:", "a=end-of"))]
    sdp = "\r\n".join(kept)
    return aiortc.RTCSessionDescription(sdp=sdp, type=description.type), found


async def test_a_candidate_before_the_description_is_kept_for_it(pc: Any) -> None:
    offerer, answerer = Peer(pc()), Peer(pc())
    channel = offerer.create_channel()
    await offerer.connection.setLocalDescription()
    bare, lines = without_candidates(offerer.connection.localDescription)
    assert lines
    for line in lines:
        await answerer.add(line, sdpMLineIndex=0)
    await answerer.add(None)
    with pytest.raises(ValueError, match="sdpMid or sdpMLineIndex"):
        await answerer.connection.addIceCandidate(
            dataclasses.replace(
                candidate_from_dict({"candidate": lines[0], "sdpMid": "0"}), sdpMid=None
            )
        )
    await answerer.connection.setRemoteDescription(bare)
    await answerer.connection.setLocalDescription()
    ours = answerer.connection.sctp.transport.transport
    assert len(ours.getRemoteCandidates()) == len(lines)
    await offerer.connection.setRemoteDescription(answerer.connection.localDescription)
    await exchange(answerer, channel)
    await close(offerer, answerer)


def test_candidates_that_wait_for_a_description_are_bounded(
    run: Any, pc: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        peer = Peer(pc())
        for port in range(MAX_CANDIDATES + 1):
            await peer.add(f"candidate:1 1 udp 1 127.0.0.1 {port + 1} typ host", sdpMLineIndex=0)
        await close(peer)

    with caplog.at_level("WARNING"):
        run(main())
    assert caplog.text.count("early candidates") == 1


@pytest.mark.parametrize("late", [0.0, 0.1], ids=["at once", "later"])
async def test_a_coroutine_that_takes_a_channel_loses_no_message(pc: Any, late: float) -> None:
    offerer, answerer = Peer(pc()), Peer(pc())
    received: asyncio.Queue[Any] = asyncio.Queue()

    async def on_channel(channel: Any) -> None:
        await asyncio.sleep(late)
        channel.on("message", received.put_nowait)

    answerer.connection.remove_all_listeners("datachannel")
    answerer.connection.on("datachannel", on_channel)
    channel = offerer.create_channel()

    def send_all() -> None:
        for number in range(50):
            channel.send(str(number))

    channel.raw.on("open", send_all)
    await describe(offerer, answerer)
    assert [await received.get() for _ in range(50)] == [str(n) for n in range(50)]
    channel.send(b"live")
    assert await received.get() == b"live"
    await close(offerer, answerer)


def test_a_channel_that_nobody_listens_to_keeps_a_bounded_amount(
    run: Any, pc: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        offerer, answerer = Peer(pc()), Peer(pc())
        channels: asyncio.Queue[Any] = asyncio.Queue()
        answerer.connection.remove_all_listeners("datachannel")
        answerer.connection.on("datachannel", channels.put_nowait)
        channel = offerer.create_channel()
        await describe(offerer, answerer)
        silent = await channels.get()
        await channel.opened.wait()
        await channel.send_all([bytes(60_000)] * (MAX_UNHEARD // 60_000 + 1))
        await until(lambda: "nobody listened" in caplog.text)
        heard: asyncio.Queue[Any] = asyncio.Queue()
        silent.on("message", heard.put_nowait)
        channel.send("from now on")
        assert await heard.get() == "from now on"
        await close(offerer, answerer)

    with caplog.at_level("WARNING"):
        run(main())
    assert caplog.text.count("nobody listened") == 1


def test_a_listener_that_raises_breaks_nothing(
    run: Any, pc: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*args: Any) -> None:
        raise RuntimeError("a listener's own fault")

    async def fails_later(*args: Any) -> None:
        raise RuntimeError("a coroutine's own fault")

    async def main() -> None:
        offerer, answerer = Peer(pc()), Peer(pc())
        for peer in (offerer, answerer):
            for event in (
                "datachannel", "icecandidate", "connectionstatechange", "signalingstatechange",
                "iceconnectionstatechange", "icegatheringstatechange",
            ):  # fmt: skip
                peer.connection.on(event, fails)
                peer.connection.on(event, fails_later)
        channel = offerer.create_channel()
        await describe(offerer, answerer)
        await channel.opened.wait()
        other = await answerer.channels.get()
        for end in (channel, other):
            for event in ("message", "close", "bufferedamountlow"):
                end.raw.on(event, fails)
                end.raw.on(event, fails_later)
        for number in range(3):
            channel.send(str(number))
            assert await other.messages.get() == str(number)
            other.send(b"back")
            assert await channel.messages.get() == b"back"
        channel.raw.close()
        await other.closed.wait()
        await close(offerer, answerer)

    with caplog.at_level("ERROR"):
        run(main())
    assert "a listener's own fault" in caplog.text
    assert "a coroutine's own fault" in caplog.text


@pytest.mark.skipif(not HAVE_NATIVE, reason="not built")
async def test_a_certificate_that_went_with_its_connection() -> None:
    """DTLS has read the other side's goodbye before the connection's state tells of it."""

    peers = [Peer(RTCPeerConnection(transport="native")) for _ in range(2)]
    channel = peers[0].create_channel()
    await describe(*peers)
    await exchange(peers[1], channel)
    connection = peers[1].connection
    assert connection.remote_fingerprint == peers[0].connection.local_fingerprint
    connection.sctp.transport._dtls.close()
    assert connection.sctp.transport.state == "connected"
    with pytest.raises(InvalidStateError):
        _ = connection.remote_fingerprint
    await close(*peers)


@pytest.mark.parametrize("scheme", ["stun", "turn"])
async def test_dead_server_does_not_delay(pc: Any, monkeypatch: Any, scheme: str) -> None:
    monkeypatch.setattr(ice, "GATHERING_TIMEOUT", 600)

    with dead_server() as address:
        started = time.monotonic()
        offerer = Peer(pc(with_servers(url(scheme, address))))
        answerer = Peer(pc(with_servers(url(scheme, address))))
        channel = offerer.create_channel()
        await describe(offerer, answerer)
        assert offerer.connection.iceGatheringState == "gathering"
        assert "typ host" in offerer.connection.localDescription.sdp
        assert "end-of-candidates" not in answerer.connection.remoteDescription.sdp
        await exchange(answerer, channel)
        # aiortc takes 5 s, and a request that nobody answers is repeated for half a minute.
        assert time.monotonic() - started < 4
        # Connected, there is no use for what the server might have said.
        assert await offerer.all_candidates() == []
        assert offerer.connection.iceGatheringState == "complete"
        assert "end-of-candidates" in offerer.connection.localDescription.sdp
        await close(offerer, answerer)


async def test_reflexive_candidate_is_trickled(pc: Any) -> None:
    async with stun_server(mapped=("203.0.113.9", 4321)) as address:
        peer = Peer(pc(with_servers(url("stun", address)), host_addresses=["127.0.0.1"]))
        peer.create_channel()
        await peer.connection.setLocalDescription()
        assert "srflx" not in peer.connection.localDescription.sdp
        assert peer.connection.iceGatheringState == "gathering"

        (candidate,) = await peer.all_candidates()
        assert (candidate.type, candidate.ip, candidate.port) == ("srflx", "203.0.113.9", 4321)
        assert (candidate.sdpMid, candidate.sdpMLineIndex) == ("0", 0)
        assert candidate.relatedAddress == "127.0.0.1"
        assert peer.connection.iceGatheringState == "complete"
        assert "203.0.113.9 4321 typ srflx" in peer.connection.localDescription.sdp
        assert "end-of-candidates" in peer.connection.localDescription.sdp
        await close(peer)


async def test_reflexive_candidate_like_the_host_candidate_is_left_out(pc: Any) -> None:
    async with stun_server() as address:
        peer = Peer(pc(with_servers(url("stun", address)), host_addresses=["127.0.0.1"]))
        peer.create_channel()
        await peer.connection.setLocalDescription()
        assert await peer.all_candidates() == []
        await close(peer)


async def test_relayed_candidates_that_come_late_connect(pc: Any) -> None:
    """With the relay policy there is nothing in the descriptions: all of it is trickled."""

    async with stun_server() as address:
        configuration = with_servers(url("turn", address), relay_only=True)
        offerer = Peer(pc(configuration))
        answerer = Peer(pc(configuration))
        channel = offerer.create_channel()
        await describe(offerer, answerer)
        assert "a=candidate" not in answerer.connection.remoteDescription.sdp
        forwarding = asyncio.gather(
            offerer.forward_candidates(answerer), answerer.forward_candidates(offerer)
        )
        await exchange(answerer, channel)
        await forwarding
        assert "typ relay" in answerer.connection.remoteDescription.sdp
        await close(offerer, answerer)


async def test_late_relayed_candidate_is_paired_with_known_candidates(pc: Any) -> None:
    """One end has only a relayed address, which it learns of after the other's candidates."""

    async with stun_server() as address:
        offerer = Peer(pc(with_servers(url("turn", address), relay_only=True)))
        answerer = Peer(pc(host_addresses=["127.0.0.1"]))
        channel = offerer.create_channel()
        await describe(offerer, answerer)
        # Nothing is forwarded: the relay's address is learned from its checks.
        await exchange(answerer, channel)
        await close(offerer, answerer)


def test_a_direct_way_that_takes_a_moment_is_preferred_to_the_relay(
    run: Any, pc: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As through two routers, which let nothing in before their own side has sent."""
    receive = ice.HostProtocol.datagram_received

    async def main() -> None:
        opens_at = time.monotonic() + 0.3

        def closed_at_first(self: Any, data: bytes | str, addr: tuple[Any, ...]) -> None:
            direct = self.local_candidate is not None and self.local_candidate.type == "host"
            if time.monotonic() > opens_at or not direct:
                receive(self, data, addr)

        monkeypatch.setattr(ice.HostProtocol, "datagram_received", closed_at_first)
        async with stun_server() as address:
            offerer, answerer = (Peer(pc(with_servers(url("turn", address)))) for _ in range(2))
            channel = offerer.create_channel()
            await describe(offerer, answerer)
            forwarding = asyncio.gather(
                offerer.forward_candidates(answerer), answerer.forward_candidates(offerer)
            )
            await exchange(answerer, channel)
            await close(offerer, answerer)
            await forwarding

    with caplog.at_level("INFO", ice.logger.name):
        run(main())
    assert caplog.text.count("connected from our host candidate to their host candidate") == 2


async def test_relay_that_is_gone_does_not_hold_up_the_end(pc: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(ice, "RELAY_CLOSE_TIMEOUT", 0.1)

    async with stun_server(forgetful=True) as address:
        peer = Peer(pc(with_servers(url("turn", address), relay_only=True)))
        peer.create_channel()
        await peer.connection.setLocalDescription()
        (candidate,) = await peer.all_candidates()
        assert candidate.type == "relay"
        started = time.monotonic()
        await close(peer)
        assert time.monotonic() - started < 20  # aioice takes a minute


async def test_all_remote_candidates_may_come_late(pc: Any) -> None:
    offerer, answerer = Peer(pc()), Peer(pc())
    channel = offerer.create_channel()
    await offerer.connection.setLocalDescription()
    offer = offerer.connection.localDescription
    lines = [line for line in offer.sdp.split("\r\n") if line.startswith("a=candidate:")]
    bare = "\r\n".join(
        line
        for line in offer.sdp.split("\r\n")
        if not line.startswith(("a=candidate:", "a=end-of-candidates"))
    )
    await answerer.connection.setRemoteDescription(
        aiortc.RTCSessionDescription(sdp=bare, type="offer")
    )
    await answerer.connection.setLocalDescription()
    # The answer stays here, so that the offerer cannot send checks to learn from.
    await until(lambda: answerer.connection.iceConnectionState == "checking")
    await asyncio.sleep(0.1)
    assert answerer.connection.iceConnectionState == "checking"
    for line in lines:
        await answerer.connection.addIceCandidate(
            candidate_from_dict({"candidate": line, "sdpMLineIndex": 0})
        )
    await answerer.connection.addIceCandidate(None)
    await offerer.connection.setRemoteDescription(answerer.connection.localDescription)
    await exchange(answerer, channel)
    await close(offerer, answerer)


async def test_fails_once_neither_side_has_more_candidates(pc: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(ice, "GATHERING_TIMEOUT", 1.0)

    with dead_server() as address:
        peer = Peer(pc(with_servers(url("stun", address))))
        peer.create_channel()
        await peer.connection.setLocalDescription()
        other = Peer(pc())
        await other.connection.setRemoteDescription(peer.connection.localDescription)
        await other.connection.setLocalDescription()
        answer = other.connection.localDescription
        await close(other)

        sdp = "\r\n".join(
            line for line in answer.sdp.split("\r\n") if not line.startswith("a=candidate:")
        )
        await peer.connection.setRemoteDescription(
            aiortc.RTCSessionDescription(sdp=sdp, type="answer")
        )
        # The peer has no candidate, and has said so; our own gathering is still under way.
        assert "end-of-candidates" in sdp
        await asyncio.sleep(0.05)
        assert peer.connection.iceConnectionState == "checking"
        assert await peer.all_candidates() == []
        await peer.failed.wait()
        await close(peer)


async def test_closing_while_gathering_and_checking_leaves_nothing(pc: Any) -> None:
    with dead_server() as address:
        servers = with_servers(url("stun", address), url("turn", address))
        offerer, answerer = Peer(pc(servers)), Peer(pc(servers))
        offerer.create_channel()
        await offerer.connection.setLocalDescription()
        await answerer.connection.setRemoteDescription(offerer.connection.localDescription)
        await answerer.connection.setLocalDescription()
        await answerer.connection.addIceCandidate(
            candidate_from_dict(
                {
                    "candidate": "candidate:1 1 udp 1 f3a1.local 5000 typ host",
                    "sdpMLineIndex": 0,
                }
            )
        )
        assert answerer.connection.iceGatheringState == "gathering"
        await close(offerer, answerer)


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")
@pytest.mark.parametrize("turns", range(12))
async def test_closing_at_any_moment_leaves_no_socket(pc: Any, turns: int) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    with dead_server() as address:
        candidate = "1 1 udp 1 f3a1.local 5000 typ host"
        for _ in range(2):  # the first may open what stays
            before = descriptors()
            peer = Peer(pc(with_servers(url("turn", address))))
            peer.create_channel()
            await peer.connection.setLocalDescription()
            other = peer.connection.sctp.transport.transport
            await other.addRemoteCandidate(candidate_from_sdp(candidate))
            for _ in range(turns):
                await asyncio.sleep(0)
            await close(peer)
        await until(lambda: descriptors() == before)


async def test_name_that_nobody_resolves_does_not_hold_up_the_answer(
    pc: Any, monkeypatch: Any
) -> None:
    asked = []

    async def never(subscriber: object) -> None:
        asked.append(subscriber)
        await asyncio.Event().wait()

    monkeypatch.setattr(ice, "get_or_create_mdns_protocol", never)

    offerer, answerer = Peer(pc()), Peer(pc())
    channel = offerer.create_channel()
    await offerer.connection.setLocalDescription()
    offer = offerer.connection.localDescription
    hidden = offer.sdp.replace(
        "a=end-of-candidates",
        "a=candidate:1 1 udp 1 6cbe4f3a-0000-4000-8000-1d2f3e4a5b6c.local 5000 typ host"
        "\r\na=end-of-candidates",
    )
    await answerer.connection.setRemoteDescription(
        aiortc.RTCSessionDescription(sdp=hidden, type="offer")
    )
    await answerer.connection.setLocalDescription()
    assert len(asked) == 1
    await offerer.connection.setRemoteDescription(answerer.connection.localDescription)
    await exchange(answerer, channel)
    await close(offerer, answerer)


async def test_candidates_that_cannot_be_reached_are_ignored(pc: Any) -> None:
    offerer, answerer = Peer(pc()), Peer(pc())
    channel = offerer.create_channel()
    await offerer.connection.setLocalDescription()
    offer = offerer.connection.localDescription
    bad = "".join(
        f"a=candidate:{n} 1 udp {n} {address} typ host\r\n"
        for n, address in enumerate(
            [
                "127.0.0.1 99999",
                "127.0.0.1 0",
                "255.255.255.255 5000",
                "0.0.0.0 5000",
                "nowhere 5000",
                "::1 5000",
                "224.0.0.1 5000",
                f"{'x' * 80}.local 5000",
                *(f"192.0.2.77 {port}" for port in range(1000, 2000)),
            ]
        )
    )
    await answerer.connection.setRemoteDescription(
        aiortc.RTCSessionDescription(
            sdp=offer.sdp.replace("a=end-of-candidates", f"{bad}a=end-of-candidates"),
            type="offer",
        )
    )
    transport = answerer.connection.sctp.transport.transport
    assert len(transport.getRemoteCandidates()) <= ice.MAX_REMOTE_CANDIDATES
    await answerer.connection.setLocalDescription()
    await offerer.connection.setRemoteDescription(answerer.connection.localDescription)
    await exchange(answerer, channel)
    await close(offerer, answerer)


async def test_garbage_on_a_candidate_port_is_dropped(pc: Any) -> None:
    peer = Peer(pc(host_addresses=["127.0.0.1"]))
    peer.create_channel()
    await peer.connection.setLocalDescription()
    transport = peer.connection.sctp.transport.transport
    (candidate,) = transport.iceGatherer.getLocalCandidates()
    sender, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=(candidate.ip, candidate.port)
    )
    # A Binding request whose PRIORITY has no room for its value, and no end of data before
    # anybody reads it.
    sender.sendto(bytes.fromhex("000100042112a442") + bytes(12) + bytes.fromhex("00240000"))
    sender.sendto(b"")
    for _ in range(20):
        for _ in range(100):
            sender.sendto(b"\x16\xfe\xfd garbage")
        await asyncio.sleep(0.005)
    sender.close()
    assert transport._connection._queue.qsize() <= ice.MAX_QUEUED_DATAGRAMS
    await close(peer)


def test_host_addresses_are_those_asked_for_or_loopback(
    run: Any, pc: Any, monkeypatch: Any
) -> None:
    async def addresses(**options: Any) -> set[str]:
        peer = Peer(pc(**options))
        peer.create_channel()
        await peer.connection.setLocalDescription()
        candidates = peer.connection.sctp.transport.transport.iceGatherer.getLocalCandidates()
        await close(peer)
        return {candidate.ip for candidate in candidates}

    assert run(addresses(host_addresses=["127.0.0.2"])) == {"127.0.0.2"}
    monkeypatch.setattr(ice, "get_host_addresses", lambda *_: ["127.0.0.3"])
    assert run(addresses()) == {"127.0.0.3"}
    monkeypatch.setattr(ice, "get_host_addresses", lambda *_: [])
    assert run(addresses()) == {"127.0.0.1"}


async def test_connects_over_ipv6(pc: Any) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    offerer, answerer = Peer(pc(host_addresses=["::1"])), Peer(pc(host_addresses=["::1"]))
    channel = offerer.create_channel()
    await describe(offerer, answerer)
    assert " ::1 " in answerer.connection.remoteDescription.sdp
    await exchange(answerer, channel)
    await close(offerer, answerer)


async def test_no_server_is_asked_unless_given(pc: Any) -> None:
    for configuration in (None, RTCConfiguration()):
        peer = Peer(pc(configuration))
        peer.create_channel()
        connection = peer.connection.sctp.transport.transport._connection
        assert connection.stun_server is None
        assert connection.turn_server is None
        await close(peer)


async def test_certificate_is_kept(pc: Any) -> None:
    certificate = RTCCertificate.generateCertificate()

    for _ in range(2):
        peer = Peer(pc(certificate=certificate))
        peer.create_channel()
        await peer.connection.setLocalDescription()
        fingerprint = certificate.getFingerprints()[0]
        line = f"a=fingerprint:{fingerprint.algorithm} {fingerprint.value}"
        assert line in peer.connection.localDescription.sdp
        await close(peer)


async def test_media_and_data_share_a_transport(pc: Any) -> None:
    """Sections that are bundled away while they gather do not hold up the end of candidates."""

    with dead_server() as address:
        servers = with_servers(url("stun", address))
        offerer, answerer = Peer(pc(servers)), Peer(pc(servers))
        offerer.connection.addTransceiver("audio")
        channel = offerer.create_channel()
        await describe(offerer, answerer)
        await exchange(answerer, channel)
        assert await offerer.all_candidates() == []
        assert offerer.connection.localDescription.sdp.count("end-of-candidates") == 2
        await close(offerer, answerer)


def test_an_unknown_transport_is_refused() -> None:
    with pytest.raises(ValueError, match="no such transport"):
        RTCPeerConnection(transport="carrier pigeon")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda sdp: "m=\r\n" + sdp,
        lambda sdp: sdp.replace("a=fingerprint", "a=x-fingerprint"),
        lambda sdp: sdp.replace("a=setup:actpass", "a=setup:backwards"),
        lambda sdp: sdp.replace("a=setup:actpass", "a=x"),
        lambda sdp: sdp.replace("a=ice-pwd", "a=x-ice-pwd"),
        lambda sdp: sdp.replace("a=sctp-port:5000", "a=sctp-port:70000"),
        lambda sdp: sdp.replace("a=sctp-port:5000", ""),
        lambda sdp: sdp.replace("m=application", "m=text"),
        lambda sdp: sdp.replace("a=candidate:", "a=candidate:x "),
        lambda sdp: sdp.replace("c=IN IP4", "c=IN IP5"),
        lambda sdp: sdp.replace("a=group:BUNDLE 0", "a=group:BUNDLE 5 0"),
        lambda sdp: sdp + sdp[sdp.index("m=application") :],
        lambda sdp: sdp + sdp[sdp.index("m=application") :].replace("a=mid:0", "a=mid:1"),
    ],
)
async def test_unusable_description_is_refused(pc: Any, spoil: Any) -> None:
    offerer, answerer = Peer(pc()), Peer(pc())
    offerer.create_channel()
    await offerer.connection.setLocalDescription()
    offer = aiortc.RTCSessionDescription(
        sdp=spoil(offerer.connection.localDescription.sdp), type="offer"
    )
    with pytest.raises(InvalidDescription):
        await answerer.connection.setRemoteDescription(offer)
    await close(offerer, answerer)


async def test_closing_goes_to_its_end_whatever_aiortc_trips_over(
    pc: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def stumble() -> None:
        raise AttributeError("'NoneType' object has no attribute 'stop'")

    offerer, answerer = Peer(pc()), Peer(pc())
    await join(offerer, answerer)
    ice = answerer.connection.sctp.transport.transport
    with monkeypatch.context() as patched:
        patched.setattr(answerer.connection.sctp, "stop", stumble)
        await answerer.connection.close()
    assert ice.state == "closed"
    assert "did not close in order" in caplog.text
    await answerer.connection.sctp.stop()
    await close(offerer, answerer)
