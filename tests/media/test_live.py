"""A camera of another peer: watched by a program, decoded, and served on."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from aiortc.mediastreams import MediaStreamError
from tests.media.conftest import cropped_picture
from tests.media.rtc.test_whep import Showing

from peerfetch_fast import Camera, connect, serve
from peerfetch_fast.errors import CameraError
from peerfetch_fast.http.routing import Resources
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.media.frames import AudioFormat, Frame
from peerfetch_fast.media.live import PeerCamera
from peerfetch_fast.peer import Peer
from support import until


@contextlib.asynccontextmanager
async def node(name: str, camera: Camera) -> AsyncIterator[Peer]:
    """A peer that serves the camera at /cam, as another sees it."""
    async with (
        serve({"/cam": camera}, signaling="local:cameras", peer_id=name),
        connect(name, signaling="local:cameras") as peer,
    ):
        yield peer


async def test_frames_as_they_came_and_decoded() -> None:
    source = Showing(AudioFormat(1))
    async with node("a", Camera(source, linger=0)) as peer:
        async with peer.media("/cam") as live:
            assert live.video_format is not None
            assert live.audio_format == AudioFormat(1)
            first = await anext(live)
            assert first.key
            assert first.data in {frame.data for frame in source._frames}
        async with peer.media("/cam") as live:
            pictures = [await live.video.recv() for _ in range(3)]
            assert {(one.width, one.height) for one in pictures} == {(160, 120)}
            assert [one.pts for one in pictures] == sorted(one.pts for one in pictures)
            assert live.audio is not None
            assert (await live.audio.recv()).sample_rate == 48_000
        await until(lambda: source.stopped == source.started)
        with pytest.raises(CameraError, match="404"):
            await peer.media("/nothing")


async def test_what_a_peer_serves_on_is_what_came() -> None:
    """source > node > node > here."""
    source = Showing(AudioFormat(1))
    sent: list[bytes] = [frame.data for frame in source._frames]
    async with (
        node("first", Camera(source, linger=0)) as first,
        node("second", Camera(PeerCamera(first, "/cam"), linger=0)) as second,
        node("third", Camera(PeerCamera(second, "/cam"), linger=0)) as third,
    ):
        seen: list[Frame] = []
        async with third.media("/cam") as live:
            async for frame in live:
                if frame.is_video:
                    seen.append(frame)
                if len(seen) == 20:
                    break
        assert seen[0].key
        begin = sent.index(seen[0].data)
        assert [frame.data for frame in seen] == [
            sent[(begin + number) % len(sent)] for number in range(20)
        ]
        # One viewer at the end is one viewer of each.
        await until(lambda: source.started == source.stopped == 1)


async def test_pictures_that_would_fill_the_memory_end_the_track() -> None:
    class Large(Showing):
        def __init__(self) -> None:
            super().__init__()
            self._frames = [cropped_picture(8_000, 200)]

    async with node("a", Camera(Large(), linger=0)) as peer, peer.media("/cam") as live:
        with pytest.raises(MediaStreamError):
            await live.video.recv()


async def test_a_refusal_without_end_is_told_in_short() -> None:
    class Refusing(Resources):
        async def __call__(self, exchange: Exchange) -> None:
            exchange.start(500, [("content-type", "text/plain")], None)
            while True:
                await exchange.write(b"\x1b[2J no " * 1_000)

    async with (
        serve({"/cam": Refusing()}, signaling="local:cameras", peer_id="a"),
        connect("a", signaling="local:cameras") as peer,
    ):
        with pytest.raises(CameraError, match=r"500 \\x1b\[2J no") as caught:
            await peer.media("/cam")
        assert len(str(caught.value)) < 300
