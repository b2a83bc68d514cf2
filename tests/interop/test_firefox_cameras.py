"""Cameras in a real Firefox, in every way in which it shows them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tests.interop.browsers import needs_firefox
from tests.interop.devices import serving
from tests.interop.firefox import Page, open_firefox
from tests.interop.pictures import SMALL, age_of
from tests.media.films import clip

from peerfetch_fast import Camera
from processes import posix_only

pytestmark = [
    posix_only,
    needs_firefox,
]

UNTIL = """
const until = async (condition) => {
  for (let i = 0; i < 2000; i++) {
    const found = await condition();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${condition}: ${document.body.innerText}`);
};
const $ = (selector) => document.querySelector(selector);
"""

OFFERS_H264 = """
const connection = new RTCPeerConnection();
connection.addTransceiver("video", { direction: "recvonly" });
const { sdp } = await connection.createOffer();
connection.close();
return sdp.includes("H264");
"""
"""Whether there is Cisco's OpenH264, which Firefox loads from Mozilla after it was set up."""


async def run(page: Page, script: str) -> object:
    return await page.evaluate(f"(async () => {{{UNTIL}{script}}})()")


@contextlib.asynccontextmanager
async def shown(path: str, source: str = SMALL) -> AsyncIterator[tuple[Page, Camera]]:
    """The page, connected to a device with a camera."""
    camera = Camera(source)
    async with (
        serving({"/cam": camera}) as port,
        open_firefox(f"http://127.0.0.1:{port}/#dev1{path}") as page,
    ):
        await run(page, "await until(() => $('#state').innerText === 'Connected');")
        yield page, camera


async def test_live_by_the_best_way_that_it_knows() -> None:
    async with shown("/cam/") as (page, camera):
        way = "WebRTC" if await run(page, OFFERS_H264) else "WebCodecs"
        await run(page, f"await until(() => $('.figures')?.textContent.endsWith('· {way}'));")
        picture = "document.querySelector('#live video, #live canvas')"
        width = await page.evaluate(f"{picture}.videoWidth ?? {picture}.width")
        assert width == 320
        assert 0 <= await page.evaluate(age_of(picture)) < 2_000
        assert camera.feed.viewers == 1


async def test_live_by_mp4() -> None:
    async with shown("/nowhere") as (page, _):
        script = """
        delete globalThis.VideoDecoder;
        delete globalThis.RTCPeerConnection;
        path.value = "/cam/";
        path.form.requestSubmit();
        await until(() => $("#live video")?.currentTime > 0.5);
        await until(() => $(".figures").textContent.endsWith("· MP4"));
        return $("#live video").videoWidth;
        """
        assert await run(page, script) == 320
        assert 0 <= await page.evaluate(age_of("document.querySelector('#live video')")) < 5_000


async def test_h265_by_mp4(tmp_path: Path) -> None:
    """Firefox plays it where FFmpeg is there."""
    film = clip(tmp_path / "film.mkv", "libx265")
    async with shown("/nowhere", str(film)) as (page, _):
        script = """
        delete globalThis.VideoDecoder;
        path.value = "/cam/";
        path.form.requestSubmit();
        const type = 'video/mp4; codecs="hvc1.1.6.L30.90"';
        if (MediaSource.isTypeSupported(type)) {
          await until(() => $("#live video")?.currentTime > 0.5);
          return $("#live video").videoWidth;
        }
        return until(() => $("#live img")?.naturalWidth);
        """
        assert await run(page, script) == 160


async def test_single_pictures_of_the_device_itself() -> None:
    async with (
        serving({"/cam": Camera(SMALL)}) as port,
        open_firefox(f"http://dev1.localhost:{port}/cam/snapshot.jpg") as page,
    ):
        script = """
        const snapshot = await until(async () => {
          const response = await fetch("/cam/snapshot.jpg");
          return response.ok && createImageBitmap(await response.blob());
        });
        const pictures = Object.assign(new Image(), { src: "/cam/mjpeg" });
        document.body.append(pictures);
        await until(() => pictures.naturalWidth);
        return [snapshot.width, pictures.naturalWidth];
        """
        assert await run(page, script) == [320, 320]
