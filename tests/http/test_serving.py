"""Connections of local programs: what a handler is asked, and what becomes of its answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from peerfetch_fast.errors import MessageError, MessageTruncated, WireError
from peerfetch_fast.http.serving import READ_AHEAD, Asked, Handler, LocalServer
from support import run, until

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[tuple[LocalServer, int]]:
    server = LocalServer(handler)
    try:
        yield server, await server.start(0)
    finally:
        await server.close()


async def said(port: int, *pieces: bytes, eof: bool = False) -> bytes:
    """What is answered to ``pieces`` until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        if eof:
            writer.write_eof()
        return await reader.read()
    finally:
        writer.close()


async def ok(asked: Asked) -> None:
    while await asked.read():
        pass
    asked.start(200, [("content-length", "2")])
    await asked.write(b"ok")
    asked.end()


async def test_requests_of_a_connection_are_answered_in_order() -> None:
    seen: list[str] = []

    async def later(asked: Asked) -> None:
        seen.append(asked.request.target)
        await asyncio.sleep(0.01 if len(seen) == 1 else 0)
        await ok(asked)

    async with serving(later) as (_, port):
        got = await said(port, GET + GET, LAST)
        assert got.count(b"HTTP/1.1 200 OK\r\n") == 3
        assert got.endswith(b"connection: close\r\n\r\nok")
        assert seen == ["/", "/", "/last"]


async def test_only_what_frames_an_answer_is_added() -> None:
    async with serving(ok) as (_, port):
        assert await said(port, GET, eof=True) == OK


async def test_a_body_comes_in_pieces_and_its_trailers_behind() -> None:
    bodies: list[tuple[bytes, list[tuple[str, str]]]] = []

    async def gather(asked: Asked) -> None:
        body = b""
        while piece := await asked.read():
            body += piece
        bodies.append((body, asked.trailers))
        asked.inform(103, [("link", "x")])
        asked.start(200, [])
        await asked.write(body)
        asked.end([("sum", "1")])

    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(gather) as (_, port):
        got = await said(port, head, b"2\r\nab\r\n", b"1\r\nc\r\n0\r\nx-a: 1\r\n\r\n")
        assert bodies == [(b"abc", [("x-a", "1")])]
        assert got == (
            b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
            b"3\r\nabc\r\n0\r\nsum: 1\r\n\r\n"
        )


async def test_what_is_no_request_is_answered_and_the_connection_closed() -> None:
    async with serving(ok) as (server, port):
        for octets, status in ((b"no request\r\n\r\n", 400), (b"GET / HTTP/3.0\r\n\r\n", 505)):
            got = await said(port, octets + GET)
            assert got.startswith(b"HTTP/1.1 %d " % status)
            assert got.count(b"connection: close\r\n") == 1
        assert await said(port, b"GET / HT", eof=True) == b""
        await until(lambda: not server.connections)


async def test_a_body_that_breaks_off_is_told_to_the_handler() -> None:
    errors: list[Exception] = []

    async def read(asked: Asked) -> None:
        try:
            await ok(asked)
        except (WireError, MessageTruncated) as error:
            errors.append(error)
            asked.respond(400, "no")

    head = b"POST / HTTP/1.1\r\nHost: x\r\n"
    async with serving(read) as (_, port):
        for octets in (
            b"Content-Length: 9\r\n\r\nabc",
            b"Transfer-Encoding: chunked\r\n\r\nz\r\n",
        ):
            assert (await said(port, head + octets, eof=True)).startswith(b"HTTP/1.1 400 ")
    assert [type(error) for error in errors] == [MessageTruncated, WireError]


async def test_an_answer_before_the_end_of_a_request_arrives() -> None:
    async def refuse(asked: Asked) -> None:
        asked.respond(413, "too much")

    head = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n"
    async with serving(refuse) as (server, port):
        for _ in range(10):
            got = await said(port, head + bytes(5_000_000))
            assert got.startswith(b"HTTP/1.1 413 ")
            assert got.endswith(b"connection: close\r\n\r\ntoo much\n")
        await until(lambda: not server.connections)


