"""connect() and Peer, against a signaling server and a serving side in this process."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import peerfetch_fast as peerfetch
from peerfetch_fast import Peer, Response, Server, connect, serve
from peerfetch_fast.devices import Device, save_device
from peerfetch_fast.errors import (
    ConnectError,
    IdentityChanged,
    PeerfetchError,
    PeerUnavailable,
    SessionClosed,
    SignalingError,
    StreamReset,
)
from peerfetch_fast.settings import Settings
from peerfetch_fast.signaling.peerjs.server import SignalingServer
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings
from support import until, web_server


@dataclass
class World:
    signaling: str
    server: Server
    go: asyncio.Event
    asked: list[str]
    """The paths that the upstream was asked for."""

    def connect(self, **options: Any) -> Any:
        return connect(self.server.peer_id, signaling=self.signaling, **options)


@contextlib.asynccontextmanager
async def signaling_server(**options: Any) -> AsyncIterator[str]:
    server = SignalingServer(SignalingServerSettings(**options))
    await server.start("127.0.0.1", 0)
    try:
        yield server.url
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def world(**options: Any) -> AsyncIterator[World]:
    """A signaling server, an upstream, and the side that serves it, with ``options``."""
    go = asyncio.Event()
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path == "/slow":
            await go.wait()
        return web.Response(text=request.path)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with (
        web_server(app) as upstream,
        signaling_server(message_queue_time=0.2) as signaling,
        serve(upstream, signaling=signaling, **options) as server,
    ):
        yield World(signaling, server, go, asked)


def test_the_root_has_the_public_names_and_all_errors_are_of_one_base() -> None:
    assert peerfetch.connect is connect
    assert peerfetch.serve is serve
    assert {"Peer", "Response", "Server", "connect", "serve"} < set(peerfetch.__all__)
    for name in peerfetch.__all__:
        found = getattr(peerfetch, name)
        if isinstance(found, type) and issubclass(found, Exception):
            assert issubclass(found, PeerfetchError)


async def test_async_with_connects_and_closes() -> None:
    async with world() as there, there.connect() as peer:
        assert isinstance(peer, Peer)
        assert peer.id == there.server.peer_id
        assert peer.id in repr(peer)
        assert peer.transport in ("native", "aiortc")
        response = await peer.fetch("/path")
        assert isinstance(response, Response)
        assert await response.text() == "/path"
    assert peer.session.error is not None


async def test_closing_lets_requests_end() -> None:
    async with world() as there:
        peer = await there.connect()
        slow = asyncio.ensure_future(peer.fetch("/slow"))
        await until(lambda: peer.session.open_streams == 1)
        closing = asyncio.ensure_future(peer.close())
        await asyncio.sleep(0)
        with pytest.raises(SessionClosed):
            await peer.fetch("/")
        there.go.set()  # what runs goes on to its end
        assert await (await slow).text() == "/slow"
        await closing
        await peer.wait_closed()
        await peer.close()


async def test_abort_ends_what_runs() -> None:
    async with world() as there:
        peer = await there.connect()
        slow = asyncio.ensure_future(peer.fetch("/slow"))
        await until(lambda: peer.session.open_streams == 1)
        await peer.abort()
        with pytest.raises(SessionClosed):
            await slow
        await peer.abort()
        await until(lambda: not there.server.peers)


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
async def test_closing_is_not_undone_by_a_cancellation(turns: int) -> None:
    async with world() as there:
        peer = await there.connect()
        closing = asyncio.ensure_future(peer.abort())
        for _ in range(turns):
            await asyncio.sleep(0)
        closing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await closing
        await peer.abort()
        assert peer._sessions.current.connection.connectionState == "closed"


async def test_an_error_in_the_block_is_not_hidden() -> None:
    async with world() as there:
        with pytest.raises(KeyError):
            async with there.connect():
                raise KeyError


@pytest.mark.parametrize("form", ["{}", "peer://{}", "peer://{}/"])
async def test_the_id_as_it_is_printed(form: str) -> None:
    async with world() as there:
        peer_id = form.format(there.server.peer_id)
        async with connect(peer_id, signaling=there.signaling) as peer:
            assert (await peer.fetch("/")).ok


async def test_the_serving_side_may_not_ask_who_serves_nothing() -> None:
    async with world() as there, there.connect():
        await until(lambda: len(there.server.peers) == 1)
        [other] = there.server.peers
        with pytest.raises(StreamReset):
            await other.fetch("/")


async def test_settings_reach_the_session() -> None:
    settings = Settings(keep_alive=0.5)
    async with world() as there, there.connect(settings=settings) as peer:
        assert peer.session.settings == settings


async def test_a_peer_that_is_not_there_is_unavailable() -> None:
    async with signaling_server(message_queue_time=0.2) as signaling:
        with pytest.raises(PeerUnavailable, match="nobody"):
            await connect("nobody", signaling=signaling)


@pytest.mark.parametrize("peer_id", ["", "x" * 1000])
async def test_ids_that_are_none(peer_id: str) -> None:
    async with signaling_server() as signaling:
        with pytest.raises(SignalingError, match="peer id"):
            await connect(peer_id, signaling=signaling)


@pytest.mark.parametrize("url", ["", "x", "ftp://x", "ws://", "ws://127.0.0.1:1"])
async def test_signaling_servers_that_are_none(url: str) -> None:
    with pytest.raises(SignalingError):
        await connect("somebody", signaling=url)


@pytest.mark.parametrize("name", ["timeout", "give_up_after"])
@pytest.mark.parametrize("seconds", [-1, -0.5, float("nan")])
def test_times_that_are_none(name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be 0 seconds or more"):
        connect("somebody", signaling="ws://127.0.0.1:1", **{name: seconds})


async def test_the_signaling_server_is_found_as_the_command_line_finds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PEERFETCH_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("PEERFETCH_SIGNALING", raising=False)

    async with world() as there:
        nowhere = "ws://127.0.0.1:1"
        device = Device(there.server.peer_id, there.signaling, there.server.fingerprint)
        save_device(tmp_path, "garage-cam", device)
        async with connect("garage-cam") as peer:
            assert peer.id == there.server.peer_id
            assert (await peer.fetch("/")).url == f"peer://{peer.id}/"
        monkeypatch.setenv("PEERFETCH_SIGNALING", there.signaling)
        async with connect(there.server.peer_id) as peer:
            assert (await peer.fetch("/")).ok
        monkeypatch.setenv("PEERFETCH_SIGNALING", nowhere)
        with pytest.raises(SignalingError, match=nowhere):  # before the device's
            await connect("garage-cam")
        async with connect("garage-cam", signaling=there.signaling) as peer:
            assert (await peer.fetch("/")).ok
        device = dataclasses.replace(device, pin="sha256:" + "0a" * 32)
        save_device(tmp_path, "other", device)
        with pytest.raises(IdentityChanged, match="pinned"):
            await connect("other", signaling=there.signaling)


def test_devices_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PEERFETCH_STATE_DIR", str(tmp_path))
    (tmp_path / "devices.json").write_text("[]")
    with pytest.raises(PeerfetchError, match=r"devices\.json holds no devices"):
        connect("somebody")
    (tmp_path / "devices.json").unlink()
    (tmp_path / "devices.json").mkdir()
    with pytest.raises(PeerfetchError, match="paired devices cannot be read"):
        connect("somebody")


async def test_the_timeout_is_of_all_of_it() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    began = asyncio.get_running_loop().time()
    with pytest.raises(ConnectError):
        await connect("somebody", signaling=f"ws://127.0.0.1:{port}", timeout=0.3)
    assert asyncio.get_running_loop().time() - began < 9  # where signaling alone may take 10
    async with signaling_server(message_queue_time=600) as signaling:
        with pytest.raises(ConnectError):
            await connect("somebody", signaling=signaling, timeout=0.3)
    server.close()


async def test_connecting_can_be_cancelled_at_any_time() -> None:
    async with signaling_server(message_queue_time=60) as signaling:
        for seconds in (0, 0.01, 0.05, 0.2):

            async def ask() -> None:
                await connect("somebody", signaling=signaling)

            asking = asyncio.ensure_future(ask())
            await asyncio.sleep(seconds)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
