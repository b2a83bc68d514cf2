"""What the page shows in each state that it can come into, in a real Chromium."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import HOST, Page, chromium, click, open_page, text_of
from tests.interop.devices import link_to, start_device

from peerfetch_fast.web.page_link import page_url
from processes import Process, peerfetch, posix_only
from support import run

pytestmark = [
    posix_only,
    needs_chromium,
]

TOKEN = "a token of some length"
CONNECTED = f"{text_of('#state')} === 'Connected'"
NAMES = "Array.from(document.querySelectorAll('#entries .name'), (one) => one.textContent).join()"
SECTION = "document.querySelector('section:not([hidden])').id"
ERROR = "document.querySelector('section:not([hidden]) .error:not([hidden])')?.innerText"


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    with chromium() as devtools:
        yield devtools


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("files")
    (directory / "folder" / "deeper").mkdir(parents=True)
    (directory / "folder" / "notes.txt").write_text("Grüße")
    for name, size, day in (("b10", 30, 1), ("b9", 10, 3), ("ä", 20, 2)):
        path = directory / "folder" / f"{name}.bin"
        path.write_bytes(bytes(size))
        time = datetime(2026, 3, day, 12, tzinfo=UTC).timestamp()
        os.utime(path, (time, time))
    return directory


@pytest.fixture(scope="module")
def proxy(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    directory = tmp_path_factory.mktemp("proxy")
    with peerfetch(directory, "proxy", "--serve", files, "--listen", "127.0.0.1:0") as proxy:
        yield proxy


async def enter(page: Page, token: str) -> None:
    """Answer the page's question for the access token, once it asks."""
    await page.until(f"{SECTION} === 'access'")
    await page.evaluate(f"token.value = {json.dumps(token)}; token.form.requestSubmit()")


def own_page(url: str) -> str:
    """Where the app of dev1 is shown."""
    return url.partition("#")[0].replace("127.0.0.1", "dev1.localhost")


def go_to(path: str) -> str:
    return f"path.value = '{path}'; path.form.requestSubmit()"


async def test_a_link_names_a_folder_and_back_goes_up(browser: str, proxy: Process) -> None:
    async with open_page(browser, link_to(proxy.ready, "/folder/")) as page:
        await page.until(f"{NAMES} === 'deeper,ä.bin,b9.bin,b10.bin,notes.txt'")
        await page.evaluate(click("#entries a.entry", "deeper"))
        await page.until("location.hash.includes('/folder/deeper/')")
        await page.until(f"/empty/.test({text_of('#entries-note')})")
        await page.reload()
        await page.until(f"{CONNECTED} && /empty/.test({text_of('#entries-note')})")
        await page.evaluate("history.back()")
        await page.until(f"/b9/.test({NAMES})")
        assert await page.evaluate("location.hash.includes('/folder/#sha256:')")
        # Where there is no way back, the row above the others leads up.
        await page.evaluate(click("#entries a", "Parent folder"))
        await page.until(f"{NAMES} === 'folder'")
        # The address as people write it, with a folder's slash left out.
        await page.evaluate(go_to("/folder"))
        await page.until(f"/b9/.test({NAMES}) && location.hash.includes('/folder/#')")


async def test_a_link_names_one_file(browser: str, proxy: Process) -> None:
    async with open_page(browser, link_to(proxy.ready, "/folder/notes.txt")) as page:
        await page.until(f"{text_of('#viewer pre')} === 'Grüße'")
        assert await page.evaluate(text_of("#crumbs a[href*=folder]")) == "folder"
        await page.reload()
        await page.until(f"{text_of('#viewer pre')} === 'Grüße'")
        await page.evaluate(click("#viewer button", "Close"))
        await page.until(f"/b9/.test({NAMES})")
        await page.evaluate(click("#entries a.entry", "notes"))
        await page.until(f"{text_of('#viewer pre')} === 'Grüße'")
        # The link that would be sent is the one of what is seen.
        assert await page.evaluate("location.hash.includes('/folder/notes.txt#sha256:')")
        length = await page.evaluate("history.length")
        await page.evaluate(click("#viewer button", "Close"))
        await page.until("!location.hash.includes('notes.txt')")
        assert await page.evaluate("history.length") == length
        await page.evaluate("history.forward()")
        await page.until("!document.querySelector('#viewer').hidden")


