"""The page, its service worker, and a device's own origin, in a real Chromium."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import segno
from aiohttp import WSMsgType, web
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import (
    HOST,
    chromium,
    click,
    open_page,
    text_of,
    trusting,
)
from tests.interop.devices import link_to, start_device, start_upstream

from certificates import self_signed
from peerfetch_fast.web.page_link import page_url
from processes import Process, peerfetch, posix_only
from support import run

pytestmark = [
    posix_only,
    needs_chromium,
]

LARGE = 12_000_000


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A TLS certificate for the host and the devices' names below it, and its key."""
    return self_signed(tmp_path_factory.mktemp("tls"), HOST, f"*.{HOST}")


@pytest.fixture(scope="module")
def browser(certificate: tuple[Path, Path]) -> Iterator[str]:
    with chromium(trusting(certificate[0])) as devtools:
        yield devtools


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("media")
    (directory / "folder").mkdir()
    (directory / "folder" / "notes.txt").write_text("Grüße")
    (directory / "large.bin").write_bytes(random.Random(1).randbytes(LARGE))
    with (directory / "huge.bin").open("wb") as sparse:
        sparse.truncate(300 << 20)
    (directory / "evil.html").write_text(
        "<script>parent.postMessage('ran', '*'); top.ran = true</script>"
    )
    (directory / "evil.svg").write_text(
        "<svg xmlns='http://www.w3.org/2000/svg'><script>top.ran = true</script></svg>"
    )
    segno.make("a picture", version=1).save(directory / "picture.png", scale=10, border=0)
    (directory / "worker.js").write_text("self.addEventListener('fetch', () => {})")
    return directory


@pytest.fixture(scope="module")
def proxy(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with peerfetch(
        tmp_path_factory.mktemp("proxy"), "proxy", "--serve", media, "--listen", "127.0.0.1:0"
    ) as proxy:
        yield proxy


async def test_follow_a_link_browse_and_read(browser: str, proxy: Process) -> None:
    async with open_page(browser, link_to(proxy.ready)) as page:
        await page.until(f"{text_of('#state')} === 'Connected'")
        await page.until(
            "Array.from(document.querySelectorAll('#entries .name'), (one) => one.innerText)"
            ".join() === 'folder,evil.html,evil.svg,huge.bin,large.bin,picture.png,worker.js'"
        )
        await page.evaluate(click("#entries a", "folder"))
        await page.until(f"{text_of('#entries .name')} === 'notes.txt'")
        await page.evaluate(click("#entries a.entry", "notes"))
        await page.until(f"{text_of('#viewer pre')} === 'Grüße'")
        await page.evaluate(click("#crumbs a", "Device"))
        await page.until("document.querySelectorAll('#entries li').length === 7")
        await page.evaluate(click("button", "Disconnect"))
        await page.until(f"{text_of('#state')} === 'Disconnected'")


async def test_what_is_wrong_is_said_in_words(browser: str, proxy: Process) -> None:
    wrong = page_url(proxy.ready["signaling"], f"{proxy.ready['peer_id']}#sha256:{'0' * 64}")

    async with open_page(browser, page_url(proxy.ready["signaling"])) as page:
        # A browser that has never seen the device.
        await page.evaluate("localStorage.clear()")
        await page.navigate("about:blank")
        await page.navigate(wrong)
        said = await page.until(text_of("#connect-error"))
        assert "another certificate" in said
        await page.evaluate(
            "document.querySelector('#link').value = '../x';"
            "document.querySelector('#connect-form').requestSubmit()"
        )
        assert "no link" in await page.until(f"/no link/.exec({text_of('#connect-error')})?.input")


async def test_a_download_larger_than_what_the_page_holds(
    browser: str, proxy: Process, media: Path, tmp_path: Path
) -> None:
    async with open_page(browser, link_to(proxy.ready)) as page:
        await page.devtools(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path)
        )
        await page.until("document.querySelector('.save') !== null")
        await page.evaluate(click(".save", "large.bin"))
        said = await page.until(f"/.*done/.exec({text_of('#entries .download')})?.[0]")
        assert said == "large.bin: 12 MB of 12 MB, done"
        assert await page.evaluate(text_of("#downloads-said")) == said
        await saved(tmp_path, media)


