"""``peerjs.ext.http_proxy`` on this package, asked by old clients and by ours."""

from __future__ import annotations

import asyncio
import contextlib
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from tests.peerfetch1.test_end_to_end import OldPeer

from peerfetch_fast import connect
from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.peerjs.ext import http_proxy
from peerfetch_fast.peerjs.peer import Peer, PeerConnectOption, PeerOptions
from peerfetch_fast.signaling import SignalingServer, SignalingServerSettings
from support import run, until, web_server


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("PEERJS_CONFIG_FILE", "PEERJS_PEERID_FILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write_config(signaling: str, **more: Any) -> None:
    server = urlsplit(signaling)
    fields = {"host": server.hostname, "port": server.port, "secure": False, "ice_servers": []}
    Path("peerjs-config.yaml").write_text(json.dumps(fields | more))


@contextlib.asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/moved":
            raise web.HTTPFound("/here")
        return web.Response(body=f"{request.method} {request.raw_path}".encode())

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with web_server(app) as url:
        yield url.replace("127.0.0.1", "localhost")


@contextlib.asynccontextmanager
async def signaling_server(port: int = 0) -> AsyncIterator[SignalingServer]:
    server = SignalingServer(SignalingServerSettings(message_queue_time=0.2))
    await server.start("127.0.0.1", port)
    try:
        yield server
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[None]:
    proxy = asyncio.ensure_future(http_proxy.make_discoverable())
    try:
        yield
    finally:
        proxy.cancel()
        await asyncio.gather(proxy, return_exceptions=True)


async def ask(old: OldPeer, channel: Any, url: str, **fields: Any) -> tuple[int, Any]:
    channel.send(json.dumps({"url": url, "method": "GET", **fields}))
    while (head := json.loads(await old.messages.get()))["status"] == 202:
        pass
    return head["status"], await old.messages.get()


async def test_old_clients_ask_for_any_port_of_this_device_and_no_other_host() -> None:
    async with signaling_server() as server, upstream() as one, upstream() as other:
        write_config(server.url)
        Path(".peerjsrc").write_text('{"peerId": "device"}')
        async with running(), OldPeer(server.url) as old:
            await until(lambda: "device" in server.peer_ids)
            channel = await old.offer("device")
            for origin in (one, other):
                assert await ask(old, channel, f"{origin}/a?b=c") == (200, b"GET /a?b=c")
            assert (await ask(old, channel, f"{one}/x", method="PUT"))[1] == b"PUT /x"
            assert (await ask(old, channel, f"{one}/moved"))[1] == b"GET /here"
            for url in ("http://192.168.0.1/", "http://localhost@example.org/", "/a"):
                assert (await ask(old, channel, url))[0] == 403
            assert (await ask(old, channel, "http://localhost:1/"))[0] == 502
            assert (await ask(old, channel, "ping"))[1] == "pong"


async def test_one_client_has_connections_to_so_many_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_proxy, "MAX_UPSTREAMS", 1)

    async with signaling_server() as server, upstream() as one, upstream() as other:
        write_config(server.url)
        Path(".peerjsrc").write_text('{"peerId": "device"}')
        async with running(), OldPeer(server.url) as old:
            await until(lambda: "device" in server.peer_ids)
            channel = await old.offer("device")
            for origin in (one, other, one, other):
                assert await ask(old, channel, f"{origin}/") == (200, b"GET /")


async def test_our_clients_ask_it_as_they_ask_old_ones() -> None:
    async with signaling_server() as server, upstream() as origin:
        write_config(server.url)
        Path(".peerjsrc").write_text('{"peerId": "proxied"}')
        async with running():
            await until(lambda: "proxied" in server.peer_ids)
            async with connect("proxied", signaling=server.url) as peer:
                assert await (await peer.fetch(f"/{origin}/a")).text() == "GET /a"


async def test_a_connection_that_is_not_raw_is_closed() -> None:
    async with signaling_server() as server:
        write_config(server.url)
        Path(".peerjsrc").write_text('{"peerId": "device"}')
        port = urlsplit(server.url).port
        assert port is not None
        other = Peer("other", PeerOptions(host="127.0.0.1", port=port, config=None))
        await other.start()
        async with running():
            await until(lambda: "device" in server.peer_ids)
            connection = await other.connect("device", PeerConnectOption(serialization="json"))
            assert connection is not None
            await until(lambda: connection._closed, timeout=40)
        await other.destroy()


async def test_it_waits_for_its_server_and_comes_back_by_the_same_id(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(http_proxy, "RETRY_INTERVAL", 0.1)

    async def in_no_room(_: Peer) -> None:
        pass

    monkeypatch.setattr(http_proxy, "join_peer_room", in_no_room)

    async with signaling_server() as server:
        port = urlsplit(server.url).port
        assert port is not None
        write_config(server.url)
    async with running():
        await until(lambda: len(caplog.records) > 0)
        await asyncio.sleep(0.5)
        said = [record for record in caplog.records if record.levelname == "WARNING"]
        assert len(said) == 1
        kept = json.loads(Path(".peerjsrc").read_text())
        for _ in range(2):
            async with signaling_server(port) as server:
                await until(lambda server=server: kept["peerId"] in server.peer_ids)


async def test_after_a_power_cut_the_id_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_proxy, "RETRY_INTERVAL", 0.1)

    async with signaling_server() as server:
        write_config(server.url)
        cut = await http_proxy.pnp_service_connect()
        assert stat.S_IMODE(Path(".peerjsrc").stat().st_mode) == 0o600
        errors: list[Exception] = []
        # The server still holds the connection of the one that is gone.
        again = await http_proxy.pnp_service_connect()
        again.on("error", errors.append)
        assert (again.open, errors) == (True, [])
        assert again.id == cut.id
        await again.destroy()
        await cut.destroy()


def test_without_a_server_in_its_file_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PeerfetchError, match="signaling_server"):
        run(http_proxy.pnp_service_connect())
    with pytest.raises(SystemExit, match="signaling_server"):
        http_proxy.main()
