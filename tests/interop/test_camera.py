"""A camera of a device, in a real Chromium: its page, and what it shows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import Page, chromium, open_page
from tests.interop.pictures import PLAYING, SMALL, age_of

from peerfetch_fast import Camera, serve
from peerfetch_fast.media.wall import CameraWall
from peerfetch_fast.signaling.peerjs.server import SignalingServer
from peerfetch_fast.web.endpoint import web_endpoint
from processes import posix_only
from support import until

pytestmark = [
    posix_only,
    needs_chromium,
]

VIDEO = "window[0]?.document.querySelector('video')"


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    with chromium(PLAYING) as devtools:
        yield devtools


@contextlib.asynccontextmanager
async def shown(
    browser: str, camera: Camera | dict[str, Any], path: str = "cam/"
) -> AsyncIterator[Page]:
    """The page of the camera, opened on the device's own origin."""
    targets = camera if isinstance(camera, dict) else {"/cam": camera}
    async with contextlib.AsyncExitStack() as stack:
        signaling = SignalingServer(middlewares=[web_endpoint()])
        stack.push_async_callback(signaling.close)
        await signaling.start("127.0.0.1", 0)
        await stack.enter_async_context(serve(targets, signaling=signaling.url, peer_id="dev1"))
        port = signaling.url.rpartition(":")[2]
        yield await stack.enter_async_context(
            open_page(browser, f"http://dev1.localhost:{port}/{path}")
        )


