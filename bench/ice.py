"""What does an idle connection's consent cost in the ICE agent?"""

from __future__ import annotations

import random
import sys
import time
from statistics import median

from bench.report import Row, environment, parser, report
from peerfetch_fast.webrtc.ice.agent import Agent
from peerfetch_fast.webrtc.ice.candidate import Candidate, foundation, priority
from peerfetch_fast.webrtc.ice.settings import AgentSettings

CONNECTIONS = 50
ROUNDS = 40
MESSAGES = 4
"""Of one connection each ``consent_interval``: either end asks, and the other answers."""


def main() -> None:
    made = parser("bench.ice", "What consent costs the ICE agents of idle connections.", runs=7)
    arguments = made.parse_args()
    per_message = median(_consent(ROUNDS) for _ in range(arguments.runs))
    interval = AgentSettings().consent_interval
    report(
        arguments.json,
        [
            {
                "measured": "consent",
                "us_per_message": per_message * 1e6,
                "us_per_second": per_message * 1e6 * MESSAGES / 2 / interval,
                "runs": arguments.runs,
            }
        ],
        line=_line,
        settings={"connections": CONNECTIONS, "rounds": ROUNDS},
        facts=environment(),
    )


def _line(row: Row) -> str:
    return (
        f"consent: {row['us_per_message']:.1f} us for a message, sent and received,"
        f" {row['us_per_second']:.1f} us a second for each end of a connection"
    )


class _End:
    def __init__(self, number: int, controlling: bool) -> None:
        self.address = f"192.0.2.{number + 1}", 5_000
        self.agent = Agent(
            controlling=controlling,
            ufrag=f"end{number}",
            password="p" * 22,
            random=random.Random(number),
        )
        kind = foundation("host", "udp", self.address[0])
        self.candidate = Candidate(kind, 1, "udp", priority("host", 65_535), *self.address, "host")

    def meet(self, other: _End, now: float) -> None:
        self.agent.add_local(self.candidate, 1, now)
        self.agent.set_remote(other.agent.ufrag, "p" * 22, now)
        self.agent.add_remote(other.candidate, now)


def _exchange(one: _End, other: _End, now: float) -> int:
    """Carry datagrams until there are none; how many there were."""
    count = 0
    while True:
        before = count
        for end, peer in ((one, other), (other, one)):
            for _, _, data in end.agent.take_datagrams():
                peer.agent.receive(data, 1, end.address, now)
                count += 1
        if count == before:
            return count


def _consent(rounds: int) -> float:
    """Seconds for each message, sending and receiving it, timers included."""
    now = 0.0
    pairs = [(_End(0, True), _End(1, False)) for _ in range(CONNECTIONS)]
    for one, other in pairs:
        one.meet(other, now)
        other.meet(one, now)
        _exchange(one, other, now)
    for _ in range(40):  # what there is to settle is settled
        now += 0.5
        for one, other in pairs:
            for end in (one, other):
                end.agent.handle_timeout(now)
            _exchange(one, other, now)
    if any(end.agent.state != "connected" for pair in pairs for end in pair):
        sys.exit("the agents did not connect")
    spent, count = 0.0, 0
    for _ in range(rounds):
        now += 6.0  # when the latest check is due
        began = time.process_time()
        for one, other in pairs:
            for end in (one, other):
                if end.agent.deadline() <= now:
                    end.agent.handle_timeout(now)
            count += _exchange(one, other, now)
            for end in (one, other):
                end.agent.take_events()
                end.agent.deadline()
        spent += time.process_time() - began
    if count != rounds * CONNECTIONS * MESSAGES:
        sys.exit(f"{count} messages were sent instead of {rounds * CONNECTIONS * MESSAGES}")
    return spent / count


if __name__ == "__main__":
    main()
