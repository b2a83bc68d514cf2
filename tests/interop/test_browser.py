"""The browser client in a real Chromium: page to proxy to servers that are not ours."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import Page, chromium, open_page

from peerfetch_fast import AccessDenied, PeerfetchError, connect, serve
from peerfetch_fast.signaling.peerjs.refusals import Refusal
from peerfetch_fast.signaling.peerjs.server import SignalingServer
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings
from peerfetch_fast.web.endpoint import web_endpoint
from processes import Process, posix_only, start_proxy
from support import run, until

pytestmark = [
    posix_only,
    needs_chromium,
]

BLOCK = 1 << 20

# What the tests call in the page: makes and hashes large bodies without holding them.
HELPERS = """
(async () => {
  const { connect, serve } = await import("/~peerfetch/peerfetch.js");
  const BLOCK = 1 << 20;
  const hex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
  const sha256 = async (data) => new Uint8Array(await crypto.subtle.digest("SHA-256", data));

  // SHA-256 of the SHA-256s of each mebibyte, as test_browser.py computes it.
  class Digest {
    hashes = [];
    block = new Uint8Array(BLOCK);
    filled = 0;
    async add(data) {
      while (data.length) {
        const part = data.subarray(0, BLOCK - this.filled);
        this.block.set(part, this.filled);
        this.filled += part.length;
        data = data.subarray(part.length);
        if (this.filled === BLOCK) await this.close();
      }
    }
    async close() {
      if (this.filled) this.hashes.push(await sha256(this.block.subarray(0, this.filled)));
      this.filled = 0;
    }
    async end() {
      await this.close();
      return hex(await sha256(await new Blob(this.hashes).arrayBuffer()));
    }
  }

  async function digest(response) {
    const found = new Digest();
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) return found.end();
      await found.add(value);
    }
  }

  async function upload(path, mebibytes) {
    const found = new Digest();
    let left = mebibytes * 16;
    const body = new ReadableStream({
      async pull(controller) {
        if (left-- === 0) return controller.close();
        const piece = crypto.getRandomValues(new Uint8Array(BLOCK / 16));
        await found.add(piece);
        controller.enqueue(piece);
      },
    });
    const response = await peer.fetch(path, { method: "PUT", body, duplex: "half" });
    return [response.status, await found.end()];
  }

  async function failure(work) {
    try {
      await work;
    } catch (error) {
      return [error.name, error.reason ?? null, error.message];
    }
  }

  // Resolves once the peer is in that state.
  function reached(peer, state) {
    return new Promise((resolve) => {
      const look = () => peer.state === state && resolve();
      peer.addEventListener("statechange", look);
      look();
    });
  }
  Object.assign(globalThis, { Digest, connect, serve, digest, upload, failure, reached });
})()
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    with chromium() as devtools:
        yield devtools


async def start_signaling(
    stack: contextlib.AsyncExitStack, settings: SignalingServerSettings | None = None
) -> str:
    """The URL of a signaling server in this process, with the web endpoint."""
    signaling = SignalingServer(settings, middlewares=[web_endpoint()])
    stack.push_async_callback(signaling.close)
    await signaling.start("127.0.0.1", 0)
    return signaling.url


@contextlib.asynccontextmanager
async def client_page(browser: str, signaling: str) -> AsyncIterator[Page]:
    """A tab of the signaling server's origin with the helpers in it."""
    url = f"http{signaling.removeprefix('ws')}/~peerfetch/package.json"
    async with open_page(browser, url) as page:
        await page.evaluate(HELPERS)
        yield page


@pytest.fixture
def connected(browser: str, proxies: Callable[[str], Process]) -> Any:
    """Run a coroutine function with a page whose ``peer`` is the proxy in front of a URL."""

    def connected(url: str, work: Callable[[Page], Coroutine[Any, Any, None]]) -> None:
        ready = proxies(url).ready

        async def main() -> None:
            async with client_page(browser, ready["signaling"]) as page:
                link = f"peer://{ready['peer_id']}#{ready['fingerprint']}"
                await page.evaluate(f"connect('{link}').then((peer) => void (window.peer = peer))")
                await work(page)
                # The other side's last credit may be under way still.
                await page.evaluate("peer.close()")

        # aiortc may take a minute for 64 MB each way where other tests run beside it.
        run(main(), timeout=600)

    return connected


