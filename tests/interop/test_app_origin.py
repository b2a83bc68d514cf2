"""What apps of a device do under its own origin that ordinary pages do, in a real Chromium."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, encode_basic_auth, web
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import Page, chromium, open_page, text_of
from tests.interop.test_page import start_device, start_upstream

from peerfetch_fast import serve
from peerfetch_fast.signaling.peerjs.server import SignalingServer
from peerfetch_fast.web.endpoint import web_endpoint
from processes import posix_only
from support import until

pytestmark = [
    posix_only,
    needs_chromium,
]

FRAME = "document.querySelector('iframe')?.contentWindow?"
HTML = "<!doctype html><html><head><title>{}</title></head><body>{}</body></html>"
CONTENT = bytes(range(256)) * 400


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    with chromium() as devtools:
        yield devtools


@dataclass
class Asked:
    """What came: to the device's server, and to the server of the page."""

    device: list[web.Request] = field(default_factory=list)
    endpoint: list[str] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [request.path_qs for request in self.device]

    def of(self, path: str) -> list[web.Request]:
        return [request for request in self.device if request.path == path]


def nothing(request: web.Request) -> web.Response:
    return web.Response(status=404)


@contextlib.asynccontextmanager
async def shown(
    browser: str, handlers: dict[str, Any], start: str = ""
) -> AsyncIterator[tuple[Page, Asked]]:
    """An app with these handlers or answers, by path, in a tab; it has loaded its first page."""
    asked = Asked()

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.device.append(request)
        await request.read()
        found = handlers.get(request.path, nothing)(request)
        response: web.StreamResponse = await found if asyncio.iscoroutine(found) else found
        return response

    @web.middleware
    async def note(request: web.Request, handler: Any) -> web.StreamResponse:
        asked.endpoint.append(request.path_qs)
        response: web.StreamResponse = await handler(request)
        return response

    async with contextlib.AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        url = await start_device(stack, app, "dev1.localhost", middlewares=[note])
        page = await stack.enter_async_context(open_page(browser, f"{url}{start}"))
        await page.until(f"{FRAME}.document.title")
        yield page, asked


def html(title: str, body: str = "", **headers: str) -> Any:
    def make(request: web.Request) -> web.Response:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(text=HTML.format(title, body), content_type="text/html", headers=fields)

    return make


async def inside(page: Page, script: str) -> Any:
    """Run a script as one of the app's own; what it returns."""
    return await page.evaluate(f"window[0].eval({json.dumps(f'(async () => {{{script}}})()')})")


HAS_SHIM = "return document.scripts[0]?.src.endsWith('/~peerfetch/page/shim.js') ?? false"


async def test_compressed_answers_are_decoded(browser: str) -> None:
    """As with an app that exists only compressed, whatever the browser asks for (WLED's)."""
    page_of = HTML.format("packed", "ä").encode()
    raw = zlib.compressobj(wbits=-15)

    def packed(coding: str, data: bytes, content_type: str) -> Any:
        headers = {"Content-Encoding": coding, "Content-Type": content_type}
        return lambda request: web.Response(body=data, headers=headers)

    handlers = {
        "/": packed("gzip", gzip.compress(page_of), "text/html; charset=utf-8"),
        "/deflate": packed("deflate", zlib.compress(b"zlib"), "text/plain"),
        "/raw": packed("deflate", raw.compress(b"raw") + raw.flush(), "text/plain"),
        "/two": packed("deflate, gzip", gzip.compress(zlib.compress(b"two")), "text/plain"),
        "/mine": packed("mine", b"as it is", "text/plain"),
        "/br": packed("br", b"\x0b\x01\x80ab\x03", "text/plain"),
        "/broken": packed("gzip", gzip.compress(bytes(1000))[:-9], "text/plain"),
        "/bomb": packed("gzip", gzip.compress(bytes(300_000_000), 1), "text/plain"),
    }

    async with shown(browser, handlers) as (page, asked):
        assert await page.evaluate(f"{FRAME}.document.body.innerText") == "ä"
        assert await inside(page, HAS_SHIM)
        text = "return (await fetch('{}')).text()"
        for path, expected in (("deflate", "zlib"), ("raw", "raw"), ("two", "two")):
            assert await inside(page, text.format(path)) == expected
        assert await inside(page, text.format("mine")) == "as it is"
        codings = "gzip, deflate"
        for format_, coding in (("brotli", "br"), ("zstd", "zstd")):
            if await page.evaluate(f"isThere('{format_}')".replace("isThere", IS_THERE)):
                codings += f", {coding}"
        assert {one.headers["Accept-Encoding"] for one in asked.of("/raw")} == {codings}
        if "br" not in codings:
            said = await inside(page, text.format("br"))
            assert "packed as br, which this browser cannot unpack" in said
        fields = "return [...(await fetch('raw')).headers.keys()].join()"
        assert "content-encoding" not in await inside(page, fields)
        await inside(page, "await fetch('raw', {headers: {Range: 'bytes=0-'}})")
        assert asked.of("/raw")[-1].headers["Accept-Encoding"] == "identity"
        broken = "return fetch('broken').then((r) => r.text()).catch((error) => error.name)"
        assert await inside(page, broken) == "TypeError"
        # Unpacked as far as it is read.
        first = (
            "const reader = (await fetch('bomb')).body.getReader();"
            "const { value } = await reader.read(); await reader.cancel(); return value.length"
        )
        assert 0 < await inside(page, first) < 20_000_000