async def test_nothing_of_the_device_runs_on_the_origin_of_the_page(
    browser: str, proxy: Process
) -> None:
    async with open_page(browser, link_to(proxy.ready)) as page:
        await page.until("document.querySelector('.save') !== null")
        space = f"/~peerfetch/device/{proxy.ready['peer_id']}"
        for name in ("evil.html", "evil.svg"):
            await page.evaluate(
                f"new Promise((resolve) => {{ const frame = document.createElement('iframe');"
                f" frame.src = '{space}/{name}'; frame.onload = resolve;"
                " document.body.append(frame); })"
            )
        found = await page.evaluate(
            f"fetch('{space}/evil.html').then(({{status, headers}}) => [status,"
            " headers.get('content-security-policy'), headers.get('x-content-type-options')])"
        )
        assert found[0] == 200
        assert found[1].startswith("sandbox;")
        assert found[2] == "nosniff"
        assert await page.evaluate("window.ran === undefined")
        # What registers a worker is not asked through a worker.
        assert await page.evaluate(
            f"navigator.serviceWorker.register('{space}/worker.js')"
            ".then(() => 'registered', (error) => error.name)"
        ) in ("TypeError", "SecurityError")
        assert (
            await page.evaluate(f"fetch('{space}/x', {{method: 'POST'}}).then((r) => r.status)")
            == 405
        )


async def test_headers_and_redirects_of_a_malicious_device_stay_outside(browser: str) -> None:
    bad = {
        "Set-Cookie": "session=1; Path=/",
        "Refresh": "0; url=https://example.com/",
        "Clear-Site-Data": '"*"',
        "Link": "</~peerfetch/worker.js>; rel=preload",
        "Service-Worker-Allowed": "/",
        "Access-Control-Allow-Origin": "*",
        "Content-Security-Policy": "script-src *",
        "Content-Type": "text/html",
    }

    async def headers(request: web.Request) -> web.Response:
        return web.Response(body=b"<script>top.ran = true</script>", headers=bad)

    async def away(request: web.Request) -> web.Response:
        raise web.HTTPFound("https://example.com/")

    async with contextlib.AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_get("/", headers)
        app.router.add_get("/away", away)
        page = await stack.enter_async_context(
            open_page(browser, await start_device(stack, app, "localhost", "#dev1/away"))
        )
        await page.until(f"{text_of('#state')} === 'Connected'")
        found = await page.evaluate(
            "fetch('/~peerfetch/device/dev1/').then((r) => Object.fromEntries(r.headers))"
        )
        assert found == {
            "content-length": "31",
            "content-security-policy": found["content-security-policy"],
            "content-type": "text/html",
            "cross-origin-resource-policy": "same-origin",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
        }
        assert found["content-security-policy"].startswith("sandbox;")
        assert await page.evaluate(
            "fetch('/~peerfetch/device/dev1/away')"
            ".then(async (response) => [response.status, await response.text()])"
        ) == [
            502,
            "The device did not answer: a redirect to https://example.com, which this peer does"
            " not speak for\n",
        ]
        assert await page.evaluate("[document.cookie, window.ran ?? null]") == ["", None]


async def test_two_tabs_and_none(browser: str, proxy: Process) -> None:
    url = f"/~peerfetch/device/{proxy.ready['peer_id']}/folder/notes.txt"
    ask = f"fetch('{url}').then(async (r) => [r.status, await r.text()])"

    async with open_page(browser, page_url(proxy.ready["signaling"])) as idle:
        async with open_page(browser, link_to(proxy.ready)) as other:
            async with open_page(browser, link_to(proxy.ready)) as one:
                for page in (one, other):
                    await page.until("document.querySelector('.save') !== null")
                await idle.until("navigator.serviceWorker.controller !== null")
                assert await idle.evaluate(ask) == [200, "Grüße"]
            assert await idle.evaluate(ask) == [200, "Grüße"]
            assert await other.evaluate(ask) == [200, "Grüße"]
        status, sentence = await idle.evaluate(ask)
        assert status == 503
        assert "Open its page" in sentence


