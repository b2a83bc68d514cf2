"""Whatever a network does for a while, the ends find each other again."""

from __future__ import annotations

import random

import pytest
from tests.webrtc.ice.network import End, Nat, Network, connected, two

RECOVERY = 9.0
"""Seconds: two consent intervals may pass before a router's change shows, and then it is looked
into for one."""


class Faults:
    """Two ends with two sockets each, one behind routers, and what befalls them.

    A router that gives new ports to an end whose peer is behind a router too cuts them off, as that
    one lets nothing new in: then a restart is needed.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.network = Network(delay=self.rng.choice((0.002, 0.05, 0.2)), seed=seed)
        self.ends = two(self.network)
        self.hidden = self.rng.choice(self.ends)
        self.routers: list[Nat] = []
        self.runs = 0
        for number, end in enumerate(self.ends):
            for base in (1, 2):
                self.open(end, base, f"10.{number}.{base}.1")
        self.describe()
        self.network.run(8.0)
        assert connected(*self.ends)

    def open(self, end: End, base: int, host: str) -> None:
        if end is self.hidden:
            end.open(base, host, place=host, nat=self.router(), preference=base)
            end.reflexive(base)
        else:
            end.open(base, host, preference=base)

    def router(self) -> Nat:
        router = Nat(f"198.51.{len(self.routers)}.1")
        self.routers.append(router)
        return router

    def describe(self) -> None:
        one, other = self.ends
        other.meet(one)
        one.meet(other)

    def befall(self) -> None:
        """One fault, after which a way is left."""
        end = self.rng.choice(self.ends)
        match self.rng.randrange(5):
            case 0 | 1:
                self.rng.choice(self.routers).forget()
            case 2:
                self.network.loss = self.rng.choice((0.1, 0.2))
            case 3:
                self.network.loss = 1.0
                self.network.run(self.rng.uniform(0.1, 8.0))
                self.network.loss = 0.0
            case 4:
                self.restart(end)

    def restart(self, end: End) -> None:
        """As owners do when an interface has gone and another has come."""
        base = self.rng.choice(list(end.sockets))
        lost = end.sockets[base].address
        end.candidates = [
            candidate
            for candidate in end.candidates
            if lost not in ((candidate.host, candidate.port),)
            and lost != (candidate.related_address, candidate.related_port)
        ]
        end.close_socket(base)
        self.runs += 1
        self.open(end, 10 + self.runs, f"10.9.{self.runs}.1")
        for each in self.ends:
            each.restart(f"{'cd'[each is self.ends[0]]}{self.runs}")
        self.describe()

    def data_flows(self) -> bool:
        """Both ways, a round trip from now."""
        for end in self.ends:
            end.data.clear()
        for number in range(20):
            for end in self.ends:
                end.say(b"\x20%d" % number)
        self.network.run(0.5)
        return all(end.data for end in self.ends)


@pytest.mark.parametrize("seed", range(12))
def test_the_ends_find_each_other_again(seed: int) -> None:
    faults = Faults(seed)
    for _ in range(8):
        faults.befall()
        faults.network.run(RECOVERY)
        assert connected(*faults.ends)
        assert faults.data_flows()
        faults.network.loss = 0.0
        faults.network.run(faults.rng.uniform(0.0, 20.0))
    faults.network.run(20.0)
    sent = faults.network.sent
    faults.network.run(50.0)
    assert faults.network.sent - sent <= 50  # what consent asks for
