"""PeerJS as npm has it: its client in Chromium with our server and proxy, its server with our
clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import Page, chromium, open_page

from peerfetch_fast import Server, connect, serve
from peerfetch_fast.errors import IdTaken, PeerUnavailable, SignalingError
from peerfetch_fast.peerfetch1 import old_client
from peerfetch_fast.peerjs.peer import Peer, PeerConnectOption, PeerOptions
from peerfetch_fast.signaling import SignalingClient, SignalingServer, SignalingServerSettings
from peerfetch_fast.web.endpoint import web_endpoint
from processes import accepts, free_port, running
from support import until

HERE = Path(__file__).parent
PEERJS = HERE / "node_modules" / "peerjs"
PEER_SERVER = HERE / "node_modules" / "peer" / "dist" / "bin" / "peerjs.js"

pytestmark = pytest.mark.skipif(
    os.environ.get("PEERFETCH_INTEROP") != "1"
    and (not PEERJS.exists() or shutil.which("node") is None),
    reason="PeerJS is not installed (npm ci --prefix tests/interop)",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    with chromium() as devtools:
        yield devtools


class World:
    """Our signaling server, and a page with PeerJS."""

    def __init__(self, server: SignalingServer, page: Page) -> None:
        self.server = server
        self.page = page
        parts = urlsplit(server.url)
        self.options = {
            "host": "127.0.0.1",
            "port": parts.port,
            "path": parts.path or "/",
            "key": parts.query.removeprefix("key=") or "peerjs",
        }

    async def start(self, peer_id: str | None = None, **options: Any) -> Any:
        return await self.page("start", peer_id, {**self.options, **options})

    async def pair(self, **options: Any) -> None:
        """Peers "a" and "b", with a connection."""
        for peer_id in ("a", "b"):
            assert await self.start(peer_id) == {"id": peer_id}
        await self.page("connect", "a", "b", options)
        await self.page("opened", "b")


@contextlib.asynccontextmanager
async def world(browser: str, **settings: Any) -> AsyncIterator[World]:
    server = SignalingServer(SignalingServerSettings(**settings))
    await server.start("127.0.0.1", 0)
    try:
        async with open_page(browser, (HERE / "peerjs.html").as_uri()) as page:
            yield World(server, page)
    finally:
        await server.close()


def bytes_told(data: bytes) -> dict[str, list[int]]:
    return {"bytes": list(data)}


VALUES: list[Any] = ["text, ünicode 😀", 1.5, -7, [1, "two", None], {"a": {"b": [True, False]}}]


@needs_chromium
@pytest.mark.parametrize(
    ("serialization", "values"),
    [
        ("raw", ["text", bytes_told(b"\0\1\2"), bytes_told(bytes(60_000))]),
        ("json", VALUES),
        ("binary", [*VALUES, bytes_told(bytes(range(256))), bytes_told(b"x" * 100_000)]),
    ],
)
async def test_values_arrive_both_ways_until_it_is_closed(
    browser: str, serialization: str, values: list[Any]
) -> None:
    async with world(browser) as there:
        await there.pair(serialization=serialization, reliable=True, metadata={"m": 1})
        told = await there.page("opened", "b")
        assert told["serialization"] == serialization
        assert (told["reliable"], told["metadata"]) == (True, {"m": 1})
        for one, other in (("a", "b"), ("b", "a")):
            for value in values:
                await there.page("send", one, value)
                assert await there.page("receive", other) == value
        await there.page("close", "a")
        await there.page("closed", "b")


@needs_chromium
async def test_the_life_of_a_peer(browser: str) -> None:
    async with world(browser, message_queue_time=0.3) as there:
        assert len((await there.start())["id"]) == 32
        await there.pair(serialization="json")
        assert await there.start("a") == {"error": "unavailable-id"}
        assert await there.page("connect", "a", "nobody", {}) == "peer-unavailable"
        await there.page("disconnect", "a")
        await until(lambda: "a" not in there.server.peer_ids)
        # What is connected stays so.
        await there.page("send", "b", "still there")
        assert await there.page("reconnect", "a") == "a"
        assert "a" in there.server.peer_ids
        await there.page("destroy", "a")
        await until(lambda: "a" not in there.server.peer_ids)
        assert await there.start("a") == {"id": "a"}


@needs_chromium
async def test_a_path_and_key_of_ones_own(browser: str) -> None:
    async with world(browser, path="/my/app/", key="mine", allow_discovery=True) as there:
        await there.pair(serialization="raw")
        assert await there.page("list", "a") == ["a", "b"]
        assert "error" in await there.start("c", key="another")


@needs_chromium
async def test_the_server_has_enough_clients(browser: str) -> None:
    async with world(browser, max_clients=1) as there:
        assert await there.start("a") == {"id": "a"}
        assert await there.start("b") == {"error": "server-error"}


@contextlib.asynccontextmanager
async def device(signaling: str) -> AsyncIterator[Server]:
    """A proxy before a small application; its URL is ``server.upstream``."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/slow":
            await asyncio.sleep(1.3)
        if request.path == "/none":
            return web.Response(status=204)
        if request.path == "/image":
            return web.Response(body=bytes(range(256)) * 100, content_type="image/png")
        if request.path == "/large":
            return web.Response(body=bytes(1_000_000))
        if request.path == "/too-large":
            return web.Response(body=bytes(3_000_001))
        return web.json_response([request.method, request.path_qs, await request.text()])

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        target = f"http://127.0.0.1:{port}"
        async with await serve(target, signaling=signaling, peer_id="device") as server:
            yield server
    finally:
        await runner.cleanup()


