"""Raw streams between a session and real TCP sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from peerfetch_fast.errors import (
    InvalidRequest,
    StreamReset,
    StreamStopped,
    UpgradeRefused,
)
from peerfetch_fast.http.blocks import block_header
from peerfetch_fast.http.heads import encode_request
from peerfetch_fast.http.ports import Ports
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.http.tunnel import Tunnel, open_tunnel, reset_socket
from peerfetch_fast.http.upgrade import ask_upgrade
from peerfetch_fast.settings import Settings
from support import Pair, http_pair, until

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

DATA = bytes(range(256)) * 8000


@contextlib.asynccontextmanager
async def tcp_server(serve: Serve) -> AsyncIterator[str]:
    """HOST:PORT of a server that runs ``serve`` for each connection."""
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def whole() -> None:
            try:
                await serve(reader, writer)
            finally:
                writer.close()

        tasks.add(asyncio.get_running_loop().create_task(whole()))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def web_only(exchange: Exchange) -> None:
    exchange.respond(200, body=b"the web")


@contextlib.asynccontextmanager
async def tunnelled(
    serve: Serve, settings: Settings | None = None, **addresses: str
) -> AsyncIterator[Pair]:
    """Sessions of which one serves the TCP server as ``port``."""
    async with tcp_server(serve) as address:
        ports = Ports({"port": address, **addresses})
        async with http_pair(web_only, tunnels=ports, settings=settings) as pair:
            yield pair


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()


async def read_all(tunnel: Tunnel) -> bytes:
    pieces = []
    while piece := await tunnel.read():
        pieces.append(piece)
    return b"".join(pieces)


async def test_bytes_come_back_as_they_went() -> None:
    async with tunnelled(echo) as pair:
        tunnel = await open_tunnel(pair.client, "port")

        async def send() -> None:
            for at in range(0, len(DATA), 100_001):
                await tunnel.write(DATA[at : at + 100_001])
            tunnel.write_eof()

        sending = asyncio.ensure_future(send())
        assert await read_all(tunnel) == DATA
        await sending
        await until(lambda: pair.server.open_streams == 0)


async def test_a_direction_that_has_ended_leaves_the_other_open() -> None:
    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = len(await reader.read())  # to the FIN
        writer.write(b"%d bytes" % size)

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.write_eof()
        received.append(await reader.read())

    received: list[bytes] = []

    async with tunnelled(count) as pair:
        tunnel = await open_tunnel(pair.client, "port")
        await tunnel.write(DATA)
        tunnel.write_eof()
        assert await read_all(tunnel) == b"%d bytes" % len(DATA)
    async with tunnelled(greet) as pair:
        tunnel = await open_tunnel(pair.client, "port")
        assert await read_all(tunnel) == b"hello"
        await tunnel.write(b"and more, ")
        await tunnel.write(b"later")
        tunnel.write_eof()
        await until(lambda: received == [b"and more, later"])
        await until(lambda: pair.server.open_streams == 0)


async def test_a_reset_of_the_server_is_one_for_the_client() -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(3)
        writer.write(b"half")
        await writer.drain()
        await reader.readexactly(3)
        reset_socket(writer.transport)

    async with tunnelled(leave) as pair:
        tunnel = await open_tunnel(pair.client, "port")
        await tunnel.write(b"abc")
        assert await tunnel.read() == b"half"
        await tunnel.write(b"def")
        with pytest.raises(StreamReset):
            await tunnel.read()
        with pytest.raises(StreamStopped):
            while True:
                await tunnel.write(bytes(1000))


@pytest.mark.parametrize("how", ["abort", "block", "session"])
async def test_a_client_that_breaks_off_is_a_reset_for_the_server(how: str) -> None:
    seen: list[BaseException | bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65536):
                seen.append(piece)
            seen.append(b"looks whole")
        except ConnectionError as error:
            seen.append(error)

    async with tunnelled(listen) as pair:
        tunnel = await open_tunnel(pair.client, "port")
        await tunnel.write(b"half")
        await until(lambda: seen == [b"half"])
        if how == "abort":
            tunnel.abort()
        elif how == "block":  # the stream ends inside one
            tunnel._stream.write_nowait(block_header(0, 10) + b"123")
            tunnel._stream.end()
        else:
            pair.client.abort()
        await until(lambda: isinstance(seen[-1], ConnectionResetError))
        await until(lambda: pair.server.open_streams == 0)


async def test_a_slow_reader_stops_the_other_side() -> None:
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        for _ in range(1000):
            writer.write(bytes(100_000))
            await writer.drain()
            sent += 100_000

    async def sip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        total = 0
        while piece := await reader.read(1 << 20):
            total += len(piece)
        writer.write(b"%d" % total)

    go = asyncio.Event()
    settings = Settings(
        max_data=1 << 20,
        max_stream_data=1 << 19,
        initial_max_data=1 << 20,
        initial_max_stream_data=1 << 19,
    )

    async def stands(measure: Callable[[], int]) -> int:
        """What ``measure`` comes to a stop at."""
        before = -1
        while (now := measure()) != before:
            before = now
            await asyncio.sleep(0.3)
        return now

    async with tunnelled(pour, settings) as pair:
        tunnel = await open_tunnel(pair.client, "port")
        assert await tunnel.read()
        # What the kernel's sockets hold comes on top.
        assert 0 < await stands(lambda: sent) < 30_000_000
        tunnel.abort()
    sent = 0
    async with tunnelled(sip, settings) as pair:
        tunnel = await open_tunnel(pair.client, "port")

        async def send() -> None:
            nonlocal sent
            for _ in range(500):
                await tunnel.write(bytes(100_000))
                sent += 100_000
            tunnel.write_eof()

        sending = asyncio.ensure_future(send())
        assert 0 < await stands(lambda: sent) < 30_000_000
        go.set()
        await sending
        assert await read_all(tunnel) == b"50000000"


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return f"127.0.0.1:{found.getsockname()[1]}"


async def test_a_port_that_is_not_served_is_refused_with_its_status() -> None:
    async with tunnelled(echo, shut=closed_port()) as pair:
        for name, status in (("shut", 502), ("other", 404), ("Port", 404), ("port.", 404)):
            with pytest.raises(UpgradeRefused) as refused:
                await open_tunnel(pair.client, name)
            assert refused.value.status == status
            assert b"port" in refused.value.body
        for name in ("", "a/b", "a b", "x" * 65, "127.0.0.1:22", "port\n"):
            with pytest.raises(InvalidRequest):
                await open_tunnel(pair.client, name)


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("GET", "/port", [], 400),
        ("CONNECT", "/port", [["content-length", "1"]], 400),
        ("CONNECT", "/../port", [], 404),
        ("CONNECT", "//port", [], 404),
        ("CONNECT", "port", [], 404),
        ("CONNECT", "xport", [], 404),
        ("CONNECT", "/port?", [], 404),
        ("CONNECT", "127.0.0.1:22", [], 404),
        ("CONNECT", "http://127.0.0.1:22/", [], 404),
    ],
)
async def test_a_client_that_asks_for_another(
    method: str, target: str, headers: list[tuple[str, str]], status: int
) -> None:
    async with tunnelled(echo) as pair:
        with pytest.raises(UpgradeRefused) as refused:
            await ask_upgrade(
                pair.client, encode_request(method, target, headers, "tcp"), "a tunnel"
            )
        assert refused.value.status == status


async def test_a_side_without_ports_does_not_speak_it() -> None:
    async with http_pair(web_only) as pair:
        with pytest.raises(UpgradeRefused) as refused:
            await open_tunnel(pair.client, "port")
        assert refused.value.status == 501


async def test_tunnels_are_bounded_and_a_place_is_free_again() -> None:
    async with tunnelled(echo) as pair:
        tunnels = [await open_tunnel(pair.client, "port") for _ in range(Settings().max_tunnels)]
        with pytest.raises(UpgradeRefused) as refused:
            await open_tunnel(pair.client, "port")
        assert refused.value.status == 429
        assert await (await pair.fetch("/")).text() == "the web"
        tunnels[0].abort()
        await until(lambda: pair.server.open_streams < Settings().max_tunnels)
        tunnels[0] = await open_tunnel(pair.client, "port")
        for number, tunnel in enumerate(tunnels):
            await tunnel.write(b"%d" % number)
        for number, tunnel in enumerate(tunnels):
            assert await tunnel.read() == b"%d" % number
            tunnel.abort()


@pytest.mark.parametrize("name", ["", "a/b", "a=b", "ä", "x" * 65])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="is no name for a port"):
        Ports({name: "127.0.0.1:22"})


@pytest.mark.parametrize(
    "address", ["", "22", "host", "host:", ":22", "host:0", "host:65536", "u@host:22", "h:22/x"]
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ValueError, match="is no address of a port"):
        Ports({"ssh": address})


def test_addresses_of_each_family_are_taken() -> None:
    Ports({"a": "127.0.0.1:22", "b": "[::1]:22", "c": "host.example:65535"})


async def test_a_reset_is_one_on_the_wire() -> None:
    """What asyncio calls an abort is an ordinary end, unless the socket lingers for no time."""

    broken = asyncio.get_running_loop().create_future()

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await broken
        reset_socket(writer.transport)

    async with tcp_server(leave) as address:
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        broken.set_result(None)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
