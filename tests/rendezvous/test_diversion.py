"""TURN on the port of HTTPS, in front of a server that says everything back."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.webrtc.conftest import LOOPS

from certificates import self_signed
from peerfetch_fast.rendezvous.diversion import TurnDiversion
from peerfetch_fast.signaling import SignalingServer
from support import until

pytestmark = [
    pytest.mark.usefixtures("each_loop"),
    pytest.mark.parametrize("each_loop", LOOPS, indirect=True),
]

STUN = b"\x00\x03\x00\x08"


class Echo:
    """The server, and what it has got."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.open = 0
        self.reading = asyncio.Event()
        self.reading.set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(65_536):
                    await self.reading.wait()
                    self.got += data
                    writer.write(data)
                    await writer.drain()
        finally:
            self.open -= 1
            writer.close()


class Scene:
    def __init__(self, echo: Echo, diversion: TurnDiversion, port: int, trusted: Path) -> None:
        self.echo = echo
        self.diversion = diversion
        self._port = port
        self._trusted = trusted

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = ssl.create_default_context(cafile=self._trusted)
        return await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=context, server_hostname="127.0.0.1"
        )


@contextlib.asynccontextmanager
async def scene(directory: Path, *, at_most: int = 10, there: bool = True) -> AsyncIterator[Scene]:
    echo = Echo()
    far = await asyncio.start_server(echo, "127.0.0.1", 0)
    far_port = far.sockets[0].getsockname()[1]
    if not there:
        far.close()
        await far.wait_closed()
    certificate, key = self_signed(directory)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    diversion = TurnDiversion("127.0.0.1", far_port, at_most)
    server = SignalingServer(divert=diversion)
    await server.start("127.0.0.1", 0, context)
    try:
        yield Scene(echo, diversion, int(server.url.rpartition(":")[2]), certificate)
    finally:
        await server.close()
        far.close()
        await until(lambda: not echo.open)
        await far.wait_closed()


async def test_what_begins_as_stun_goes_both_ways(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        reader, writer = await world.connect()
        for piece in (STUN, b"GET / HTTP/1.1\r\n\r\n", bytes(100_000)):
            writer.write(piece)
            assert await reader.readexactly(len(piece)) == piece
        assert world.diversion.connections == 1
        assert world.diversion.relayed == 2 * len(world.echo.got)
        writer.close()
        await until(lambda: not world.diversion.connections and not world.echo.open)


@pytest.mark.parametrize("first", [b"", b"\r\n"], ids=["at once", "after an empty line"])
async def test_what_begins_as_http_is_answered_as_ever(tmp_path: Path, first: bytes) -> None:
    async with scene(tmp_path) as world:
        reader, writer = await world.connect()
        for _ in range(2):
            writer.write(first + b"GET /peerjs/id HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            assert len(await reader.readexactly(32)) == 32
        assert not world.echo.got
        writer.close()


async def test_what_comes_before_the_other_half_is_there_is_kept(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        reader, writer = await world.connect()
        sent = STUN + bytes(range(256)) * 1000
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        writer.close()


async def test_the_end_of_either_half_is_the_end_of_both(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        reader, writer = await world.connect()
        writer.write(STUN)
        await reader.readexactly(4)
        writer.transport.abort()
        await until(lambda: not world.echo.open and not world.diversion.connections)


async def test_a_server_that_is_not_there_ends_the_connection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene(tmp_path, there=False) as world:
        reader, writer = await world.connect()
        writer.write(STUN)
        with contextlib.suppress(OSError):
            assert await reader.read() == b""
        writer.close()
    assert "the TURN server cannot be reached" in caplog.text


async def test_there_are_at_most_so_many(tmp_path: Path) -> None:
    async with scene(tmp_path, at_most=1) as world:
        first, held = await world.connect()
        held.write(STUN)
        await first.readexactly(4)
        reader, writer = await world.connect()
        writer.write(STUN)
        with contextlib.suppress(OSError):
            assert await reader.read() == b""
        writer.close()
        held.write(STUN)
        assert await first.readexactly(4) == STUN
        held.close()


async def test_a_far_end_that_does_not_read_stops_the_near_one(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        reader, writer = await world.connect()
        writer.write(STUN)
        await reader.readexactly(4)
        world.echo.reading.clear()
        sent = 0
        piece = bytes(1 << 20)

        async def fill() -> Any:
            nonlocal sent
            while sent < 64 << 20:
                writer.write(piece)
                await writer.drain()
                sent += len(piece)

        filling = asyncio.ensure_future(fill())
        before = -1
        while before != world.diversion.relayed:
            before = world.diversion.relayed
            await asyncio.sleep(0.3)
        assert world.diversion.relayed < 32 << 20
        filling.cancel()
        writer.transport.abort()
        world.echo.reading.set()
