"""Devices that run an old proxy, asked by our page, our module and the npm-style class in a real
Chromium."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import Page, chromium, open_page, text_of
from tests.peerfetch1.test_end_to_end import OldPeer, old_proxy

from peerfetch_fast.peerfetch1 import MAX_OLD_MESSAGE
from peerfetch_fast.signaling.peerjs.server import SignalingServer
from peerfetch_fast.web.endpoint import web_endpoint

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    with chromium() as devtools:
        yield devtools


@contextlib.asynccontextmanager
async def device_and_page(browser: str, path: str) -> AsyncIterator[tuple[OldPeer, Page]]:
    signaling = SignalingServer(middlewares=[web_endpoint()])
    await signaling.start("127.0.0.1", 0)
    try:
        url = signaling.url.replace("ws:", "http:") + path
        async with old_proxy(signaling.url) as device, open_page(browser, url) as page:
            yield device, page
    finally:
        await signaling.close()


ASK = f"""
(async () => {{
  const {{ connect }} = await import("/~peerfetch/peerfetch.js");
  const peer = await connect("old-proxy");
  const ask = async (url, init) => {{
    const response = await peer.fetch(`/${{url}}`, init);
    const body = await response.arrayBuffer();
    return [response.status, body.byteLength, new TextDecoder().decode(body.slice(0, 300))];
  }};
  const told = {{
    get: await ask("http://localhost:8778/api?a=b"),
    put: await ask("http://localhost/x", {{ method: "PUT", body: "grüße" }}),
    post: await ask("http://localhost/x", {{
      method: "POST",
      body: '{{"a":1}}',
      headers: {{ "content-type": "application/json" }},
    }}),
    largest: await ask("http://localhost/bytes/{MAX_OLD_MESSAGE}"),
    larger: await ask("http://localhost/bytes/{MAX_OLD_MESSAGE + 1}"),
    deleted: await ask("x", {{ method: "DELETE" }}),
    atOnce: await Promise.all([1, 2, 3].map((n) => ask(`http://localhost/${{n}}`))),
  }};
  await peer.close();
  return told;
}})()
"""


async def test_the_module_asks_an_old_device(browser: str) -> None:
    async with device_and_page(browser, "/~peerfetch/peerfetch.js") as (device, page):
        told: dict[str, Any] = await page.evaluate(ASK)
        assert told["get"][2] == '{"url": "http://localhost:8778/api?a=b", "method": "GET"}'
        assert '"data": "gr\\u00fc\\u00dfe"' in told["put"][2]
        assert '"json": {"a": 1}' in told["post"][2]
        assert told["largest"][:2] == [200, MAX_OLD_MESSAGE]
        assert told["larger"][0] == 502
        assert "at most 3000000 bytes are taken" in told["larger"][2]
        assert told["deleted"][0] == 501
        for n, answer in enumerate(told["atOnce"], 1):
            assert f'"http://localhost/{n}"' in answer[2]
        assert {channel.label for channel in device.channels} == {"http-proxy"}


OLD_CLASS = """
(async () => {
  const { PeerFetch } = await import("/~peerfetch/peerfetch.js");
  const peerFetch = new PeerFetch({ host: location.hostname, port: Number(location.port) });
  await peerFetch.connect("old-proxy");
  const { header, content } = await peerFetch.get("http://localhost:8778/api?", {
    params: new Map([["a", "b"]]),
  });
  const path = await peerFetch.get("/only/a/path");
  await peerFetch.disconnect();
  return [header.status, peerFetch.jsonify(content).url, peerFetch.jsonify(path.content).url];
})()
"""


async def test_the_old_class_asks_an_old_device(browser: str) -> None:
    async with device_and_page(browser, "/~peerfetch/peerfetch.js") as (_, page):
        told = await page.evaluate(OLD_CLASS)
        assert told == [200, "http://localhost:8778/api?a=b", "/only/a/path"]


async def test_the_page_shows_what_an_old_device_answers(browser: str) -> None:
    async with device_and_page(browser, "/#old-proxy") as (_, page):
        await page.until(f"{text_of('#state')} === 'Connected'")
        await page.until(f"{text_of('#entries-note')}.includes('runs an old proxy')")
        await page.evaluate(
            "document.querySelector('#path').value = 'http://localhost:8778/api';"
            "document.querySelector('#path-form').requestSubmit()"
        )
        await page.until(f"{text_of('#viewer-content')}?.includes('http://localhost:8778/api')")
        shown = "document.querySelector('#path').value"
        assert await page.evaluate(shown) == "http://localhost:8778/api"
