"""What a client of signaling servers asks over HTTP: one connection, redirects, what is no HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiohttp import web
from yarl import URL

from certificates import self_signed
from peerfetch_fast.errors import MessageError, WebSocketClosed, WireError
from peerfetch_fast.http.websocket_wire import accept_key
from peerfetch_fast.signaling.http_client import BadStatus, HttpClient
from support import run, web_server


class Site:
    """A web server, and the connections that came to it."""

    def __init__(self) -> None:
        self.app = web.Application()
        self.url = URL()
        self.transports: list[asyncio.BaseTransport] = []

    def note(self, request: web.Request) -> None:
        assert request.transport is not None
        if request.transport not in self.transports:
            self.transports.append(request.transport)


@asynccontextmanager
async def site(tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    """``/id`` and ``/room`` answer, ``/socket`` opens a WebSocket that echoes, ``/to?url=…`` leads
    elsewhere.
    """
    made = Site()

    async def text(request: web.Request) -> web.Response:
        made.note(request)
        return web.Response(text=f"{request.method} {request.path_qs}")

    async def echo(request: web.Request) -> web.WebSocketResponse:
        made.note(request)
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        async for message in opened:
            await opened.send_str(message.data)
        return opened

    async def lead(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": request.query["url"]})

    made.app.router.add_get("/id", text)
    made.app.router.add_post("/room", text)
    made.app.router.add_get("/socket", echo)
    made.app.router.add_get("/to", lead)
    async with web_server(made.app, tls=tls) as url:
        made.url = URL(url)
        yield made


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[URL]:
    """A server that says the same to everything, and hangs up."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_connection_that_was_cut_is_lost_on_any_loop(loop: Any) -> None:
    async def main() -> None:
        async with site() as there:
            with contextlib.closing(HttpClient(None)) as http:
                opened = await http.websocket(there.url / "socket", max_message_size=100)
                opened.abort()
                with pytest.raises(ConnectionError):
                    await opened.send("x")
                with pytest.raises(ConnectionError):
                    await opened.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


async def test_one_connection_serves_requests_and_then_a_websocket() -> None:
    async with site() as there:
        with contextlib.closing(HttpClient(None)) as http:
            for _ in range(2):
                found = await http.request("GET", there.url / "id", max_body=100)
                assert found == (200, b"GET /id")
            found = await http.request("POST", there.url / "room", max_body=100)
            assert found == (200, b"POST /room")
            opened = await http.websocket(there.url / "socket", max_message_size=100)
            await opened.send("ü")
            assert await opened.receive_event() == "ü"
            await opened.close()
        assert len(there.transports) == 1


async def test_a_connection_that_the_server_closed_meanwhile_is_replaced() -> None:
    async with site() as there:
        with contextlib.closing(HttpClient(None)) as http:
            for _ in range(3):
                status, _ = await http.request("POST", there.url / "room", max_body=100)
                assert status == 200
                there.transports[-1].close()
        assert len(there.transports) == 3


async def test_servers_do_not_share_a_connection() -> None:
    async with site() as here, site() as there:
        with contextlib.closing(HttpClient(None)) as http:
            for place in (here, there):
                await http.request("GET", place.url / "id", max_body=100)
                assert len(place.transports) == 1


async def test_redirects_are_followed_where_they_may_be() -> None:
    async with site() as here, site() as there:
        with contextlib.closing(HttpClient(None)) as http:
            target = str(there.url.with_path("/id").with_query({"a": "b c"}))
            url = (here.url / "to").with_query(url=target)
            assert await http.request("GET", url, max_body=100, follow=True) == (
                200,
                b"GET /id?a=b+c",
            )
            assert (await http.request("GET", url, max_body=100))[0] == 307
            url = (here.url / "to").with_query(url="socket")
            await (await http.websocket(url, max_message_size=100)).close()


@pytest.mark.parametrize(
    "target",
    ["ftp://host/", "http://[::1", "http://[]@/", "http://[a:x]b]/", "data:,", ""],
)
async def test_what_leads_nowhere_is_the_answer(target: str) -> None:
    answer = f"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\nLocation: {target}\r\n\r\n"
    async with answering(answer.encode()) as url:
        with contextlib.closing(HttpClient(None)) as http:
            if target:
                found = await http.request("GET", url, max_body=100, follow=True)
                assert found == (301, b"")
            else:  # back to where it came from, for ever
                with pytest.raises(BadStatus, match="301"):
                    await http.request("GET", url, max_body=100, follow=True)


async def test_what_was_asked_behind_tls_is_not_asked_without(tmp_path: Path) -> None:
    file, key = self_signed(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(file, key)
    pin = hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read_text())).digest()

    async with site(tls) as here, site() as there:
        with contextlib.closing(HttpClient(pin)) as http:
            url = (here.url / "to").with_query(url=str(there.url / "id"))
            assert (await http.request("GET", url, max_body=100, follow=True))[0] == 307
        assert not there.transports


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", ConnectionError),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", WireError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", MessageError),
        (b"HTTP/1.1 200 OK\r\nContent-Le", MessageError),
    ],
)
async def test_half_an_answer_is_none(answer: bytes, error: type[Exception]) -> None:
    async with answering(answer) as url:
        with contextlib.closing(HttpClient(None)) as http, pytest.raises(error):
            await http.request("GET", url, max_body=100)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", BadStatus),
        (
            b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: bm9uZQ==\r\n\r\n",
            MessageError,
        ),
    ],
)
async def test_a_websocket_is_opened_by_the_book_or_not(
    answer: bytes, error: type[Exception]
) -> None:
    async with answering(answer) as url:
        with contextlib.closing(HttpClient(None)) as http, pytest.raises(error):
            await http.websocket(url, max_message_size=100)


async def test_a_server_that_only_stopped_sending_is_left() -> None:
    """It takes what closes the WebSocket, and nothing comes any more: not for ever."""

    left = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = head.partition("sec-websocket-key: ")[2].partition("\r\n")[0]
        writer.write(
            "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n".encode()
        )
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        left.set()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    with contextlib.closing(HttpClient(None)) as http:
        opened = await http.websocket(url, max_message_size=100)
        with pytest.raises(WebSocketClosed):
            await opened.receive_event()
        with pytest.raises(ConnectionError):
            await opened.close()
    await left.wait()
    server.close()
    await server.wait_closed()


@pytest.mark.skipif(sys.platform != "linux", reason="a full queue refuses at once elsewhere")
def test_an_address_that_swallows_everything_does_not_hold_the_others_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    filling = [socket.create_connection(full.getsockname())]

    async def main() -> None:
        async with site() as there:
            found = [full.getsockname(), ("127.0.0.1", there.url.port)]

            async def addresses(*_: object, **__: object) -> list[Any]:
                return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", at) for at in found]

            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses)
            with contextlib.closing(HttpClient(None)) as http:
                async with asyncio.timeout(60):  # the kernel itself takes more than two minutes
                    assert (await http.request("GET", there.url / "id", max_body=100))[0] == 200

    with full, contextlib.ExitStack() as stack:
        for client in filling:
            stack.enter_context(client)
        run(main())
