"""What the controllers make of the links that issue trackers are full of, in virtual time."""

from __future__ import annotations

import struct

import pytest
from tests.webrtc._sctp import rawpeer, transfers
from tests.webrtc._sctp.simulation import OVERHEAD, Peer, Simulation
from tests.webrtc._sctp.transfers import CUT, LINKS, MBIT, VARIABLE, link

from peerfetch_fast.webrtc._sctp.settings import AssociationSettings

#: Gap blocks of a SACK of Chromium's, at most.
FEW_BLOCKS = 20


class FewBlocks(Simulation):
    """The server's SACKs name the first few runs only of what it has."""

    cut_short = 0

    def _carry(self, sender: Peer, packet: bytes) -> None:
        if sender.name == "server":
            tag, chunks = rawpeer.decode(packet)
            packet = rawpeer.packet(tag, b"".join(self._shorten(chunk) for chunk in chunks))
        super()._carry(sender, packet)

    def _shorten(self, chunk: rawpeer.Chunk) -> bytes:
        body = chunk.body
        if chunk.type == rawpeer.SACK and len(chunk.gaps) > FEW_BLOCKS:
            self.cut_short += 1
            kept = struct.pack(">HH", FEW_BLOCKS, len(chunk.duplicates))
            duplicates = body[12 + 4 * len(chunk.gaps) :]
            body = body[:8] + kept + body[12 : 12 + 4 * FEW_BLOCKS] + duplicates
        return rawpeer.encode(chunk.type, chunk.flags, body)


@pytest.mark.parametrize("number", LINKS)
def test_a_link_that_loses_packets_is_used(number: int) -> None:
    path, least = LINKS[number]
    # The faster the link, the sooner it shows.
    seconds = 10.0 if path.rate < 200 * MBIT else 4.0
    outcome = transfers.run(path, "bbr", seconds, seed=number)
    assert outcome.share(path.rate) >= least
    assert outcome.sim.client.association.sender.timeouts == 0
    # No queue stands in front of it: round trips stay within twice the idle one.
    assert outcome.queue_p95(skip=1.0) <= 2 * path.delay


@pytest.mark.parametrize(("loss", "seed"), [(1, 1), (2, 1), (3, 1), (3, 2)])
def test_a_receiver_that_cannot_report_all_it_has(loss: float, seed: int) -> None:
    path = link(100, 25, loss, 50)
    sim = FewBlocks(there=path, seed=seed)
    sim.connect()
    began = sim.now
    flow = transfers.Bulk(sim, sim.client, sim.server)
    sim.run_for(4.0)
    assert sim.cut_short
    sender = sim.client.association.sender
    assert sender.spurious == sender.timeouts == 0
    assert flow.rate(began + 1.0, began + 4.0) >= 0.85 * path.rate * transfers.PAYLOAD


@pytest.mark.parametrize("seed", range(2))
def test_a_link_whose_rate_changes_before_such_a_receiver(seed: int) -> None:
    fast, slow = VARIABLE
    sim = FewBlocks(there=fast, seed=seed)
    sim.connect()
    began = sim.now
    sim.schedule({5.0: slow, 10.0: fast, 15.0: slow})
    flow = transfers.Bulk(sim, sim.client, sim.server)
    sim.run_for(20.0)
    assert sim.client.association.sender.timeouts == 0
    assert flow.longest_stall(began, sim.now) < 0.5
    assert flow.rate(began, sim.now) >= 0.8 * (fast.rate + slow.rate) / 2 * transfers.PAYLOAD


@pytest.mark.parametrize(
    ("before", "after", "loss"), [(60, 1, 3), (60, 1, 0), (20, 1, 2), (100, 10, 1)]
)
@pytest.mark.parametrize("seed", range(2))
def test_a_link_that_all_but_goes_before_such_a_receiver(
    before: int, after: int, loss: int, seed: int
) -> None:
    """What is lost again and again is no reason to send it faster than the link is."""
    fast, slow = link(before, 50, loss, 100), link(after, 50, loss, 200)
    sim = FewBlocks(there=fast, seed=seed)
    sim.connect()
    transfers.Bulk(sim, sim.client, sim.server)
    sent = [0]

    def count(name: str, packet: bytes) -> bool:
        if name == "client":
            sent[0] += len(packet) + OVERHEAD
        return True

    sim.filter = count
    sim.schedule({5.0: slow})
    sim.run_for(7.0)
    sent[0] = 0
    sim.run_for(8.0)
    assert sent[0] <= 1.5 * 8.0 * slow.rate


@pytest.mark.parametrize(("window", "least"), [(700_000, 0.5), (1 << 20, 0.75)])
@pytest.mark.parametrize("seed", [0, 3, 4])
def test_a_receiver_whose_window_is_smaller_than_the_path(
    window: int, least: float, seed: int
) -> None:
    """What waits behind a loss for a round trip is gone from it, as in usrsctp."""
    path, _ = LINKS[1]
    server_settings = AssociationSettings(receive_window=window)
    sim = Simulation(there=path, seed=seed, server_settings=server_settings)
    sim.connect()
    began = sim.now
    flow = transfers.Bulk(sim, sim.client, sim.server, ordered=True)
    sim.run_for(6.0)
    assert flow.rate(began + 0.5, began + 6.0) >= least * path.rate * transfers.PAYLOAD
    # The start ends: what is lost is what the link loses, about one packet in a hundred.
    sender = sim.client.association.sender
    assert sender.retransmitted <= 0.025 * sender.delivered / 1_160


