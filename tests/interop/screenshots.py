"""Pictures of the page in every state, to be looked at:

python -m tests.interop.screenshots DIRECTORY
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import struct
import sys
import tempfile
import zlib
from collections.abc import AsyncIterator, Callable
from itertools import product
from pathlib import Path
from typing import Protocol

from aiohttp import web
from tests.interop.chromium import HOST, Page, chromium, click, open_page, text_of
from tests.interop.devices import start_upstream
from tests.processes import Process, environment, peerfetch

from peerfetch_fast.web.page_link import page_url

WIDTHS = {390: 844, 1280: 800}
SCHEMES = ("light", "dark")
TOKEN = "a token of some length"
SEEN = "document.querySelector('{}')?.checkVisibility()"
LISTED = "document.querySelector('.save') !== null"


def picture(path: Path, width: int, height: int, tint: int) -> None:
    """A PNG with a gradient."""
    rows = b"".join(
        b"\0" + b"".join(bytes((x * 255 // width, y * 255 // height, tint)) for x in range(width))
        for y in range(height)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def fill(files: Path) -> None:
    """A directory as people have them."""
    (files / "Holiday in Norway 2026").mkdir(parents=True)
    (files / "empty").mkdir()
    for number in range(12):
        picture(files / "Holiday in Norway 2026" / f"IMG_{number:04}.png", 120, 90, number * 20)
    (files / "notes.txt").write_text("Grüße aus dem Norden.\n\n" + "A line of a letter.\n" * 12)
    (
        files / "A very long name of a document that somebody has scanned, page 1 to 12.pdf"
    ).write_bytes(bytes(1_234_567))
    picture(files / "fjord.png", 640, 400, 160)
    (files / "backup.tar.gz").write_bytes(bytes(40_000_000))
    with (files / "film.bin").open("wb") as sparse:
        sparse.truncate(3 << 30)
    (files / "track.mp3").write_bytes(bytes(4_000_000))


async def answer(request: web.Request) -> web.Response:
    """An app that asks for a login, and says something without one."""
    text = "<title>Heating</title><body style='font-family: sans-serif'><h1>Heating</h1>21.5 °C"
    asking = {"WWW-Authenticate": 'Basic realm="The heating"'}
    return web.Response(status=401, text=text, content_type="text/html", headers=asking)


class Shot(Protocol):
    """Takes a picture of a tab, after as many seconds as what moves there needs to come to rest."""

    async def __call__(self, state: str, rest: float = 0.4) -> None: ...


OpenTab = Callable[[str], contextlib.AbstractAsyncContextManager[tuple[Page, Shot]]]


@contextlib.asynccontextmanager
async def photographed(
    browser: str, url: str, width: int, scheme: str, directory: Path
) -> AsyncIterator[tuple[Page, Shot]]:
    async with open_page(browser, "about:blank") as page:

        async def shot(state: str, rest: float = 0.4) -> None:
            await asyncio.sleep(rest)
            found = await page.devtools("Page.captureScreenshot")
            path = directory / f"{state}-{width}-{scheme}.png"
            path.write_bytes(base64.b64decode(found["data"]))

        await page.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=WIDTHS[width],
            deviceScaleFactor=2 if width < 600 else 1,
            mobile=width < 600,
        )
        await page.devtools("Emulation.setTouchEmulationEnabled", enabled=width < 600)
        await page.devtools(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        await page.devtools("Browser.setDownloadBehavior", behavior="deny")
        await page.navigate(url)
        yield page, shot


class Scene:
    """What there is to be seen: a device and its page, one with an access token, which locks out
    who enters five wrong ones, and one with an app."""

    def __init__(
        self,
        directory: Path,
        open_device: Process,
        start_locked: Callable[[], contextlib.AbstractContextManager[Process]],
        start_app: Callable[[], contextlib.AbstractContextManager[Process]],
        start_cameras: Callable[[], contextlib.AbstractContextManager[Process]],
    ) -> None:
        #: Of the open device's program.
        self.directory = directory
        self.open_device = open_device
        self.start_locked = start_locked
        self.start_app = start_app
        self.start_cameras = start_cameras
        self.start = page_url(open_device.ready["signaling"])

    def link(self, process: Process, path: str = "", pin: str = "") -> str:
        ready = process.ready
        pin = pin or ready["fingerprint"]
        return page_url(ready["signaling"], f"{ready['peer_id']}{path}#{pin}")


async def beginning(scene: Scene, open_tab: OpenTab) -> None:
    submit = "document.querySelector('#connect-form').requestSubmit()"
    async with open_tab(scene.start) as (page, shot):
        await shot("start")
        await page.evaluate(submit)
        await shot("start-error")
        await page.evaluate(f"document.querySelector('#link').value = 'nobody-here'; {submit}")
        await shot("connecting", 0.05)
        await page.until(f"/not there/.test({text_of('#connect-error')})")
        await shot("unavailable")
    async with open_tab(scene.link(scene.open_device, pin=f"sha256:{'0' * 64}")) as (page, shot):
        await page.until(text_of("#connect-error"))
        await shot("pin-wrong")
        # As if the device had been another one yesterday.
        seen = {scene.open_device.ready["peer_id"]: {"pin": f"sha256:{'0' * 64}", "seen": 1.79e12}}
        await page.evaluate(
            f"localStorage.setItem('~peerfetch devices', {json.dumps(json.dumps(seen))})"
        )
        await page.navigate("about:blank")
        await page.navigate(scene.link(scene.open_device))
        await page.until(f"/Compare/i.test({text_of('#trust')})")
        await shot("pin-changed")
        await page.evaluate(click("button", "Trust"))
        await page.until(LISTED)
    async with open_tab(scene.start) as (page, shot):
        await shot("start-known")


async def folders(scene: Scene, open_tab: OpenTab) -> None:
    async with open_tab(scene.link(scene.open_device)) as (page, shot):
        await page.until(LISTED)
        await shot("folder")
        await page.evaluate(click("#entries a.entry", "empty"))
        await page.until(f"/empty/.test({text_of('#entries-note')})")
        await shot("empty")
        await page.evaluate("path.value = '/nowhere'; path.form.requestSubmit()")
        await page.until(text_of("#browse-error"))
        await shot("404")
        await page.evaluate("path.value = '/Holiday in Norway 2026/'; path.form.requestSubmit()")
        await page.until(f"{text_of('#entries')}?.includes('IMG_0001')")
        await shot("pictures", 1)
        await page.evaluate(click("#entries a.entry", "IMG_0003"))
        await page.until("document.querySelector('#viewer img')?.naturalWidth > 0")
        await shot("picture")
        for path in ("notes.txt", "backup.tar.gz", "track.mp3"):
            await page.evaluate(f"path.value = '/{path}'; path.form.requestSubmit()")
            await page.until(f"{text_of('#viewer-name')} === '{path}'")
            await shot(f"file-{path.rpartition('.')[2]}")


async def downloads(scene: Scene, open_tab: OpenTab) -> None:
    async with open_tab(scene.link(scene.open_device)) as (page, shot):
        await page.until(f"{text_of('#entries')}?.includes('film.bin')")
        with tempfile.TemporaryDirectory() as saved:
            await page.devtools("Browser.setDownloadBehavior", behavior="allow", downloadPath=saved)
            await page.evaluate(click(".save", "notes.txt"))
            await page.evaluate(click(".save", "film.bin"))
            await page.until(f"/GB/.test({text_of('.download')})")
            await shot("downloading", 2)
            await page.evaluate(click("button", "Cancel film"))
            await page.until(f"/cancelled/.test({text_of('#entries')})")
            await shot("cancelled")
        await page.evaluate(click("button", "Disconnect"))
        await shot("disconnected")
    async with open_tab(scene.link(scene.open_device).replace("127.0.0.1", HOST)) as (page, shot):
        await page.until(LISTED)
        await shot("insecure")
        await page.evaluate(click(".save", "film.bin"))
        await page.until(f"/HTTPS/.test({text_of('.download')})")
        await shot("insecure-large")


async def tokens(scene: Scene, open_tab: OpenTab) -> None:
    enter_another = "token.value = 'another'; token.form.requestSubmit()"
    with scene.start_locked() as device:
        async with open_tab(scene.link(device)) as (page, shot):
            await page.until(SEEN.format("#access"))
            await shot("token")
            await page.evaluate(enter_another)
            await page.until(f"{SEEN.format('#access')} && {text_of('#access-error')}")
            await shot("token-wrong")
        ready = device.ready
        app = page_url(ready["signaling"]).replace("127.0.0.1", f"{ready['peer_id']}.localhost")
        async with open_tab(app) as (page, shot):
            await shot("app-connecting", 0)
            await page.until(SEEN.format("#access"))
            await shot("app-token")
            await page.evaluate(enter_another)
            await page.until(f"{SEEN.format('#access')} && /not the/.test({text_of('#state')})")
            await shot("app-token-wrong")


async def an_app(scene: Scene, open_tab: OpenTab) -> None:
    async with open_tab(scene.start.replace("127.0.0.1", "nobody.localhost")) as (page, shot):
        await page.until(SEEN.format("#retry"))
        await shot("app-error")
    with scene.start_app() as device:
        link = scene.link(device)
        async with open_tab(link) as (page, shot):
            await page.until(SEEN.format("#login"))
            await shot("app-login")
            await page.evaluate("document.querySelector('#login-cancel').click()")
            await page.until("window[0]?.document.title")
            await shot("app")
            device.kill()
            await page.until(SEEN.format("#card"))
            await shot("app-lost")
    with scene.start_app() as device:
        link = scene.link(device).replace("127.0.0.1", HOST)
        async with open_tab(link) as (page, shot):
            await page.until(text_of("#entries-note"))
            await shot("insecure-app")
            device.kill()
            await page.until(f"/lost/.test({text_of('#state')})")
            await shot("reconnecting")


async def pairing(scene: Scene, open_tab: OpenTab) -> None:
    waiting = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "peerfetch_fast", "invite", "anna", "--wait", "--json"),
        stdout=asyncio.subprocess.PIPE,
        env=environment(scene.directory),
    )
    assert waiting.stdout is not None
    await waiting.stdout.readline()
    try:
        async with open_tab(scene.start) as (page, shot):
            await page.until("document.querySelector('#near a') !== null")
            await shot("nearby")
            await page.evaluate("document.querySelector('#near a').click()")
            digits = json.loads(await waiting.stdout.readline())["digits"]
            await page.until("!document.querySelector('#digits').hidden")
            await shot("digits")
            for typed in ("12", digits):
                await page.evaluate(
                    f"document.querySelector('#typed-digits').value = '{typed}';"
                    "document.querySelector('#digits-form').requestSubmit()"
                )
                if typed != digits:
                    await page.until(text_of("#digits-error"))
                    await shot("digits-error")
            await page.until(LISTED)
            await page.evaluate("document.querySelector('#another').click()")
            await page.until(text_of("#another-said"))
            await shot("elsewhere")
    finally:
        if waiting.returncode is None:
            waiting.terminate()
        await waiting.wait()


PICKED = """(() => {
  const input = document.querySelector("%s");
  const picked = new DataTransfer();
  picked.items.add(new File([new Uint8Array(2_400_000)], "IMG_0003.jpg"));
  picked.items.add(new File(["Grüße"], "A very long name of a letter that somebody wrote.txt"));
  input.files = picked.files;
  input.dispatchEvent(new Event("change"));
})()"""


async def sharing(scene: Scene, open_tab: OpenTab) -> None:
    listen = ("--listen", "127.0.0.1:0")
    async with open_tab(scene.start) as (other, shot_other), open_tab(scene.start) as (page, shot):
        for one in (other, page):  # each is looked at
            await one.devtools("Emulation.setFocusEmulationEnabled", enabled=True)
        await page.evaluate(PICKED % "#send-input")
        await page.until("document.querySelector('#send-near-list button') !== null")
        await page.evaluate("scrollTo(0, 0)")
        await shot("sender")
        await page.evaluate("document.querySelector('#send-near-list button').click()")
        await other.until("document.querySelector('#asked').open")
        await shot_other("room-asked")
        await other.evaluate("document.querySelector('#asked [value=yes]').click()")
        await other.until(f"/2 files/.test({text_of('#offer-note')})")
        await page.until("document.querySelector('#send-receivers li') !== null")
        await page.evaluate("scrollTo(0, 1e6)")
        await shot("sender-receivers")
    with peerfetch(scene.directory, "share", scene.directory, *listen) as shared:
        async with open_tab(shared.ready["link"]) as (page, shot):
            await page.until("!document.querySelector('#offer-save').disabled")
            await shot("offer")
    with peerfetch(scene.directory, "inbox", scene.directory / "in", *listen) as inbox:
        async with open_tab(inbox.ready["link"]) as (page, shot):
            await page.until(f"/room for/.test({text_of('#inbox-note')})")
            await page.evaluate(PICKED % "#inbox-input")
            await page.until(f"/letter.*: sent/.test({text_of('#inbox-sent')})")
            await shot("inbox")


async def cameras(scene: Scene, open_tab: OpenTab) -> None:
    shown = "document.querySelector('.camera')?.dataset.state === 'live'"
    with scene.start_cameras() as device:
        async with open_tab(scene.link(device)) as (page, shot):
            await page.until("document.querySelectorAll('.tile[data-state=live]').length === 2")
            await page.until("document.querySelectorAll('.tile[data-state=waiting]').length > 0")
            await shot("cameras")
            await page.evaluate(click(".tile", "garden"))
            await page.until(shown)
            await shot("camera", 2.5)
            await page.evaluate(click("#live button", "Record"))
            await shot("camera-recording", 2.5)
            await page.evaluate(click("#live button", "Close"))
            await page.until("document.querySelectorAll('.tile').length === 4")
            await page.evaluate(click(".tile", "barn"))
            await page.until(text_of(".camera .said"))
            await page.until(f"/ended/.test({text_of('.camera .said')})")
            await shot("camera-none")
            await page.evaluate(click("#live button", "Close"))
            await page.until("document.querySelectorAll('.tile').length === 4")
            await page.evaluate(click(".tile", "phone"))
            await page.until("document.querySelector('[name=send]')?.checkVisibility()")
            await shot("camera-to-send")
            await page.evaluate("document.querySelector('[name=send]').click()")
            await page.until(f"/watch/.test({text_of('.camera .figures')})")
            await shot("camera-sending", 1.5)
            await page.evaluate(click("#live button", "Stop sending"))
        host = f"{device.ready['peer_id']}.localhost"
        alone = scene.link(device).replace("127.0.0.1", host).replace("/#", "/garden/#")
        async with open_tab(alone) as (page, shot):
            await page.until(f"window[0]?.{shown}")
            await shot("camera-alone", 1.5)


ALL = (beginning, folders, downloads, tokens, an_app, pairing, sharing, cameras)

CAMERAS = {
    "/garden": "test:?width=1280&height=720&rate=15",
    "/front-door": "test:?width=640&height=480&rate=15",
    "/barn": "exec:/bin/false",
    "/phone": "publish:",
}


async def take_all(directory: Path, work: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        target = await start_upstream(stack, app)
        listen = ("--listen", "127.0.0.1:0")
        serve = ("proxy", "--serve", work / "files", *listen)
        seen = [f"--camera={path}={source}" for path, source in CAMERAS.items()]
        for name in ("one", "two", "app", "cameras"):
            (work / name).mkdir()
        scene = Scene(
            work / "one",
            stack.enter_context(peerfetch(work / "one", *serve)),
            lambda: peerfetch(work / "two", *serve, "--access-token", TOKEN),
            lambda: peerfetch(work / "app", "proxy", "--target", target, *listen),
            lambda: peerfetch(work / "cameras", "proxy", *seen, *listen),
        )
        for width, scheme in product(WIDTHS, SCHEMES):
            with chromium() as browser:

                def open_tab(
                    url: str, browser: str = browser, width: int = width, scheme: str = scheme
                ) -> contextlib.AbstractAsyncContextManager[tuple[Page, Shot]]:
                    return photographed(browser, url, width, scheme, directory)

                for part in ALL:
                    await part(scene, open_tab)


def main() -> None:
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        fill(Path(work) / "files")
        asyncio.run(take_all(directory, Path(work)))


if __name__ == "__main__":
    main()
