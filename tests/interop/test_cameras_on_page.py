"""Cameras of a device on the page, in a real Chromium."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import statistics
import struct
import wave
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import av
import pytest
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import Page, chromium, click, open_page, text_of
from tests.interop.devices import serving
from tests.interop.pictures import HEARING, PLAYING, SMALL, age_of
from tests.media.conftest import Script, annex_b, frames_of
from tests.media.films import clip

from peerfetch_fast import Camera
from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.frames import Frame, VideoFormat
from peerfetch_fast.media.wall import CameraWall
from peerfetch_fast.server import Target
from processes import posix_only
from support import until

pytestmark = [
    posix_only,
    needs_chromium,
]

LIVE = "document.querySelector('#live video')"
WHISTLE = 900
"""In hertz: not the camera's own tone."""

TILES = "[...document.querySelectorAll('#wall .tile')]"


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    with chromium(PLAYING) as devtools:
        yield devtools


@contextlib.asynccontextmanager
async def shown(browser: str, targets: dict[str, Target], path: str = "") -> AsyncIterator[Page]:
    """The page that shows the device."""
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(serving(targets))
        url = f"http://127.0.0.1:{port}/#dev1{path}"
        page = await stack.enter_async_context(open_page(browser, url))
        await page.until(f"{text_of('#state')} === 'Connected'")
        yield page
        # Else the device waits for what it still sends, before it closes.
        await page.evaluate(click("button", "Disconnect"))


async def saved(directory: Path, suffix: str) -> Path:
    """The file that the browser has saved."""
    while True:
        for path in directory.glob(f"*{suffix}"):
            return path
        await asyncio.sleep(0.05)


async def test_a_device_shows_its_cameras_as_a_wall_and_one_enlarged(browser: str) -> None:
    garden, door = Camera(SMALL), Camera(SMALL, name="Front door")
    # Its own page with all of them is not opened: they are shown here.
    wall = CameraWall({"/garden": None, "/door": None})
    async with shown(browser, {"/garden": garden, "/door": door, "/": wall}) as page:
        await page.until(f"{TILES}.filter((one) => one.dataset.state === 'live').length === 2")
        assert await page.evaluate(f"{TILES}.map((one) => one.innerText.trim())") == [
            "garden",
            "Front door",
        ]
        # Frame by frame, as the browser can.
        widths = f"{TILES}.map((one) => one.querySelector('canvas').width)"
        assert await page.evaluate(widths) == [320, 320]
        assert await page.evaluate("document.querySelector('#browse-error').hidden")

        await page.evaluate(click(".tile", "Front door"))
        await page.until(f"{LIVE}?.currentTime > 0.5 && !{LIVE}.muted")
        assert await page.evaluate("location.hash.startsWith('#dev1/door/#sha256:')")
        assert await page.evaluate("document.activeElement.innerText") == "Front door"
        assert 0 <= await page.evaluate(age_of(LIVE)) < 2_000
        # What is not seen any more is not sent any more.
        assert await page.evaluate("document.querySelector('#wall').children.length") == 0
        while garden.feed.viewers:
            await asyncio.sleep(0.02)
        await page.until(
            "/Delay \\d+ ms · \\d+\\.\\d+ Mbit.s · 1\\d pictures.s · WebRTC/"
            f".test({text_of('.figures')})"
        )
        await page.evaluate(click("#live button", "Sound"))
        assert await page.evaluate(f"{LIVE}.muted")

        await page.evaluate(click("#live button", "Close"))
        await page.until(f"{TILES}.length === 2")
        name = "document.activeElement.querySelector('.name')?.innerText"
        assert await page.evaluate(name) == "Front door"
        await page.evaluate("history.back()")
        await page.until(f"{LIVE} !== null")


HELD = """
globalThis.gate = new Promise((resolve) => (globalThis.open = resolve));
globalThis.RTCPeerConnection = class extends RTCPeerConnection {
  async setRemoteDescription(description) {
    await gate;
    return super.setRemoteDescription(description);
  }
};
"""


