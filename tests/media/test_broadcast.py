"""Many viewers of one source: what each gets, and what is kept for them."""

from __future__ import annotations

import pytest
from tests.media.conftest import picture

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media import broadcast
from peerfetch_fast.media.broadcast import MAX_BEHIND, Broadcast, Timeline
from peerfetch_fast.media.frames import AudioFormat, Frame


async def test_who_comes_between_key_frames_sees_from_the_last_one_on() -> None:
    source = Broadcast()
    source.join(0)  # one who never reads holds up nobody
    for number in range(25):
        source.publish(picture(number, key=number % 10 == 0), number / 30)
    late = source.join(1)
    source.publish(picture(25), 1)
    seen = [await late.next() for _ in range(6)]
    assert [frame.key for frame in seen] == [True, *5 * [False]]
    assert seen == [picture(20, key=True), *(picture(number) for number in range(21, 26))]


async def test_a_slow_viewer_falls_to_the_next_key_frame() -> None:
    source = Broadcast()
    slow, quick = source.join(0), source.join(0)
    for number in range(100):
        source.publish(picture(number, key=number % 40 == 0), number * MAX_BEHIND / 20)
        assert await quick.next() == picture(number, key=number % 40 == 0)
    first = await slow.next()
    assert first == picture(80, key=True)
    assert slow.dropped == 80
    assert quick.dropped == 0


async def test_what_waits_and_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "MAX_QUEUED", 10_000)
    monkeypatch.setattr(broadcast, "MAX_KEPT", 10_000)
    source = Broadcast()
    viewer = source.join(0)
    for number in range(1_000):
        source.publish(picture(number, key=number == 0, size=1_000), 0)
        assert viewer._size <= 10_000
    assert source.kept == []
    assert viewer.dropped >= 990


async def test_the_end_is_told_after_what_came_before() -> None:
    source = Broadcast()
    viewer = source.join(0)
    source.publish(picture(0, key=True), 0)
    source.end(CameraError("gone"))
    assert (await viewer.next()).key
    with pytest.raises(CameraError, match="gone"):
        await viewer.next()
    viewer.close()
    viewer.close()
    assert source.viewers == 0


async def test_sound_does_not_wait_for_a_key_frame() -> None:
    source = Broadcast()
    viewer = source.join(0)
    sound = Frame(AudioFormat(1), 0, b"sound")
    source.publish(picture(0), 0)
    source.publish(sound, 0)
    assert await viewer.next() is sound


def test_times_only_grow_and_stay_near_ours() -> None:
    line = Timeline()
    arrived = 50_000_000
    assert line.place(True, 7, arrived) == arrived
    assert line.place(False, 5, arrived + 1) == arrived - 2
    assert line.place(True, 33_340, arrived + 20_000) == arrived + 33_333
    # The source goes back, then jumps by a day: neither is passed on.
    assert line.place(True, 33_000, arrived + 40_000) == arrived + 33_334
    assert line.place(True, 86_400_000_000, arrived + 66_666) == arrived + 66_666
    # It begins anew after less than that.
    assert line.place(True, 86_399_000_000, arrived + 100_000) == arrived + 100_000
    line.restart()
    assert line.place(True, 0, arrived + 130_000) == arrived + 130_000