async def test_order_dates_and_sizes(browser: str, proxy: Process) -> None:
    async with open_page(browser, link_to(proxy.ready, "/folder/")) as page:
        await page.until(f"/b9/.test({NAMES})")
        dates = "Array.from(document.querySelectorAll('#entries time'), (t) => t.textContent)"
        assert (await page.evaluate(dates))[2:4] == ["Mar 3, 2026", "Mar 1, 2026"]
        for order, names in (
            ("oldest", "deeper,b10.bin,ä.bin,b9.bin,notes.txt"),
            ("newest", "deeper,notes.txt,b9.bin,ä.bin,b10.bin"),
            ("largest", "deeper,b10.bin,ä.bin,b9.bin,notes.txt"),
            ("name", "deeper,ä.bin,b9.bin,b10.bin,notes.txt"),
        ):
            await page.evaluate(f"sort.value = '{order}'; sort.dispatchEvent(new Event('change'))")
            await page.until(f"{NAMES} === '{names}'")


async def test_nothing_of_the_old_folder_stays_where_there_is_nothing(
    browser: str, proxy: Process
) -> None:
    async with open_page(browser, link_to(proxy.ready, "/folder/")) as page:
        await page.until(f"/b9/.test({NAMES})")
        await page.evaluate(go_to("/nowhere/"))
        said = await page.until(ERROR)
        assert said == "There is nothing at /nowhere/ on this device (404)."
        shown = await page.evaluate(text_of("#device"))
        assert "b9" not in shown
        assert "entries" not in shown
        assert await page.evaluate(text_of("#crumbs a[aria-current]")) == "nowhere"
        await page.evaluate("history.back()")
        await page.until(f"/b9/.test({NAMES})")
        assert await page.evaluate(ERROR) is None


def test_a_token_is_asked_for_where_it_is_missing(
    browser: str, files: Path, tmp_path: Path
) -> None:
    async def main() -> None:
        async with open_page(browser, link_to(proxy.ready, "/folder/")) as page:
            await page.until(f"{SECTION} === 'access'")
            assert "--" not in await page.evaluate("document.body.innerText")
            assert await page.evaluate(ERROR) is None
            assert await page.evaluate("document.activeElement.id") == "token"
            await enter(page, "another")
            assert "not the access token" in await page.until(ERROR)
            await enter(page, TOKEN)
            await page.until(f"/b9/.test({NAMES})")
            await page.reload()
            await page.until(f"{CONNECTED} && /b9/.test({NAMES})")
        async with open_page(browser, link_to(proxy.ready)) as page:
            # Another tab knows nothing of it, and who gives up has made no error.
            await page.until(f"{SECTION} === 'access'")
            await page.evaluate(click("#access button", "Cancel"))
            await page.until(f"{SECTION} === 'connect'")
            assert await page.evaluate(f"{ERROR} ?? null") is None
            assert await page.evaluate(text_of("#state")) == "Not connected"

    options = ("--listen", "127.0.0.1:0", "--access-token", TOKEN)
    with peerfetch(tmp_path, "proxy", "--serve", files, *options) as proxy:
        run(main())


async def test_what_was_ended_on_purpose_is_no_error(browser: str, proxy: Process) -> None:
    async with open_page(browser, page_url(proxy.ready["signaling"])) as page:
        await page.evaluate("document.querySelector('#link').value = 'nobody-is-here'")
        await page.evaluate(
            "document.querySelector('#connect-form').requestSubmit();"
            "document.querySelector('#cancel').click()"
        )
        assert await page.evaluate(text_of("#state")) == "Not connected"
        assert await page.evaluate(f"{ERROR} ?? null") is None
        assert await page.evaluate("document.querySelector('#cancel').hidden")

        fragment = link_to(proxy.ready).partition("#")[2]
        await page.evaluate(f"document.querySelector('#link').value = '{fragment}'")
        await page.evaluate("document.querySelector('#connect-form').requestSubmit()")
        await page.until(f"/folder/.test({NAMES})")
        await page.evaluate(click("button", "Disconnect"))
        await page.until(f"{text_of('#state')} === 'Disconnected'")
        assert await page.evaluate("document.querySelector('#state').dataset.state") == "left"
        assert await page.evaluate(f"{ERROR} ?? null") is None
        assert await page.evaluate(f"{NAMES}") == ""
        # Back is the device again, and before it the beginning.
        await page.evaluate("history.back()")
        await page.until(f"/folder/.test({NAMES})")
        await page.evaluate("history.back()")
        await page.until(f"{SECTION} === 'connect'")
        assert await page.evaluate(f"{ERROR} ?? null") is None


