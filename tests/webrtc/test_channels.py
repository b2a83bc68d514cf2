"""Data channels behave the same over either transport, and with stock aiortc at the other end."""

from __future__ import annotations

import asyncio
import hashlib
import random
from functools import partial
from typing import Any

import aiortc
import pytest
from aiortc import RTCConfiguration
from aiortc.exceptions import InvalidStateError
from tests.webrtc.peers import Channel, Peer, bare_connection, close, describe, join

from peerfetch_fast.webrtc import HAVE_NATIVE
from peerfetch_fast.webrtc.connection import RTCPeerConnection

native_only = pytest.mark.skipif(not HAVE_NATIVE, reason="not built")

OURS = partial(RTCPeerConnection, transport="auto")
STOCK = partial(aiortc.RTCPeerConnection, RTCConfiguration(iceServers=[]))
LIMIT = 262_144
"""Bytes of a message that stock aiortc takes."""

PAIRS = {
    "ours to ours": (OURS, OURS),
    "ours to stock": (OURS, STOCK),
    "stock to ours": (STOCK, OURS),
}


@pytest.fixture(params=PAIRS)
def pair(request: Any) -> Any:
    """Makes an offerer and an answerer."""

    def pair() -> list[Peer]:
        return [Peer(make()) for make in pair.ends]

    pair.ends = PAIRS[request.param]
    return pair


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
async def test_messages_of_all_kinds_and_sizes(pair: Any, ordered: bool) -> None:
    sizes = [0, 1, 2, 100, 1134, 1135, 1136, 1200, 16_384, 65_536, 262_143, 262_144]
    if STOCK in pair.ends:
        sizes = [size for size in sizes if size <= LIMIT]
    messages: list[Any] = [random.Random(size).randbytes(size) for size in sizes]
    messages += ["", "x", "grüße", "\N{GRINNING FACE}" * 16_384]

    offerer, answerer = pair()
    # aiortc counts the letters of a label where bytes are meant.
    native = getattr(offerer.connection, "transport", "aiortc") == "native"
    label = "Größe" if native else "size"
    ends = await join(offerer, answerer, ordered=ordered, label=label, protocol="p.1")
    assert ends[1].raw.label == label
    assert ends[1].raw.protocol == "p.1"
    assert ends[1].raw.ordered is ordered
    for source, sink in (ends, reversed(ends)):
        for message in messages:
            source.send(message)
        received = await sink.receive(len(messages))
        if not ordered:
            received.sort(key=messages.index)
        assert received == messages
    await close(offerer, answerer)


@native_only
async def test_a_message_that_is_not_whole_yet_is_counted_as_received() -> None:
    offerer, answerer = Peer(OURS()), Peer(OURS())
    source, sink = await join(offerer, answerer)
    counts = []
    before = sink.raw.received
    source.send(bytes(200_000))
    while sink.messages.empty():
        counts.append(sink.raw.received - before)
        await asyncio.sleep(0)
    assert sink.raw.received - before >= 200_000
    # The first flight holds less than all of it (RFC 9260 section 7.2.1).
    assert any(0 < count < 200_000 for count in counts)
    await close(offerer, answerer)


async def test_peers_limit_is_kept() -> None:
    offerer, answerer = Peer(OURS()), Peer(STOCK())
    source, _ = await join(offerer, answerer)
    with pytest.raises(ValueError, match=str(LIMIT + 1)):
        source.send(bytes(LIMIT + 1))
    await close(offerer, answerer)


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
async def test_bulk_both_ways_at_once(pair: Any, ordered: bool) -> None:
    generator = random.Random(2)
    messages = [generator.randbytes(generator.randrange(1, 20_000)) for _ in range(300)]

    offerer, answerer = pair()
    one, two = await join(offerer, answerer, ordered=ordered)

    async def pass_on(source: Channel, sink: Channel) -> None:
        _, received = await asyncio.gather(
            source.send_all(messages, high=200_000), sink.receive(len(messages))
        )
        assert source.raw.bufferedAmount == 0
        if ordered:
            assert received == messages
        else:
            assert sorted(received) == sorted(messages)

    await asyncio.gather(pass_on(one, two), pass_on(two, one))
    await close(offerer, answerer)


