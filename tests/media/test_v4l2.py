"""Camera devices of Linux: a stand-in for the kernel's drivers answers what FFmpeg asks of one."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import av
import pytest
from tests.media.conftest import annex_b, frames_of

from peerfetch_fast import connect
from peerfetch_fast.media.frames import Frame, VideoFormat
from peerfetch_fast.media.live import Live
from peerfetch_fast.media.pyav.testpicture import TestPicture
from peerfetch_fast.peer import Peer
from processes import Process, peerfetch
from support import until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("gcc") is None, reason="V4L2 is Linux's; it needs gcc"
)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("v4l2") / "stand_in.so"
    source = Path(__file__).with_name("v4l2_stand_in.c")
    subprocess.run(
        ("gcc", "-Wall", "-Werror", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"),
        check=True,
    )
    return library


def jpegs(count: int) -> list[bytes]:
    """Pictures of a camera that gives JPEG."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 160, 120, "yuvj420p"
    encoder.framerate = 30  # type: ignore[assignment]
    source, made = TestPicture(160, 120), list[bytes]()
    for number in range(count):
        picture = source.picture(number * 33).reformat(format="yuvj420p")
        picture.pts = number
        made += [bytes(packet) for packet in encoder.encode(picture)]
    return made


class Device:
    """What stands in for a camera in a directory."""

    def __init__(self, directory: Path, library: Path) -> None:
        self.directory, self._library = directory, library
        self.path = directory / "video0"
        self.path.touch()

    def gives(self, name: str, pictures: Iterator[bytes]) -> None:
        data = b"".join(len(one).to_bytes(4, "little") + one for one in pictures)
        (self.directory / name).write_bytes(data)

    @property
    def asked(self) -> list[str]:
        return (self.directory / "asked").read_text().splitlines()

    @contextlib.asynccontextmanager
    async def served(self, options: str = "") -> AsyncIterator[tuple[Process, Peer]]:
        """A device that serves it at /cam, and a peer that looks on."""
        environ = {
            "LD_PRELOAD": str(self._library),
            "STAND_IN_DEVICE": str(self.path),
            "STAND_IN_GIVES": str(self.directory),
        }
        camera = ("--camera", f"/cam=v4l2:{self.path}{options}", "--listen", "127.0.0.1:0")
        with peerfetch(self.directory, "proxy", *camera, environ=environ) as proxy:
            ready = proxy.ready
            async with connect(ready["peer_id"], signaling=ready["signaling"]) as peer:
                yield proxy, peer


@pytest.fixture
def device(tmp_path: Path, stand_in: Path) -> Device:
    return Device(tmp_path, stand_in)


async def some(live: Live, count: int) -> list[Frame]:
    return [await anext(live) for _ in range(count)]


def follow_each_other(frames: list[Frame], pictures: list[bytes]) -> bool:
    """Whether they are those pictures, one after the other, again and again."""
    begin = pictures.index(frames[0].data)
    seen = [frame.data for frame in frames]
    return seen == [pictures[(begin + number) % len(pictures)] for number in range(len(seen))]


async def test_a_camera_with_h264(device: Device) -> None:
    device.gives("H264", annex_b())
    device.gives("MJPG", jpegs(3))
    async with (
        device.served("?size=160x120&rate=20") as (_, peer),
        await peer.media("/cam") as live,
    ):
        frames = await some(live, 40)
    assert frames[0].key
    assert follow_each_other(frames, [frame.data for frame in frames_of(annex_b())])
    assert device.asked == ["H264 160x120", "20 a second"]


@pytest.mark.parametrize("options", ["", "?format=mjpeg"])
async def test_a_camera_with_jpeg(device: Device, options: str) -> None:
    pictures = jpegs(5)
    device.gives("MJPG", pictures)
    if options:
        device.gives("H264", annex_b())
    async with device.served(options) as (_, peer):
        async with await peer.media("/cam") as live:
            assert live.video_format == VideoFormat("jpeg", 160, 120)
            assert follow_each_other(await some(live, 12), pictures)
        snapshot = await (await peer.fetch("/cam/snapshot.jpg")).bytes()
    assert snapshot in pictures


async def test_a_camera_that_is_unplugged_and_plugged_in_again(device: Device) -> None:
    device.gives("H264", annex_b())
    async with device.served() as (proxy, peer), await peer.media("/cam") as live:
        assert (await anext(live)).key
        device.path.unlink()
        await until(lambda: "the camera gives nothing: No such" in proxy.output)
        told = await (await peer.fetch("/cam/info")).json()
        assert (told["state"], told["viewers"]) == ("starting", 1)
        device.path.touch()
        # What was on its way, and then from a key frame on.
        frame, passed = await anext(live), 0
        while not (frame.key and passed >= 400_000):
            before, frame = frame, await anext(live)
            passed = frame.time - before.time
        while (now := await (await peer.fetch("/cam/info")).json())["state"] != "live":
            await asyncio.sleep(0.05)
        assert now == told | {"state": "live", "error": None}


async def test_a_camera_with_h264_that_fails_once_stays_one(device: Device) -> None:
    device.gives("H264", annex_b())
    device.gives("MJPG", jpegs(3))
    async with device.served() as (proxy, peer), await peer.media("/cam") as live:
        assert (await anext(live)).key
        (device.directory / "fail").touch()
        await until(lambda: "it is tried again" in proxy.output)
        frames = await some(live, 40)
    assert {frame.format for frame in frames} == {live.video_format}
    assert device.asked == ["H264 160x120", "H264 160x120"]
