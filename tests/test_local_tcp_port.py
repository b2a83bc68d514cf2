"""A TCP port of a peer as one of this machine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from tests.http.test_tunnel import DATA, Serve, closed_port, echo, tcp_server

from peerfetch_fast import Peer, PeerState, Server, connect, local_tcp_port, serve
from peerfetch_fast.http.tunnel import Tunnel, relay_socket, reset_socket
from peerfetch_fast.local_tcp_port import MAX_CONNECTIONS, LocalTcpPort
from support import run, until
from test_peer import signaling_server


@dataclass
class Carried:
    peer: Peer
    server: Server
    port: int

    async def connect(self, port: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port or self.port)


@contextlib.asynccontextmanager
async def carried(serving: Serve, name: str = "port") -> AsyncIterator[Carried]:
    async with (
        tcp_server(serving) as address,
        signaling_server(message_queue_time=0.2) as signaling,
        await serve(
            {}, tcp={"port": address, "shut": closed_port()}, signaling=signaling
        ) as server,
        connect(server.peer_id, signaling=signaling) as peer,
    ):
        local = LocalTcpPort(peer, name)
        port = await local.start(0)
        try:
            yield Carried(peer, server, port)
        finally:
            await local.close()


async def test_bytes_come_back_and_directions_end_by_themselves() -> None:
    async with carried(echo) as here:
        assert (await here.peer.fetch("/")).status == 404  # ports are all that it serves

        async def exchange(data: bytes) -> None:
            reader, writer = await here.connect()

            async def send() -> None:
                writer.write(data)
                await writer.drain()
                writer.write_eof()

            sending = asyncio.ensure_future(send())
            assert await reader.read() == data
            await sending
            writer.close()

        await asyncio.gather(exchange(DATA), *(exchange(b"%d" % n) for n in range(20)))
        await until(lambda: here.peer.session.open_streams == 0)


async def test_a_reset_on_either_side_is_one_on_the_other() -> None:
    seen: list[BaseException] = []

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"half")
        if await reader.readexactly(1) == b"r":
            reset_socket(writer.transport)
            return
        try:
            await reader.read()
        except ConnectionError as error:
            seen.append(error)

    async with carried(leave) as here:
        reader, writer = await here.connect()
        assert await reader.readexactly(4) == b"half"
        writer.write(b"r")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        reader, writer = await here.connect()
        assert await reader.readexactly(4) == b"half"
        writer.write(b"x")
        reset_socket(writer.transport)
        await until(lambda: len(seen) == 1)


@pytest.mark.parametrize(("name", "said"), [("shut", "502"), ("other", "404")])
def test_what_leads_nowhere_is_reset_and_said(
    name: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with carried(echo, name) as here:
            reader, writer = await here.connect()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()

    run(main())
    assert any(name in (m := r.getMessage()) and said in m for r in caplog.records)


async def test_a_device_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerfetch_fast.local_tcp_port.OPEN_TIMEOUT", 0.2)

    async with carried(echo) as here:
        reader, writer = await here.connect()
        writer.write(b"there?")
        assert await reader.readexactly(6) == b"there?"
        await here.server.close(timeout=0)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        await here.peer.wait_for(PeerState.RECONNECTING)
        reader, writer = await here.connect()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_connections_are_bounded() -> None:
    async with carried(echo) as here:
        many = [await here.connect() for _ in range(MAX_CONNECTIONS)]
        for reader, writer in many:
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
        reader, writer = await here.connect()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        for _, other in many:
            other.close()


async def test_a_program_that_is_gone_before_its_tunnel_opens_leaves_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[bool] = []

    async def late(
        tunnel: Tunnel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        await until(lambda: writer.get_extra_info("socket").fileno() == -1)
        ended.append(await relay_socket(tunnel, reader, writer))
        return ended[-1]

    monkeypatch.setattr(local_tcp_port, "relay_socket", late)
    async with carried(echo) as here:
        for _ in range(3):
            _, writer = await here.connect()
            reset_socket(writer.transport)
        await until(lambda: ended == [False] * 3)
        await until(lambda: here.peer.session.open_streams == 0)


async def test_what_is_closed_in_the_moment_of_a_connection_resets_it() -> None:
    async with carried(echo) as here:
        local = LocalTcpPort(here.peer, "port")
        accept, closing = local._on_connection, list[asyncio.Task[None]]()

        def accept_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accept(reader, writer)
            for task in local._tasks:
                task.cancel()
            closing.append(asyncio.ensure_future(local.close()))

        local._on_connection = accept_and_close  # type: ignore[method-assign]
        reader, writer = await here.connect(await local.start(0))
        async with asyncio.timeout(20):
            with pytest.raises(ConnectionResetError):
                await reader.read()
        await closing[0]
        writer.close()