async def test_a_picture_does_not_wait_for_a_connection_that_takes_long(browser: str) -> None:
    # As where UDP is blocked, and the session goes by a relay: at first there is no other way.
    async with shown(browser, {"/cam": Camera(SMALL)}, "/nowhere") as page:
        await page.evaluate(HELD)
        await page.evaluate("path.value = '/cam/'; path.form.requestSubmit()")
        way = text_of(".figures")
        await page.until(f"/pictures.s/.test({way}) && !/WebRTC/.test({way})")
        picture = "document.querySelector('#live .picture > :is(video, canvas)')"
        before = await page.evaluate(f"{picture}.videoWidth || {picture}.width")
        assert before == 320
        # It is better, once it is there.
        await page.evaluate("open()")
        await page.until(f"/WebRTC/.test({way})")
        await page.until(f"{LIVE}.videoWidth === 320 && !{LIVE}.paused")
        assert await page.evaluate("document.querySelectorAll('#live .picture > *').length") == 2


async def test_sound_by_webrtc_is_in_step_with_the_picture(browser: str) -> None:
    async with shown(browser, {"/cam": Camera(SMALL)}, "/cam/") as page:
        await page.evaluate(HEARING)
        await page.until(f"{LIVE}?.currentTime > 0.5 && !{LIVE}.muted")
        await page.evaluate(f"hearStream({LIVE}.srcObject)")
        await page.until("beeps.length > 3")
        ages = [await page.evaluate(age_of(LIVE)) for _ in range(20)]
        assert_in_step(statistics.median(ages), await page.evaluate("beeps"))


def assert_in_step(age: float, beeps: list[dict[str, float]]) -> None:
    """The beep is that of a whole second. Some are heard when this machine has much to do."""
    heard = statistics.median(beep["at"] % 1000 for beep in beeps[1:])
    assert abs(heard - age) < 400, f"the picture is {age} ms old, the sound {heard} ms"
    assert abs(statistics.median(beep["tone"] for beep in beeps[1:-1]) - 400) < 25


async def test_the_picture_goes_on_by_another_connection(browser: str) -> None:
    camera = Camera(SMALL)
    async with shown(browser, {"/cam": camera}, "/cam/") as page:
        await page.until(f"{LIVE}?.currentTime > 0.2")
        await page.evaluate(f"globalThis.first = {LIVE}.srcObject")
        # The device ends the connection, as a network does that is gone.
        await camera._negotiated["live"].close()
        await page.until(f"{LIVE}.srcObject && {LIVE}.srcObject !== first")
        await page.until("document.querySelector('.camera').dataset.state === 'live'")
        at = await page.evaluate(f"{LIVE}.currentTime")
        await page.until(f"{LIVE}.currentTime > {at}")


async def test_the_picture_fills_the_screen(browser: str) -> None:
    async with shown(browser, {"/cam": Camera(SMALL)}, "/cam/") as page:
        await page.until(f"{LIVE}?.currentTime > 0.2")
        await page.evaluate(click("#live button", "Full screen"))
        await page.until("document.fullscreenElement?.matches('#live .picture')")
        await page.until(f"{LIVE}.getBoundingClientRect().width === innerWidth")
        await page.evaluate(
            "document.fullscreenElement.dispatchEvent(new MouseEvent('dblclick', {bubbles: true}))"
        )
        await page.until("document.fullscreenElement === null")


@pytest.fixture
def whistling(tmp_path: Path) -> Iterator[str]:
    """A browser into whose microphone somebody whistles, again and again."""
    path = tmp_path / "whistle.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", ""))
        whistle = [
            round(12_000 * math.sin(2 * math.pi * WHISTLE * n / 48_000)) for n in range(9_600)
        ]
        file.writeframes(struct.pack("<24000h", *whistle, *[0] * 14_400))
    with chromium(PLAYING, f"--use-file-for-fake-audio-capture={path}") as devtools:
        yield devtools


