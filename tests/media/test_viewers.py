"""Many viewers of one camera, each a peer: who does not read, and who comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.media.conftest import KEY_FRAMES, Script, annex_b, picture

from peerfetch_fast.http.response import Response
from peerfetch_fast.media.broadcast import MAX_QUEUED
from peerfetch_fast.media.camera import Camera
from peerfetch_fast.media.frames import Frame
from peerfetch_fast.media.records import FrameReader
from support import http_pair, until

SIZE = 64 * 1024
"""Bytes of each picture."""

MAX_ON_ITS_WAY = 4 * 1024 * 1024
"""Bytes that a session sends to one who does not read, and one picture more."""


class Film:
    """Puts out one picture after the other."""

    def __init__(self) -> None:
        self.source = Script()
        self.shown = 0

    def put(self, count: int) -> None:
        for _ in range(count):
            key = self.shown % KEY_FRAMES == 0
            self.source.put(picture(self.shown, key=key, size=SIZE + self.shown))
            self.shown += 1


def number_of(frame: Frame) -> int:
    """Which picture of the film it is."""
    return len(frame.data) - 4 - SIZE


class Watching:
    """Reads the frames of a camera while it may."""

    def __init__(self, response: Response) -> None:
        self._response = response
        self._reader = FrameReader()
        self.reads = asyncio.Event()
        self.frames: list[Frame] = []

    async def run(self) -> None:
        await self.reads.wait()
        async for piece in self._response:
            self.frames += self._reader.feed(piece)
            await self.reads.wait()

    def numbers(self) -> list[int]:
        return [number_of(frame) for frame in self.frames]


@contextlib.asynccontextmanager
async def watching(camera: Camera, film: Film, *, reads: bool = True) -> AsyncIterator[Watching]:
    """A peer that watches; the film begins with the first one."""
    async with http_pair(camera) as pair:
        asking = asyncio.ensure_future(pair.fetch("/frames"))
        if film.shown == 0:
            await until(lambda: film.source.output is not None)
            film.put(1)
        async with await asking as response:
            viewer = Watching(response)
            if reads:
                viewer.reads.set()
            task = asyncio.ensure_future(viewer.run())
            try:
                yield viewer
            finally:
                task.cancel()
                await asyncio.wait((task,))


async def test_one_of_twenty_that_does_not_read_holds_up_nobody() -> None:
    film = Film()
    camera = Camera(film.source, linger=0)
    async with contextlib.AsyncExitStack() as stack:
        frozen = await stack.enter_async_context(watching(camera, film, reads=False))
        others = [await stack.enter_async_context(watching(camera, film)) for _ in range(19)]
        queues = camera.feed._broadcast._viewers
        assert len(queues) == 20

        async def go_on() -> None:
            film.put(2)
            await until(lambda: all(len(one.frames) == film.shown for one in others))
            assert max(one._size for one in queues) <= MAX_QUEUED

        while sum(one.dropped for one in queues) < 4 * KEY_FRAMES:
            await go_on()
        frozen.reads.set()
        until_then = film.shown + 3 * KEY_FRAMES
        while not frozen.frames or number_of(frozen.frames[-1]) < until_then:
            await go_on()
        for one in others:
            assert one.numbers() == list(range(film.shown))
        seen = frozen.numbers()
        gaps = [
            (before, after) for before, after in itertools.pairwise(seen) if after != before + 1
        ]
        # What was on its way, and then from a key frame on.
        assert 0 < seen.index(gaps[0][0]) * SIZE < MAX_ON_ITS_WAY
        assert all(after > before and after % KEY_FRAMES == 0 for before, after in gaps)
    await camera.close()


async def test_who_comes_between_key_frames_leaves_and_comes_back_begins_with_one() -> None:
    film = Film()
    camera = Camera(film.source, linger=0)
    async with watching(camera, film):
        for count, last_key in ((15, 10), (18, 10), (38, 30)):
            film.put(count - film.shown)
            async with watching(camera, film) as viewer:
                # Without waiting for the next one, which nobody has put out yet.
                await has(viewer, *range(last_key, count))
                assert viewer.frames[0].key
                film.put(1)
                await has(viewer, *range(last_key, count + 1))
            await until(lambda: camera.feed.viewers == 1)
    await camera.close()


async def has(viewer: Watching, *numbers: int) -> None:
    """Wait until a viewer has these pictures, and no others."""
    await until(lambda: len(viewer.frames) >= len(numbers))
    assert viewer.numbers() == list(numbers)


PROGRAM = """
import random, sys
for line in open(sys.argv[1]):
    sys.stdout.buffer.write(bytes.fromhex(line))
chance = random.Random(7)
while True:
    sys.stdout.buffer.write(chance.randbytes(65_536).replace(b"\\0\\0\\1", b""))
"""


@pytest.mark.parametrize("good", [0, 15])
async def test_a_camera_that_sends_nonsense_is_started_again(
    good: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if good == 0:
        monkeypatch.setattr("peerfetch_fast.media.feed.START_TIMEOUT", 1.0)
    (tmp_path / "pictures").write_text("\n".join(data.hex() for data in annex_b()[:good]))
    (tmp_path / "camera.py").write_text(PROGRAM)
    address = f"exec:{sys.executable} {tmp_path}/camera.py {tmp_path}/pictures"
    camera = Camera(address)
    async with http_pair(camera) as pair:
        asking = asyncio.ensure_future(pair.fetch("/frames"))
        await until(lambda: camera.feed.error is not None)
        assert "is it H.264 with start codes (Annex B)?" in str(camera.feed.error)
        if good == 0:
            assert (await asking).status == 503
        else:
            async with await asking as response:
                viewer = Watching(response)
                viewer.reads.set()
                task = asyncio.ensure_future(viewer.run())
                # The same viewer, when it runs again.
                await until(lambda: [frame.key for frame in viewer.frames].count(True) > 4)
                times = [frame.time for frame in viewer.frames]
                assert times == sorted(set(times))
                task.cancel()
    await camera.close()
