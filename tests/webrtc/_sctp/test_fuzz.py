"""Whatever the peer sends, calls return, memory stays bounded and packets stay well formed.

``PEERFETCH_FUZZ_EXAMPLES`` says how many examples each test tries (default 60).
"""

from __future__ import annotations

import contextlib
import os
import random
import struct

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.webrtc._sctp.rawpeer import (
    ABORT,
    BINARY,
    COOKIE_ACK,
    COOKIE_ECHO,
    DATA,
    DCEP,
    ERROR,
    FORWARD_TSN,
    HEARTBEAT,
    HEARTBEAT_ACK,
    INIT,
    INIT_ACK,
    RE_CONFIG,
    SACK,
    SHUTDOWN,
    SHUTDOWN_ACK,
    SHUTDOWN_COMPLETE,
    RawPeer,
    decode,
    encode,
    packet,
    parameter,
)
from tests.webrtc._sctp.simulation import Path, Simulation

from peerfetch_fast.webrtc._sctp.errors import AssociationError, ChannelClosed
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings

fuzzed = settings(
    max_examples=int(os.environ.get("PEERFETCH_FUZZ_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    derandomize="PEERFETCH_FUZZ_EXAMPLES" not in os.environ,
    database=None,
)

BOUNDS = AssociationSettings(
    receive_window=131_072, max_message_size=32_768, send_buffer=100_000, max_channels=20
)


def check(peer: RawPeer) -> None:
    """What holds at any time."""
    association = peer.association
    for _ in range(2_000):
        data = association.next_packet(peer.now)
        if data is None:
            break
        assert len(data) <= 1_160
        decode(data)
    else:
        raise AssertionError("it never stops sending")
    association.take_events()
    assert association.receiver.held_bytes <= BOUNDS.receive_window + 2 * BOUNDS.max_message_size
    assert association.sender.queued <= BOUNDS.send_buffer
    if association.error is not None:
        assert isinstance(association.error, AssociationError)
        assert association.ready_state == "closed"
    deadline = association.next_deadline()
    assert deadline is None or deadline > peer.now


def busy_peer() -> RawPeer:
    """A peer of an association that is in the middle of everything."""
    peer = RawPeer(BOUNDS).connect()
    association = peer.association
    association.on_channel = lambda channel: setattr(channel, "on_message", len)
    for options in ({}, {"ordered": False}, {"max_retransmits": 0}, {"max_lifetime": 0.2}):
        channel = association.open_channel("c", **options)  # type: ignore[arg-type]
        channel.send(bytes(3_000), peer.now)
    closing = association.open_channel("closing")
    closing.close(peer.now)
    peer.chunks()
    peer.now += 0.1
    peer.exchange(peer.open_channel(0), peer.sack(3))
    return peer


@fuzzed
@given(st.lists(st.binary(max_size=200), max_size=20))
def test_arbitrary_bytes_leave_an_association_established(packets: list[bytes]) -> None:
    peer = busy_peer()
    for data in packets:
        peer.association.receive_packet(data, peer.now)
        check(peer)
    assert peer.association.ready_state == "established"


@fuzzed
@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=120)), max_size=20
    )
)
def test_arbitrary_chunks_with_the_right_tag(chunks: list[tuple[int, int, bytes]]) -> None:
    peer = busy_peer()
    for chunk in chunks:
        peer.send(encode(*chunk))
        check(peer)


small = st.integers(0, 12)
near = st.one_of(st.integers(-4, 12), st.integers(-(2**31), 2**31 - 1), st.just(65_535))


def tsn(base: int, offset: int) -> bytes:
    return struct.pack(">I", (base + offset) & 0xFFFFFFFF)


