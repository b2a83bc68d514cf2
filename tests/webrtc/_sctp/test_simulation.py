"""Whole transfers over links of every kind, by seed.

``PEERFETCH_SEEDS`` says how many seeds each test runs through (default 12).
"""

from __future__ import annotations

import os
import random
from typing import get_args

import pytest
from tests.webrtc._sctp.simulation import OVERHEAD, Path, Peer, Simulation
from tests.webrtc._sctp.transfers import Bulk

from peerfetch_fast.webrtc._sctp.channels import Channel
from peerfetch_fast.webrtc._sctp.errors import AssociationLost
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings, Congestion

SEEDS = range(int(os.environ.get("PEERFETCH_SEEDS", "12")))
MBIT = 1e6 / 8
#: The share of a link's bytes that can be payload, with full packets.
PAYLOAD = (1_160 - 28) / (1_160 + OVERHEAD)


class Source:
    """Keeps a channel's buffer filled until all messages are sent."""

    def __init__(
        self, sim: Simulation, peer: Peer, channel: Channel, messages: list[bytes]
    ) -> None:
        self.sim = sim
        self.channel = channel
        self.messages = messages
        self.sent = 0
        channel.buffered_amount_low_threshold = 65_536
        earlier = peer.on_event

        def on_event(event: object, now: float) -> None:
            if earlier is not None:
                earlier(event, now)  # type: ignore[arg-type]
            self.fill()

        peer.on_event = on_event
        self.fill()

    def fill(self) -> None:
        while self.sent < len(self.messages) and self.channel.buffered_amount <= 262_144:
            self.channel.send(self.messages[self.sent], self.sim.now)
            self.sent += 1


def some_path(rng: random.Random) -> Path:
    return Path(
        rate=rng.choice([1, 5, 20, 100]) * MBIT,
        delay=rng.choice([0.0005, 0.005, 0.025, 0.1]),
        jitter=rng.choice([0.0, 0.0, 0.001, 0.02]),
        loss=rng.choice([0.0, 0.001, 0.01, 0.05, 0.2]),
        duplication=rng.choice([0.0, 0.0, 0.02]),
        queue=rng.choice([0.02, 0.1, 0.5]),
    )


def some_settings(rng: random.Random) -> AssociationSettings:
    return AssociationSettings(
        max_packet_size=rng.choice([300, 1_163, 1_400]),
        receive_window=rng.choice([131_072, 1 << 20, 4 << 20]),
        max_message_size=65_536,
        zero_checksum=rng.random() < 0.5,
        sack_delay=rng.choice([0.0, 0.02, 0.2]),
        congestion=rng.choice(get_args(Congestion)),
    )


