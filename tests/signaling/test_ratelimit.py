from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.signaling.ratelimit import TokenBucket


def test_a_burst_passes_at_once_and_the_next_waits_its_turn() -> None:
    bucket = TokenBucket(rate=10.0, burst=3, now=100.0)
    assert [bucket.take(100.0) for _ in range(5)] == pytest.approx([0, 0, 0, 0.1, 0.2])


def test_tokens_come_back_with_time_but_never_more_than_the_burst() -> None:
    bucket = TokenBucket(rate=10.0, burst=2, now=0.0)
    assert bucket.take(0.0) == bucket.take(0.0) == 0.0
    assert bucket.take(0.1) == pytest.approx(0.0)
    assert [bucket.take(1000.0) for _ in range(3)] == pytest.approx([0, 0, 0.1])


@given(st.lists(st.floats(0.0, 0.2), min_size=1, max_size=200))
def test_who_waits_as_told_never_exceeds_burst_and_rate(gaps: list[float]) -> None:
    bucket = TokenBucket(rate=20.0, burst=5, now=0.0)
    now = 0.0
    for passed, gap in enumerate(gaps, start=1):
        now += gap
        now += bucket.take(now)
        assert passed <= 5 + 20.0 * now + 1e-6
