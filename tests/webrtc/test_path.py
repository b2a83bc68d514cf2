"""The driver: what it does with datagrams that come early, late, in floods or not at all."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiortc import RTCCertificate
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.webrtc.peers import Peer, close, join
from tests.webrtc.test_udp import unresolved_neighbour

from peerfetch_fast.webrtc import gate
from peerfetch_fast.webrtc.connection import RTCPeerConnection
from support import HANGS, until

_path = pytest.importorskip("peerfetch_fast.webrtc._path")

from peerfetch_fast.webrtc._dtls import Dtls  # noqa: E402
from peerfetch_fast.webrtc._sctp.association import Association  # noqa: E402
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings  # noqa: E402

CERTIFICATES = [RTCCertificate.generateCertificate() for _ in range(2)]
LOOPBACK = "127.0.0.1"
HELD_UP = 0.05
"""Seconds that a busy machine keeps a turn waiting."""


class Protocol:
    """What aioice's protocol is to a port."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Any]] = []
        self.lost: list[Exception | None] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.append((data, addr))


class End:
    """One end of a data path: a path, and what stands on it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.path = _path.DataPath()
        self.changed = asyncio.Event()
        self.happened = asyncio.Event()
        self.events: list[Any] = []
        self.messages: asyncio.Queue[bytes | str] = asyncio.Queue()
        self.path.on_dtls = self.changed.set
        self.path.on_events = self._on_events

    def _on_events(self, events: list[Any]) -> None:
        self.events += events
        self.happened.set()

    def open_port(self) -> Any:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((LOOPBACK, 0))
        self.protocol = Protocol()
        return _path.Port(self.path, sock, self.protocol)

    def start_dtls(self) -> None:
        own, peer = CERTIFICATES[self.number], CERTIFICATES[1 - self.number]
        self.path.start_dtls(
            Dtls(
                server=self.number == 1,
                certificate=own._cert.public_bytes(Encoding.DER),
                private_key=own._key.private_bytes(
                    Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
                ),
                fingerprints=[("sha-256", peer._cert.fingerprint(hashes.SHA256()))],
                srtp_profiles="SRTP_AES128_CM_SHA1_80",
                sink=self.path.output,
            )
        )

    async def dtls(self, state: str) -> None:
        while self.path.dtls.state != state:
            self.changed.clear()
            await self.changed.wait()

    def start_sctp(self, **settings_changed: Any) -> None:
        settings = AssociationSettings(
            max_packet_size=self.path.dtls.max_plaintext, **settings_changed
        )
        self.association = Association(settings, os.urandom(32), client=self.number == 0)
        self.channel = self.association.open_channel(id=0)
        self.channel.on_message = self.messages.put_nowait
        self.path.start_sctp(self.association)

    async def event(self, name: str) -> None:
        while not any(type(event).__name__ == name for event in self.events):
            self.happened.clear()
            await self.happened.wait()


class Wire:
    """A datagram transport that is no port, as a relay's: it can hold back and count."""

    def __init__(self, other: Callable[[], End]) -> None:
        self.other = other
        self.sent = 0
        self.lose = 0

    def sendto(self, data: bytes, addr: Any) -> None:
        self.sent += 1
        if self.lose:
            self.lose -= 1
        else:
            asyncio.get_running_loop().call_soon(self.other().path.receive, bytes(data))


def over_ports() -> list[End]:
    ends = [End(0), End(1)]
    ports = [end.open_port() for end in ends]
    for i, end in enumerate(ends):
        end.path.select(ports[i], ports[1 - i].get_extra_info("sockname"))
    return ends


def over_wires() -> tuple[list[End], list[Wire]]:
    ends = [End(0), End(1)]
    wires = [Wire(lambda i=i: ends[1 - i]) for i in range(2)]  # type: ignore[misc]
    for end, wire in zip(ends, wires, strict=True):
        end.path.select(wire, (LOOPBACK, 9))
    return ends, wires


