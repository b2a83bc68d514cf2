"""When a viewer gets key frames alone."""

from __future__ import annotations

from peerfetch_fast.media.rtc.pressure import BAD_REPORTS, FIRST_HOLD, LONGEST_HOLD, Pressure

RATE = 4_000_000.0


def test_losses_that_last_leave_key_frames_until_it_is_tried_again() -> None:
    pressure, now, hold = Pressure(), 0.0, FIRST_HOLD
    for _ in range(6):
        for number in range(BAD_REPORTS):
            assert not pressure.keys_only
            now += 1
            pressure.report(now, 0.3, None, RATE)
            assert pressure.keys_only is (number == BAD_REPORTS - 1)
        pressure.retry(now + hold - 0.1)
        assert pressure.keys_only
        now += hold
        pressure.retry(now)
        hold = min(2 * hold, LONGEST_HOLD)
    now += 2 * LONGEST_HOLD
    pressure.report(now, 0.0, None, RATE)
    for _ in range(BAD_REPORTS):
        pressure.report(now, 0.3, None, RATE)
    pressure.retry(now + FIRST_HOLD)
    assert not pressure.keys_only


def test_single_losses_and_a_modest_estimate_change_nothing() -> None:
    pressure = Pressure()
    for number in range(100):
        pressure.report(number, 0.5 if number % BAD_REPORTS == 0 else 0.01, None, RATE)
        pressure.report(number, None, int(RATE * 0.7), RATE)
        pressure.report(number, None, None, RATE)
    assert not pressure.keys_only


def test_an_estimate_far_below_what_is_sent_counts() -> None:
    pressure = Pressure()
    for number in range(BAD_REPORTS):
        pressure.report(number, None, int(RATE * 0.3), RATE)
    assert pressure.keys_only
