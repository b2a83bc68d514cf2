"""A device with bad intentions, and its neighbours below one name, in a real Chromium."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import (
    HOST,
    Page,
    chromium,
    open_page,
    text_of,
    trusting,
)
from tests.interop.devices import start_upstream

from certificates import self_signed
from peerfetch_fast import serve
from peerfetch_fast.cli.serving import tls_pin
from peerfetch_fast.signaling.peerjs.server import SignalingServer
from peerfetch_fast.web.endpoint import web_endpoint
from processes import posix_only

pytestmark = [
    posix_only,
    needs_chromium,
]

# Each tells whoever frames it that it was shown.
SHOWN = "<title>shown</title><script>parent.postMessage(location.pathname, '*')</script>"

# Resolves with what the framed document said, and null where nothing of it was shown.
FRAMED = """
new Promise((resolve) => {
  const { contentDocument: inner, contentWindow: view } = document.querySelector("iframe");
  const frame = inner.createElement("iframe");
  frame.name = "victim";
  const end = (said) => {
    frame.remove();
    resolve(said);
  };
  view.addEventListener("message", ({ data }) => end(data));
  ACT;
  // Not of the empty document that it had at first. What another process says may come after it.
  frame.addEventListener("load", () => setTimeout(() => end(null), 1000));
})
"""


@dataclass
class Neighbours:
    """Two devices, and what the second one's server was asked for."""

    host: str
    port: int
    asked: list[str] = field(default_factory=list)

    def url(self, device: str) -> str:
        return f"https://peer-{device}.{self.host}:{self.port}/"

    @property
    def page(self) -> str:
        return f"https://{self.host}:{self.port}/"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls"), HOST, f"*.{HOST}")


@pytest.fixture(scope="module")
def browser(certificate: tuple[Path, Path]) -> Iterator[str]:
    with chromium(trusting(certificate[0])) as devtools:
        yield devtools


