"""Sound and pictures of one sender stay in step."""

from __future__ import annotations

from peerfetch_fast.media.rtc.clocks import Clocks

RATES = {"video": 90_000, "audio": 48_000}
SECOND = 1_000_000


def count(name: str, microseconds: float, fast: float = 0.0) -> int:
    """What a track's clock shows that is a part too fast, and began near the end of its 32 bits."""
    return (int(microseconds * (1 + fast) * RATES[name] / SECOND) + (1 << 32) - 1_000) % (1 << 32)


def test_a_track_goes_on_from_when_its_first_packet_came() -> None:
    clocks = Clocks(RATES)
    assert clocks.time("video", count("video", 0), 7_000_000) == 7_000_000
    assert clocks.time("video", count("video", 40_000), 9_000_000) == 7_040_000
    # Not what came first, but a little before it.
    assert clocks.time("video", count("video", 20_000), 9_000_000) == 7_020_000


def test_ten_minutes_of_sound_stay_with_the_picture_though_its_clock_is_fast() -> None:
    fast, late = 200e-6, 80_000  # the first sound came 80 ms later than it should
    without, with_reports = Clocks(RATES), Clocks(RATES)
    for at in range(0, 600 * SECOND, SECOND // 2):
        for clocks in (without, with_reports):
            picture = clocks.time("video", count("video", at), at + 5_000)
            sound = clocks.time("audio", count("audio", at, fast), at + 5_000 + late * (at == 0))
            apart = abs(sound - picture)
            if clocks is with_reports and at > SECOND:
                assert apart < 1_000
        if at % SECOND == 0:
            for name, wrong in (("audio", fast), ("video", 0.0)):
                with_reports.report(name, count(name, at, wrong), 10**15 + at)
    assert apart < 1_000
    sound = without.time("audio", count("audio", 600 * SECOND, fast), 0)
    picture = without.time("video", count("video", 600 * SECOND), 0)
    assert sound - picture > 190_000


def test_pictures_go_on_where_reports_begin() -> None:
    clocks = Clocks(RATES)
    clocks.time("video", count("video", 0), 5_000)
    before = clocks.time("video", count("video", SECOND), 0)
    clocks.report("video", count("video", SECOND), 10**15)
    assert clocks.time("video", count("video", SECOND), 0) == before
    assert clocks.time("video", count("video", 2 * SECOND), 0) == before + SECOND


def test_reports_of_no_track_and_of_no_time_do_no_harm() -> None:
    clocks = Clocks(RATES)
    clocks.report("video", 1, 1)
    assert clocks.time("video", 90_000, 5) == 5
    clocks.report("video", 90_000, 10**16)
    clocks.report("video", 90_000, 0)
    assert clocks.time("video", 90_000, 5) == 0
