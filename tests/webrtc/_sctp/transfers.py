"""Bulk transfers over the links that a congestion controller is judged by, in virtual time.

``python -m tests.webrtc._sctp.transfers CONTROLLER...`` prints what each makes of all of them.
"""

from __future__ import annotations

import itertools
import sys
import time
from dataclasses import dataclass
from statistics import quantiles

from tests.webrtc._sctp.simulation import OVERHEAD, Bursts, Path, Peer, Simulation

from peerfetch_fast.webrtc._sctp.settings import AssociationSettings

MBIT = 1e6 / 8
MESSAGE = 16_384
LOW, HIGH = 32_768, 65_536
#: The share of a link's bytes that can be payload, with full packets.
PAYLOAD = (1_160 - 28) / (1_160 + OVERHEAD)
#: Seconds between two samples of a flow's progress and of the link's queue.
TICK = 0.02


def link(rate: float, delay: float, loss: float, queue: float, burst: float = 0.0) -> Path:
    """A path in the issue tracker's units: Mbit/s, ms, per cent, ms; bursts in packets."""
    share = loss / 100
    return Path(
        rate=rate * MBIT,
        delay=delay / 1000,
        queue=queue / 1000,
        loss=0.0 if burst else share,
        bursts=Bursts.of(share, burst) if burst else None,
    )


#: By number: the link, and the share of it that must be used.
LINKS = {
    1: (link(100, 25, 1, 50), 0.80),
    2: (link(20, 25, 1, 100), 0.85),
    3: (link(20, 25, 5, 100, burst=4), 0.55),
    4: (link(50, 5, 0.1, 50), 0.90),
    5: (link(100, 10, 0, 50), 0.95),
    6: (link(10, 40, 0, 300), 0.95),
    7: (link(300, 5, 0.05, 20), 0.80),
    8: (link(8, 60, 2, 200), 0.75),
}
VARIABLE = (link(50, 20, 0, 100), link(5, 20, 0, 100))
CUT = link(20, 25, 0, 100)


class Bulk:
    """Sends without end from a client to its server, and notes what arrives when."""

    def __init__(
        self,
        sim: Simulation,
        client: Peer,
        server: Peer,
        limit: float = 1e18,
        *,
        ordered: bool = False,
    ) -> None:
        self.sim = sim
        self.left = limit
        self.client = client
        self.arrived = 0
        self.progress: list[tuple[float, int]] = []
        self.channel = client.association.open_channel("bulk", ordered=ordered)
        self.channel.buffered_amount_low_threshold = LOW
        client.on_event = lambda event, now: self._fill()
        server.association.on_channel = lambda channel: setattr(channel, "on_message", self._take)
        self._fill()

    def _fill(self) -> None:
        while self.left > 0 and self.channel.buffered_amount < HIGH:
            size = int(min(MESSAGE, self.left))
            self.left -= size
            self.channel.send(bytes(size), self.sim.now)

    def _take(self, message: bytes | str) -> None:
        self.arrived += len(message)
        self.progress.append((self.sim.now, self.arrived))

    def at(self, when: float) -> int:
        """Bytes that had arrived by then."""
        done = 0
        for moment, arrived in self.progress:
            if moment > when:
                break
            done = arrived
        return done

    def rate(self, begin: float, end: float) -> float:
        """Bytes per second between two moments."""
        return (self.at(end) - self.at(begin)) / (end - begin)

    def longest_stall(self, begin: float, end: float) -> float:
        """Seconds in which nothing arrived."""
        moments = [begin, *(when for when, _ in self.progress if begin < when < end), end]
        return max(after - before for before, after in itertools.pairwise(moments))


@dataclass
class Outcome:
    """What a transfer came to."""

    sim: Simulation
    flows: list[Bulk]
    began: float
    queued: list[float]

    def share(self, capacity: float, begin: float = 0.0, end: float | None = None) -> float:
        """Of what a link of so many bytes per second can carry, what the first flow got."""
        stop = self.sim.now if end is None else self.began + end
        return self.flows[0].rate(self.began + begin, stop) / (capacity * PAYLOAD)

    def queue_p95(self, skip: float = 0.0) -> float:
        """Seconds that all but a twentieth of the packets waited for less."""
        return quantiles(self.queued[int(skip / TICK) :], n=20)[-1]


def settings(congestion: str) -> AssociationSettings:
    return AssociationSettings(congestion=congestion)