IS_THERE = (
    "((format) => { try { return !!new DecompressionStream(format) } catch { return false } })"
)


async def test_places_beyond_ascii_and_pages_without_a_type(browser: str) -> None:
    location = "/grüße/?ä=1"

    async def untyped(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.headers["Content-Type"] = ""
        await response.prepare(request)
        for piece in (b"<!-- x -->\n<!doctype", b" html><ti", b"tle>untyped</title><p>x"):
            await response.write(piece)
            await asyncio.sleep(0)
        return response

    handlers = {
        "/": html("start"),
        "/away": lambda request: web.Response(status=302, headers={"Location": location}),
        "/grüße/": html("there"),
        "/untyped": untyped,
    }

    async with shown(browser, handlers) as (page, asked):
        await page.evaluate("void (window[0].location.href = '/away')")
        await page.until(f"{FRAME}.document.title === 'there'")
        assert asked.paths[-1] == "/gr%C3%BC%C3%9Fe/?%C3%A4=1"
        url = "return decodeURI((await fetch('/away')).url.slice(location.origin.length))"
        assert await inside(page, url) == location
        await page.evaluate("void (window[0].location.href = '/untyped')")
        await page.until(f"{FRAME}.document.title === 'untyped'")
        assert await inside(page, HAS_SHIM)
        assert await inside(page, "return document.compatMode") == "CSS1Compat"


async def test_an_event_source_goes_on_where_it_was(browser: str) -> None:
    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        number = int(request.headers.get("Last-Event-ID", "grüße 0").split()[1]) + 1
        await response.write(f"retry: 20\nid: grüße {number}\ndata: {number}\n\n".encode())
        return response

    handlers = {"/": html("start"), "/events": events}

    async with shown(browser, handlers) as (page, asked):
        got = await inside(
            page,
            "const source = new EventSource('events?x=1'); const got = [];"
            "window.source = source;"
            "return new Promise((resolve) => (source.onmessage = ({ data }) =>"
            " got.push(data) === 3 && resolve([...got, source.url,"
            " source instanceof EventSource, EventSource.OPEN])))",
        )
        assert got[:3] == ["1", "2", "3"]
        assert got[3].endswith("/events?x=1")
        assert got[4:] == [True, 1]
        assert {one.path_qs for one in asked.of("/events")} == {"/events?x=1"}
        # Another one of the same URL begins at the beginning.
        first = (
            "return new Promise((found) => (new EventSource('events').onmessage ="
            " ({ data }) => found(data)))"
        )
        assert await inside(page, first) == "1"


SOCKET = """
const socket = new WebSocket(`ws://${location.host}/socket`, ["chat"]);
socket.binaryType = "arraybuffer";
const opened = await new Promise((resolve) => (socket.onopen = resolve));
const about = [socket instanceof WebSocket, socket instanceof EventTarget,
  socket.constructor === WebSocket, opened instanceof Event,
  socket.readyState === WebSocket.OPEN, socket.url, socket.protocol];
socket.send(new Uint8Array([1, 2]).buffer);
const binary = await new Promise((resolve) => (socket.onmessage = resolve));
about.push(binary instanceof MessageEvent, binary.data instanceof ArrayBuffer, binary.origin);
socket.binaryType = "blob";
socket.send(new Blob(["ab"]));
const blob = await new Promise((resolve) => (socket.onmessage = resolve));
about.push(blob.data instanceof Blob, blob.data.size);
const uncaught = new Promise((resolve) => (window.onerror = (text) => resolve(text) ?? true));
socket.onmessage = () => { throw new Error("of the app") };
socket.send("x");
about.push(await uncaught);
socket.close(4000, "done");
const closed = await new Promise((resolve) => (socket.onclose = resolve));
about.push(closed instanceof CloseEvent, closed.code, closed.wasClean);
class Derived extends WebSocket {
  send(data) { super.send(`derived ${data}`); }
}
const derived = new Derived("/socket");
await new Promise((resolve) => derived.addEventListener("open", resolve));
derived.send("x");
const { data } = await new Promise((resolve) => (derived.onmessage = resolve));
about.push(derived instanceof Derived, data);
for (const bad of [() => new WebSocket("mailto:x"), () => new WebSocket("/", ["a", "a"])]) {
  try { bad(); } catch (error) { about.push(error instanceof DOMException && error.name); }
}
return about;
"""


async def test_a_web_socket_is_of_the_apps_own_realm(browser: str) -> None:
    closed: list[int | None] = []

    async def socket(request: web.Request) -> web.WebSocketResponse:
        found = web.WebSocketResponse(protocols=["chat"])
        await found.prepare(request)
        async for message in found:
            if message.type is WSMsgType.BINARY:
                await found.send_bytes(message.data)
            else:
                await found.send_str(message.data)
        closed.append(found.close_code)
        return found

    handlers = {
        "/": html("start"),
        "/next": html("next"),
        "/inner": html("inner", "<iframe src=/innermost></iframe>"),
        "/innermost": html("innermost"),
        "/socket": socket,
    }

    async with shown(browser, handlers) as (page, _):
        found = await inside(page, SOCKET)
        origin = await page.evaluate("location.origin.replace('http', 'ws')")
        assert found == [
            *(True, True, True, True, True, f"{origin}/socket", "chat"),
            *(True, True, origin, True, 2),
            "Uncaught Error: of the app",
            *(True, 1000, True),
            *(True, "derived x"),
            *("SyntaxError", "SyntaxError"),
        ]
        assert closed == [4000]
        # Who leaves its page takes leave.
        await page.evaluate("void (window[0].location.href = '/next')")
        await until(lambda: closed == [4000, 1001])
        # Frames of the app's own have them too.
        await page.evaluate("void (window[0].location.href = '/inner')")
        await page.until("window[0][0]?.document.title === 'innermost'")
        assert await page.evaluate(
            "window[0][0].eval('new Promise((resolve) => (new WebSocket(`/socket`).onopen ="
            " ({ target }) => resolve(target instanceof WebSocket)))')"
        )


LINKS = """<a id=link download href="/link.bin">x</a>
<a id=named download="mein.bin" href="/named">x</a>
<form id=form method=post action="/form"><input name=a value=1></form>
<form id=tab method=post action="/tab" target=_blank><input name=a value=2></form>
<object id=object width=100 data="/object.svg"></object><embed src="/embed.svg">
<link rel=manifest href="/manifest.json"><link rel=prefetch href="/prefetched">
<a id=ping href="#there" ping="/ping">x</a>"""

CLICKS = {
    "link.bin": "document.querySelector('#link').click()",
    "mein.bin": "document.querySelector('#named').click()",
    "grün.bin": "Object.assign(document.createElement('a'), {href: '/sent', download: ''}).click()",
    "made.bin": "Object.assign(document.createElement('a'), {href: '/made.bin', download: ''})"
    ".dispatchEvent(new MouseEvent('click'))",
    "form.bin": "document.querySelector('#form').submit()",
    "tab.bin": "document.querySelector('#tab').submit()",
}

SECRETLY = [
    "document.querySelector('#ping').click()",
    "navigator.sendBeacon('/beacon', 'x')",
    "new Image().src = '/image'",
    "await navigator.serviceWorker?.register('/sw.js').catch(() => {})",
    "await fetch('/kept', {keepalive: true})",
    "new Worker('/worker.js')",
]


async def test_no_path_of_the_device_reaches_the_server_of_the_page(
    browser: str, tmp_path: Path
) -> None:
    def named(name: str) -> Any:
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
        return lambda request: web.Response(body=CONTENT, headers=headers)

    def plain(request: web.Request) -> web.Response:
        return web.Response(body=CONTENT, content_type="application/octet-stream")

    policy = "img-src 'none'; report-uri /report"
    handlers = {
        "/": html("start", LINKS, Content_Security_Policy_Report_Only=policy),
        "/link.bin": plain,
        "/named": plain,
        "/made.bin": plain,
        "/sent": named("gr%C3%BCn.bin"),
        "/form": named("form.bin"),
        "/tab": named("tab.bin"),
        "/gone": lambda request: web.Response(status=404, text="a page of the app"),
    }

    async with shown(browser, handlers) as (page, asked):
        await page.devtools(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path)
        )
        for name, act in CLICKS.items():
            await inside(page, act)
            await until((tmp_path / name).exists)
            await until(lambda name=name: (tmp_path / name).read_bytes() == CONTENT)
        posted = {request.path: request.method for request in asked.device}
        assert (posted["/form"], posted["/tab"]) == ("POST", "POST")
        for act in SECRETLY:
            await inside(page, act)
        # What would be a plugin is shown in a frame.
        await until(lambda: {"/object.svg", "/embed.svg"} <= set(asked.paths))
        frames = (
            "return [...document.querySelectorAll('iframe')].map(({ id, width }) => id + width)"
        )
        assert await inside(page, frames) == ["object100", ""]
        secret = {"/ping", "/beacon", "/image", "/kept", "/worker.js", "/report"}
        await until(lambda: secret <= set(asked.paths))
        # What is not there is said, and not saved.
        gone = "Object.assign(document.createElement('a'), {href: '/gone', download: ''}).click()"
        await inside(page, gone)
        assert "answered 404" in await page.until(f"/.*404.*/.exec({text_of('#state')})?.[0]")
        assert not (tmp_path / "gone").exists()
        # A handler of the app's own goes first.
        prevented = (
            "const link = document.querySelector('#link');"
            "link.onclick = (event) => event.preventDefault(); link.click()"
        )
        before = len(asked.of("/link.bin"))
        await inside(page, prevented)
        await inside(page, "await fetch('/last')")
        assert len(asked.of("/link.bin")) == before
        ours = ("/~peerfetch/", "/peerjs?")
        assert [path for path in asked.endpoint if not path.startswith(ours)] == ["/"]