async def test_a_page_that_was_reloaded_past_the_worker_has_it_again(
    browser: str, proxy: Process
) -> None:
    async with open_page(browser, link_to(proxy.ready)) as page:
        await page.until("document.querySelector('.save') !== null")
        await page.reload(past_caches=True)
        await page.until("document.querySelector('.save') !== null")
        assert await page.evaluate("navigator.serviceWorker.controller !== null")


async def test_without_a_secure_context(
    browser: str, proxy: Process, media: Path, tmp_path: Path
) -> None:
    url = link_to(proxy.ready).replace("127.0.0.1", HOST)
    async with open_page(browser, url) as page:
        await page.devtools(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path)
        )
        assert await page.evaluate(
            "[isSecureContext, 'serviceWorker' in navigator, typeof crypto.subtle]"
        ) == [False, False, "undefined"]
        assert "HTTPS" in await page.until(text_of("#insecure"))
        await page.until("document.querySelector('.save') !== null")
        assert await page.evaluate(
            "document.querySelector('#scan').hidden && document.querySelector('#share').hidden"
        )
        await page.evaluate(click("#entries a.entry", "picture.png"))
        assert await page.until("document.querySelector('#viewer img')?.naturalWidth") == 210
        # Where one looks, and before anything of it is fetched.
        await page.until("document.querySelector('#viewer-close').click() ?? true")
        await page.until("!document.querySelector('#folder').hidden")
        await page.evaluate(click(".save", "huge.bin"))
        said = await page.until(f"/Without HTTPS.*/.exec({text_of('.download')})?.[0]")
        assert "of up to 268 MB, and huge.bin has 315 MB" in said
        await page.evaluate(click(".save", "large.bin"))
        await saved(tmp_path, media)


async def saved(directory: Path, media: Path) -> None:
    """Wait for the large file; it is what the device has."""
    path = directory / "large.bin"
    while not path.exists() or path.stat().st_size < LARGE:
        await asyncio.sleep(0.02)
    assert path.read_bytes() == (media / "large.bin").read_bytes()


@pytest.mark.parametrize("host", ["localhost", HOST])
async def test_a_download_that_breaks_off_is_said_to(
    browser: str, host: str, tmp_path: Path
) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if request.method == "GET":
            await response.write(bytes(1000))
            assert request.transport is not None
            request.transport.abort()
        return response

    async def listing(request: web.Request) -> web.Response:
        entry = {"name": "film.bin", "href": "film.bin", "type": "file", "size": 2000}
        return web.json_response({"entries": [entry]})

    async with contextlib.AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_get("/", listing)
        app.router.add_get("/film.bin", broken)
        page = await stack.enter_async_context(
            open_page(browser, await start_device(stack, app, host, "#dev1"))
        )
        await page.devtools(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path)
        )
        await page.until("document.querySelector('.save') !== null")
        await page.evaluate(click(".save", "film.bin"))
        assert (
            await page.until(
                text_of("#downloads-said").replace("?", "")
                + ".includes('short') && "
                + text_of("#entries .download")
            )
        ).strip() == "film.bin: 1.0 kB, cut short"
        assert await page.evaluate("document.querySelector('.download progress').hidden")