@needs_chromium
async def test_an_old_client_in_the_browser_is_served(
    browser: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(old_client, "WAITING_INTERVAL", 10.0)  # the machine may be busy

    async with world(browser) as there, device(there.server.url) as server:
        [upstream] = server._upstreams
        localhost = upstream.replace("127.0.0.1", "localhost")
        await there.start("client")
        options = {"label": "http-proxy", "reliable": True, "serialization": "raw"}
        await there.page("connect", "client", "device", options)

        async def ask(url: str, method: str = "GET", **fields: Any) -> tuple[Any, list[int]]:
            request = json.dumps({"url": url, "method": method, **fields})
            await there.page("send", "client", request)
            while True:
                head = json.loads(await there.page("receive", "client"))
                heads.append(head["status"])
                if head["status"] == 204:
                    return head, []
                if head["status"] != 202:
                    return head, await there.page("receive", "client")

        heads: list[int] = []
        head, body = await ask(f"{localhost}/api/hello?a=b")
        assert head["content-type"].startswith("application/json")
        assert json.loads(bytes(body["bytes"])) == ["GET", "/api/hello?a=b", ""]
        assert head["content-length"] == len(body["bytes"])
        _, body = await ask(f"{upstream}/x?", "POST", json={"a": 1})
        assert json.loads(bytes(body["bytes"])) == ["POST", "/x", '{"a":1}']
        _, body = await ask("/x?", "PUT", data="text")
        assert json.loads(bytes(body["bytes"])) == ["PUT", "/x", "text"]
        _, body = await ask("/image")
        assert body == bytes_told(bytes(range(256)) * 100)
        assert (await ask("/none"))[0]["status"] == 204
        assert (await ask("ping?"))[1] == "pong"
        head, body = await ask("/too-large")
        assert (head["status"], b"too large" in bytes(body["bytes"])) == (502, True)
        assert (await ask("http://example.org/"))[0]["status"] == 403
        assert 202 not in heads
        monkeypatch.setattr(old_client, "WAITING_INTERVAL", 1.0)
        await ask("/slow")
        assert heads[-2:] == [202, 200]
        await there.page("destroy", "client")
        await until(lambda: not server.peers)


# A page that was written for the old client, but for the line of the import.
OLD_PAGE = """
(async () => {
  const { PeerFetch } = await import("/~peerfetch/peerfetch.js");
  const url = "http://localhost:8778";
  const port = Number(location.port);
  const peerFetch = new PeerFetch({ host: "127.0.0.1", port, path: "/", key: "mine", debug: 0 });
  await peerFetch.connect("device");
  const told = [];
  const tell = async (asking) => {
    const { header, content } = await asking;
    const json = header["content-type"]?.startsWith("application/json");
    told.push([header.status, json ? peerFetch.jsonify(content) : header["content-length"]]);
  };
  await tell(peerFetch.get(`${url}/api/hello?a=b`));
  await tell(peerFetch.get("/x?"));
  await tell(peerFetch.request({ url: "/x", params: new Map([["a", "b c"]]) }));
  await tell(peerFetch.put(`${url}/x`, "text", {}));
  await tell(peerFetch.post("/x", { a: 1 }));
  await tell(peerFetch.post("/x", null, { json: { a: 1 } }));
  await tell(peerFetch.fetch("/none", { method: "GET" }));
  await tell(peerFetch.get("/large"));
  await peerFetch.disconnect();
  const failed = await peerFetch.get("/").catch((error) => error.message);
  return { told, failed, nothing: peerFetch.jsonify(undefined) };
})()
"""


@needs_chromium
async def test_an_old_page_with_another_import(browser: str) -> None:
    signaling = SignalingServer(SignalingServerSettings(key="mine"), middlewares=[web_endpoint()])
    await signaling.start("127.0.0.1", 0)
    try:
        page_url = signaling.url.replace("ws:", "http:").partition("?")[0]
        async with (
            device(signaling.url),
            open_page(browser, f"{page_url}/~peerfetch/peerfetch.js") as page,
        ):
            result = await page.evaluate(OLD_PAGE)
    finally:
        await signaling.close()
    assert result == {
        "told": [
            [200, ["GET", "/api/hello?a=b", ""]],
            [200, ["GET", "/x", ""]],
            [200, ["GET", "/x?a=b+c", ""]],
            [200, ["PUT", "/x", "text"]],
            [200, ["POST", "/x", "a=1"]],
            [200, ["POST", "/x", '{"a":1}']],
            [204, 0],
            [200, 1_000_000],
        ],
        "failed": "There is no connection: call connect() first.",
        "nothing": {},
    }


@contextlib.asynccontextmanager
async def python_peer(there: World, peer_id: str) -> AsyncIterator[Peer]:
    options = PeerOptions(
        host="127.0.0.1", port=there.options["port"], path=there.options["path"], config=None
    )
    peer = Peer(peer_id, options)
    await peer.start()
    try:
        yield peer
    finally:
        await peer.destroy()


def from_page(value: Any) -> Any:
    """What the page means by a value."""
    if isinstance(value, dict) and value.keys() == {"bytes"}:
        return bytes(value["bytes"])
    if isinstance(value, dict):
        return {name: from_page(item) for name, item in value.items()}
    return [from_page(item) for item in value] if isinstance(value, list) else value


@needs_chromium
@pytest.mark.parametrize("python_offers", [True, False])
@pytest.mark.parametrize(
    ("serialization", "values"),
    [
        ("raw", ["text", bytes_told(b"\0\1\2"), bytes_told(bytes(60_000))]),
        ("json", VALUES),
        ("binary", [*VALUES, 2**40, -(2**40), {"b": bytes_told(b"x")}, bytes_told(b"x" * 100_000)]),
    ],
)
async def test_peerjs_python_and_peerjs(
    browser: str, serialization: str, values: list[Any], python_offers: bool
) -> None:
    async with world(browser) as there, python_peer(there, "python") as peer:
        await there.start("page")
        incoming: asyncio.Queue[Any] = asyncio.Queue()
        received: asyncio.Queue[Any] = asyncio.Queue()
        opened, closed = asyncio.Event(), asyncio.Event()
        if python_offers:
            options = PeerConnectOption(serialization=serialization, reliable=True)
            connection = await peer.connect("page", options)
        else:
            peer.on("connection", incoming.put_nowait)
            how = {"serialization": serialization, "reliable": True}
            offering = asyncio.ensure_future(there.page("connect", "page", "python", how))
            connection = await incoming.get()
        assert connection is not None
        connection.on("open", opened.set)
        connection.on("data", received.put_nowait)
        connection.on("close", closed.set)
        await opened.wait()
        if not python_offers:
            await offering
        assert (await there.page("opened", "page"))["serialization"] == serialization
        for value in values:
            await connection.send(from_page(value))
            assert await there.page("receive", "page") == value
            await there.page("send", "page", value)
            assert await received.get() == from_page(value)
        if python_offers:
            await there.page("close", "page")
            await closed.wait()
        else:
            await connection.close()
            await there.page("closed", "page")


@pytest.fixture(scope="module")
def peer_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of PeerJS's own server."""
    port = free_port()
    with running(
        *("node", PEER_SERVER, "--host", "127.0.0.1", "--port", port, "--path", "/app"),
        *("--key", "mine", "--allow_discovery"),
        log=tmp_path_factory.mktemp("peer") / "log",
        ready=lambda: accepts(port),
    ):
        yield f"ws://127.0.0.1:{port}/app?key=mine"


async def test_our_peers_meet_through_their_server(peer_server: str) -> None:
    async with device(peer_server) as server:
        async with connect(server.peer_id, signaling=peer_server) as peer:
            assert await (await peer.fetch("/x", json=1)).json() == ["POST", "/x", "1"]
        url = peer_server.replace("ws:", "http:").replace("?key=mine", "/mine/peers")
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert "device" in await response.json()
        with pytest.raises(IdTaken):
            await serve("http://127.0.0.1:9", signaling=peer_server, peer_id="device")


async def test_their_server_gives_ids_and_says_who_is_not_there(peer_server: str) -> None:
    async with SignalingClient(peer_server, on_message=lambda _: None) as client:
        assert client.peer_id
    with pytest.raises(PeerUnavailable):
        await connect("nobody", signaling=peer_server)
    with pytest.raises(SignalingError, match="key"):
        await connect("nobody", signaling=peer_server.partition("?")[0])


async def test_our_client_takes_its_connection_to_their_server_up_again(peer_server: str) -> None:
    async with device(peer_server) as server:
        signaling: Any = server._switchboard.signaling
        client = signaling.client
        assert client._socket is not None
        client._socket._connection.abort()
        async with connect(server.peer_id, signaling=peer_server) as peer:
            assert (await peer.fetch("/")).ok