SIGN_IN = (
    "document.querySelector('#login-user').value = {};"
    "document.querySelector('#login-password').value = {};"
    "document.querySelector('#login form').requestSubmit()"
)
IS_ASKED = "document.querySelector('#login').open"


async def sign_in(page: Page, user: str, password: str) -> None:
    await page.until(IS_ASKED)
    await page.evaluate(SIGN_IN.format(json.dumps(user), json.dumps(password)))


async def test_a_person_is_asked_once_for_a_login_by_basic(browser: str) -> None:
    expected = encode_basic_auth("mé", "pass: word", encoding="utf-8")

    def guarded(content: Any, realm: str = "die Küche") -> Any:
        async def make(request: web.Request) -> web.StreamResponse:
            if request.headers.get("Authorization") != expected:
                challenge = f'Negotiate, Basic realm="{realm}", charset="UTF-8"'
                return web.Response(
                    status=401, text="no entry", headers={"WWW-Authenticate": challenge}
                )
            found = content(request)
            response: web.StreamResponse = await found if asyncio.iscoroutine(found) else found
            return response

        return make

    async def socket(request: web.Request) -> web.WebSocketResponse:
        found = web.WebSocketResponse()
        await found.prepare(request)
        await found.send_str("in")
        await found.close()
        return found

    def plain(request: web.Request) -> web.Response:
        return web.Response(text="1")

    handlers = {
        "/": html("start"),
        "/inside/": guarded(html("inside", "<img src=a><img src=b><script src=c></script>")),
        "/inside/a": guarded(plain),
        "/inside/b": guarded(plain),
        "/inside/c": guarded(plain),
        "/inside/socket": guarded(socket),
        "/other": guarded(plain, "another"),
    }

    async with shown(browser, handlers) as (page, asked):
        # A script that names a login of its own is not meddled with.
        status = "return (await fetch('/inside/a', {})).status"
        own = "{headers: {Authorization: 'Bearer x'}}"
        assert await inside(page, status.format(own)) == 401
        assert await inside(page, status.format("{credentials: 'omit'}")) == 401
        await page.evaluate("void (window[0].location.href = '/inside/')")
        await page.until(IS_ASKED)
        assert "“die Küche”" in await page.evaluate(text_of("#login-for"))
        assert await page.evaluate("document.querySelector('#login-wrong').hidden")
        assert await page.evaluate("document.activeElement.id") == "login-user"
        await page.press("Escape")
        await page.until(f"{FRAME}.document.body.innerText === 'no entry'")
        await page.evaluate("void (window[0].location.href = '/inside/')")
        await sign_in(page, "mé", "wrong")
        await page.until(f"{IS_ASKED} && !document.querySelector('#login-wrong').hidden")
        await sign_in(page, "mé", "pass: word")
        await page.until(f"{FRAME}.document.title === 'inside'")
        await until(lambda: {"/inside/a", "/inside/b", "/inside/c"} <= set(asked.paths))
        assert await inside(page, status.format("{}")) == 200
        sent = [one.headers.get("Authorization") for one in asked.of("/inside/a")[2:]]
        assert set(sent) == {expected}
        came = (
            "return new Promise((resolve) => (new WebSocket('/inside/socket').onmessage ="
            " ({ data }) => resolve(data)))"
        )
        assert await inside(page, came) == "in"
        assert not await page.evaluate(IS_ASKED)
        # Nobody else is told: neither another realm, nor what lies above.
        await inside(page, "window.other = fetch('/other').then(({ status }) => status)")
        await page.until(f"{IS_ASKED} && {text_of('#login-for')}.includes('another')")
        assert "Authorization" not in asked.of("/other")[0].headers
        assert await page.evaluate("document.querySelector('#login-password').value") == ""
        await page.press("Escape")
        assert await inside(page, "return window.other") == 401
        kept = "JSON.stringify([{...localStorage}, {...sessionStorage}])"
        assert "word" not in await page.evaluate(kept)