@native_only
async def test_64_megabytes_arrive_in_order_and_unchanged() -> None:
    offerer, answerer = Peer(OURS()), Peer(OURS())
    source, sink = await join(offerer, answerer, ordered=True)
    digest, expected, count = hashlib.sha256(), hashlib.sha256(), 1024
    done = asyncio.Event()
    left = count

    def received(message: bytes | str) -> None:
        nonlocal left
        assert isinstance(message, bytes)
        digest.update(message)
        left -= 1
        if left == 0:
            done.set()

    # One call a message and nothing else: what a link uses.
    sink.raw.on_message = received
    messages = [bytes([i % 256, i // 256]) * 32_768 for i in range(count)]
    for message in messages:
        expected.update(message)
    await source.send_all(messages)
    await done.wait()
    assert digest.digest() == expected.digest()
    assert sink.messages.empty()
    await close(offerer, answerer)


async def test_buffered_amount_falls_to_the_threshold_once(pc: Any) -> None:
    offerer, answerer = Peer(pc()), Peer(pc())
    source, sink = await join(offerer, answerer)
    assert source.raw.bufferedAmount == 0
    source.raw.bufferedAmountLowThreshold = 20_000
    for _ in range(10):
        source.send(bytes(10_000))
    assert source.raw.bufferedAmount > 20_000
    assert not source.low.is_set()
    await source.low.wait()
    assert source.raw.bufferedAmount <= 20_000
    await sink.receive(10)
    with pytest.raises(ValueError, match="range"):
        source.raw.bufferedAmountLowThreshold = -1
    await close(offerer, answerer)


@pytest.mark.parametrize("who", [0, 1])
async def test_a_closed_channel_frees_its_id_and_leaves_others_open(pair: Any, who: int) -> None:
    offerer, answerer = pair()
    ends = await join(offerer, answerer)
    other = offerer.create_channel("other")
    await other.opened.wait()
    await answerer.channels.get()

    ends[0].send(b"last words")
    ends[who].raw.close()
    assert ends[who].raw.readyState == "closing"
    with pytest.raises(InvalidStateError):
        ends[who].send(b"too late")
    for end in ends:
        await end.closed.wait()
        assert end.raw.readyState == "closed"
    if who == 0:
        assert await ends[1].messages.get() == b"last words"

    # The connection and its other channels go on, and the stream can be used again.
    assert other.raw.readyState == "open"
    again = offerer.create_channel("again")
    await again.opened.wait()
    second = await answerer.channels.get()
    again.send(b"once more")
    assert await second.messages.get() == b"once more"
    assert again.raw.id == ends[0].raw.id == second.raw.id
    await close(offerer, answerer)


async def test_closing_a_channel_that_was_never_announced(pc: Any) -> None:
    peer = Peer(pc())
    channel = peer.create_channel()
    assert channel.raw.id is None
    channel.raw.close()
    assert channel.raw.readyState == "closed"
    assert channel.closed.is_set()
    await close(peer)


@pytest.mark.parametrize("who", [0, 1])
async def test_closing_the_connection_closes_the_channels(pair: Any, who: int) -> None:
    peers = pair()
    ends = await join(*peers)
    await close(peers[who])
    for end in ends:
        await end.closed.wait()
    with pytest.raises(InvalidStateError):
        ends[1 - who].send(b"too late")
    await close(*peers)


async def test_channels_of_both_sides(pair: Any) -> None:
    offerer, answerer = pair()
    await join(offerer, answerer)
    theirs = [answerer.create_channel(f"a{i}") for i in range(5)]
    ours = [offerer.create_channel(f"o{i}") for i in range(5)]
    for channel in [*theirs, *ours]:
        await channel.opened.wait()
    for peer, channels in ((answerer, ours), (offerer, theirs)):
        for channel in channels:
            other = await peer.channels.get()
            assert (other.raw.label, other.raw.id) == (channel.raw.label, channel.raw.id)
    ids = [channel.raw.id for channel in [*theirs, *ours]]
    assert len(set(ids)) == 10
    assert {i % 2 for i in ids[:5]} != {i % 2 for i in ids[5:]}
    await close(offerer, answerer)


async def test_a_negotiated_channel_carries_messages_without_an_event(pair: Any) -> None:
    offerer, answerer = pair()
    ends = [peer.create_channel(negotiated=True, id=7) for peer in (offerer, answerer)]
    with pytest.raises(ValueError, match="already registered"):
        offerer.create_channel(negotiated=True, id=7)
    await describe(offerer, answerer)
    for end in ends:
        await end.opened.wait()
        assert end.raw.id == 7
    ends[1].send("as agreed")
    assert await ends[0].messages.get() == "as agreed"
    assert offerer.channels.empty()
    assert answerer.channels.empty()
    await close(offerer, answerer)


@pytest.mark.parametrize(
    "options", [{"maxRetransmits": 0}, {"maxPacketLifeTime": 5000}], ids=["retransmits", "lifetime"]
)
async def test_partial_reliability_is_agreed_on(pair: Any, options: dict[str, int]) -> None:
    offerer, answerer = pair()
    source, sink = await join(offerer, answerer, ordered=False, **options)
    for name in ("maxRetransmits", "maxPacketLifeTime"):
        assert getattr(source.raw, name) == getattr(sink.raw, name) == options.get(name)
    source.send(b"maybe")
    assert await sink.messages.get() == b"maybe"
    await close(offerer, answerer)


async def test_wrong_arguments_are_refused(pc: Any) -> None:
    offerer, answerer = Peer(pc()), Peer(pc())
    with pytest.raises(ValueError, match="both"):
        offerer.create_channel(maxRetransmits=1, maxPacketLifeTime=1)
    with pytest.raises(ValueError, match="ID"):
        offerer.create_channel(negotiated=True)
    source, _ = await join(offerer, answerer)
    with pytest.raises(ValueError, match="int"):
        source.send(7)  # type: ignore[arg-type]
    await close(offerer, answerer)
    with pytest.raises(InvalidStateError):
        offerer.create_channel()


async def test_listener_that_fails_stops_nothing(pc: Any) -> None:
    failures: list[Any] = []
    offerer, answerer = Peer(pc()), Peer(pc())
    for peer in (offerer, answerer):
        peer.connection.on("datachannel", lambda _: 1 / 0)
        peer.connection.on("error", failures.append)
    source, sink = await join(offerer, answerer)
    source.send(b"still here")
    assert await sink.messages.get() == b"still here"
    assert len(failures) == 1
    await close(offerer, answerer)


@pytest.mark.parametrize("data_too", [True, False], ids=["with data", "alone"])
async def test_media_flows(pair: Any, data_too: bool) -> None:
    offerer, answerer = pair()
    tracks: asyncio.Queue[Any] = asyncio.Queue()
    answerer.connection.on("track", tracks.put_nowait)
    offerer.connection.addTrack(aiortc.AudioStreamTrack())
    if data_too:
        source, sink = await join(offerer, answerer)
    else:
        await describe(offerer, answerer)
    track = await tracks.get()
    assert track.kind == "audio"
    frame = await track.recv()
    assert frame.sample_rate == 48_000
    if data_too:
        source.send(b"beside it")
        assert await sink.messages.get() == b"beside it"
    await close(offerer, answerer)


@native_only
async def test_statistics_count_data() -> None:
    offerer, answerer = Peer(OURS()), Peer(OURS())
    offerer.connection.addTransceiver("audio")
    source, sink = await join(offerer, answerer)
    source.send(bytes(100_000))
    await sink.messages.get()
    report = offerer.connection.sctp.transport._get_stats()
    (stats,) = report.values()
    assert stats.bytesSent > 100_000
    assert stats.packetsSent > 80
    assert stats.packetsReceived > 0
    await close(offerer, answerer)


@native_only
async def test_a_session_refuses_channels_beyond_its_bounds() -> None:
    offerer, answerer = Peer(STOCK()), Peer(bare_connection("native"))
    await join(offerer, answerer, label="first")
    opened: list[str] = []
    answerer.connection.on("datachannel", lambda channel: opened.append(channel.label))
    made = [offerer.connection.createDataChannel("l" * 257)]
    made += [offerer.connection.createDataChannel(f"{number}") for number in range(20)]
    while any(channel.readyState == "connecting" for channel in made):
        await asyncio.sleep(0.01)
    assert opened == [f"{number}" for number in range(15)]
    while sum(channel.readyState == "closed" for channel in made) < 6:
        await asyncio.sleep(0.01)
    assert answerer.connection.connectionState == "connected"
    await close(offerer, answerer)


@pytest.mark.parametrize("labels", [["l" * 257], [f"{n}" for n in range(17)]], ids=["long", "many"])
async def test_on_aiortcs_transport_they_end_the_connection(labels: list[str]) -> None:
    offerer, answerer = Peer(STOCK()), Peer(bare_connection("aiortc"))
    await join(offerer, answerer, label="first")
    for label in labels:
        offerer.connection.createDataChannel(label)
    while answerer.connection.connectionState != "closed":
        await asyncio.sleep(0.01)
    await close(offerer, answerer)
