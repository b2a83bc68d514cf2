"""ICE servers that a signaling server names: by them the page, a device's own page and the module
reach a device through nothing but a relay, in a real Chromium.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import chromium, open_page, text_of
from tests.interop.test_app_origin import FRAME

from peerfetch_fast.web.page_link import page_url
from processes import Process, accepts, free_port, peerfetch, posix_only, running

pytestmark = [
    posix_only,
    needs_chromium,
]

LOOPBACK = "127.0.0.1"

# As in a network that lets nothing out but to the relay.
RELAY_ONLY = """
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(configuration) {
    super({ ...configuration, iceTransportPolicy: "relay" });
    (window.connections ??= []).push(this);
  }
};
"""
KINDS = """
(async () => {
  const reports = [...(await connections.at(-1).getStats()).values()];
  const own = reports.filter(({ type }) => type === "local-candidate");
  return [...new Set(own.map(({ candidateType }) => candidateType))].join();
})()
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    with chromium() as devtools:
        yield devtools


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a TURN server, with its login."""
    program = shutil.which("turnserver")
    if program is None:
        pytest.skip("coturn is not installed (Debian: apt install coturn)")
    directory: Path = tmp_path_factory.mktemp("coturn")
    port = free_port()
    with running(
        *(program, "-n", "--listening-ip", LOOPBACK, "--relay-ip", LOOPBACK),
        *("--allow-loopback-peers", "--cli-password", "unused", "--no-cli"),
        *("--listening-port", port, "--no-tls", "--no-dtls", "--lt-cred-mech"),
        *("--user", "someone:secret", "--realm", "example.org", "--log-file", "stdout"),
        *("--userdb", directory / "db", "--pidfile", directory / "pid"),
        log=directory / "log",
        ready=lambda: accepts(port),
    ):
        yield f"turn:{LOOPBACK}:{port}?transport=udp,someone,secret"


@pytest.fixture(scope="module")
def proxy(relay: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A device whose own server names the relay."""
    directory = tmp_path_factory.mktemp("proxy")
    (directory / "files").mkdir()
    (directory / "files" / "shown.html").write_text("<title>by relay</title>")
    with peerfetch(
        directory,
        *("proxy", "--serve", directory / "files", "--listen", f"{LOOPBACK}:0"),
        *("--ice-server", relay),
    ) as proxy:
        yield proxy


async def test_the_page_and_a_devices_own_page(browser: str, proxy: Process) -> None:
    peer, signaling = proxy.ready["peer_id"], proxy.ready["signaling"]
    async with open_page(browser) as page:
        await page.devtools("Page.addScriptToEvaluateOnNewDocument", source=RELAY_ONLY)
        await page.navigate(page_url(signaling, peer))
        await page.until(f"{text_of('#state')} === 'Connected'")
        assert await page.evaluate(KINDS) == "relay"
        own = page_url(signaling).replace(LOOPBACK, f"{peer}.localhost")
        await page.navigate(f"{own}shown.html")
        await page.until(f"{FRAME}.document.title === 'by relay'")
        assert await page.evaluate(KINDS) == "relay"


TICK = "document.querySelector('#direct-only').click()"
WAY = "(/Connected .*/.exec(document.querySelector('#way').textContent) ?? [''])[0]"
# Of the latest connection: whether it asks for relays.
ASKS = r"""
JSON.stringify(connections.at(-1).getConfiguration().iceServers).includes("turn:")
"""


async def test_the_page_says_which_way_it_is_and_asks_for_no_relay_if_it_shall_not(
    browser: str, proxy: Process
) -> None:
    peer, signaling = proxy.ready["peer_id"], proxy.ready["signaling"]
    async with open_page(browser) as page:
        script = await page.devtools("Page.addScriptToEvaluateOnNewDocument", source=RELAY_ONLY)
        await page.navigate(page_url(signaling, peer))
        said = await page.until(WAY)
        assert re.match(r"Connected through (a|the) relay.*: .*UDP may be blocked", said)
        assert await page.evaluate(ASKS)
        await page.devtools("Page.removeScriptToEvaluateOnNewDocument", **script)
        any_way = RELAY_ONLY.replace('iceTransportPolicy: "relay"', "")
        await page.devtools("Page.addScriptToEvaluateOnNewDocument", source=any_way)
        await page.evaluate(TICK)
        # It is kept, and holds for the device's own page, too.
        await page.navigate("about:blank")
        await page.navigate(page_url(signaling, peer))
        assert await page.until(WAY) == "Connected directly."
        assert not await page.evaluate(ASKS)
        own = page_url(signaling).replace(LOOPBACK, f"{peer}.localhost")
        for said, asks in (("direct!", False), ("", False), ("any!", True)):
            await page.navigate("about:blank")
            await page.navigate(f"{own}shown.html#{said}{peer}")
            await page.until(f"{FRAME}.document.title === 'by relay'")
            assert await page.evaluate(ASKS) is asks


async def test_a_page_that_serves_takes_nobody_by_a_relay_if_it_shall_not(
    browser: str, proxy: Process
) -> None:
    script = """
    (async () => {
      const { connect, serve } = await import("/~peerfetch/peerfetch.js");
      const ways = [];
      for (const directOnly of [false, true]) {
        let came = null;
        const onpeer = (peer) => (came = peer);
        const server = await serve(() => new Response("it"), { directOnly, onpeer });
        const peer = await connect(server.id).catch((error) => error.reason);
        await peer.fetch?.("/");
        for (const one of [peer, came]) ways.push(one?.way ? (await one.way()).way : one);
        await peer.close?.();
        server.close();
      }
      return ways;
    })()
    """
    async with open_page(browser) as page:
        await page.devtools("Page.addScriptToEvaluateOnNewDocument", source=RELAY_ONLY)
        await page.navigate(f"{page_url(proxy.ready['signaling'])}~peerfetch/package.json")
        found = await page.evaluate(script)
        assert found[:2] == ["relayed", "relayed"]
        assert found[2] in ("path", "timeout")
        assert found[3] is None


async def test_the_module_both_ways_with_a_server_of_its_own(
    browser: str, relay: str, tmp_path: Path
) -> None:
    script = """
    (async () => {
      const { connect, serve } = await import(`http${signaling.slice(2)}/~peerfetch/peerfetch.js`);
      const server = await serve(() => new Response("by relay"), { signaling });
      const peer = await connect(server.id, { signaling });
      const text = await (await peer.fetch("/")).text();
      const kinds = await KINDS;
      await peer.close();
      return [text, kinds];
    })()
    """.replace("KINDS", KINDS)

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<title>a page</title>", content_type="text/html")

    with peerfetch(
        tmp_path, "signal", "--listen", f"{LOOPBACK}:0", "--ice-server", relay
    ) as signaling:
        runner = web.AppRunner(app := web.Application())
        app.router.add_get("/", page)
        await runner.setup()
        await web.TCPSite(runner, LOOPBACK, 0).start()
        try:
            async with open_page(browser) as tab:
                await tab.devtools("Page.addScriptToEvaluateOnNewDocument", source=RELAY_ONLY)
                await tab.navigate(f"http://{LOOPBACK}:{runner.addresses[0][1]}/")
                await tab.evaluate(f"void (window.signaling = {signaling.ready['signaling']!r})")
                assert await tab.evaluate(script) == ["by relay", "relay"]
        finally:
            await runner.cleanup()