@pytest.mark.parametrize("named", [True, False])
async def test_another_certificate_than_last_time_is_taken_by_an_explicit_act_only(
    browser: str, proxy: Process, named: bool
) -> None:
    ready = proxy.ready
    kept = {ready["peer_id"]: {"pin": f"sha256:{'0' * 64}", "seen": 0}}
    link = link_to(ready) if named else page_url(ready["signaling"], ready["peer_id"])
    known = "Object.values(JSON.parse(localStorage['~peerfetch devices']))[0].pin"

    async def follow(page: Page) -> None:
        await page.navigate("about:blank")
        await page.navigate(link)

    async with open_page(browser, page_url(ready["signaling"])) as page:
        text = json.dumps(json.dumps(kept))
        await page.evaluate(f"localStorage.setItem('~peerfetch devices', {text})")
        await follow(page)
        await page.until(f"{SECTION} === 'trust'")
        shown = await page.evaluate(text_of("#trust"))
        assert f"sha256:{'0' * 64}" in shown
        assert ready["fingerprint"] in shown
        # What Enter would do is to stay away.
        await page.evaluate(click("#trust button", "Do not connect"))
        await page.until(f"{SECTION} === 'connect'")
        assert await page.evaluate(known) == f"sha256:{'0' * 64}"
        await follow(page)
        await page.until(f"{SECTION} === 'trust'")
        await page.evaluate(click("#trust button", "Trust"))
        await page.until(f"/folder/.test({NAMES})")
        assert await page.evaluate(known) == ready["fingerprint"]
        # From now on it is the one that is known, with a link that names none, too.
        await page.navigate("about:blank")
        await page.navigate(page_url(ready["signaling"], ready["peer_id"]))
        await page.until(f"/folder/.test({NAMES})")
        assert ready["fingerprint"] in await page.evaluate("location.hash")


async def test_a_device_that_is_known_can_be_forgotten(browser: str, proxy: Process) -> None:
    async with open_page(browser, link_to(proxy.ready)) as page:
        await page.until(CONNECTED)
        await page.evaluate(click("button", "Disconnect"))
        await page.until("document.querySelector('#known-list a') !== null")
        await page.evaluate("document.querySelector('#known-list a').click()")
        await page.until(CONNECTED)
        await page.evaluate(click("button", "Disconnect"))
        await page.until("document.querySelector('#known-list a') !== null")
        await page.evaluate(click("#known-list button", "Forget"))
        assert await page.evaluate("document.querySelector('#known').hidden")
        assert await page.evaluate("localStorage['~peerfetch devices']") == "{}"


# A label around what it is for is tapped as that is.
TOO_SMALL = """Array.from(document.querySelectorAll("a, button, input, select, summary"))
  .filter((one) => one.checkVisibility())
  .map((one) => one.closest("label") ?? one)
  .map((one) => [one, one.getBoundingClientRect()])
  .filter(([, { width, height }]) => width < 44 || height < 44)
  .map(([one, { width, height }]) => `${one.outerHTML.slice(0, 90)} ${width} ${height}`)"""
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize("width", [320, 390])
async def test_fingers_find_everything(
    browser: str, proxy: Process, tmp_path: Path, width: int
) -> None:
    async def check(page: Page) -> None:
        assert await page.evaluate(TOO_SMALL) == []
        assert await page.evaluate(TOO_WIDE) == 0

    async with open_page(browser, page_url(proxy.ready["signaling"])) as page:
        await page.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=2,
            mobile=True,
        )
        await page.devtools(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path)
        )
        await page.evaluate(
            "document.querySelector('#connect-form').requestSubmit();"
            "document.querySelector('#cancel').hidden = false"
        )
        for section in ("access", "digits", "trust"):
            await page.evaluate(f"document.querySelector('#{section}').hidden = false")
        await check(page)
        await page.navigate("about:blank")
        await page.navigate(link_to(proxy.ready, "/folder/"))
        await page.until(f"/b9/.test({NAMES})")
        await page.evaluate(click(".save", "b9"))
        await page.until(f"/done/.test({text_of('#entries .download')})")
        await page.evaluate("document.querySelector('details').open = true")
        await check(page)
        await page.evaluate(click("#entries a.entry", "notes"))
        await page.until(f"{text_of('#viewer pre')} === 'Grüße'")
        await check(page)
        await page.evaluate(click("button", "Disconnect"))
        await page.until("document.querySelector('#known-list a') !== null")
        await check(page)