async def test_what_is_said_is_heard_there_while_the_camera_is_heard_here(whistling: str) -> None:
    heard = Heard()
    async with shown(whistling, {"/cam": Camera(SMALL, speaker=heard)}, "/cam/") as page:
        await page.evaluate(HEARING)
        await page.evaluate(
            "const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);"
            "navigator.mediaDevices.getUserMedia = async (asked) => (window.own = await ask(asked))"
        )
        await page.until(f"{LIVE}?.currentTime > 0.2")
        await page.evaluate(f"hearStream({LIVE}.srcObject)")
        await page.evaluate(click("#live button", "Talk"))
        await page.until("document.querySelector('[name=talk]').ariaPressed === 'true'")
        # What the camera gives is not sent back to it.
        settings = await page.evaluate("own.getAudioTracks()[0].getSettings()")
        assert settings["echoCancellation"] is True
        await until(lambda: len(heard.loud()) > 40, 60)
        assert abs(heard.tone() - WHISTLE) < 100
        count = await page.evaluate("beeps.length")
        await page.until(f"beeps.length > {count}")
        await page.evaluate(click("#live button", "Talk"))
        await page.until("own.getTracks().every((track) => track.readyState === 'ended')")


class Heard:
    """Keeps what viewers say."""

    def __init__(self) -> None:
        self._decoder = av.CodecContext.create("opus", "r")
        self._decoder.sample_rate = 48_000  # type: ignore[attr-defined]
        self._samples: list[float] = []

    def hear(self, packet: bytes, who: str) -> None:
        for frame in self._decoder.decode(av.Packet(packet)):
            (plane, *_) = frame.planes
            self._samples += memoryview(bytes(plane)[: frame.samples * 4]).cast("f")

    def loud(self) -> list[list[float]]:
        """The hundredths of a second in which there is something to be heard."""
        parts = [self._samples[at : at + 480] for at in range(0, len(self._samples), 480)]
        return [part for part in parts if max(map(abs, part)) > 0.05]

    def tone(self) -> float:
        """How high it is, in hertz."""
        loud = self.loud()
        rises = sum(a < 0 <= b for part in loud for a, b in itertools.pairwise(part))
        return rises / (len(loud) * 0.01)

    async def close(self) -> None:
        """There is nothing to close."""


async def test_sound_in_the_session_is_in_step_with_the_picture(
    browser: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerfetch_fast.media.camera.HAVE_NATIVE", False)
    async with shown(browser, {"/cam": Camera(SMALL)}, "/nowhere") as page:
        await page.evaluate(HEARING)
        await page.evaluate("path.value = '/cam/'; path.form.requestSubmit()")
        await page.until(f"/Delay .*WebCodecs/.test({text_of('.figures')})")
        await page.until("beeps.length > 3")
        canvas = "document.querySelector('#live canvas')"
        ages = [await page.evaluate(age_of(canvas)) for _ in range(20)]
        assert_in_step(statistics.median(ages), await page.evaluate("beeps"))
        # Silent, it is not decoded.
        await page.evaluate(click("#live button", "Sound"))
        await page.until("document.querySelector('[name=sound]').ariaPressed === 'false'")
        await page.evaluate(click("#live button", "Sound"))
        count = await page.evaluate("beeps.length")
        await page.until(f"beeps.length > {count}")


async def test_a_wall_in_a_browser_that_does_not_decode_frames(browser: str) -> None:
    async with shown(browser, {"/cam": Camera(SMALL)}, "/nowhere") as page:
        await page.evaluate("delete globalThis.VideoDecoder")
        await page.evaluate("path.value = '/'; path.form.requestSubmit()")
        await page.until(f"{TILES}[0]?.querySelector('video')?.currentTime > 0.2")
        assert await page.evaluate(f"{TILES}[0].querySelector('video').muted")


async def test_a_link_leads_to_one_camera(browser: str) -> None:
    camera = Camera(SMALL)
    async with shown(browser, {"/cam": camera}, "/cam") as page:
        await page.until(f"{LIVE}?.videoWidth === 320")
        assert await page.evaluate(text_of("#live-name")) == "cam"


async def test_a_picture_and_a_recording_are_saved(browser: str, tmp_path: Path) -> None:
    async with shown(browser, {"/cam": Camera(SMALL)}, "/cam/") as page:
        await page.devtools(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path)
        )
        await page.until(f"{LIVE}?.currentTime > 0.2")
        await page.evaluate(click("#live button", "Snapshot"))
        with av.open(str(await saved(tmp_path, ".jpg"))) as container:
            (picture,) = container.decode(video=0)
            assert (picture.width, picture.height) == (320, 180)
        await page.evaluate(click("#live button", "Record"))
        await page.until("/Stop 0:01/.test(document.querySelector('#live').innerText)")
        await page.evaluate(click("#live button", "Stop"))
        recording = await saved(tmp_path, ".mp4")
        assert recording.name.startswith("cam ")
        with av.open(str(recording)) as container:
            assert len(list(container.decode(video=0))) >= 10
        with av.open(str(recording)) as container:
            assert len(list(container.decode(audio=0))) >= 10
        await page.until(f"{text_of('#live')}.includes('Record')")