@pytest.mark.parametrize("number", [3, 8])
@pytest.mark.parametrize("seed", range(3))
def test_a_start_that_goes_too_far_is_answered_once(number: int, seed: int) -> None:
    """Its losses go on to show for two round trips, in a queue that is on its way out."""
    path, _ = LINKS[number]
    assert transfers.run(path, "bbr", 5.0, seed=seed).share(path.rate, 0.5, 5.0) >= 0.9


@pytest.mark.parametrize("seed", range(3))
def test_a_rate_that_is_a_little_too_high_fills_no_queue(seed: int) -> None:
    """Not even in the seconds after congestion in which nothing is probed."""
    before, after = (link(rate, 25, 1, 50) for rate in (100, 97))
    outcome = transfers.run(before, "bbr", 3.0, seed=seed, schedule={1.0: after})
    assert max(outcome.queued[int(1.3 / transfers.TICK) :]) < 0.5 * after.queue
    assert outcome.share(after.rate, 1.0) >= 0.95


def test_a_link_whose_rate_changes() -> None:
    fast, slow = VARIABLE
    outcome = transfers.run(fast, "bbr", 20.0, schedule={5.0: slow, 10.0: fast, 15.0: slow})
    assert outcome.share((fast.rate + slow.rate) / 2) >= 0.7
    assert outcome.flows[0].longest_stall(outcome.began, outcome.sim.now) < 1.0


@pytest.mark.parametrize("seed", range(3))
def test_a_path_becomes_slower(seed: int) -> None:
    """The queue that stands then is our own, and is let go."""
    fast, slow = VARIABLE
    outcome = transfers.run(fast, "bbr", 10.0, seed=seed, schedule={5.0 + 0.03 * seed: slow})
    assert outcome.queue_p95(skip=6.5) < slow.delay
    assert outcome.share(slow.rate, 6.5) >= 0.9


@pytest.mark.parametrize("begin", [4.0, 4.13, 4.31])
def test_a_cut_of_three_seconds(begin: float) -> None:
    outcome = transfers.run(CUT, "bbr", 12.0, outage=(begin, 3.0))
    assert outcome.share(CUT.rate, begin + 5.0, begin + 6.0) >= 0.9


@pytest.mark.parametrize("loss", [0, 1])
def test_a_path_becomes_longer(loss: float) -> None:
    """As by a handover: what it takes is no queue of another flow's."""
    before, after = (link(20, delay, loss, 100) for delay in (25, 125))
    outcome = transfers.run(before, "bbr", 60.0, schedule={5: after})
    assert outcome.share(after.rate, 7.0, 25.0) >= 0.6
    assert outcome.share(after.rate, 30.0) >= 0.9


@pytest.mark.parametrize("path", [CUT, LINKS[2][0]], ids=["clean", "lossy"])
@pytest.mark.parametrize("seed", range(3))
def test_a_start_doubles(path: transfers.Path, seed: int) -> None:
    outcome = transfers.run(path, "bbr", 20.0, seed=seed, limit=1_000_000)
    ideal = transfers.ideal_start(1_000_000, path)
    assert outcome.sim.now - outcome.began <= 1.25 * ideal


@pytest.mark.parametrize("later", [0.0, 3.0])
@pytest.mark.parametrize("bdps", [1, 5])
def test_two_of_ours_share_a_bottleneck(bdps: int, later: float) -> None:
    path = link(20, 25, 0, 50 * bdps)
    outcome = transfers.run(path, "bbr", later + 15.0, beside=("bbr", later))
    begin = outcome.began + later + 10.0
    rates = [flow.rate(begin, begin + 5.0) for flow in outcome.flows]
    assert transfers.jain(rates) >= 0.9
    assert sum(rates) >= 0.8 * path.rate * transfers.PAYLOAD


@pytest.mark.parametrize("later", [0.0, 5.0])
@pytest.mark.parametrize("bdps", [1, 5])
@pytest.mark.parametrize("seed", range(3))
def test_ours_and_cubic_starve_neither(bdps: int, later: float, seed: int) -> None:
    """Not soon, nor when nothing has shown the path without a queue for a minute."""
    path = link(20, 25, 0, 50 * bdps)
    outcome = transfers.run(path, "bbr", later + 70.0, beside=("cubic", later), seed=seed)
    for begin in (outcome.began + later + 10.0, outcome.began + later + 40.0):
        rates = [flow.rate(begin, begin + 30.0) for flow in outcome.flows]
        assert min(rates) >= 0.25 * path.rate * transfers.PAYLOAD


@pytest.mark.parametrize("number", [4, 5, 6])
def test_cubic_uses_a_link_that_loses_little(number: int) -> None:
    path, _ = LINKS[number]
    assert transfers.run(path, "cubic", 10.0).share(path.rate) >= 0.75


def test_hystart_leaves_slow_start_before_it_overflows_the_queue() -> None:
    # Slow start alone would fill a second of queue.
    path = link(10, 40, 0, 1_000)
    outcome = transfers.run(path, "cubic", 1.5)
    assert outcome.flows[0].client.association.sender.retransmitted == 0
    assert max(outcome.queued) < 0.6 * path.queue


def test_two_cubic_flows_share_a_bottleneck() -> None:
    path = link(20, 25, 0, 50)
    outcome = transfers.run(path, "cubic", 25.0, beside=("cubic", 3.0))
    begin = outcome.began + 13.0
    assert transfers.jain([flow.rate(begin, begin + 10.0) for flow in outcome.flows]) >= 0.9