async def test_a_synchronous_request_is_sent_and_answered_later(browser: str) -> None:
    handlers = {"/": html("start"), "/sync": lambda request: web.Response(text="answered")}
    async with shown(browser, handlers) as (page, _):
        asked = (
            "const request = new XMLHttpRequest(); request.open('GET', '/sync', false);"
            "const found = new Promise((resolve) => (request.onload = () =>"
            " resolve([request.status, request.responseText])));"
            "request.send(); return found"
        )
        assert await inside(page, asked) == [200, "answered"]


async def test_a_tab_that_was_opened_for_a_file_says_so(browser: str, tmp_path: Path) -> None:
    def file(request: web.Request) -> web.Response:
        return web.Response(body=CONTENT, headers={"Content-Disposition": "attachment"})

    async with shown(browser, {"/": html("start"), "/file.bin": file}) as (page, _):
        url = await page.evaluate("location.origin")
        async with open_page(browser) as other:
            await other.devtools(
                "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path)
            )
            await other.navigate(f"{url}/file.bin")
            assert "is being saved" in await other.until(
                f"/.*being saved.*/.exec({text_of('#state')})?.[0]"
            )
            await until((tmp_path / "file.bin").exists)
            await until(lambda: (tmp_path / "file.bin").read_bytes() == CONTENT)


async def test_who_comes_too_early_can_try_again(browser: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        app = web.Application()

        async def there(request: web.Request) -> web.Response:
            response: web.Response = html("there")(request)
            return response

        app.router.add_get("/", there)
        upstream = await start_upstream(stack, app)
        signaling = SignalingServer(middlewares=[web_endpoint()])
        stack.push_async_callback(signaling.close)
        await signaling.start("127.0.0.1", 0)
        port = signaling.url.rpartition(":")[2]
        page = await stack.enter_async_context(open_page(browser, f"http://dev1.localhost:{port}/"))
        await page.until("!document.querySelector('#retry').hidden")
        assert "not there" in await page.evaluate(text_of("#state"))
        device = await serve(upstream, signaling=signaling.url, peer_id="dev1")
        stack.push_async_callback(device.close)
        await page.evaluate("document.querySelector('#retry').click()")
        await page.until(f"{FRAME}.document.title === 'there'")
        assert await page.evaluate("document.querySelector('#card').hidden")
