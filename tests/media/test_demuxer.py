"""What is said of network cameras that are none, and sound that is broken."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import pytest

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.frames import AudioFormat, Frame
from peerfetch_fast.media.pyav import demuxer
from peerfetch_fast.media.pyav.demuxer import RtspCamera
from peerfetch_fast.media.pyav.opus import PACKET, OpusEncoder
from peerfetch_fast.media.pyav.testpicture import TestPicture

NONSENSE = random.Random(3).randbytes(100_000)


class Nowhere:
    """Takes nothing: no frame is to come."""

    def begin(self, audio: AudioFormat | None) -> None:
        raise AssertionError("there is no camera")

    def frame(self, frame: Frame) -> None:
        raise AssertionError("there is no camera")


PICTURES = 30


def silence(samples: int, layout: str = "mono", rate: int = 48_000) -> av.AudioFrame:
    frame = av.AudioFrame(format="fltp", layout=layout, samples=samples)
    frame.sample_rate = rate
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    return frame


def broken_sound(path: Path) -> None:
    """A film of which some packets of sound are garbage."""
    test, chance = TestPicture(160, 120), random.Random(1)
    with av.open(str(path), "w", format="mpegts") as out:
        video: Any = out.add_stream("libx264", rate=30)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        video.options = {"preset": "ultrafast", "tune": "zerolatency"}
        audio: Any = out.add_stream("aac", rate=48_000, layout="mono")
        for number in range(PICTURES):
            picture = test.picture(number)
            picture.pts = number
            out.mux(video.encode(picture))
            for half in (0, 1):
                sound = silence(1024)
                sound.pts = (2 * number + half) * 1024
                for packet in audio.encode(sound):
                    sent = packet
                    if number == PICTURES // 2:
                        sent = av.Packet(chance.randbytes(50))
                        sent.pts, sent.dts = packet.pts, packet.dts
                        sent.time_base, sent.stream = packet.time_base, audio
                    out.mux(sent)


@contextlib.asynccontextmanager
async def answering(said: bytes | None) -> AsyncIterator[str]:
    """The URL of a server that says this to whoever comes; None: nothing."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if said is None:
            await reader.read()
        else:
            writer.write(said)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"rtsp://user:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}/cam"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (NONSENSE, "the camera gives nothing: Invalid data"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the camera gives nothing: Invalid data"),
        (b"RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n", "404 Not Found"),
        (b"RTSP/1.0 200 OK\r\n" + 1_000_000 * b"A: b\r\n", "the camera"),
        (None, "the camera has not answered in 2 s"),
    ],
    ids=["nonsense", "http", "404", "endless", "silence"],
)
async def test_what_is_no_camera_says_why(
    answer: bytes | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demuxer, "OPEN_TIMEOUT", 2.0)
    async with answering(answer) as url:
        with pytest.raises(CameraError) as caught:
            await RtspCamera(url).run(Nowhere())
        assert said in str(caught.value)
        assert "secret" not in str(caught.value)


async def test_a_sound_that_is_broken_is_silence(tmp_path: Path) -> None:
    path = tmp_path / "film.ts"
    broken_sound(path)
    shown: list[Frame] = []

    class Shown:
        def begin(self, audio: AudioFormat | None) -> None:
            assert audio is not None

        def frame(self, frame: Frame) -> None:
            shown.append(frame)

    await demuxer._Demuxed(str(path), None, {}).run(Shown())
    assert sum(frame.is_video for frame in shown) == PICTURES
    assert sum(not frame.is_video for frame in shown) > PICTURES


def test_a_sound_that_changes_goes_on() -> None:
    encoder = OpusEncoder(1)
    for layout, rate in (("mono", 48_000), ("stereo", 48_000), ("mono", 44_100)):
        assert list(encoder.encode(silence(4 * PACKET, layout, rate), 0))


async def test_a_camera_that_is_away_says_so() -> None:
    async with answering(None) as url:
        pass
    with pytest.raises(CameraError, match="the camera gives nothing: "):
        await RtspCamera(url).run(Nowhere())
