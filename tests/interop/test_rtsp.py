"""A network camera: GStreamer's RTSP server, cut and brought back."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import av
import pytest
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import chromium, click, open_page, text_of
from tests.interop.devices import serving
from tests.interop.pictures import PLAYING
from tests.media.films import clip
from tests.media.test_alsa import decoded
from tests.media.test_speaker import TONE, crossings

from peerfetch_fast.media.camera import Camera
from peerfetch_fast.media.frames import AudioFormat, Frame
from peerfetch_fast.media.h264 import H264Frames, split_lengths
from peerfetch_fast.media.h265 import H265Frames
from peerfetch_fast.media.pyav import demuxer
from peerfetch_fast.media.records import FrameReader
from processes import Process, accepts, free_port, posix_only, running
from support import Pair, http_pair, until

PYTHON = "/usr/bin/python3"
"""The system's, for which Debian packages GObject's bindings."""

FIND = "import gi; gi.require_version('GstRtspServer', '1.0')"

PAYLOADS = {
    "h264": "rtph264pay", "hevc": "rtph265pay",
    "aac": "rtpmp4gpay", "opus": "rtpopuspay", "libopus": "rtpopuspay", "pcm_alaw": "rtppcmapay",
}  # fmt: skip

LOGIN = "viewer:s3cret"


def have_server() -> bool:
    """Whether GStreamer's RTSP server is there."""
    try:
        return subprocess.run((PYTHON, "-c", FIND), capture_output=True).returncode == 0
    except OSError:
        return False


pytestmark = [
    posix_only,
    pytest.mark.skipif(
        not have_server(),
        reason="no RTSP server (Debian: apt install gir1.2-gst-rtsp-server-1.0 python3-gi)",
    ),
]


def pictures_of(path: Path) -> list[bytes]:
    """Its pictures, as they are to arrive."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        maker = H265Frames() if stream.codec_context.name == "hevc" else H264Frames()
        size = maker.configure(stream.codec_context.extradata or b"")
        made = [
            maker.frame(split_lengths(bytes(packet), size), 0)
            for packet in container.demux(stream)
            if packet.size
        ]
    return [frame.data for frame in made if frame is not None]


def sounds_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@contextlib.contextmanager
def rtsp_server(path: Path, port: int, login: str | None = None) -> Iterator[Process]:
    """A server that shows the file at /cam."""
    with av.open(str(path)) as container:
        names = [stream.codec_context.name for stream in container.streams]
    kinds = ["video", "audio"][: len(names)]
    demuxer = "qtdemux" if path.suffix == ".mov" else "matroskademux"
    pipeline = f"( filesrc location={path} ! {demuxer} name=film " + " ".join(
        f"film.{kind}_0 ! queue ! {PAYLOADS[name]} name=pay{number} pt={96 + number}"
        for number, (kind, name) in enumerate(zip(kinds, names, strict=True))
    )
    script = Path(__file__).with_name("rtsp_server.py")
    with running(
        *(PYTHON, script, port, f"{pipeline} )", *((login,) if login else ())),
        log=path.with_suffix(f".{port}.log"),
        ready=lambda: accepts(port),
        env={},
    ) as process:
        yield process


class Watching:
    """Reads the frames of a camera, as another device does."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.reader = FrameReader()
        self.frames: list[Frame] = []

    async def run(self) -> None:
        async with await self._pair.fetch("/frames") as response:
            assert response.status == 200, await response.text()
            async for piece in response:
                self.frames += self.reader.feed(piece)

    def count(self, *, video: bool = True) -> int:
        return sum(frame.is_video == video for frame in self.frames)


@contextlib.asynccontextmanager
async def watched(address: str) -> AsyncIterator[tuple[Camera, Pair, Watching]]:
    """A camera that somebody watches."""
    camera = Camera(address, linger=0)
    async with http_pair(camera) as pair:
        watching = Watching(pair)
        task = asyncio.ensure_future(watching.run())
        try:
            yield camera, pair, watching
            assert not task.done(), task
        finally:
            task.cancel()
            await asyncio.wait((task,))
    await camera.close()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("film") / "film.mkv", audio="libopus")


async def test_pictures_and_opus_come_as_they_were_sent(film: Path) -> None:
    port = free_port()
    with rtsp_server(film, port):
        async with watched(f"rtsp://127.0.0.1:{port}/cam") as (camera, _, watching):
            await until(lambda: watching.count() > 30 and watching.count(video=False) > 60)
            assert camera.feed.state == "live"
    assert watching.reader.video is not None
    assert (watching.reader.video.width, watching.reader.video.height) == (160, 120)
    assert watching.reader.audio == AudioFormat(2)  # as RTP has it always (RFC 7587 section 7)
    pictures, sounds = pictures_of(film), sounds_of(film)
    seen = [frame.data for frame in watching.frames if frame.is_video]
    begin = pictures.index(seen[0])
    assert seen == pictures[begin : begin + len(seen)]
    heard = [frame.data for frame in watching.frames if not frame.is_video]
    begin = sounds.index(heard[10])
    assert heard[10:] == sounds[begin : begin + len(heard) - 10]


async def test_the_first_key_frame_is_not_lost(tmp_path: Path) -> None:
    """The next one may be far away."""
    port, film = free_port(), clip(tmp_path / "film.mkv", audio="aac", interval=60)
    with rtsp_server(film, port):
        async with watched(f"rtsp://127.0.0.1:{port}/cam") as (_, _, watching):
            await until(lambda: watching.count() > 10)
    seen = [frame.data for frame in watching.frames if frame.is_video]
    assert seen == pictures_of(film)[: len(seen)]