async def connect(ends: list[End], **settings: Any) -> None:
    for end in ends:
        end.start_dtls()
    for end in ends:
        await end.dtls("connected")
        end.start_sctp(**settings)
    for end in ends:
        await end.event("ChannelOpen")


async def shut(ends: list[End]) -> None:
    for end in ends:
        end.path.close()
        if hasattr(end, "protocol"):
            end.protocol.transport.close()
    await asyncio.sleep(0)


@pytest.mark.parametrize("make", [over_ports, lambda: over_wires()[0]], ids=["ports", "wires"])
async def test_messages_arrive_whole_both_ways(make: Callable[[], list[End]]) -> None:
    ends = make()
    await connect(ends)
    message = random.Random(4).randbytes(200_000)
    for source, sink in (ends, reversed(ends)):
        source.path.send(source.channel, message[:65_535])
        source.path.send(source.channel, "text")
        assert await sink.messages.get() == message[:65_535]
        assert await sink.messages.get() == "text"
    await shut(ends)


async def test_nothing_that_comes_early_has_to_be_sent_again() -> None:
    """A flight before our DTLS has begun, and packets before our SCTP has."""

    async def without_a_timer(work: Coroutine[Any, Any, None]) -> None:
        """Turns of the loop are enough. DTLS would repeat itself after a quarter of a second, SCTP
        after a whole one, and a turn takes nothing like it."""
        task = asyncio.ensure_future(work)
        for _ in range(50):
            await asyncio.sleep(0)
        assert task.done()
        await task

    ends, wires = over_wires()
    ends[0].start_dtls()
    await without_a_timer(asyncio.sleep(0))
    assert wires[0].sent == 1
    ends[1].start_dtls()
    for end in ends:
        await without_a_timer(end.dtls("connected"))
    ends[0].start_sctp()
    await without_a_timer(asyncio.sleep(0))
    ends[1].start_sctp()
    for end in ends:
        await without_a_timer(end.event("Connected"))
    await shut(ends)


async def test_a_lost_flight_is_sent_again_by_the_timer() -> None:
    ends, wires = over_wires()
    wires[0].lose = 1
    await connect(ends)
    assert wires[0].lose == 0
    await shut(ends)


async def test_early_datagrams_are_bounded() -> None:
    ends, _ = over_wires()
    for _ in range(10_000):
        ends[0].path.receive(b"\x16" + bytes(1000))
    kept = [o for o in gc.get_referents(ends[0].path) if isinstance(o, list)]
    assert sum(len(entries) for entries in kept) <= 16
    await shut(ends)


def garbage(size: int) -> list[bytes]:
    return [bytes([first]) + bytes(size - 1) for first in range(256)]


async def send_from(sender: socket.socket, end: End, datagrams: list[bytes]) -> None:
    """Send, and wait until the path has seen all of it."""

    def seen() -> int:
        refused: int = end.path.datagrams_refused
        return refused + end.path.datagrams_received + len(end.protocol.received)

    for at in range(0, len(datagrams), 64):  # fewer than a socket's buffer holds
        before = seen()
        for data in datagrams[at : at + 64]:
            sender.sendto(data, end.protocol.transport.get_extra_info("sockname"))
        await until(lambda before=before, at=at: seen() >= before + len(datagrams[at : at + 64]))


async def test_garbage_and_strangers_change_nothing() -> None:
    ends = over_ports()
    await connect(ends)
    rtp: list[bytes] = []
    ends[0].path.on_rtp = rtp.append
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        received = ends[0].path.datagrams_received
        for size in (1, 13, 14, 1200, 20_000):
            await send_from(stranger, ends[0], garbage(size))
        assert ends[0].path.datagrams_received == received
        assert rtp == []
        assert {data[0] for data, _ in ends[0].protocol.received} == set(range(4))
        assert {len(data) for data, _ in ends[0].protocol.received} == {1, 13, 14, 1200}
    ends[1].path.send(ends[1].channel, b"as before")
    assert await ends[0].messages.get() == b"as before"
    await shut(ends)


