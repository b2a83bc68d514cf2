"""Connections that say nothing, too little or too much, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from certificates import self_signed
from peerfetch_fast.signaling import (
    Refusal,
    SignalingClient,
    SignalingServer,
    SignalingServerSettings,
    listener,
)
from support import until


@contextlib.asynccontextmanager
async def serving(
    tls: ssl.SSLContext | None = None, **settings: Any
) -> AsyncIterator[tuple[SignalingServer, int]]:
    server = SignalingServer(SignalingServerSettings(**{"close_timeout": 0.2, **settings}))
    await server.start("127.0.0.1", 0, tls)
    try:
        yield server, int(server.url.rsplit(":", 1)[1])
    finally:
        await server.close()


class Crowd:
    """Connections of an attacker, closed in the end."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Crowd:
        return self

    async def __aexit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def connect(self, text: bytes = b"") -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.append(writer)
        if text:
            writer.write(text)
        return reader

    def write(self, index: int, text: bytes) -> None:
        self._writers[index].write(text)


@pytest.fixture
def descriptors() -> Iterator[int]:
    """The limit of a program that starts, and room for both ends of a test in one process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(4096, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    yield most
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_all_addresses_are_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without IPv6 has those of IPv4."""
    real = listener._listening

    def without_ipv6(family: int, address: tuple[object, ...]) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no such family")
        return real(family, address)

    monkeypatch.setattr(listener, "_listening", without_ipv6)
    server = SignalingServer()
    await server.start(None, 0)
    port = int(server.url.rsplit(":", 1)[1])
    async with SignalingClient(f"ws://127.0.0.1:{port}", "inside", on_message=print):
        pass
    await server.close()


async def test_silent_connections_of_one_address_keep_nobody_out(descriptors: int) -> None:
    async with serving() as (server, port), Crowd(port) as crowd:
        client = SignalingClient(server.url, "inside", on_message=print)
        await client.start()
        readers = [await crowd.connect() for _ in range(1100)]
        # Those within the bound are held for as long as a head may take, the others cut.
        await asyncio.gather(*(reader.read() for reader in readers[: 1100 - 256]))
        assert server.refused[Refusal.NO_REQUEST] >= 1100 - 256
        # Of their own address too, whoever asks is let in.
        neighbour = SignalingClient(server.url, "neighbour", on_message=print)
        await neighbour.start()
        await neighbour.close()
        # Who is in is served, and files can be opened: descriptors are left.
        other = SignalingServer()
        await other.start("127.0.0.1", 0)
        await other.close()
        assert server.peer_ids == ["inside"]
        await client.close()


