"""A link read from a QR code by the camera, in a real Chromium whose camera plays a file.

Chromium has no BarcodeDetector on Linux, so jsQR stands in for it: the camera, its pictures and the
reading of them are real, the browser's own reader is not.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import segno
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import Page, chromium, open_page, text_of

from peerfetch_fast.web.page_link import page_url
from processes import Process, peerfetch, posix_only

JSQR = Path(__file__).parent / "node_modules" / "jsqr" / "dist" / "jsQR.js"

pytestmark = [
    posix_only,
    needs_chromium,
    pytest.mark.skipif(
        os.environ.get("PEERFETCH_INTEROP") != "1" and not JSQR.exists(),
        reason="jsQR is not installed (npm ci in tests/interop)",
    ),
]

DETECTOR = """
globalThis.BarcodeDetector = class {
  static getSupportedFormats = async () => FORMATS;
  async detect(video) {
    const [width, height] = [video.videoWidth, video.videoHeight];
    const context = new OffscreenCanvas(width, height).getContext("2d");
    context.drawImage(video, 0, 0);
    globalThis.seen = (globalThis.seen ?? 0) + 1;
    const found = jsQR(context.getImageData(0, 0, width, height).data, width, height);
    return found ? [{ rawValue: found.data }] : [];
  }
};
const { getUserMedia } = MediaDevices.prototype;
MediaDevices.prototype.getUserMedia = async function (constraints) {
  return (globalThis.media = await getUserMedia.call(this, constraints));
};
"""
CLICK = "(() => { scan.focus(); scan.click(); })()"
OFFERED = "!document.querySelector('#scan').hidden"
STOPPED = "media.getTracks().every((track) => track.readyState === 'ended')"


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the camera sees; read when it is opened."""
    return tmp_path_factory.mktemp("camera") / "film.y4m"


@pytest.fixture(scope="module")
def browser(film: Path) -> Iterator[str]:
    with chromium(f"--use-file-for-fake-video-capture={film}") as devtools:
        yield devtools


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    directory = tmp_path_factory.mktemp("proxy")
    (directory / "files").mkdir()
    (directory / "files" / "notes.txt").write_text("notes")
    with peerfetch(
        directory, "proxy", "--serve", directory / "files", "--listen", "127.0.0.1:0"
    ) as proxy:
        yield proxy


def show_to_camera(film: Path, code: segno.QRCode | None) -> None:
    """Two pictures of 640 by 480 with the code in the middle, on grey, as YUV4MPEG2."""
    width, height, grey = 640, 480, 128
    luma = bytearray([grey]) * (width * height)
    if code is not None:
        modules = [bytes(row) for row in code.matrix_iter(scale=6, border=4)]
        left, top = (width - len(modules[0])) // 2, (height - len(modules)) // 2
        for y, row in enumerate(modules, top):
            start = y * width + left
            luma[start : start + len(row)] = row.translate(bytes([235, 16]) + bytes(254))
    frame = b"FRAME\n" + luma + bytes([grey]) * (width * height // 2)
    film.write_bytes(b"YUV4MPEG2 W640 H480 F10:1 Ip A1:1 C420jpeg\n" + frame * 2)


@contextlib.asynccontextmanager
async def scanning_page(
    browser: str, proxy: Process, formats: tuple[str, ...] | None = ("ean_13", "qr_code")
) -> AsyncIterator[Page]:
    async with open_page(browser, "about:blank") as page:
        source = "delete globalThis.BarcodeDetector"
        if formats is not None:
            source = JSQR.read_text() + DETECTOR.replace("FORMATS", json.dumps(formats))
        await page.devtools("Page.addScriptToEvaluateOnNewDocument", source=source)
        await page.navigate(page_url(proxy.ready["signaling"]))
        yield page


async def test_a_code_before_the_camera_connects(browser: str, film: Path, proxy: Process) -> None:
    link = page_url(
        proxy.ready["signaling"], f"{proxy.ready['peer_id']}#{proxy.ready['fingerprint']}"
    )

    show_to_camera(film, segno.make(link, error="l", micro=False))
    async with scanning_page(browser, proxy) as page:
        await page.until(OFFERED)
        await page.evaluate(CLICK)
        await page.until(f"{text_of('#state')} === 'Connected'")
        assert await page.until(text_of("#entries .name")) == "notes.txt"
        assert await page.evaluate(f"{STOPPED} && !document.querySelector('#scanner').open")


async def test_another_code_and_none(browser: str, film: Path, proxy: Process) -> None:
    async with scanning_page(browser, proxy) as page:
        await page.until(OFFERED)
        show_to_camera(film, segno.make("100% WIFI", micro=False))
        await page.evaluate(CLICK)
        assert "no link" in await page.until(text_of("#connect-error"))
        show_to_camera(film, None)
        await page.evaluate(f"globalThis.seen = 0; {CLICK}")
        await page.until("seen > 2")
        assert (
            await page.evaluate(
                "document.querySelector('#scanner').open"
                " && document.querySelector('#camera').videoWidth"
            )
            == 640
        )
        await page.press("Escape")
        await page.until(STOPPED)
        assert await page.evaluate("document.activeElement.id") == "scan"
        assert await page.evaluate("document.querySelector('#link').value") == "100% WIFI"


async def test_what_stands_in_the_way_is_said(browser: str, film: Path, proxy: Process) -> None:
    show_to_camera(film, None)

    async with scanning_page(browser, proxy) as page:
        await page.until(OFFERED)
        for failing, says in (
            ("throw new DOMException('', 'NotAllowedError')", "allow it"),
            ("throw new DOMException('', 'NotFoundError')", "no camera"),
        ):
            await page.evaluate(
                f"MediaDevices.prototype.getUserMedia = async () => {{ {failing} }}; {CLICK}"
            )
            await page.until(f"{text_of('#connect-error')}.includes('{says}')")
    async with scanning_page(browser, proxy) as page:
        await page.until(OFFERED)
        await page.evaluate(
            "BarcodeDetector.prototype.detect = async () => {"
            f" throw new DOMException('', 'NotSupportedError') }}; {CLICK}"
        )
        await page.until(f"{text_of('#connect-error')}.includes('cannot read')")
        assert await page.evaluate(STOPPED)


@pytest.mark.parametrize("formats", [None, (), ("ean_13",)])
async def test_where_it_cannot_be_scanned_the_page_says_what_can(
    browser: str, proxy: Process, formats: tuple[str, ...] | None
) -> None:
    async with scanning_page(browser, proxy, formats) as page:
        assert "camera app" in await page.until(text_of("#scan-hint:not([hidden])"))
        assert not await page.evaluate(OFFERED)