@pytest.mark.parametrize("media", [True, False])
async def test_the_peers_own_datagrams_are_taken_and_others_are_not(media: bool) -> None:
    """RTP where media was agreed, DTLS, and no datagram that is longer than a frame carries."""

    ends = over_ports()
    await connect(ends)
    rtp: list[bytes] = []
    if media:
        ends[0].path.on_rtp = rtp.append
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((LOOPBACK, 0))
        ends[0].path.admit(peer.getsockname())
        for size in (1, 1500, 1501, 20_000):
            await send_from(peer, ends[0], garbage(size))
    wanted = set(range(128, 192)) if media else set()
    assert {data[0] for data in rtp} == wanted
    assert {len(data) for data in rtp} == ({1, 1500} if media else set())
    ends[1].path.send(ends[1].channel, b"as before")
    assert await ends[0].messages.get() == b"as before"
    await shut(ends)


async def test_a_listener_that_fails_stops_no_packets() -> None:
    end = End(0)
    end.open_port()
    failures: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: failures.append(told))
    taken: list[bytes] = []

    def listen(data: bytes) -> None:
        taken.append(data)
        raise OSError("a full disk")

    end.path.on_rtp = listen
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((LOOPBACK, 0))
        end.path.admit(peer.getsockname())
        sent = [bytes([0x80, number]) for number in range(4)]
        await send_from(peer, end, sent)
    assert taken == sent
    assert [str(told["exception"]) for told in failures] == ["a full disk"] * 4
    await shut([end])


async def test_the_addresses_of_a_peer_are_bounded() -> None:
    """Those that it showed last are listened to, of either family."""

    end = End(0)
    end.open_port()
    taken: list[bytes] = []
    end.path.on_rtp = taken.append
    sockets = [
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(_path.MAX_SOURCES + 4)
    ]
    for number, sender in enumerate(sockets):
        sender.bind((LOOPBACK, 0))
        end.path.admit(sender.getsockname())
        end.path.admit(("::1", 1000 + number % 2))  # known, and no room of its own
    for number, sender in enumerate(sockets):
        await send_from(sender, end, [bytes([0x80, number])])
        sender.close()
    assert len(taken) <= _path.MAX_SOURCES
    assert [data[1] for data in taken] == list(range(len(sockets)))[-len(taken) :]
    assert len(taken) >= _path.MAX_SOURCES - 2
    await shut([end])


async def test_a_listener_that_hands_over_a_datagram() -> None:
    """It gets no further: what SCTP is reading would be overwritten."""

    ends = over_ports()
    await connect(ends)
    got: list[bytes | str] = []

    def again(message: bytes | str) -> None:
        got.append(message)
        ends[0].path.receive(b"\x17\xfe\xfd" + bytes(100))

    ends[0].channel.on_message = again
    refused = ends[0].path.datagrams_refused
    for message in (b"one", b"two"):
        ends[1].path.send(ends[1].channel, message)
    await until(lambda: len(got) == 2)
    assert got == [b"one", b"two"]
    assert ends[0].path.datagrams_refused == refused + 2
    await shut(ends)


def test_the_bounds_are_those_of_the_gate() -> None:
    assert _path.MAX_SOURCES == gate.MAX_SOURCES


async def test_a_batch_is_acknowledged_piecemeal() -> None:
    """One SACK for all of it would hold up a peer that sends no more than a few packets a SACK."""

    ends = over_ports()
    await connect(ends)
    association = ends[1].association

    async def exchange(*sizes: int) -> tuple[int, int]:
        received, sent = association.packets_received, association.packets_sent
        for size in sizes:
            ends[0].path.send(ends[0].channel, bytes(size))
        for _ in sizes:
            await ends[1].messages.get()
        await asyncio.sleep(0)
        return association.packets_received - received, association.packets_sent - sent

    # The whole first window leaves, and arrives, in one turn.
    packets, acknowledgements = await exchange(8 * 1_100)
    assert packets == 8
    assert acknowledgements == 4
    # A batch so large that its sender is evidently not held up costs less.
    for _ in range(20):
        await exchange(65_000, 65_000, 65_000)
    packets, acknowledgements = await exchange(65_000, 65_000, 65_000)
    assert packets > 170
    assert packets / 16 < acknowledgements < packets / 4
    await shut(ends)