async def test_without_webrtc_and_webcodecs_the_page_plays_the_mp4(
    browser: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerfetch_fast.media.camera.HAVE_NATIVE", False)
    async with shown(browser, Camera(SMALL)) as page:
        # As by plain HTTP, or in an older browser.
        await page.devtools(
            "Page.addScriptToEvaluateOnNewDocument", source="delete globalThis.VideoDecoder"
        )
        await page.reload()
        await page.until(f"{VIDEO}?.currentTime > 1")
        assert await page.evaluate(f"{VIDEO}.videoWidth") == 320
        # Not a recording: what is shown is of now.
        assert 0 <= await page.evaluate(age_of(VIDEO)) < 2_000
        assert page.errors == []


OUTPUT = "window[0].document.querySelector('.figures')?.textContent"


def press(name: str) -> str:
    return f"window[0].document.querySelector('button[name={name}]').click()"


class Heard:
    """Keeps what viewers say."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def hear(self, packet: bytes, who: str) -> None:
        self.packets.append(packet)

    async def close(self) -> None:
        """There is nothing to close."""


async def test_live_by_webrtc_with_sound_a_snapshot_a_recording_and_talking_back(
    browser: str,
) -> None:
    heard = Heard()
    async with shown(browser, Camera(SMALL, speaker=heard)) as page:
        await page.until(f"{OUTPUT}.includes('WebRTC')")
        assert await page.evaluate(f"{VIDEO}.videoWidth") == 320
        assert 0 <= await page.evaluate(age_of(VIDEO)) < 1_000
        # Where the browser lets it, as here.
        assert await page.evaluate(f"{VIDEO}.muted") is False
        await page.until(f"{OUTPUT}.includes('Mbit/s') && {OUTPUT}.includes(' ms')")
        saved = (
            "(window.saved = [], window[0].HTMLAnchorElement.prototype.click = function () {"
            "  saved.push([this.download, saved.last]) },"
            "window[0].URL.createObjectURL = (blob) => { saved.last = blob; return 'data:,' })"
        )
        await page.evaluate(f"void {saved}")
        await page.evaluate(press("snapshot"))
        await page.until("saved.length === 1 && saved[0][1].type === 'image/jpeg'")
        await page.evaluate(press("record"))
        await asyncio.sleep(1.5)
        await page.evaluate(press("record"))
        await page.until("saved.length === 2 && saved[1][1].size > 5000")
        assert await page.evaluate("saved[1][0].endsWith('.mp4')")
        await page.evaluate(press("talk"))
        await until(lambda: len(heard.packets) > 20)
        await page.evaluate(press("talk"))
        assert page.errors == []


async def test_a_wall_of_cameras_leads_to_each(browser: str) -> None:
    cameras = {"/garden": Camera(SMALL), "/door": Camera(SMALL)}
    wall = CameraWall({"/garden": None, "/door": "Front door"})
    async with shown(browser, {**cameras, "/": wall}, "") as page:
        await page.until(
            "window[0]?.document.querySelectorAll('.tile[data-state=live]').length === 2"
        )
        names = "[...window[0].document.querySelectorAll('.name')].map((one) => one.textContent)"
        assert await page.evaluate(names) == ["garden", "Front door"]
        await page.evaluate("window[0].document.querySelector('.tile').click()")
        await page.until(f"window[0]?.document.title === 'garden' && {VIDEO}?.currentTime > 0")
        assert await page.evaluate(f"{VIDEO}.muted") is False
        assert page.errors == []


JOINED = """
const { connect, serve, mediaHandler } = await import('/~peerfetch/peerfetch.js');
const signaling = `ws://${location.host}`;
const play = async (stream) => {
  const video = document.createElement('video');
  Object.assign(video, { muted: true, srcObject: stream });
  await video.play();
  await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
  return video.videoWidth;
};
"""


async def test_a_page_publishes_its_camera_and_others_watch(browser: str) -> None:
    cameras = {"/phone": Camera("publish:"), "/cam": Camera(SMALL)}
    async with shown(browser, cameras, "~peerfetch/page/identity.js") as page:
        script = """
        const peer = await connect('peer://dev1', { signaling });
        const own = await navigator.mediaDevices.getUserMedia({ video: true, audio: true });
        const publishing = await peer.publish('/phone', own);
        const live = await peer.media('/phone');
        const widths = [await play(live.stream)];
        widths.push(await play(await (await peer.fetch('/cam/')).mediaStream()));
        const refused = await peer.publish('/cam', own).catch((error) => error.message);
        live.close();
        publishing.close();
        await peer.close();
        return [...widths, own.getVideoTracks()[0].getSettings().width, refused];
        """
        width, of_camera, own, refused = await page.evaluate(
            f"(async () => {{{JOINED}{script}}})()"
        )
        assert 0 < width <= own
        assert of_camera == 320
        assert "this camera has its own pictures" in refused
        assert page.errors == []


async def test_a_page_shows_its_camera_to_another(browser: str) -> None:
    async with shown(browser, Camera(SMALL), "~peerfetch/page/identity.js") as page:
        script = """
        const own = await navigator.mediaDevices.getUserMedia({ video: true });
        const server = await serve(mediaHandler(own), { signaling });
        const peer = await connect(`peer://${server.id}`, { signaling });
        const response = await peer.fetch('/');
        const width = await play(await response.mediaStream());
        await peer.close();
        await server.close();
        return width;
        """
        assert await page.evaluate(f"(async () => {{{JOINED}{script}}})()") > 0
        assert page.errors == []


async def test_a_media_stream_goes_on_by_another_connection(browser: str) -> None:
    camera = Camera(SMALL)
    async with shown(browser, camera, "~peerfetch/page/identity.js") as page:
        script = """
        const peer = await connect('peer://dev1', { signaling });
        const response = await peer.fetch('/cam/');
        const stream = await response.mediaStream();
        globalThis.video = Object.assign(document.createElement('video'), { muted: true });
        document.body.append(video);
        video.srcObject = stream;
        await video.play();
        globalThis.leave = () => stream.getTracks().forEach((track) => track.stop());
        globalThis.close = () => peer.close();
        return stream.getVideoTracks()[0].id;
        """
        first = await page.evaluate(f"(async () => {{{JOINED}{script}}})()")
        await page.until("video.currentTime > 0.2")
        # The device ends the connection, as a network does that is gone.
        await camera._negotiated["live"].close()
        await page.until(f"video.srcObject.getVideoTracks()[0].id !== '{first}'")
        at = await page.evaluate("video.currentTime")
        await page.until(f"video.currentTime > {at} + 0.2")
        assert camera.feed.viewers == 1
        # Nobody uses it any more.
        await page.evaluate("leave()")
        await until(lambda: camera.feed.viewers == 0, 10)
        await page.evaluate("close()")
        assert page.errors == []
