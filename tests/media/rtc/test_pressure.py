"""How much is sent to a viewer whose network carries less than the camera gives."""

from __future__ import annotations

from peerfetch_fast.media.rtc.pressure import (
    AFTERMATH,
    BAD_SECONDS,
    EASED,
    MIN_PACE,
    Pressure,
    Second,
)

RATE = 4_000_000.0


def across(link: float, lossy: float = 0.0) -> tuple[Pressure, list[float]]:
    """What is sent in each of five minutes' seconds across a link that carries so much, and loses
    so much besides.
    """
    pressure, sent = Pressure(), []
    for _ in range(300):
        rate = min(pressure.pace or RATE, RATE)
        carried = min(rate, link) * (1 - lossy)
        pressure.take(Second(RATE, carried, 1 - carried / rate))
        sent.append(rate)
    return pressure, sent


def test_what_is_sent_stays_near_what_a_narrow_network_carries() -> None:
    for link in (300_000.0, 1_000_000.0, 2_000_000.0, 3_000_000.0):
        pressure, sent = across(link)
        assert pressure.pace is not None
        assert max(sent[BAD_SECONDS:]) < 1.25 * link
        assert sum(sent[BAD_SECONDS:]) > 0.8 * link * (300 - BAD_SECONDS)


def test_all_is_sent_where_the_network_carries_it_though_it_loses_some() -> None:
    for lossy in (0.0, 0.02, 0.09):
        assert across(2 * RATE, lossy)[0].pace is None


def test_all_is_sent_again_when_the_network_carries_it_again() -> None:
    pressure, _ = across(RATE / 2)
    for _ in range(120):
        pressure.take(Second(RATE, pressure.pace or RATE, 0.0))
    assert pressure.pace is None


def test_single_losses_and_a_modest_estimate_change_nothing() -> None:
    pressure = Pressure()
    for number in range(100):
        loss = 0.5 if number % BAD_SECONDS == 0 else 0.01
        pressure.take(Second(RATE, RATE / 2, loss, int(RATE * 0.7)))
    assert pressure.pace is None


def test_an_estimate_far_below_what_is_sent_counts_while_all_is_sent() -> None:
    pressure = Pressure()
    for _ in range(BAD_SECONDS):
        pressure.take(Second(RATE, RATE / 2, 0.0, int(RATE * 0.3)))
    assert pressure.pace == EASED * RATE / 2
    for _ in range(AFTERMATH + 1):
        pressure.take(Second(RATE, RATE / 4, 0.0, 1_000))
    assert pressure.pace > EASED * RATE / 2


def test_losses_of_what_was_sent_before_count_once() -> None:
    pressure = Pressure()
    for _ in range(BAD_SECONDS + AFTERMATH):
        pressure.take(Second(RATE, RATE / 2, 0.5))
    assert pressure.pace == EASED * RATE / 2
    for _ in range(100):
        pressure.take(Second(RATE, 0.0, 1.0))
    assert pressure.pace == MIN_PACE