async def test_what_comes_during_a_turn_is_not_early() -> None:
    """Or a busy machine would measure round trips shorter than the path."""

    ends = over_ports()
    await connect(ends)
    ports = [end.protocol.transport for end in ends]
    sender = ends[0].association.sender
    while sender.in_flight:
        await asyncio.sleep(0.001)
    smoothed = sender.smoothed_rtt
    held_up = HELD_UP + 2 * smoothed  # that of a machine that is busy as it is

    def hold_up(data: bytes, addr: Any) -> None:
        ends[0].protocol.datagram_received = lambda data, addr: None  # type: ignore[method-assign]
        time.sleep(held_up)
        ports[1]._on_readable()

    ends[0].protocol.datagram_received = hold_up  # type: ignore[method-assign]
    # A whole batch, so that the same turn reads the next, in which the answer is.
    for _ in range(16):
        ports[1].sendto(b"\x00\x01 a request", ports[0].get_extra_info("sockname"))
    ends[0].path.send(ends[0].channel, b"to be answered")
    ends[0].path.flush()
    ports[0]._on_readable()
    assert sender.in_flight == 0
    assert sender.smoothed_rtt - smoothed > held_up / 16
    await shut(ends)


def test_a_pacer_does_not_spin() -> None:
    """uvloop takes a delay of less than half a millisecond for none, and turns until it is over."""
    uvloop = pytest.importorskip("uvloop")
    delays: list[float] = []

    class Loop(uvloop.Loop):  # type: ignore[misc, name-defined]
        def call_later(self, delay: float, *arguments: Any, **named: Any) -> asyncio.TimerHandle:
            delays.append(delay)
            timer: asyncio.TimerHandle = super().call_later(delay, *arguments, **named)
            return timer

    async def main() -> None:
        ends = over_ports()
        await connect(ends, max_rate=5e6)
        delays.clear()
        for _ in range(20):
            ends[0].path.send(ends[0].channel, bytes(50_000))
        for _ in range(20):
            await ends[1].messages.get()
        await shut(ends)

    loop = Loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert len(delays) > 10  # 0.2 s, in bursts of a millisecond
    assert min(delays) >= 0.001


async def test_no_python_runs_per_packet() -> None:
    """Promise 1: a constant number of calls a message, however many packets it takes."""

    ends = over_ports()
    await connect(ends)
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    async def calls_per_message(size: int) -> float:
        nonlocal calls
        calls = 0
        message = bytes(size)
        sys.setprofile(count)
        try:
            for _ in range(200):
                ends[0].path.send(ends[0].channel, message)
            for _ in range(200):
                await ends[1].messages.get()
        finally:
            sys.setprofile(None)
        return calls / 200

    counts = [await calls_per_message(size) for size in (1_000, 65_000)]
    packets = 65_000 / 1_135
    # A wake-up carries a batch, and the loop's own calls in it are what is left per packet.
    assert counts[0] < 25  # most of them of the queue that this test reads
    assert (counts[1] - counts[0]) / packets < 0.5
    await shut(ends)


def test_a_failing_listener_is_reported_and_stops_nothing() -> None:
    reports: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
        ends = over_ports()

        def fail(*_: Any) -> None:
            raise RuntimeError("from a listener")

        for end in ends:
            end.start_dtls()
        for end in ends:
            await end.dtls("connected")
        ends[0].path.on_events = fail
        for end in ends:
            end.start_sctp()
        await ends[1].event("ChannelOpen")
        ends[1].path.send(ends[1].channel, b"still here")
        assert await ends[0].messages.get() == b"still here"
        await shut(ends)

    asyncio.run(asyncio.wait_for(main(), HANGS))
    assert {str(report["exception"]) for report in reports} == {"from a listener"}