def make_app(asked: list[str], headers: dict[str, str]) -> web.Application:
    async def answer(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path}")
        return web.Response(text=SHOWN, content_type="text/html", headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    return app


@contextlib.asynccontextmanager
async def neighbours(
    certificate: tuple[Path, Path], headers: dict[str, str] | None = None
) -> AsyncIterator[Neighbours]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    async with contextlib.AsyncExitStack() as stack:
        signaling = SignalingServer(middlewares=[web_endpoint()])
        stack.push_async_callback(signaling.close)
        await signaling.start("127.0.0.1", 0, tls)
        found = Neighbours(HOST, int(signaling.url.rpartition(":")[2]))
        for device, asked, more in (("dev1", [], {}), ("dev2", found.asked, headers or {})):
            upstream = await start_upstream(stack, make_app(asked, more))
            server = await serve(
                upstream,
                signaling=signaling.url,
                signaling_pin=tls_pin(certificate[0]),
                peer_id=device,
            )
            stack.push_async_callback(server.close)
        yield found


async def ready(page: Page) -> None:
    await page.until("document.querySelector('iframe')?.contentDocument?.title === 'shown'")


def framed(act: str) -> str:
    return FRAMED.replace("ACT", act)


def framing(url: str) -> str:
    return framed(f"frame.src = {json.dumps(url)}; inner.body.append(frame)")


def posting(url: str) -> str:
    """A form, which may ask not to be told of, sent into a frame."""
    return framed(
        "inner.body.append(frame);"
        "const form = inner.createElement('form');"
        f"Object.assign(form, {{ action: {json.dumps(url)}, method: 'post', target: 'victim' }});"
        "inner.head.append(Object.assign(inner.createElement('meta'),"
        " { name: 'referrer', content: 'no-referrer' }));"
        "inner.body.append(form);"
        "form.submit()"
    )


async def test_a_device_cannot_frame_its_neighbour(
    browser: str, certificate: tuple[Path, Path]
) -> None:
    async with (
        neighbours(certificate) as found,
        open_page(browser, found.url("dev2")) as victim,
        open_page(browser, found.url("dev1")) as attacker,
    ):
        await ready(victim)
        await ready(attacker)
        # The browser frames what is of the device itself, as ever.
        assert await attacker.evaluate(framing(f"{found.url('dev1')}inner")) == "/inner"
        assert await victim.evaluate(framing(f"{found.url('dev2')}inner")) == "/inner"
        assert await attacker.evaluate(framing(f"{found.url('dev2')}secret")) is None
        for page in (victim, attacker):
            assert await page.evaluate("window.originAgentCluster")
            assert await page.evaluate("window[0].originAgentCluster")


async def test_an_app_chooses_who_else_frames_it(
    browser: str, certificate: tuple[Path, Path]
) -> None:
    policy = {"Content-Security-Policy": f"frame-ancestors https://*.{HOST}:*"}
    async with (
        neighbours(certificate, policy) as found,
        open_page(browser, found.url("dev2")) as victim,
        open_page(browser, found.url("dev1")) as attacker,
    ):
        await ready(victim)
        await ready(attacker)
        assert await attacker.evaluate(framing(f"{found.url('dev2')}public")) == "/public"


async def test_a_device_cannot_send_forms_to_its_neighbour(
    browser: str, certificate: tuple[Path, Path]
) -> None:
    async with (
        neighbours(certificate) as found,
        open_page(browser, found.url("dev2")) as victim,
        open_page(browser, found.url("dev1")) as attacker,
    ):
        await ready(victim)
        await ready(attacker)
        assert await attacker.evaluate(posting(f"{found.url('dev2')}delete")) is None
        assert "POST /delete" not in found.asked
        # The app's own forms go there.
        own = framed(
            "inner.body.append(frame);"
            "const form = inner.createElement('form');"
            "Object.assign(form, { action: '/own', method: 'post', target: 'victim' });"
            "inner.body.append(form);"
            "form.submit()"
        )
        await victim.evaluate(own)
        assert "POST /own" in found.asked


async def test_a_device_cannot_frame_what_the_page_shows(
    browser: str, certificate: tuple[Path, Path]
) -> None:
    async with (
        neighbours(certificate) as found,
        open_page(browser, f"{found.page}#dev2/page.html") as page,
        open_page(browser, found.url("dev1")) as attacker,
    ):
        await page.until(f"{text_of('#state')} === 'Connected'")
        await ready(attacker)
        shown = await page.evaluate("fetch('/~peerfetch/device/dev2/seen').then((r) => r.status)")
        assert shown == 200
        for kind in ("device", "download"):
            url = f"{found.page}~peerfetch/{kind}/dev2/secret"
            assert await attacker.evaluate(framing(url)) is None
        assert "GET /seen" in found.asked
        assert "GET /secret" not in found.asked
        # Nor can it make itself the page's equal.
        domain = f"window[0].document.domain = {json.dumps(HOST)}; window[0].document.domain"
        assert await attacker.evaluate(domain) != HOST


async def test_a_link_cannot_exchange_the_pin_of_a_device(
    browser: str, certificate: tuple[Path, Path]
) -> None:
    async with neighbours(certificate) as found:
        pin = {"pin": f"sha256:{'1' * 64}"}
        async with open_page(browser, f"{found.page}~peerfetch/page/icon.svg") as page:
            await page.navigate(f"{found.url('dev2')}~peerfetch/page/icon.svg")
            kept = f"localStorage.setItem('~peerfetch', {json.dumps(json.dumps(pin))})"
            await page.evaluate(kept)
            await page.navigate(f"{found.url('dev2')}#dev2#sha256:{'2' * 64}")
            said = await page.until(f"/another certificate/.exec({text_of('#state')})?.input")
            assert "clear this site's data" in said
            assert json.loads(await page.evaluate("localStorage['~peerfetch']")) == pin
            assert "GET /" not in found.asked