async def test_the_graph_is_shown_while_there_is_something_to_see(
    browser: str, proxy: Process
) -> None:
    async with open_page(browser, link_to(proxy.ready)) as page:
        await page.until(f"/folder/.test({NAMES})")
        assert await page.evaluate("document.querySelector('#speed').hidden")
        # A graph of what a device would be busy with, in place of one that is.
        await page.evaluate(
            "import('/~peerfetch/page/graph.js').then(({ Graph }) => {"
            " globalThis.rate = 1e6; const graph = new Graph();"
            " graph.start(() => ({ receiveRate: rate, sendRate: 0, roundTrip: 0.01 })); })"
        )
        await page.until("!document.querySelector('#speed').hidden")
        assert "1.0 MB/s" in await page.evaluate(text_of("#speed"))


def exif(orientation: int, small: bytes) -> bytes:
    """A segment of a JPEG with a small picture in it."""
    main = struct.pack(">HHHIHH", 1, 0x0112, 3, 1, orientation, 0) + struct.pack(">I", 26)
    start, size = (0x0201, 4, 1, 56), (0x0202, 4, 1, len(small))
    entries = struct.pack(">HHHII", 2, *start) + struct.pack(">HHII", *size) + bytes(4)
    tiff = b"MM\0*" + struct.pack(">I", 8) + main + entries + small
    return b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff


JPEG = """new Promise((resolve) => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 160, height: 120 });
  const context = canvas.getContext("2d");
  context.fillStyle = "red";
  context.fillRect(0, 0, 160, 60);
  context.fillStyle = "blue";
  context.fillRect(0, 60, 160, 60);
  canvas.toBlob(async (blob) => {
    resolve(btoa(String.fromCharCode(...new Uint8Array(await blob.arrayBuffer()))));
  }, "image/jpeg");
})"""
# The colours at the left and the right edge.
EDGES = """(() => {
  const canvas = document.querySelector("#entries canvas");
  const context = canvas.getContext("2d");
  const name = ([red, , blue]) => (red > blue ? "red" : "blue");
  return [4, 92].map((x) => name(context.getImageData(x, 48, 1, 1).data));
})()"""


async def test_small_pictures_are_made_of_the_heads_of_those_that_are_seen(browser: str) -> None:
    asked: dict[str, list[str]] = {}
    running = most = 0

    async with contextlib.AsyncExitStack() as stack:
        async with open_page(browser, "about:blank") as page:
            small = base64.b64decode(await page.evaluate(JPEG))
        # To be turned to the right: what is below comes to the left.
        whole = small[:2] + exif(6, small) + bytes(200_000)

        async def picture(request: web.Request) -> web.Response:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                asked.setdefault(request.path, []).append(request.headers.get("Range", ""))
                part = request.http_range
                headers = {"Content-Range": f"bytes 0-{(part.stop or 0) - 1}/{len(whole)}"}
                return web.Response(status=206, body=whole[part], headers=headers)
            finally:
                running -= 1

        async def listing(request: web.Request) -> web.Response:
            entries = [
                {"name": f"{i:03}.jpg", "href": f"{i:03}.jpg", "type": "file", "size": 200_000}
                for i in range(500)
            ]
            return web.json_response({"entries": entries})

        app = web.Application()
        app.router.add_get("/", listing)
        app.router.add_get("/{name}.jpg", picture)
        url = await start_device(stack, app, "127.0.0.1", "#dev1")
        page = await stack.enter_async_context(open_page(browser, url))
        await page.until("document.querySelectorAll('#entries li').length === 500")
        await page.until("document.querySelectorAll('#entries canvas').length >= 5")
        assert await page.evaluate(EDGES) == ["blue", "red"]
        assert "/499.jpg" not in asked
        assert len(asked) < 100
        await page.evaluate("document.querySelector('#entries').lastChild.scrollIntoView()")
        await page.until(
            "document.querySelector('#entries').lastChild.querySelector('canvas') !== null"
        )
        assert "/250.jpg" not in asked
        assert {one for ranges in asked.values() for one in ranges} == {"bytes=0-65535"}
        assert most <= 4