async def test_what_is_flushed_leaves_in_this_turn() -> None:
    ends = over_ports()
    await connect(ends)
    path = ends[0].path
    sent = path.output.datagrams
    path.send(ends[0].channel, b"now")
    assert path.output.datagrams == sent
    path.flush()
    assert path.output.datagrams == sent + 1
    path.send(ends[0].channel, b"in its turn")  # what was asked for before leaves it to this
    assert await ends[1].messages.get() == b"now"
    assert await ends[1].messages.get() == b"in its turn"
    await shut(ends)


async def test_close_says_goodbye() -> None:
    ends = over_ports()
    await connect(ends)
    ends[0].path.send(ends[0].channel, b"last words")
    ends[0].path.close()
    ends[0].path.close()
    await ends[1].dtls("closed")
    assert await ends[1].messages.get() == b"last words"
    # Closed, it neither takes nor sends anything.
    ends[0].path.receive(b"\x16 late")
    ends[0].path.wake()
    await shut(ends)


async def test_a_port_is_a_transport() -> None:
    end = End(0)
    port = end.open_port()
    assert end.protocol.transport is port
    assert port.get_extra_info("sockname")[0] == LOOPBACK
    assert port.get_extra_info("peername", "none") == "none"
    # Whoever asks with STUN gets to aioice; a message to oneself is the shortest way.
    port.sendto(b"\x00\x01 a request", port.get_extra_info("sockname"))
    while not end.protocol.received:
        await asyncio.sleep(0.001)
    assert end.protocol.received[0][0] == b"\x00\x01 a request"
    assert not port.is_closing()
    port.close()
    port.close()
    assert port.is_closing()
    await asyncio.sleep(0)
    assert end.protocol.lost == [None]
    end.path.close()


@pytest.mark.skipif(unresolved_neighbour() is None, reason="no network to fill a queue on")
async def test_a_full_kernel_buffer_is_waited_for() -> None:
    addresses = unresolved_neighbour()
    assert addresses is not None
    ends = [End(0), End(1)]
    ports = []
    for end in ends:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((addresses[0], 0))
        end.protocol = Protocol()
        ports.append(_path.Port(end.path, sock, end.protocol))
    names = [port.get_extra_info("sockname") for port in ports]
    for i, end in enumerate(ends):
        end.path.select(ports[i], names[1 - i])
    await connect(ends)
    with socket.socket(fileno=os.dup(ports[0].socket.fileno())) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    # Nobody is there: the kernel holds on to what is sent until it knows.
    ends[0].path.select(ports[0], (addresses[1], 9))
    messages = [bytes([i]) * 50_000 for i in range(20)]
    for message in messages:
        ends[0].path.send(ends[0].channel, message)
    await asyncio.sleep(0.05)
    if ports[0].socket.pending == 0:
        await shut(ends)
        pytest.skip("this network takes everything")
    assert ports[0].socket.send_drops == 0
    with socket.socket(fileno=os.dup(ports[0].socket.fileno())) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    ends[0].path.select(ports[0], names[1])
    assert [await ends[1].messages.get() for _ in messages] == messages
    await shut(ends)


async def test_connections_leave_nothing_behind() -> None:
    async def one() -> None:
        offerer, answerer = Peer(RTCPeerConnection()), Peer(RTCPeerConnection())
        source, sink = await join(offerer, answerer)
        source.send(b"x")
        await sink.messages.get()
        await close(offerer, answerer)

    def count() -> tuple[int, int]:
        gc.collect()
        kinds = (_path.DataPath, _path.Port, Dtls, Association, RTCPeerConnection)
        objects = sum(isinstance(o, kinds) for o in gc.get_objects())
        return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0, objects

    await one()
    before = count()
    for _ in range(5):
        await one()
    assert count() == before