def run(
    path: Path,
    congestion: str,
    seconds: float,
    *,
    seed: int = 0,
    schedule: dict[float, Path] | None = None,
    outage: tuple[float, float] | None = None,
    limit: float = 1e18,
    beside: tuple[str, float] | None = None,
) -> Outcome:
    """A bulk transfer, and perhaps another one *beside* it: its controller, and how much later."""
    sim = Simulation(there=path, seed=seed, settings=settings(congestion))
    pairs = [(sim.client, sim.server)]
    if beside is not None:
        pairs.append(sim.add_pair(settings(beside[0])))
    sim.connect()
    began = sim.now
    queued: list[float] = []

    def sample() -> None:
        queued.append(sim.links["client"].queued(sim.now))
        sim.call_at(sim.now + TICK, sample)

    sample()
    sim.schedule(schedule or {})
    if outage is not None:
        sim.outage(*outage)
    flows = [Bulk(sim, *pairs[0], limit)]
    if beside is not None:
        sim.call_at(began + beside[1], lambda: flows.append(Bulk(sim, *pairs[1])))
    if limit < 1e18:
        sim.run_until(lambda: flows[0].arrived >= limit, seconds)
    else:
        sim.run_for(seconds)
    return Outcome(sim, flows, began, queued)


def jain(rates: list[float]) -> float:
    """Jain's index of fairness."""
    return sum(rates) ** 2 / (len(rates) * sum(rate**2 for rate in rates))


def ideal_start(size: int, path: Path, packets: int = 10) -> float:
    """Seconds for *size* bytes when the window doubles from so many packets until it fills the
    path."""
    per_packet = PAYLOAD * (1_160 + OVERHEAD)
    rtt = 2 * path.delay
    window, sent, elapsed = packets * per_packet, 0.0, 0.0
    while window < path.rate * PAYLOAD * rtt and sent + window < size:
        sent += window
        window *= 2
        elapsed += rtt
    return elapsed + (size - sent) / (path.rate * PAYLOAD) + path.delay


def sender_facts(outcome: Outcome) -> str:
    sender = outcome.flows[0].client.association.sender
    return (
        f"timeouts {sender.timeouts} probes {sender.probes} spurious {sender.spurious} "
        f"retransmitted {sender.retransmitted}"
    )


def main() -> None:
    names = [name for name in sys.argv[1:] if name.isalnum() and not name.isdigit()]
    only = [int(name) for name in sys.argv[1:] if name.isdigit()]
    for name in names:
        for number, (path, least) in LINKS.items():
            if only and number not in only:
                continue
            took = time.perf_counter()
            outcome = run(path, name, 10.0)
            took = time.perf_counter() - took
            share, p95 = outcome.share(path.rate), outcome.queue_p95()
            rtts = (2 * path.delay + p95) / (2 * path.delay)
            print(
                f"{name} link {number}: {share:.3f} (at least {least}), round trip p95 {rtts:.2f} "
                f"times; {sender_facts(outcome)}; {took:.1f} s",
                flush=True,
            )
        if not only or 9 in only:
            fast, slow = VARIABLE
            outcome = run(fast, name, 20.0, schedule={5: slow, 10: fast, 15: slow})
            share = outcome.share((fast.rate + slow.rate) / 2)
            stall = outcome.flows[0].longest_stall(outcome.began, outcome.sim.now)
            print(
                f"{name} variable: {share:.3f} (at least 0.7), stall {stall:.2f} s; "
                f"{sender_facts(outcome)}"
            )
        if not only or 10 in only:
            for begin in (4.0, 4.13, 4.31):
                outcome = run(CUT, name, 14.0, outage=(begin, 3.0))
                back = next(
                    after / 10
                    for after in range(60)
                    if outcome.share(CUT.rate, begin + 3 + after / 10, begin + 3.5 + after / 10)
                    >= 0.9
                )
                print(f"{name} cut: 90 % {back:.1f} s after; {sender_facts(outcome)}")
        if not only or 11 in only:
            for path in (CUT, LINKS[2][0]):
                outcome = run(path, name, 20.0, limit=1_000_000)
                took = outcome.sim.now - outcome.began
                ideal = ideal_start(1_000_000, path)
                print(f"{name} start of 1 MB: {took:.3f} s, ideal {ideal:.3f}: {took / ideal:.2f}")
        for number, other in ((12, name), (13, "cubic")):
            if only and number not in only:
                continue
            for bdps in (1, 5):
                for later in (0.0, 3.0) if number == 12 else (0.0, 5.0):
                    path = link(20, 25, 0, 50 * bdps)
                    outcome = run(path, name, 40.0 + later, beside=(other, later))
                    shares = []
                    for begin in (5, 10, 20, 30):
                        rates = [
                            flow.rate(
                                outcome.began + later + begin, outcome.began + later + begin + 10
                            )
                            / path.rate
                            / PAYLOAD
                            for flow in outcome.flows
                        ]
                        shares.append(f"{rates[0]:.2f}:{rates[1]:.2f} ({jain(rates):.2f})")
                    print(
                        f"{name} beside {other} {later:g} s later, queue {bdps} BDP: "
                        f"{' '.join(shares)}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