async def test_messages_that_never_become_whole_are_bounded_together() -> None:
    limits = {"max_incoming_total": 300_000, "max_message_size": 200_000}
    async with (
        serving(**limits) as (server, port),
        Crowd(port) as crowd,
        aiohttp.ClientSession() as session,
    ):
        honest = await session.ws_connect(f"{server.url}/peerjs?key=peerjs&id=a&token=t")
        assert (await honest.receive_json())["type"] == "OPEN"
        handshake = (
            "GET /peerjs?key=peerjs&id=c{}&token=t HTTP/1.1\r\nHost: x\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        # A masked text of 199,000 bytes, of which some are missing.
        head = b"\x81\xff" + (199_000).to_bytes(8) + bytes(4)
        readers = []
        for n, size in enumerate((120_000, 100_000, 150_000)):
            readers.append(await crowd.connect(handshake.format(n).encode()))
            await readers[-1].readuntil(b"\r\n\r\n")
            crowd.write(n, head + b"x" * size)
        await readers[2].read()  # who has sent most is cut
        assert server.refused == {Refusal.TOO_MUCH_INCOMING: 1}
        await until(lambda: server.peer_ids == ["a", "c0", "c1"])
        # What is whole and read no longer counts, and neither does what was cut.
        for _ in range(10):
            await honest.send_json({"type": "OFFER", "dst": "a", "payload": "x" * 50_000})
            assert len((await honest.receive_json())["payload"]) == 50_000
        assert server.refused == {Refusal.TOO_MUCH_INCOMING: 1}
        await honest.close()


async def test_the_silent_give_way_to_those_who_ask() -> None:
    settings = {"max_connections": 8, "max_per_address": 100}
    async with serving(**settings) as (server, port), Crowd(port) as crowd:
        first = await crowd.connect()
        for _ in range(20):
            await crowd.connect()
        assert await first.read() == b""
        client = SignalingClient(server.url, "late", on_message=print)
        await client.start()
        for _ in range(20):
            await crowd.connect()
        assert server.peer_ids == ["late"]
        assert server.refused[Refusal.NO_REQUEST] > 0
        await client.close()


@pytest.mark.parametrize(("limit", "most"), [(60, 35), (40, 20)])
async def test_descriptors_are_left_for_all_else(
    monkeypatch: pytest.MonkeyPatch, limit: int, most: int
) -> None:
    monkeypatch.setattr(listener, "descriptor_limit", lambda: limit)

    async with serving(descriptor_reserve=25) as (server, port), Crowd(port) as crowd:
        before = len(os.listdir("/proc/self/fd"))
        readers = [await crowd.connect() for _ in range(50)]
        await asyncio.gather(*(reader.read() for reader in readers[: 50 - most]))
        assert len(os.listdir("/proc/self/fd")) - before - 50 <= most
        client = SignalingClient(server.url, "late", on_message=print)
        await client.start()
        await client.close()


async def test_who_is_turned_away_is_told_why() -> None:
    async with serving(max_per_address=2) as (server, port), Crowd(port) as crowd:
        for _ in range(2):
            reader = await crowd.connect(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
        url = server.url.replace("ws:", "http:")
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert response.status == 429
            assert response.headers["Retry-After"] == "30"
            assert response.headers["Connection"] == "close"
            assert "Too many connections come from your address" in await response.text()
    async with serving(max_connections=2) as (server, port), Crowd(port) as crowd:
        for _ in range(2):
            reader = await crowd.connect(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
        url = server.url.replace("ws:", "http:")
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert response.status == 503
            assert "try again later" in await response.text()
        assert server.refused[Refusal.TOO_MANY_CONNECTIONS] == 1


async def test_a_head_that_is_too_slow() -> None:
    async with serving(head_timeout=0.5) as (server, port), Crowd(port) as crowd:
        silent = await crowd.connect()
        slow = await crowd.connect(b"GET / HTTP/1.1\r\nHost: x\r\nA: ")
        started = time.monotonic()

        async def drip() -> None:
            while True:
                crowd.write(1, b"x")
                await asyncio.sleep(0.05)

        dripping = asyncio.ensure_future(drip())
        # To its end, behind which the connection may be reset for what was dripped meanwhile.
        answer = await slow.readuntil(b"here.\n")
        dripping.cancel()
        assert time.monotonic() - started >= 0.4  # no sign of life puts it off, nor hastens it
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"took too long" in answer
        assert await silent.read() == b""
        assert server.refused[Refusal.NO_REQUEST] == 2


async def test_who_answers_are_kept_for_as_long_as_they_ask_in_time() -> None:
    async with serving(head_timeout=0.3) as (_, port), Crowd(port) as crowd:
        reader = await crowd.connect()
        for _ in range(4):
            crowd.write(0, b"GET /peerjs/id HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(32)
            await asyncio.sleep(0.15)
        assert await reader.read() == b""  # and then it is closed


@pytest.mark.parametrize("length", [10**9, 100])
async def test_a_body_that_never_comes(length: int) -> None:
    async with serving(head_timeout=0.3) as (_, port), Crowd(port) as crowd:
        head = b"POST /peerjs/a/b/room/c/join HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n."
        reader = await crowd.connect(head % length)
        assert b"401" in await reader.readuntil(b"\r\n\r\n")
        await reader.read()


async def test_an_answer_that_is_never_read() -> None:
    async with serving(head_timeout=0.2) as (server, port), Crowd(port) as crowd:
        reader = await crowd.connect()
        request = b"GET /peerjs/id HTTP/1.1\r\nHost: x\r\n\r\n" * 200
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(ConnectionError):
            for _ in range(500):
                crowd.write(0, request)
                await crowd._writers[0].drain()
        assert server._listener is not None
        while len(server._listener.doorman):
            await asyncio.sleep(0.02)


async def test_a_tls_handshake_that_never_ends(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(tmp_path))
    settings = {"head_timeout": 0.4, "max_per_address": 3}
    async with serving(context, **settings) as (server, port), Crowd(port) as crowd:
        held = [await crowd.connect() for _ in range(3)]
        connector = aiohttp.TCPConnector(ssl=False)
        url = server.url.replace("wss:", "https:")
        async with aiohttp.ClientSession(connector=connector) as session:
            # The oldest gives way at once, the others when their time is up.
            async with session.get(url) as response:
                assert response.status == 200
            for reader in held:
                assert await reader.read() == b""


async def test_clients_behind_a_trusted_proxy_are_counted_apart() -> None:
    settings = {"max_per_address": 2, "trusted_proxies": ("127.0.0.0/8",)}
    async with (
        serving(**settings) as (server, _),
        aiohttp.ClientSession() as session,
        contextlib.AsyncExitStack() as stack,
    ):

        async def join(peer_id: str, address: str) -> None:
            socket = await session.ws_connect(
                f"{server.url}/peerjs",
                params={"key": "peerjs", "id": peer_id, "token": "t"},
                headers={"X-Forwarded-For": address},
            )
            stack.push_async_callback(socket.close)
            assert await socket.receive_json() == {"type": "OPEN"}

        for n in range(2):
            await join(f"a{n}", "192.0.2.1")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await join("a2", "192.0.2.1")
        assert refused.value.status == 429
        await join("b", "192.0.2.2")
        assert server.peer_ids == ["a0", "a1", "b"]