def test_the_page_by_https(
    browser: str, certificate: tuple[Path, Path], media: Path, tmp_path: Path
) -> None:
    async def main() -> None:
        async with open_page(browser, link_to(proxy.ready)) as page:
            await page.devtools(
                "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path)
            )
            await page.until(f"{text_of('#state')} === 'Connected'")
            assert await page.evaluate(
                "[isSecureContext, location.protocol, location.hostname]"
            ) == [True, "https:", HOST]
            assert await page.evaluate("document.querySelector('#insecure').hidden")
            assert await page.evaluate("navigator.serviceWorker.controller.state") == "activated"
            space = f"/~peerfetch/device/{proxy.ready['peer_id']}"
            assert await page.evaluate(
                f"fetch('{space}/folder/notes.txt').then(async (r) => [r.status, await r.text()])"
            ) == [200, "Grüße"]
            await page.until("document.querySelector('.save') !== null")
            await page.evaluate(click("#entries a.entry", "picture.png"))
            assert await page.until("document.querySelector('#viewer img')?.naturalWidth") == 210
            assert await page.evaluate(
                "document.querySelector('#viewer img').src"
            ) == await page.evaluate(f"location.origin + '{space}/picture.png'")
            await page.evaluate(click(".save", "large.bin"))
            await saved(tmp_path, media)

    with peerfetch(
        tmp_path,
        *("proxy", "--serve", media, "--listen", "127.0.0.1:0"),
        *("--tls-certificate", certificate[0], "--tls-key", certificate[1]),
    ) as proxy:
        run(main())


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg")
def test_a_video_plays_and_seeks(browser: str, tmp_path: Path) -> None:
    video = tmp_path / "media" / "film.webm"
    video.parent.mkdir()
    subprocess.run(
        [
            *("ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=10:d=40"),
            *("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "16", "-b:v", "2M"),
            *("-g", "10", str(video)),
        ],
        check=True,
    )

    async def main() -> None:
        async with open_page(browser, link_to(proxy.ready)) as page:
            await page.until("document.querySelector('.save') !== null")
            await page.evaluate(click("#entries a.entry", "film"))
            await page.until("document.querySelector('video')?.readyState >= 2")
            assert await page.evaluate("document.querySelector('video').videoWidth") == 320
            await page.evaluate(
                "new Promise((resolve, reject) => { const video = document.querySelector('video');"
                " video.onseeked = resolve; video.onerror = () => reject(video.error);"
                " video.currentTime = 35; })"
            )
            place = "document.querySelector('video').currentTime"
            await page.until(f"{place} > 35.1")

    with peerfetch(tmp_path, "proxy", "--serve", video.parent, "--listen", "127.0.0.1:0") as proxy:
        run(main())


APP = """<!doctype html>
<html><head><title>The app</title><link rel="stylesheet" href="/style.css">
<script type="module" src="/app.js"></script></head>
<body><img src="picture.png"><output></output></body></html>"""

APP_SCRIPT = """
const log = [];
const socket = new WebSocket(`ws://${location.host}/socket`, ["chat"]);
socket.onopen = () => socket.send("grüße");
socket.onmessage = ({ data }) => {
  log.push(`socket ${data} ${socket.protocol}`);
  socket.close(1000, "done");
};
socket.onclose = ({ code, wasClean }) => log.push(`closed ${code} ${wasClean}`);
new EventSource("/events").onmessage = (event) => log.push(`event ${event.data}`);
const answer = await fetch("/api", { method: "POST", body: JSON.stringify({ a: 1 }) });
log.push(`api ${(await answer.json()).a}`);
history.pushState(null, "", "/deep/inside");
window.log = log;
"""


def make_app() -> web.Application:
    """A single-page application that knows nothing of peerfetch."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=APP, content_type="text/html", headers={"X-Frame-Options": "DENY"})

    def file(text: str, content_type: str) -> Any:
        async def handler(request: web.Request) -> web.Response:
            return web.Response(text=text, content_type=content_type)

        return handler

    async def api(request: web.Request) -> web.Response:
        return web.json_response(await request.json())

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number in range(3):
            await response.write(f"data: {number}\n\n".encode())
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await asyncio.sleep(60)
        return response

    async def socket(request: web.Request) -> web.WebSocketResponse:
        found = web.WebSocketResponse(protocols=["chat"])
        await found.prepare(request)
        async for message in found:
            if message.type is WSMsgType.TEXT:
                await found.send_str(message.data.upper())
        return found

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_get("/deep/inside", page)
    app.router.add_get("/app.js", file(APP_SCRIPT, "text/javascript"))
    app.router.add_get("/style.css", file("body { color: rgb(1, 2, 3) }", "text/css"))
    app.router.add_post("/api", api)
    app.router.add_get("/events", events)
    app.router.add_get("/socket", socket)
    return app


INNER = "document.querySelector('iframe')?.contentWindow?"
LOGGED = [
    "api 1",
    "closed 1000 true",
    "event 0",
    "event 1",
    "event 2",
    "socket GRÜSSE chat",
]


async def test_a_single_page_app_under_its_own_origin(browser: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        url = await start_device(stack, make_app(), "dev1.localhost")
        page = await stack.enter_async_context(open_page(browser, url))
        await page.until(f"{INNER}.log?.length >= 6")
        assert sorted(await page.evaluate(f"{INNER}.log")) == LOGGED
        color = f"getComputedStyle({INNER}.document.body).color"
        assert await page.evaluate(color) == "rgb(1, 2, 3)"
        assert await page.evaluate("document.title") == "The app"
        # Anew at a path of the app, by the worker that is there now.
        await page.navigate(f"{url}deep/inside")
        await page.until(f"{INNER}.log?.includes('api 1')")
        assert await page.evaluate(f"{INNER}.location.pathname") == "/deep/inside"

        # A link cannot bring another device into this origin.
        await page.navigate(f"{url}#dev2#sha256:{'0' * 64}")
        await page.reload()
        await page.until(f"{INNER}.log?.includes('api 1')")
        # Nor can a host that no device's name is in.
        await page.navigate(f"{url.replace('dev1.localhost', 'localhost')}~peerfetch/page/app.html")
        assert "no device" in await page.until(f"/no device/.exec({text_of('#state')})?.input")


async def test_a_device_below_the_name_of_the_page(
    browser: str, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        upstream = await start_upstream(stack, make_app())
        proxy = stack.enter_context(
            peerfetch(
                tmp_path,
                *("proxy", "--target", upstream, "--listen", "127.0.0.1:0"),
                *("--peer-id", "dev1"),
                *("--tls-certificate", certificate[0], "--tls-key", certificate[1]),
            )
        )
        page = await stack.enter_async_context(open_page(browser, link_to(proxy.ready)))
        # By itself, since the device answers with HTML.
        origin = page_url(proxy.ready["signaling"]).replace(HOST, f"peer-dev1.{HOST}")
        await page.until(f"{INNER}.log?.length >= 6")
        assert sorted(await page.evaluate(f"{INNER}.log")) == LOGGED
        assert await page.evaluate(f"{INNER}.location.origin + '/'") == origin
        assert await page.evaluate("isSecureContext && document.title") == "The app"
        # Nothing of the page's own origin can be seen from here.
        assert await page.evaluate(f"Object.keys({INNER}.localStorage)") == ["~peerfetch"]
        # Anew at a path of the app, by the worker that is there now.
        await page.navigate(f"{origin}deep/inside")
        await page.until(f"{INNER}.log?.includes('api 1')")
        assert await page.evaluate(f"{INNER}.location.pathname") == "/deep/inside"
        # A host that no device's name is in is that of the page.
        await page.navigate(origin.replace("peer-dev1", "dev1"))
        await page.until("document.querySelector('#connect-form') !== null")


def make_app_with_login(seen: list[str]) -> web.Application:
    """An application that keeps its session in a cookie; ``seen`` gets those of its WebSockets.

    It takes forms and WebSockets from pages of its own only, and tells them by Origin and Host.
    """

    @web.middleware
    async def same_origin(request: web.Request, handler: Any) -> web.StreamResponse:
        is_form = request.method == "POST" or request.path == "/socket"
        if is_form and request.headers.get("Origin") != f"http://{request.host}":
            raise web.HTTPForbidden(text=f"not of this origin: {request.headers.get('Origin')}")
        response: web.StreamResponse = await handler(request)
        return response

    async def page(request: web.Request) -> web.Response:
        if request.cookies.get("session") == "secret":
            return web.Response(text="<h1>Welcome</h1>", content_type="text/html")
        form = "<form method=post action=login><input name=password value=right></form>"
        return web.Response(status=401, text=form, content_type="text/html")

    async def login(request: web.Request) -> web.StreamResponse:
        assert (await request.post())["password"] == "right"
        response = web.Response(status=303, headers={"Location": "/home"})
        response.set_cookie("session", "secret", httponly=True, samesite="Strict")
        response.set_cookie("theme", "dark", max_age=1000)
        return response

    async def logout(request: web.Request) -> web.Response:
        response = web.Response()
        response.del_cookie("session")
        return response

    async def cookies(request: web.Request) -> web.Response:
        return web.Response(text=request.headers.get("Cookie", ""))

    async def socket(request: web.Request) -> web.WebSocketResponse:
        seen.append(request.headers.get("Cookie", ""))
        found = web.WebSocketResponse()
        await found.prepare(request)
        await found.close()
        return found

    app = web.Application(middlewares=[same_origin])
    for path in ("/", "/home"):
        app.router.add_get(path, page)
    app.router.add_post("/login", login)
    app.router.add_post("/logout", logout)
    app.router.add_get("/cookies", cookies)
    app.router.add_get("/socket", socket)
    return app


async def test_the_login_of_an_app_under_its_own_origin(browser: str) -> None:
    frame = "document.querySelector('iframe')?.contentWindow?"
    form = f"{frame}.document.forms[0]"
    welcome = f"{frame}.document.querySelector('h1')?.innerText === 'Welcome'"
    asked = f"{frame}.fetch('/cookies').then((response) => response.text())"
    to_server: list[str] = []
    in_sockets: list[str] = []

    @web.middleware
    async def note(request: web.Request, handler: Any) -> web.StreamResponse:
        to_server.extend(request.headers.getall("Cookie", ()))
        response: web.StreamResponse = await handler(request)
        return response

    async with contextlib.AsyncExitStack() as stack:
        app = make_app_with_login(in_sockets)
        url = await start_device(stack, app, "dev1.localhost", middlewares=[note])
        async with open_page(browser, url) as page:
            # The app's own 401 is not taken for the device's.
            await page.until(f"{form} !== undefined")
            await page.evaluate(f"{form}.submit()")
            await page.until(welcome)
            assert await page.evaluate(f"{frame}.location.pathname") == "/home"
            assert await page.evaluate(asked) == "session=secret; theme=dark"
            # A script sees what is not HttpOnly, and adds its own.
            assert await page.evaluate(f"{frame}.document.cookie") == "theme=dark"
            for cookie in ("lang=dé; Path=/; Max-Age=99", "session=mine"):
                await page.evaluate(f"window[0].document.cookie = {cookie!r}")
            assert await page.evaluate(f"{frame}.document.cookie") == "theme=dark; lang=dé"
            assert await page.evaluate(asked) == "session=secret; theme=dark; lang=dé"
            assert await page.evaluate(asked.replace("')", "', {credentials: 'omit'})")) == ""
            await page.evaluate(
                "new Promise((resolve) => (new window[0].WebSocket(`ws://${location.host}"
                "/socket`).onclose = () => resolve()))"
            )
            assert len(in_sockets) == 1
            assert in_sockets[0].startswith("session=secret; theme=dark; ")
            await page.navigate(f"{url}home")
            await page.until(welcome)
            async with open_page(browser, url) as other:
                await other.until(welcome)
            await page.navigate(url)
            await page.until(welcome)
            await page.evaluate(f"{frame}.fetch('/logout', {{method: 'POST'}})")
            assert "session" not in await page.evaluate(asked)
            await page.evaluate(
                f"{frame}.fetch('/login', {{method: 'POST',"
                " body: new URLSearchParams({password: 'right'})}).then(() => undefined)"
            )
            assert "session=secret" in await page.evaluate(asked)

        # The session ends with the last tab; what has a time stays.
        async with open_page(browser, f"{url}~peerfetch/package.json") as idle:
            await idle.until("navigator.locks.query().then(({held, pending}) => held.length === 0)")
            async with open_page(browser, url) as page:
                await page.until(f"{form} !== undefined")
                assert await page.evaluate(asked) == "theme=dark; lang=dé"
    # The server that the origin has besides learned of none.
    assert to_server == []
