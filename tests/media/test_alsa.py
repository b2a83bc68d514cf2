"""Sound devices: ALSA's own file and null devices stand in for them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import pytest
from av.audio.resampler import AudioResampler
from tests.media.rtc.test_whep import Showing
from tests.media.test_speaker import TONE, crossings, tone
from tests.media.test_viewers import Watching

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.camera import Camera
from peerfetch_fast.media.frames import AudioFormat, Frame
from peerfetch_fast.media.pyav import alsa
from peerfetch_fast.media.pyav.microphone import Microphone, WithSound
from peerfetch_fast.media.pyav.opus import RATE
from peerfetch_fast.media.speaker import make_speaker
from support import http_pair, until

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="ALSA is Linux's")

CONFIGURATION = """
pcm.heard {{ type file; slave.pcm {{ type null }}; file "{heard}"; format raw }}
pcm.said {{
    type file; slave.pcm {{ type null }}; file /dev/null; infile "{said}"; format raw
}}
"""


def test_the_systems_unless_the_user_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "alsa.conf"
    monkeypatch.setattr(alsa, "CONFIGURATION", file)
    monkeypatch.setenv("ALSA_CONFIG_PATH", "mine")
    monkeypatch.delenv("ALSA_CONFIG_PATH")
    alsa.use_system_configuration()
    assert "ALSA_CONFIG_PATH" not in os.environ
    file.touch()
    alsa.use_system_configuration()
    assert os.environ["ALSA_CONFIG_PATH"] == str(file)
    monkeypatch.setenv("ALSA_CONFIG_PATH", "mine")
    alsa.use_system_configuration()
    assert os.environ["ALSA_CONFIG_PATH"] == "mine"


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the device ``heard`` leaves what it is told, and ``said`` finds what it tells."""
    text = CONFIGURATION.format(heard=tmp_path / "heard", said=tmp_path / "said")
    (tmp_path / "alsa.conf").write_text(text)
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(tmp_path / "alsa.conf"))
    return tmp_path


def decoded(packets: list[bytes]) -> bytes:
    """Opus as samples, mono."""
    decoder, mono = av.CodecContext.create("libopus", "r"), AudioResampler("s16", "mono", RATE)
    decoder.sample_rate, decoder.layout = RATE, "mono"
    return b"".join(
        bytes(piece.planes[0])[: 2 * piece.samples]
        for packet in packets
        for made in decoder.decode(av.Packet(packet))
        for piece in mono.resample(made)
    )


@linux_only
async def test_what_viewers_say_is_heard_at_a_device(devices: Path) -> None:
    speaker = make_speaker("alsa:heard")
    for packet in tone(12):
        speaker.hear(packet, "one")
    await speaker.close()
    await until(lambda: not speaker._thread.is_alive())  # type: ignore[union-attr]
    samples = (devices / "heard").read_bytes()
    assert len(samples) >= 2 * 10 * RATE // 50
    assert 0.9 * TONE < crossings(samples[2 * 2 * RATE // 50 :]) < 1.1 * TONE


@contextlib.asynccontextmanager
async def watched(microphone: Any) -> AsyncIterator[tuple[Camera, Watching]]:
    """A camera with a microphone, and one who watches."""
    camera = Camera(WithSound(Showing(), microphone))
    async with http_pair(camera) as pair, await pair.fetch("/frames") as response:
        viewer = Watching(response)
        viewer.reads.set()
        task = asyncio.ensure_future(viewer.run())
        try:
            yield camera, viewer
        finally:
            task.cancel()
            await asyncio.wait((task,))
    await camera.close()


@linux_only
async def test_a_microphone_gives_a_camera_its_sound(devices: Path) -> None:
    (devices / "said").write_bytes(decoded(tone(500)))
    async with watched(Microphone("said")) as (camera, viewer):
        assert camera.feed.audio == AudioFormat(1)
        await until(lambda: len([one for one in viewer.frames if not one.is_video]) >= 60)
        assert any(frame.is_video for frame in viewer.frames)
    heard = [frame for frame in viewer.frames if not frame.is_video]
    assert 0.9 * TONE < crossings(decoded([frame.data for frame in heard[10:60]])) < 1.1 * TONE
    times = [frame.time for frame in heard]
    assert times == sorted(set(times))


@linux_only
async def test_a_microphone_that_is_not_there_takes_no_pictures_away(
    devices: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched(Microphone("nowhere")) as (camera, viewer):
        assert camera.feed.audio is None
        await until(lambda: len(viewer.frames) > 3)
    assert "the microphone gives nothing: " in caplog.text
    assert "; there is no sound" in caplog.text


class Unplugged:
    """A microphone that says one thing, and then is gone."""

    format = AudioFormat(1)

    def __init__(self) -> None:
        self._there = True

    async def run(self, output: Any) -> None:
        if self._there:
            self._there = False
            output.frame(Frame(self.format, 0, bytes.fromhex("fcfffe")))
            await asyncio.sleep(0.2)
        raise CameraError("the microphone has ended")


async def test_a_microphone_that_is_unplugged_takes_no_pictures_away() -> None:
    async with watched(Unplugged()) as (camera, viewer):
        await until(lambda: camera.feed.error is not None)
        before = len(viewer.frames)
        await until(lambda: len(viewer.frames) > before + 3 and camera.feed.error is None)
        assert camera.feed.audio is None


@linux_only
async def test_a_speaker_that_is_not_there_says_so(
    devices: Path, caplog: pytest.LogCaptureFixture
) -> None:
    speaker = make_speaker("alsa:nowhere")
    speaker.hear(tone(1)[0], "one")
    await until(lambda: not speaker._thread.is_alive())  # type: ignore[union-attr]
    assert "what viewers say is not heard: the speaker takes nothing: " in caplog.text