def some_messages(rng: random.Random, number: int, total: int) -> list[bytes]:
    messages = []
    while total > 0:
        size = rng.choice([1, 20, 1_000, 1_132, 1_133, 16_384, 65_536])
        size = max(8, rng.randint(size // 2, size))
        head = number.to_bytes(2, "big") + len(messages).to_bytes(4, "big")
        messages.append(head + rng.randbytes(size - 6))
        total -= size
    return messages


@pytest.mark.parametrize("seed", SEEDS)
def test_everything_arrives_once_and_in_order_both_ways(seed: int) -> None:
    rng = random.Random(seed)
    sim = Simulation(
        there=some_path(rng),
        back=some_path(rng),
        seed=seed,
        settings=some_settings(rng),
        server_settings=some_settings(rng),
    )
    sources = []
    for number in range(rng.randint(1, 5)):
        ordered = rng.random() < 0.5
        pair = [
            peer.watch(peer.association.open_channel("c", id=number, ordered=ordered))
            for peer in sim.peers
        ]
        for peer, channel in zip(sim.peers, pair, strict=True):
            messages = some_messages(rng, number, rng.randint(1, 200_000))
            sources.append(Source(sim, peer, channel, messages))
    sim.connect()

    def complete() -> bool:
        return all(
            len(
                (sim.server if source.channel in clients else sim.client).received[
                    source.channel.id
                ]
            )
            >= len(source.messages)
            for source in sources
        )

    clients = {source.channel for source in sources[::2]}
    sim.run_until(complete, 600.0)
    sim.settle()
    for source in sources:
        receiver = sim.server if source.channel in clients else sim.client
        got = receiver.received[source.channel.id]
        if source.channel.ordered:
            assert got == source.messages
        else:
            assert sorted(got) == sorted(source.messages)  # type: ignore[type-var]
    sim.client.association.shutdown(sim.now)
    sim.run_until(
        lambda: all(peer.association.ready_state == "closed" for peer in sim.peers), 120.0
    )
    for peer in sim.peers:
        assert peer.association.error is None
        assert peer.association.receiver.held_bytes == 0
        assert peer.association.sender.in_flight == 0
        assert peer.association.sender.queued == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_partial_reliability_delivers_a_subset_in_order_and_never_stalls(seed: int) -> None:
    rng = random.Random(seed)
    sim = Simulation(seed=seed)
    options = (
        {"max_retransmits": rng.choice([0, 1, 3])}
        if rng.random() < 0.5
        else {"max_lifetime": rng.choice([0.05, 0.2, 1.0])}
    )
    ordered = rng.random() < 0.5
    channel = sim.client.association.open_channel("c", ordered=ordered, **options)  # type: ignore[arg-type]
    reliable = sim.client.association.open_channel("r")
    sim.connect()
    sim.settle()
    lossy = Path(
        rate=10 * MBIT,
        delay=0.02,
        loss=rng.choice([0.05, 0.2, 0.4]),
        jitter=rng.choice([0.0, 0.01]),
        duplication=0.02,
    )
    sim.paths = dict.fromkeys(sim.paths, lossy)
    messages = some_messages(rng, 0, 300_000)
    for index, message in enumerate(messages):
        sim.call_at(
            sim.now + 0.01 * index,
            lambda message=message: (  # type: ignore[misc]
                channel.send(message, sim.now),
                reliable.send(message, sim.now),
            ),
        )
    sim.run_until(lambda: len(sim.server.received[reliable.id]) == len(messages), 600.0)
    sim.settle()
    assert sim.server.received[reliable.id] == messages
    got = sim.server.received[channel.id]
    assert set(got) <= set(messages)
    assert len(set(got)) == len(got)
    if ordered:
        assert got == [message for message in messages if message in set(got)]
    # A channel that works goes on working.
    sim.paths = dict.fromkeys(sim.paths, Path())
    channel.send(b"afterwards", sim.now)
    sim.run_until(lambda: sim.server.received[channel.id][-1:] == [b"afterwards"], 5.0)


@pytest.mark.parametrize(
    ("rate", "delay", "queue"),
    [(100, 0.01, 0.05), (10, 0.04, 0.3), (20, 0.001, 0.02), (1, 0.1, 0.5)],
)
def test_a_clean_link_is_used_to_95_percent(rate: float, delay: float, queue: float) -> None:
    sim = Simulation(there=Path(rate=rate * MBIT, delay=delay, queue=queue))
    channel = sim.client.association.open_channel("c", ordered=False)
    sim.connect()
    size = 16_384
    # Long enough that what slow start takes does not matter.
    count = int(rate * MBIT * (6 if rate >= 100 else 20) / size)
    Source(sim, sim.client, channel, [bytes(size)] * count)
    elapsed = sim.run_until(lambda: len(sim.server.received.get(channel.id, ())) == count, 60.0)
    assert count * size / elapsed >= 0.95 * rate * MBIT * PAYLOAD


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("seconds", [0.5, 3.0, 10.0])
def test_a_cut_heals(seed: int, seconds: float) -> None:
    sim = Simulation(there=Path(rate=20 * MBIT, delay=0.02), seed=seed)
    channel = sim.client.association.open_channel("c")
    sim.connect()
    messages = [number.to_bytes(4, "big") * 4_000 for number in range(400)]
    Source(sim, sim.client, channel, messages)
    sim.run_for(0.5 + 0.01 * (seed % 100))
    sim.cut = True
    sim.run_for(seconds)
    before = len(sim.server.received[channel.id])
    sim.cut = False
    # The retransmission timer backs off to two seconds and no further.
    sim.run_until(lambda: len(sim.server.received[channel.id]) > before, 2.5)
    sim.run_until(lambda: len(sim.server.received[channel.id]) == len(messages), 60.0)
    assert sim.server.received[channel.id] == messages


def test_a_cut_that_does_not_heal_ends_in_an_error() -> None:
    sim = Simulation(settings=AssociationSettings(heartbeat_interval=5.0))
    channel = sim.client.association.open_channel("c")
    sim.connect()
    sim.settle()
    sim.cut = True
    channel.send(b"x", sim.now)
    sim.run_until(
        lambda: all(peer.association.ready_state == "closed" for peer in sim.peers), 120.0
    )
    for peer in sim.peers:
        assert isinstance(peer.association.error, AssociationLost)


def test_a_path_that_drops_large_packets_ends_in_an_error_and_not_in_a_loop() -> None:
    sim = Simulation(there=Path(mtu=1_000))
    channel = sim.client.association.open_channel("c")
    sim.connect()
    channel.send(bytes(50_000), sim.now)
    sim.run_until(lambda: sim.client.association.ready_state == "closed", 120.0)
    assert isinstance(sim.client.association.error, AssociationLost)
    assert sim.client.packets < 100


@pytest.mark.parametrize("congestion", get_args(Congestion))
def test_the_clock_may_jump(congestion: Congestion) -> None:
    # A suspended laptop: an hour passes between two calls.
    sim = Simulation(
        there=Path(rate=20 * MBIT), settings=AssociationSettings(congestion=congestion)
    )
    channel = sim.client.association.open_channel("c")
    sim.connect()
    for _ in range(20):
        channel.send(bytes(50_000), sim.now)
    sim.run_for(0.05)
    sim.now += 3_600.0
    sim.run_until(lambda: len(sim.server.received[channel.id]) == 20, 5.0)
    assert sim.client.association.sender.smoothed_rtt < 1.0
    assert {peer.association.ready_state for peer in sim.peers} == {"established"}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_seed_gives_the_same_run(seed: int) -> None:
    traces = []
    for _ in range(2):
        rng = random.Random(seed)
        sim = Simulation(there=some_path(rng), seed=seed)
        trace: list[tuple[float, bytes]] = []
        sim.filter = lambda name, data: trace.append((sim.now, data)) is None  # noqa: B023
        channel = sim.client.association.open_channel("c")
        sim.connect()
        channel.send(bytes(30_000), sim.now)
        sim.settle()
        traces.append(trace)
    assert traces[0] == traces[1]


@pytest.mark.parametrize(
    ("rate", "per_burst"),
    [
        (1e6, 3.0),  # packets: a millisecond's worth would be one
        (12.5e6, 21.4),  # two milliseconds' worth
        (100e6, 85.5),  # one millisecond's: two would be more than 64 KiB
    ],
)
def test_paced_packets_leave_in_bursts_of_a_millisecond_or_two(
    rate: float, per_burst: float
) -> None:
    sim = Simulation(there=Path(delay=0.01), settings=AssociationSettings(max_rate=rate))
    sim.connect()
    Bulk(sim, sim.client, sim.server)
    sim.run_for(1.0)
    left: list[float] = []
    sim.filter = lambda name, packet: name != "client" or left.append(sim.now) is None
    sim.run_for(0.5)
    assert len(left) * 1_163 == pytest.approx(0.5 * rate, rel=0.05)
    assert len(left) / len(set(left)) == pytest.approx(per_burst, rel=0.1)