async def heap(page: Page) -> int:
    """Bytes that the page's scripts hold, buffers included, without what nothing refers to."""
    await page.devtools("HeapProfiler.collectGarbage")
    usage = await page.devtools("Runtime.getHeapUsage")
    return int(usage["usedSize"] + usage.get("backingStorageSize", 0))


async def digest_of(url: str) -> str:
    """As HELPERS computes it, of what an HTTP server says itself."""
    hashes = b""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        body = await response.read()
    for start in range(0, len(body), BLOCK):
        hashes += hashlib.sha256(body[start : start + BLOCK]).digest()
    return hashlib.sha256(hashes).hexdigest()


def test_megabytes_up_and_down_in_bounded_memory(
    connected: Any, nginx: str, transport: str
) -> None:
    async def work(page: Page) -> None:
        async def watched(expression: str) -> Any:
            """What the expression is; while it is not yet, the page's memory is looked at."""
            found = asyncio.create_task(page.evaluate(expression))
            while not found.done():
                held = await heap(page)
                # The receive window, and what the page had before.
                assert held < 20e6, f"{held / 1e6:.0f} MB"
                await asyncio.sleep(0.25)
            return await found

        status, sent = await watched(f"upload('/upload/{transport}', 64)")
        assert status in (201, 204)
        assert sent == await digest_of(f"{nginx}/upload/{transport}")
        assert await watched(f"peer.fetch('/upload/{transport}').then(digest)") == sent

    connected(nginx, work)


def test_64_requests_at_once(connected: Any, nginx: str) -> None:
    async def work(page: Page) -> None:
        lengths = await page.evaluate(
            "Promise.all(Array.from({length: 64}, async (_, i) =>"
            " (await (await peer.fetch(i % 2 ? '/small.bin' : '/long.txt')).arrayBuffer())"
            ".byteLength))"
        )
        assert lengths == [60_000, 100] * 32

    connected(nginx, work)


def test_abort_stops_the_upstream(connected: Any, fastapi: str) -> None:
    async def work(page: Page) -> None:
        reason = await page.evaluate(
            """(async () => {
              const answer = () => peer.fetch("/api/running").then((response) => response.json());
              window.running = async () => (await answer()).running;
              const controller = new AbortController();
              const { signal } = controller;
              const response = await peer.fetch("/api/endless", { signal });
              const reader = response.body.getReader();
              await reader.read();
              if ((await running()) !== 1) throw new Error("it does not run");
              controller.abort();
              return failure(reader.read().then(() => reader.read()));
            })()"""
        )
        assert reason[0] == "AbortError"
        while await page.evaluate("running()"):
            await asyncio.sleep(0.02)

    connected(fastapi, work)


def test_ranges_redirects_and_errors_are_like_fetch(connected: Any, nginx: str) -> None:
    async def work(page: Page) -> None:
        assert await page.evaluate(
            """(async () => {
              const part = await peer.fetch("/large.bin", { headers: { range: "bytes=5-14" } });
              const moved = await peer.fetch("/directory");
              return [
                [part.status, part.headers.get("content-range"), (await part.blob()).size],
                [moved.status, moved.redirected, new URL(moved.url).pathname.endsWith("/")],
                (await peer.fetch("/missing")).status,
                (await failure(peer.fetch("https://example.com/")))[0],
                (await failure(peer.fetch("/", { signal: AbortSignal.timeout(0) })))[0],
              ];
            })()"""
        ) == [
            [206, "bytes 5-14/4000003", 10],
            [403, True, True],
            404,
            "TypeError",
            "TimeoutError",
        ]

    connected(nginx, work)


