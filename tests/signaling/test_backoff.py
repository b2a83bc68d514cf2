from __future__ import annotations

import random

from peerfetch_fast.signaling.backoff import Backoff


class Highest(random.Random):
    """Draws the ceiling itself."""

    def uniform(self, a: float, b: float) -> float:
        assert a == 0.0
        return b


def test_the_ceiling_doubles_up_to_the_maximum() -> None:
    backoff = Backoff(0.5, 4.0, stable_after=10.0, rng=Highest())
    assert [backoff.failed(0.0) for _ in range(6)] == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


def test_a_connection_that_held_starts_afresh() -> None:
    backoff = Backoff(0.5, 4.0, stable_after=10.0, rng=Highest())
    assert [backoff.failed(0.0), backoff.failed(1.0)] == [0.5, 1.0]
    backoff.opened(2.0)
    assert [backoff.failed(12.0), backoff.failed(13.0)] == [0.5, 1.0]


def test_a_connection_that_did_not_hold_goes_on_backing_off() -> None:
    backoff = Backoff(0.5, 4.0, stable_after=10.0, rng=Highest())
    delays = []
    for second in range(4):
        backoff.opened(float(second))
        delays.append(backoff.failed(second + 0.1))
    assert delays == [0.5, 1.0, 2.0, 4.0]


def test_jitter_is_full_and_follows_the_seed() -> None:
    def delays(seed: int) -> list[float]:
        backoff = Backoff(1.0, 1.0, stable_after=10.0, rng=random.Random(seed))
        return [backoff.failed(0.0) for _ in range(200)]

    assert delays(1) == delays(1) != delays(2)
    assert all(0.0 <= delay <= 1.0 for delay in delays(1))
    assert min(delays(1)) < 0.1
    assert max(delays(1)) > 0.9


def test_what_failed_in_another_network_is_forgotten() -> None:
    backoff = Backoff(0.5, 4.0, stable_after=10.0, rng=Highest())
    assert [backoff.failed(0.0) for _ in range(3)] == [0.5, 1.0, 2.0]
    backoff.reset()
    assert [backoff.failed(0.0) for _ in range(2)] == [0.5, 1.0]