@st.composite
def a_chunk(draw: st.DrawFn, peer_tsn: int, our_tsn: int) -> bytes:
    """A chunk that is nearly right, around the numbers that matter."""
    kind = draw(
        st.sampled_from(
            [DATA] * 8
            + [SACK] * 4
            + [FORWARD_TSN] * 2
            + [RE_CONFIG] * 3
            + [HEARTBEAT, HEARTBEAT_ACK, SHUTDOWN, SHUTDOWN_ACK, SHUTDOWN_COMPLETE, ERROR]
            + [COOKIE_ECHO, COOKIE_ACK, INIT, INIT_ACK, ABORT]
        )
    )
    flags = draw(st.integers(0, 15))
    if kind == DATA:
        body = (
            tsn(peer_tsn, draw(near))
            + struct.pack(
                ">HHI",
                draw(small),
                draw(st.one_of(small, st.integers(0, 65_535))),
                draw(st.sampled_from([BINARY, BINARY, 51, 56, 57, DCEP, 0])),
            )
            + draw(st.one_of(st.binary(max_size=30), st.just(bytes(1_100))))
        )
    elif kind == SACK:
        gaps = draw(st.lists(st.tuples(small, small), max_size=4))
        duplicates = draw(st.lists(near, max_size=3))
        body = tsn(our_tsn, draw(near)) + struct.pack(
            ">IHH", draw(st.sampled_from([0, 500, 100_000])), len(gaps), len(duplicates)
        )
        body += b"".join(struct.pack(">HH", *sorted(gap)) for gap in gaps)
        body += b"".join(tsn(peer_tsn, duplicate) for duplicate in duplicates)
    elif kind == FORWARD_TSN:
        body = tsn(peer_tsn, draw(near)) + b"".join(
            struct.pack(">HH", *pair)
            for pair in draw(st.lists(st.tuples(small, small), max_size=4))
        )
    elif kind == RE_CONFIG:
        number = tsn(draw(st.sampled_from([peer_tsn, our_tsn])), draw(small))
        body = parameter(
            draw(st.integers(13, 18)),
            number
            + draw(
                st.one_of(
                    st.builds(
                        lambda last, ids: (
                            bytes(4)
                            + tsn(peer_tsn, last)
                            + b"".join(struct.pack(">H", id) for id in ids)
                        ),
                        small,
                        st.lists(small, max_size=5),
                    ),
                    st.integers(0, 7).map(lambda result: struct.pack(">I", result)),
                    st.binary(max_size=12),
                )
            ),
        )
    elif kind == SHUTDOWN:
        body = tsn(our_tsn, draw(near))
    elif kind in (INIT, INIT_ACK):
        body = struct.pack(">IIHHI", 7, 10_000, 10, 10, peer_tsn) + draw(st.binary(max_size=40))
    else:
        body = draw(st.binary(max_size=40))
    return encode(kind, flags, body)


@fuzzed
@given(st.data())
def test_chunks_that_are_nearly_right(data: st.DataObject) -> None:
    peer = busy_peer()
    chunk = a_chunk(peer.tsn + 1, peer.their_tsn)
    for _ in range(data.draw(st.integers(1, 25))):
        peer.send(*data.draw(st.lists(chunk, min_size=1, max_size=4)))
        check(peer)
        peer.now += data.draw(st.sampled_from([0.0, 0.001, 0.1]))
        peer.wait(data.draw(st.sampled_from([0.0, 0.05, 1.0])))
        check(peer)


@fuzzed
@given(st.integers(0, 2**32 - 1))
def test_valid_packets_with_a_few_bytes_changed(seed: int) -> None:
    """A real conversation, in which some packets are mutated and have a right checksum again."""
    rng = random.Random(seed)
    sim = Simulation(
        there=Path(loss=0.02, jitter=0.01),
        seed=seed,
        settings=BOUNDS,
    )

    def mutate(name: str, data: bytes) -> bool:
        if rng.random() < 0.15:
            changed = bytearray(data)
            for _ in range(rng.randint(1, 3)):
                changed[rng.randrange(12, len(data))] = rng.randrange(256)
            if rng.random() < 0.2:
                del changed[rng.randrange(16, len(changed) + 1) :]
            receiver = sim.server if name == "client" else sim.client
            tag = int.from_bytes(data[4:8], "big")
            receiver.association.receive_packet(packet(tag, bytes(changed[12:])), sim.now)
            return rng.random() < 0.5
        return True

    channels = [
        sim.client.association.open_channel("a"),
        sim.client.association.open_channel("b", ordered=False, max_retransmits=1),
    ]
    for peer in sim.peers:
        peer.association.connect(sim.now)
    sim.filter = mutate
    for _ in range(20):
        for channel in channels:
            if channel.ready_state in ("connecting", "open") and channel.buffered_amount < 30_000:
                with contextlib.suppress(ChannelClosed):  # by what became a SHUTDOWN
                    channel.send(rng.randbytes(rng.choice([1, 100, 5_000])), sim.now)
        if rng.random() < 0.1:
            channels[1].close(sim.now)
        sim.run_for(0.05)
        for peer in sim.peers:
            held = peer.association.receiver.held_bytes
            assert held <= BOUNDS.receive_window + 2 * BOUNDS.max_message_size
    sim.filter = None
    sim.client.association.shutdown(sim.now)
    sim.run_until(
        lambda: all(peer.association.ready_state == "closed" for peer in sim.peers), 200.0
    )
    for peer in sim.peers:
        error = peer.association.error
        assert error is None or isinstance(error, AssociationError)
        assert peer.association.receiver.held_bytes == 0
        assert peer.association.sender.queued == 0