async def test_a_hidden_tab_pulls_nothing(browser: str) -> None:
    camera = Camera(SMALL)
    async with shown(browser, {"/cam": camera}, "/cam/") as page:
        await page.until(f"{LIVE}?.currentTime > 0.2")
        assert camera.feed.viewers == 1
        async with open_page(browser, "about:blank") as another:
            await another.devtools("Page.bringToFront")
            await page.until("document.visibilityState === 'hidden'")
            while camera.feed.viewers:
                await asyncio.sleep(0.02)
            await page.devtools("Page.bringToFront")
            # The picture that there was may still move when it is seen again.
            while camera.feed.viewers != 1:
                await asyncio.sleep(0.02)
            await page.until("document.querySelector('.camera').dataset.state === 'live'")


async def test_a_camera_that_fails_says_why_and_is_asked_again(
    browser: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerfetch_fast.media.feed.START_TIMEOUT", 0.5)
    source = Script()
    source.failing = CameraError("the cable is out")
    async with shown(browser, {"/cam": Camera(source)}, "/cam/") as page:
        await page.until(f"/The cable is out/.test({text_of('.camera .said')})")
        source.failing = None
        pictures = frames_of(annex_b())
        for number in range(500):
            if source.output is not None:
                frame = pictures[number % len(pictures)]
                at = number * 33_333
                source.put(Frame(frame.format, at, frame.data, frame.key))
            if await page.evaluate(f"{LIVE}?.currentTime > 0.1"):
                break
            await asyncio.sleep(0.03)
        await page.until(f"{text_of('.camera .said')} === ''")


async def test_a_camera_of_single_pictures(browser: str) -> None:
    source = Script()
    jpeg = make_jpeg()
    async with shown(browser, {"/cam": Camera(source)}, "/cam/") as page:
        format = VideoFormat("jpeg", 64, 48)
        image = "document.querySelector('#live img')"
        for number in range(500):
            if source.output is not None:
                source.put(Frame(format, number * 50_000, jpeg, True))
            if await page.evaluate(f"{image}?.naturalWidth === 64"):
                break
            await asyncio.sleep(0.05)
        assert await page.evaluate(f"{image}.alt") == "cam"
        assert await page.evaluate(f"{image}.naturalWidth") == 64
        buttons = "[...document.querySelectorAll('#live .answers button')]"
        names = await page.evaluate(
            f"{buttons}.filter((one) => !one.hidden).map((one) => one.innerText)"
        )
        assert names == ["Snapshot", "Full screen"]


async def test_a_camera_that_the_browser_does_not_play(browser: str, tmp_path: Path) -> None:
    """Of H.265 Chromium plays nothing where its machine does not decode it: key frames as JPEG."""
    camera = Camera(str(clip(tmp_path / "film.mkv", "libx265")))
    async with shown(browser, {"/cam": camera}, "/cam/") as page:
        can = "MediaSource.isTypeSupported('video/mp4; codecs=\"hvc1.1.6.L30.90\"')"
        if await page.evaluate(can):
            await page.until(f"{LIVE}?.currentTime > 0.2")
            return
        await page.until("document.querySelector('#live img')?.naturalWidth === 160")
        await page.until(f"{text_of('.figures')}.startsWith('This browser plays key frames alone')")
        assert await page.evaluate(f"{text_of('.figures')}.endsWith('JPEG')")


def make_jpeg() -> bytes:
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 64, 48, "yuvj420p"
    encoder.framerate = 25
    frame = av.VideoFrame(64, 48, "yuvj420p")
    return b"".join(bytes(packet) for packet in encoder.encode(frame) + encoder.encode(None))