async def test_h265_comes_as_it_was_sent(tmp_path: Path) -> None:
    port, film = free_port(), clip(tmp_path / "film.mkv", "libx265")
    with rtsp_server(film, port):
        async with watched(f"rtsp://127.0.0.1:{port}/cam") as (_, _, watching):
            await until(lambda: watching.count() > 30)
    assert watching.reader.video is not None
    assert (watching.reader.video.codec, watching.reader.video.width) == ("h265", 160)
    pictures, seen = pictures_of(film), [frame.data for frame in watching.frames]
    begin = pictures.index(seen[0])
    assert seen == pictures[begin : begin + len(seen)]


def is_even(frames: list[Frame]) -> bool:
    """Whether sound goes on from packet to packet: until the server has said by RTCP how its tracks
    are to each other, they may move once.
    """
    times = [frame.time for frame in frames if not frame.is_video]
    steps = [after - before for before, after in itertools.pairwise(times[-50:])]
    return len(times) > 75 and set(steps) == {20_000}


@pytest.mark.parametrize(("codec", "suffix"), [("aac", "mkv"), ("pcm_alaw", "mov")])
async def test_other_sound_is_made_opus(codec: str, suffix: str, tmp_path: Path) -> None:
    port = free_port()
    with rtsp_server(clip(tmp_path / f"film.{suffix}", audio=codec), port):
        async with watched(f"rtsp://127.0.0.1:{port}/cam") as (_, _, watching):
            await until(lambda: watching.count() > 15 and is_even(watching.frames))
    heard = [frame for frame in watching.frames if not frame.is_video]
    assert {frame.format for frame in heard} == {AudioFormat(1)}
    samples = decoded([frame.data for frame in heard[25:75]])
    assert 0.98 * TONE < crossings(samples) < 1.02 * TONE


async def test_a_server_that_is_killed_and_comes_back(film: Path) -> None:
    port = free_port()
    async with watched(f"rtsp://127.0.0.1:{port}/cam") as (camera, pair, watching):
        with rtsp_server(film, port) as server:
            await until(lambda: watching.count() > 10)
            server.kill()
            await until(lambda: camera.feed.error is not None)
        told = await (await pair.fetch("/info")).json()
        assert told["state"] == "starting"
        assert told["error"] is not None
        before = len(watching.frames)
        with rtsp_server(film, port):
            await until(lambda: watching.count() > 40 and camera.feed.error is None)
            told = await (await pair.fetch("/info")).json()
            assert (told["state"], told["error"], told["viewers"]) == ("live", None, 1)
        assert next(frame for frame in watching.frames[before:] if frame.is_video).key
        for video in (True, False):
            times = [frame.time for frame in watching.frames if frame.is_video == video]
            assert times == sorted(set(times))


async def test_a_camera_that_hangs_counts_as_gone_until_it_goes_on(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demuxer, "READ_TIMEOUT", 1.0)
    port = free_port()
    with rtsp_server(film, port) as server:
        async with watched(f"rtsp://127.0.0.1:{port}/cam") as (camera, _, watching):
            await until(lambda: watching.count() > 10)
            server.signal(signal.SIGSTOP)
            await until(lambda: camera.feed.error is not None)
            assert str(camera.feed.error) == "nothing came from the camera for 1 s"
            before = watching.count()
            server.signal(signal.SIGCONT)
            await until(lambda: watching.count() > before + 20 and camera.feed.error is None)


async def test_a_user_and_a_password_which_are_not_told(
    film: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("peerfetch_fast.media.feed.START_TIMEOUT", 1.0)
    port = free_port()
    with rtsp_server(film, port, LOGIN):
        camera = Camera(f"rtsp://viewer:s3crets@127.0.0.1:{port}/cam")
        async with http_pair(camera) as pair:
            refused = await pair.fetch("/frames")
            said = await refused.text()
            assert (refused.status, "401" in said) == (503, True), said
        await camera.close()
        monkeypatch.undo()
        async with watched(f"rtsp://{LOGIN}@127.0.0.1:{port}/cam") as (_, _, watching):
            await until(lambda: watching.count() > 10)
    assert "401" in caplog.text
    assert "s3cret" not in caplog.text + said


@needs_chromium
async def test_who_watches_is_told_and_sees_it_go_on(film: Path) -> None:
    port = free_port()
    shown = "document.querySelector('#live video')"
    async with contextlib.AsyncExitStack() as stack:
        browser = stack.enter_context(chromium(PLAYING))
        camera = Camera(f"rtsp://127.0.0.1:{port}/cam")
        web = await stack.enter_async_context(serving({"/cam": camera}))
        with rtsp_server(film, port) as server:
            page = await stack.enter_async_context(
                open_page(browser, f"http://127.0.0.1:{web}/#dev1/cam/")
            )
            await page.until(f"{shown}?.currentTime > 0.5")
            server.kill()
            said = text_of(".camera .said")
            await page.until(f"{said} === 'Nothing comes from the camera just now.'")
        at = await page.evaluate(f"{shown}.currentTime")
        with rtsp_server(film, port):
            await page.until(f"{shown}.currentTime > {at} + 0.5 && {said} === ''")
            assert await page.evaluate("document.querySelector('.camera').dataset.state") == "live"
        await page.evaluate(click("button", "Disconnect"))