async def test_a_peer_that_is_not_there_fails_with_the_reason(browser: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        signaling = await start_signaling(stack, SignalingServerSettings(message_queue_time=0.2))
        page = await stack.enter_async_context(client_page(browser, signaling))
        for link, reason in (
            ("'nobody'", "unavailable"),
            ("'peer://'", "id"),
            ("'x#sha256:12'", "pin"),
            ("'x', {signaling: 'ws://127.0.0.1:9'}", "signaling"),
            ("'x', {signaling: 'ftp://nowhere'}", "signaling"),
        ):
            found = await page.evaluate(f"failure(connect({link}))")
            assert found[:2] == ["ConnectError", reason]


async def test_pages_of_foreign_origins_are_kept_out(browser: str, nginx: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        ask = "fetch(`${http}/peerjs/id`).then((response) => response.text())"
        places = [await start_signaling(stack) for _ in range(2)]
        allowed, foreign = [f"http{url.removeprefix('ws')}" for url in places]
        settings = SignalingServerSettings(allowed_origins=(allowed,))
        guarded = SignalingServer(settings, middlewares=[web_endpoint(settings.allowed_origins)])
        stack.push_async_callback(guarded.close)
        await guarded.start("127.0.0.1", 0)
        # A program names no origin.
        device = await serve(nginx, signaling=guarded.url, peer_id="dev1")
        stack.push_async_callback(device.close)
        http = f"http{guarded.url.removeprefix('ws')}"
        for place, may in ((places[0], True), (guarded.url, True), (places[1], False)):
            page = await stack.enter_async_context(client_page(browser, place))
            await page.evaluate(f"void (window.http = '{http}')")
            connecting = f"connect('dev1', {{signaling: '{guarded.url}'}})"
            imported = f"import('{http}/~peerfetch/peerfetch.js').then(() => null)"
            if may:
                assert len(await page.evaluate(ask)) == 32
                assert (
                    await page.evaluate(
                        f"{connecting}.then((p) => p.fetch('/small.bin')).then((r) => r.status)"
                    )
                    == 200
                )
                assert await page.evaluate(imported) is None
                assert not guarded.refused
            else:
                failed = await page.evaluate(f"failure({connecting})")
                assert failed[:2] == ["ConnectError", "signaling"]
                assert f"does not allow pages of {foreign}" in failed[2]
                assert guarded.refused == {Refusal.FOREIGN_ORIGIN: 1}
                assert (await page.evaluate(f"failure({ask})"))[0] == "TypeError"
                # What needs no leave to be sent is not acted on either.
                await page.evaluate(
                    "fetch(`${http}/peerjs/a/b/room/c/join`, {method: 'POST', mode: 'no-cors'})"
                    ".then(() => undefined)"
                )
                assert guarded.refused == {Refusal.FOREIGN_ORIGIN: 3}
                assert (await page.evaluate(f"failure({imported})"))[0] == "TypeError"


def test_pin_and_access_token(browser: str, nginx: str, tmp_path: Any) -> None:
    with start_proxy(tmp_path, nginx, "auto", "--access-token", "grüße") as proxy:
        ready = proxy.ready

        async def main() -> None:
            async with client_page(browser, ready["signaling"]) as page:
                # As on a page without a secure context.
                await page.evaluate("Object.defineProperty(crypto, 'subtle', {value: undefined})")
                wrong_pin = "sha256:" + "0" * 64
                for options, reason in (
                    ({"pin": wrong_pin, "accessToken": "grüße"}, "pin"),
                    ({"pin": ready["fingerprint"], "accessToken": "another"}, "access"),
                ):
                    found = await page.evaluate(
                        f"failure(connect('{ready['peer_id']}', {json.dumps(options)}))"
                    )
                    assert found[:2] == ["ConnectError", reason]
                right = {"pin": ready["fingerprint"], "accessToken": "grüße"}
                assert (
                    await page.evaluate(
                        f"connect('{ready['peer_id']}', {json.dumps(right)})"
                        ".then(p => p.fetch('/small.bin')).then(r => r.status)"
                    )
                    == 200
                )
                assert (
                    await page.evaluate(
                        f"connect('{ready['peer_id']}').then(p => p.fetch('/small.bin'))"
                        ".then(r => r.status)"
                    )
                    == 401
                )

        run(main())


async def test_the_device_goes_and_comes_back(browser: str, nginx: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        signaling = await start_signaling(stack)

        async def device() -> Any:
            return await serve(nginx, signaling=signaling, peer_id="dev1")

        first = await device()
        page = await stack.enter_async_context(client_page(browser, signaling))
        await page.evaluate("connect('dev1').then(p => void (window.peer = p))")
        await first.close()
        await page.evaluate("reached(peer, 'reconnecting')")
        # Asked for while nobody is there.
        waiting = asyncio.create_task(
            page.evaluate(
                "peer.fetch('/small.bin').then(r => r.arrayBuffer()).then(b => b.byteLength)"
            )
        )
        second = await device()
        stack.push_async_callback(second.close)
        assert await waiting == 100
        assert await page.evaluate("peer.state") == "connected"
        await page.evaluate("peer.close()")
        assert await page.evaluate("peer.state") == "closed"
        assert (await page.evaluate("failure(peer.fetch('/'))"))[0] == "TypeError"


async def test_what_was_asked_when_the_connection_broke(browser: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        signaling = await start_signaling(stack)
        asked: list[tuple[str, str]] = []
        stuck = asyncio.Event()

        async def handle(request: web.Request) -> web.Response:
            asked.append((request.method, await request.text()))
            if len(asked) <= 2:
                stuck.set()
                await asyncio.sleep(60)
            return web.Response(text="answered")

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        upstream = f"http://127.0.0.1:{runner.addresses[0][1]}"

        device = await serve(upstream, signaling=signaling, peer_id="dev1")
        stack.push_async_callback(device.close)
        page = await stack.enter_async_context(client_page(browser, signaling))
        await page.evaluate("connect('dev1').then(p => void (window.peer = p))")
        outcomes = []
        for method in ("PUT", "POST"):
            stuck.clear()
            request = f"peer.fetch('/x', {{method: '{method}', body: '{method}'}})"
            outcomes.append(
                asyncio.create_task(
                    page.evaluate(f"{request}.then((r) => r.text(), (error) => String(error))")
                )
            )
            await stuck.wait()
        (peer,) = device.peers
        peer.session.abort()
        put, post = [await outcome for outcome in outcomes]
        assert put == "answered"
        assert post.startswith("TypeError: the connection broke before POST /x was answered")
        assert asked == [("PUT", "PUT"), ("POST", "POST"), ("PUT", "PUT")]


async def test_pages_serve_each_other_and_a_device(browser: str, nginx: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        signaling = await start_signaling(stack)
        one, other = [
            await stack.enter_async_context(client_page(browser, signaling)) for _ in range(2)
        ]
        handler = (
            "async (request) => new Response(`${request.method} "
            "${new URL(request.url).pathname} ${await request.text()}`, "
            "{headers: {'x-me': '%s'}})"
        )
        await one.evaluate(
            "serve(null, {id: 'page', onpeer: (peer) => { window.peer = peer;"
            f" peer.serve({handler % 'one'}); }}}}).then(() => undefined)"
        )
        await other.evaluate(
            "connect('page').then((peer) => { window.peer = peer;"
            f" peer.serve({handler % 'other'}); }})"
        )
        ask = (
            "peer.fetch('/x', {method: 'POST', body: 'hi'})"
            ".then(async r => [r.headers.get('x-me'), await r.text()])"
        )
        assert await other.evaluate(ask) == ["one", "POST /x hi"]
        assert await one.evaluate(ask) == ["other", "POST /x hi"]

        device = await serve(nginx, signaling=signaling, peer_id="dev1")
        stack.push_async_callback(device.close)
        await other.evaluate(f"connect('dev1').then((peer) => void peer.serve({handler % 'page'}))")
        await until(lambda: len(device.peers) == 1)  # the page may know before
        (peer,) = device.peers
        response = await peer.fetch("/y", method="PUT", body=b"from the device")
        assert response.headers["x-me"] == "page"
        assert await response.text() == "PUT /y from the device"


LISTEN = """
serve((request) => {
  window.asked = (window.asked ?? 0) + 1;
  return new Response('in');
}, {
  id: 'page', accessToken: 'grüße', identity: 'printer',
  onpeer: () => { window.met = (window.met ?? 0) + 1; },
}).then(({ fingerprint }) => fingerprint)
"""


IN_ONE_PAGE = """(async () => {
  const signaling = "local:rooms";
  const answer = (request, { id }) => new Response(`${new URL(request.url).pathname} for ${id}`);
  const device = await serve(answer, { id: "device", signaling });
  const peer = await connect("device", { signaling });
  const text = await (await peer.fetch("/hello")).text();
  await peer.close();
  device.close();
  const absent = await failure(connect("device", { signaling }));
  return [text, absent.slice(0, 2)];
})()"""


async def test_peers_of_one_page_meet_without_a_server(browser: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        signaling = await start_signaling(stack)
        page = await stack.enter_async_context(client_page(browser, signaling))
        text, absent = await page.evaluate(IN_ONE_PAGE)
        assert re.fullmatch("/hello for [0-9a-f]{32}", text)
        assert absent == ["ConnectError", "unavailable"]


async def test_a_page_that_serves_asks_for_an_access_token(browser: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        signaling = await start_signaling(stack)
        page, other = [
            await stack.enter_async_context(client_page(browser, signaling)) for _ in range(2)
        ]
        assert (await page.evaluate("failure(serve(null, {accessToken: ''}))"))[1] == "access"
        pin = await page.evaluate(LISTEN)
        asked = "[window.met ?? 0, window.asked ?? 0]"

        # Python to page.
        async with connect("page", signaling=signaling, pin=pin) as peer:
            response = await peer.fetch("/")
            assert response.status == 401
            assert "access token" in await response.text()
        with pytest.raises(AccessDenied):
            async with connect("page", signaling=signaling, pin=pin, access_token="another"):
                pass
        assert await page.evaluate(asked) == [0, 0]
        async with connect("page", signaling=signaling, pin=pin, access_token="grüße") as peer:
            assert await (await peer.fetch("/")).text() == "in"
        assert await page.evaluate(asked) == [1, 1]

        # Page to page.
        link = f"peer://page#{pin}"
        fetched = ".then((p) => p.fetch('/')).then(async (r) => [r.status, await r.text()])"
        wrong = f"failure(connect('{link}', {{accessToken: 'another'}}))"
        assert (await other.evaluate(wrong))[:2] == ["ConnectError", "access"]
        assert (await other.evaluate(f"connect('{link}'){fetched}"))[0] == 401
        assert await page.evaluate(asked) == [1, 1]
        right = f"connect('{link}', {{accessToken: 'grüße'}})"
        assert await other.evaluate(right + fetched) == [200, "in"]
        assert await page.evaluate(asked) == [2, 2]

        # Whoever guesses on has a new peer id each time, but only so many addresses.
        guess = f"Promise.all([1, 2, 3, 4, 5].map(() => {wrong}))"
        for _ in range(10):
            assert {reason for _, reason, _ in await other.evaluate(guess)} == {"access"}
            refused = await other.evaluate(f"failure({right})")
            if refused is not None:
                break
        assert refused[1] == "access"
        assert "too many" in refused[2]


async def test_the_certificate_of_a_page_is_kept_when_it_is_loaded_again(browser: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        server = SignalingServer(middlewares=[web_endpoint()])
        stack.push_async_callback(server.close)
        await server.start("127.0.0.1", 0)
        signaling = server.url
        page = await stack.enter_async_context(client_page(browser, signaling))
        pins = [await page.evaluate(LISTEN)]
        address = await page.evaluate("location.href")
        # Its id is free as soon as it is left, though the browser may keep the page itself.
        await page.navigate("about:blank")
        while server.peer_ids:
            await asyncio.sleep(0.02)
        await page.navigate(address)
        await page.evaluate(HELPERS)
        pins.append(await page.evaluate(LISTEN))
        assert pins[0] == pins[1]
        async with connect("page", signaling=signaling, pin=pins[0], access_token="grüße") as peer:
            assert await (await peer.fetch("/")).text() == "in"
        # Two that begin at once have one identity, too.
        assert await page.evaluate(
            "Promise.all([1, 2].map((i) => serve(null, {identity: 'both'})))"
            ".then(([one, two]) => one.fingerprint === two.fingerprint)"
        )
        others = await page.evaluate(
            "Promise.all(['one', 'two', null].map(async (identity) =>"
            " (await serve(null, {identity})).fingerprint))"
        )
        assert len({pins[0], *others}) == 4
        with pytest.raises(PeerfetchError, match="certificate"):
            async with connect("page", signaling=signaling, pin=others[0], access_token="grüße"):
                pass
        # What was kept is of no use any more: the next one is.
        await page.evaluate(
            """new Promise((resolve) => {
                  const opening = indexedDB.open('~peerfetch');
                  opening.onsuccess = () => {
                    const change = opening.result.transaction('certificates', 'readwrite');
                    change.objectStore('certificates').put({ expires: Date.now() }, 'printer');
                    change.oncomplete = () => resolve(opening.result.close());
                  };
                })"""
        )
        renewed = "serve(null, {identity: 'printer'}).then((made) => made.fingerprint)"
        assert await page.evaluate(renewed) not in (pins[0], *others)
        assert await page.evaluate(f"{renewed}.then(async (pin) => pin === await {renewed})")
        await page.evaluate("void Object.defineProperty(window, 'indexedDB', {value: undefined})")
        failed = await page.evaluate(f"failure({renewed})")
        assert failed[:2] == ["ConnectError", "identity"]


async def test_signaling_that_lies_ends_in_a_sentence(browser: str) -> None:
    """What comes from others is ignored, what cannot be read is refused, and nothing escapes."""

    def answers(offer: dict[str, Any]) -> list[Any]:
        payload = offer["payload"]
        forged = {**payload, "sdp": {"type": "answer", "sdp": payload["sdp"]["sdp"]}}
        mine = {"connectionId": payload["connectionId"], "type": "data"}
        junk: list[Any] = [None, 7, [], {}, {"type": 1}, {"type": "ANSWER"}, {"type": "LEAVE"}]
        junk += [
            {"type": kind, "src": "mallory", "payload": forged}
            for kind in ("ANSWER", "LEAVE", "EXPIRE", "CANDIDATE", "OFFER")
        ]
        junk += [
            {"type": "CANDIDATE", "src": "dev1", "payload": {**mine, "candidate": candidate}}
            for candidate in [None, 7, {}, {"candidate": "x" * 10_000, "sdpMid": "0"}] * 40
        ]
        return [*junk, {"type": "ANSWER", "src": "dev1", "payload": {**mine, "sdp": sdp[0]}}]

    sdp: list[Any] = [None]

    async def lie(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("{")
        await socket.send_json({"type": "OPEN"})
        async for message in socket:
            said = json.loads(message.data)
            if said["type"] == "OFFER":
                for answer in answers(said):
                    await socket.send_json(answer)
                await socket.send_bytes(b"\0")
        return socket

    async with contextlib.AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_get("/peerjs", lie)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        liar = f"ws://127.0.0.1:{runner.addresses[0][1]}"
        page = await stack.enter_async_context(client_page(browser, await start_signaling(stack)))
        fingerprint = f"a=fingerprint:sha-256 {':'.join(['00'] * 32)}"
        for sdp[0] in (
            None,
            7,
            {"type": "answer", "sdp": 7},
            {"type": "offer", "sdp": fingerprint},
            {"type": "answer", "sdp": ""},
            {"type": "answer", "sdp": f"v=0\r\n{fingerprint}\r\n"},
            {"type": "answer", "sdp": f"{fingerprint}\r\n{fingerprint.replace('00', '01')}"},
        ):
            found = await page.evaluate(f"failure(connect('dev1', {{signaling: '{liar}'}}))")
            assert found[:2] == ["ConnectError", "description"]