async def test_a_slow_program_stops_the_handler_and_a_slow_handler_the_program() -> None:
    written = read = 0
    go = asyncio.Event()

    async def pour(asked: Asked) -> None:
        nonlocal written, read
        if asked.request.method == "GET":
            asked.start(200, [("content-length", str(50_000_000))])
            for _ in range(500):
                await asked.write(bytes(100_000))
                written += 100_000
        else:
            await go.wait()
            while piece := await asked.read():
                read += len(piece)
            asked.start(204, [])
        asked.end()

    async with serving(pour) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(GET)
        before = -1
        while written != before:
            before = written
            await asyncio.sleep(0.2)
        assert 0 < written < 30_000_000
        assert len(await reader.read(50_000_000)) > 0
        writer.close()
        await until(lambda: not server.connections)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n")
        writer.write(bytes(50_000_000))
        await until(lambda: any(c.http.waiting for c in server.connections))
        [connection] = server.connections
        await asyncio.sleep(0.2)
        assert connection.http.waiting < READ_AHEAD + 1_000_000
        go.set()
        assert (await reader.readline()) == b"HTTP/1.1 204 No Content\r\n"
        assert read == 50_000_000
        writer.close()
        await until(lambda: not server.connections)


async def test_a_program_that_goes_away_cancels_the_handler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("peerfetch_fast.http.serving.HALF_CLOSED_TIMEOUT", 0.2)
    cancelled: list[bool] = []

    async def wait(asked: Asked) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async with serving(wait) as (server, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        await until(lambda: len(server.connections) == 1)
        writer.transport.abort()
        await until(lambda: cancelled == [True] and not server.connections)


async def test_a_program_that_only_listens_gets_a_slow_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("peerfetch_fast.http.serving.HALF_CLOSED_TIMEOUT", 0.5)

    async def slowly(asked: Asked) -> None:
        asked.start(200, [])
        for _ in range(8):
            await asyncio.sleep(0.1)  # all together longer than it may be quiet
            await asked.write(b"x")
        asked.end()

    async with serving(slowly) as (_, port):
        got = await said(port, GET, eof=True)
        assert got.count(b"1\r\nx\r\n") == 8
        assert got.endswith(b"0\r\n\r\n")


async def test_half_an_answer_does_not_look_whole() -> None:
    async def half(asked: Asked) -> None:
        asked.start(200, [] if asked.request.target == "/" else [("content-length", "9")])
        await asked.write(b"half")
        asked.abort()

    async with serving(half) as (_, port):
        assert not (await said(port, GET)).endswith(b"0\r\n\r\n")
        assert (await said(port, LAST)).endswith(b"half")
        # Without a length, only the end of the connection can tell.
        with pytest.raises(ConnectionResetError):
            await said(port, b"GET / HTTP/1.0\r\n\r\n")


async def test_what_cannot_be_sent_is_an_error_of_the_handlers() -> None:
    errors: list[Exception] = []

    async def wrong(asked: Asked) -> None:
        try:
            asked.start(200, [("x", "a\nb")])
        except MessageError as error:
            errors.append(error)
        assert not asked.started
        asked.respond(502, "no")

    async with serving(wrong) as (_, port):
        assert (await said(port, LAST)).startswith(b"HTTP/1.1 502 ")
    assert len(errors) == 1


async def test_a_switch_of_protocol_hands_over_the_octets() -> None:
    async def switch(asked: Asked) -> None:
        asked.switch([("connection", "upgrade"), ("upgrade", "echo")])
        while piece := await asked.read():
            await asked.write(piece[::-1])

    async with serving(switch) as (server, port):
        head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
        got = await said(port, head + b"abc", eof=True)
        assert got == (
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\ncba"
        )
        await until(lambda: not server.connections)


async def test_connections_are_bounded_and_idle_ones_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("peerfetch_fast.http.serving.MAX_CONNECTIONS", 2)
    monkeypatch.setattr("peerfetch_fast.http.serving.IDLE_TIMEOUT", 0.5)

    async with serving(ok) as (server, port):
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await until(lambda: len(server.connections) == 2)
        assert (await said(port, GET)).startswith(b"HTTP/1.1 503 ")
        for reader, writer in idle:
            assert await reader.read() == b""
            writer.close()
        assert (await said(port, LAST)).startswith(b"HTTP/1.1 200 ")


def test_a_handler_that_fails_breaks_the_connection_off(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(asked: Asked) -> None:
        raise RuntimeError("a fault of ours")

    async def main() -> None:
        async with serving(fail) as (server, port):
            with pytest.raises(ConnectionResetError):
                await said(port, GET)
            await until(lambda: not server.connections)

    run(main())
    assert "a local connection failed" in caplog.text
