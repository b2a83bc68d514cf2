"""When a source runs, and what happens when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator

import pytest
from tests.media.conftest import Script, picture

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media import feed as module
from peerfetch_fast.media.broadcast import Viewer
from peerfetch_fast.media.feed import LINGER, START_TIMEOUT, Feed
from peerfetch_fast.media.frames import AudioFormat
from peerfetch_fast.media.mp4 import Mp4Writer
from peerfetch_fast.media.records import FrameWriter

pytestmark = pytest.mark.virtual_time


async def begun(source: Script, times: int = 1) -> None:
    while source.started < times or source.output is None:
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def joined(feed: Feed, source: Script) -> AsyncIterator[Viewer]:
    """A viewer, for whom there is one picture."""

    async def put() -> None:
        await begun(source)
        source.put(picture(0, key=True))

    putting = asyncio.ensure_future(put())
    async with feed.join() as viewer:
        await putting
        yield viewer


async def test_it_runs_from_the_first_viewer_until_some_seconds_after_the_last() -> None:
    source = Script(AudioFormat(1))
    feed = Feed(source, "it")
    assert feed.state == "idle"

    async def watch(seconds: float) -> None:
        async with feed.join() as viewer:
            assert (await viewer.next()).key
            await asyncio.sleep(seconds)

    watching = [asyncio.ensure_future(watch(seconds)) for seconds in (1, 5)]
    await begun(source)
    assert feed.state == "starting"
    source.put(picture(0, key=True))
    await asyncio.gather(*watching)
    assert feed.formats == [picture(0).format, AudioFormat(1)]
    await asyncio.sleep(LINGER - 1)
    await watch(1)  # who comes back in time finds it running
    assert (source.started, source.stopped) == (1, 0)
    await asyncio.sleep(LINGER + 0.1)
    assert (source.started, source.stopped) == (1, 1)
    assert feed.state == "idle"
    again = asyncio.ensure_future(watch(0))
    await begun(source, 2)
    source.put(picture(0, key=True))
    await again
    await feed.close()
    assert source.stopped == 2


async def test_a_source_that_fails_is_started_again_for_the_same_viewers() -> None:
    source = Script()
    feed = Feed(source, "it")
    async with joined(feed, source) as viewer:
        assert (await viewer.next()).key
        source.fail(CameraError("the cable was pulled"))
        await asyncio.sleep(0.1)
        assert feed.state == "starting"
        assert str(feed.error) == "the cable was pulled"
        await begun(source, 2)
        source.put(picture(0, key=True))
        assert feed.error is None
        seen = await viewer.next()
        assert seen.key
        source.fail(RuntimeError("a fault of ours"))
        await begun(source, 3)
    await feed.close()


async def test_a_source_that_never_comes_is_told_with_its_reason() -> None:
    source = Script()
    source.failing = CameraError("there is no such camera")
    feed = Feed(source, "it")
    began = asyncio.get_running_loop().time()
    with pytest.raises(CameraError, match="there is no such camera"):
        async with feed.join():
            pass
    assert asyncio.get_running_loop().time() - began == pytest.approx(START_TIMEOUT, abs=0.1)
    # It was tried a few times, and not without a pause.
    assert 3 <= source.started <= 8
    await feed.close()


async def test_viewers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_VIEWERS", 1)
    source = Script()
    feed = Feed(source, "it")
    async with joined(feed, source):
        with pytest.raises(CameraError, match="others are watching"):
            async with feed.join():
                pass
    await feed.close()


async def test_closing_tells_viewers_and_takes_no_more() -> None:
    source = Script()
    feed = Feed(source, "it")
    async with joined(feed, source) as viewer:
        await viewer.next()
        await feed.close()
        with pytest.raises(CameraError, match="taken away"):
            await viewer.next()
    with pytest.raises(CameraError, match="taken away"):
        async with feed.join():
            pass
    assert source.stopped == 1


async def test_a_picture_that_is_to_be_shown_in_an_hour_is_shown_at_once() -> None:
    source = Script()
    feed = Feed(source, "it")
    async with joined(feed, source) as viewer:
        await viewer.next()
        for offset, shown in ((40_000, 40_000), (1 << 33, 0), (-1, 0)):
            source.put(dataclasses.replace(picture(1), offset=offset))
            frame = await viewer.next()
            assert frame.offset == shown
            for writer in (FrameWriter(feed.formats), Mp4Writer(feed.formats)):
                assert frame.data in writer.frame(frame)
    await feed.close()


class Slow(Script):
    """A source that takes a while to stop."""

    async def run(self, output: object) -> None:
        try:
            await super().run(output)
        finally:
            await asyncio.sleep(1)
            self.stopped += 10


async def test_who_watches_or_waits_is_sent_away_and_may_come_again() -> None:
    source = Script()
    feed = Feed(source, "it")
    waiting = asyncio.ensure_future(feed.join().__aenter__())
    await begun(source)
    feed.end()
    feed.end()  # of another server
    with pytest.raises(CameraError, match="taken away"):
        await waiting
    async with joined(feed, source) as viewer:
        assert (await viewer.next()).key
        feed.end()
        with pytest.raises(CameraError, match="taken away"):
            await viewer.next()
    async with feed.join() as viewer:
        source.put(picture(1, key=True))
        assert (await viewer.next()).key
    await feed.close()


async def test_a_source_that_is_being_stopped_is_let_to_end() -> None:
    source = Slow()
    feed = Feed(source, "it", linger=0)
    async with joined(feed, source):
        pass
    await asyncio.sleep(0.1)
    assert source.stopped == 1
    # Who comes and goes meanwhile, and the end of all, do not break that off.
    with contextlib.suppress(CameraError, TimeoutError):
        async with asyncio.timeout(0.1), feed.join():
            pass
    await asyncio.sleep(0.1)
    await feed.close()
    assert source.stopped == 11
    assert source.started == 1