async def test_an_app_is_opened_and_where_it_cannot_be_that_is_said(browser: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=f"<title>App at {request.path}</title>", content_type="text/html")

    async with contextlib.AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        url = await start_device(stack, app, "127.0.0.1", "#dev1/some/where")
        async with open_page(browser, url) as page:
            await page.until("document.title === 'App at /some/where'")
            assert await page.evaluate("location.hostname") == "dev1.localhost"
            # Not to the page that would lead here again.
            assert await page.evaluate("history.length") == 2
        async with open_page(browser, url.replace("127.0.0.1", HOST)) as page:
            said = await page.until(f"/app of its own.*/.exec({text_of('#entries-note')})?.[0]")
            assert "HTTPS" in said
            # A page among files is looked at, not opened.
            await page.evaluate(go_to("/one.html"))
            await page.until(f"/App at/.test({text_of('#viewer pre')})")


async def test_an_app_whose_device_has_an_access_token_asks_for_it_once(browser: str) -> None:
    asked: list[str] = []

    @web.middleware
    async def note(request: web.Request, handler: Any) -> web.StreamResponse:
        asked.append(request.path_qs)
        response: web.StreamResponse = await handler(request)
        return response

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="<title>The app</title>", content_type="text/html")

    token = "Grüße # 100 %23"  # with what has a meaning in addresses
    app_shown = "document.title === 'The app'"
    async with contextlib.AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_get("/", answer)
        url = await start_device(stack, app, "127.0.0.1", "#dev1", [note], token)
        async with open_page(browser, url) as page:
            await enter(page, token)
            await page.until(app_shown)
            assert await page.evaluate("location.href") == own_page(url)
            assert not [one for one in asked if "Gr" in one]
            await page.reload()
            await page.until(app_shown)
        # Nor in another tab, to which a link brings another one: what is kept is tried first.
        async with open_page(browser, f"{own_page(url)}#dev1##another") as page:
            await page.until(app_shown)
        # One that has become another is handed over anew.
        keep = "localStorage.setItem('~peerfetch', JSON.stringify({ accessToken: 'of before' }))"
        async with open_page(browser, f"{own_page(url)}~peerfetch/page/icon.svg") as page:
            await page.evaluate(keep)
        async with open_page(browser, url) as page:
            await enter(page, token)
            await page.until(app_shown)


def test_a_download_goes_on_when_the_device_is_back(browser: str, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "film.bin").write_bytes(os.urandom(64 << 20))
    saved = tmp_path / "saved"
    saved.mkdir()

    def start(stack: contextlib.ExitStack) -> Process:
        options = ("--peer-id", "dev1", "--signaling", signal.ready["signaling"])
        state = ("--state-dir", tmp_path / "state")
        return stack.enter_context(peerfetch(tmp_path, "proxy", "--serve", files, *options, *state))

    async def main() -> None:
        with contextlib.ExitStack() as stack:
            device = start(stack)
            async with open_page(browser, page_url(signal.ready["signaling"], "dev1")) as page:
                await page.devtools(
                    "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(saved)
                )
                await page.until("document.querySelector('.save') !== null")
                await page.evaluate(click(".save", "film.bin"))
                await page.until("document.querySelector('#entries progress')?.value > 2e6")
                device.kill()
                await page.until(f"/lost/.test({text_of('#entries .download')})")
                assert await page.evaluate(text_of("#state")) != "Connected"
                start(stack)
                said = await page.until(f"/.*(done|short)/.exec({text_of('.download')})?.[0]")
                assert said == "film.bin: 67 MB of 67 MB, done"
                while not (saved / "film.bin").exists():
                    await asyncio.sleep(0.02)
        assert (saved / "film.bin").read_bytes() == (files / "film.bin").read_bytes()

    with peerfetch(tmp_path, "signal", "--listen", "127.0.0.1:0") as signal:
        run(main())
