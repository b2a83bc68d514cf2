"""WebSockets through the proxy's handler to servers that are not ours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Any

import pytest
import websockets
from aiohttp import web
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.typing import Subprotocol

from peerfetch_fast.errors import PeerfetchError, UpgradeRefused, WebSocketClosed
from peerfetch_fast.http.upstream import Upstream
from peerfetch_fast.http.upstream_websocket import relay
from peerfetch_fast.http.websocket import WebSocket, open_websocket
from peerfetch_fast.http.websocket_frames import Close, Ping, Pong
from peerfetch_fast.settings import UpstreamSettings
from support import Pair, http_pair, until, web_server

Serve = Callable[[ServerConnection], Awaitable[None]]


@contextlib.asynccontextmanager
async def forwarded(serve: Serve, **options: Any) -> AsyncIterator[Pair]:
    """A client whose requests reach a server of the ``websockets`` package."""
    options = {"ping_interval": None, "close_timeout": 1} | options
    async with serve_websockets(serve, "127.0.0.1", 0, **options) as server:
        port = server.sockets[0].getsockname()[1]
        async with proxied(f"http://127.0.0.1:{port}") as pair:
            yield pair


@contextlib.asynccontextmanager
async def proxied(url: str, **options: Any) -> AsyncIterator[Pair]:
    async with Upstream(url, UpstreamSettings(**options)) as upstream, http_pair(upstream) as pair:
        yield pair
        await until(lambda: pair.server.open_streams == 0)


@contextlib.asynccontextmanager
async def raw_upstream(answer: bytes) -> AsyncIterator[str]:
    """The URL of a server that answers every head with those bytes and reads on."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await reader.read()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.sleep(0)


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def receive_close(websocket: WebSocket) -> WebSocketClosed:
    with pytest.raises(WebSocketClosed) as raised:
        while True:
            await websocket.receive()
    return raised.value


async def test_messages_pass_whole_both_ways() -> None:
    sent: list[str | bytes] = ["hello ☃", b"\0\xff", "", b"", "x" * 70_000, bytes(900_000)]

    async with (
        forwarded(echo) as pair,
        await open_websocket(pair.client, "/") as websocket,
    ):
        for message in sent:
            await websocket.send(message)
            assert await websocket.receive() == message


async def test_the_upstream_is_asked_with_the_fields_of_the_client_and_our_own() -> None:
    async def tell(connection: ServerConnection) -> None:
        request = connection.request
        assert request is not None
        await connection.send(request.path)
        for item in request.headers.raw_items():
            await connection.send(": ".join(item))

    subprotocols = [Subprotocol("b"), Subprotocol("c")]
    async with forwarded(tell, subprotocols=subprotocols) as pair:
        websocket = await open_websocket(
            pair.client,
            "/a%20b?x=%C3%A4&y",
            subprotocols=["a", "c"],
            headers=[("Cookie", "a=1"), ("X-Twice", "1"), ("X-Twice", "2")],
        )
        assert websocket.subprotocol == "c"
        assert "server" in websocket.headers
        assert not [name for name in websocket.headers if "accept" in name]
        path, *fields = [message async for message in websocket]
        assert path == "/a%20b?x=%C3%A4&y"
        own = ("host:", "sec-websocket-key:", "sec-websocket-version:", "connection:")
        passed = [f for f in map(str.lower, map(str, fields)) if not f.startswith(own)]
        assert sorted(passed) == [
            "cookie: a=1",
            "sec-websocket-protocol: a, c",
            "upgrade: websocket",
            "x-twice: 1",
            "x-twice: 2",
        ]


@pytest.mark.parametrize("code", [1000, 1001, 1008, 3000, 4999])
async def test_a_close_of_the_upstream_reaches_the_client_with_its_code(code: int) -> None:
    async def close(connection: ServerConnection) -> None:
        await connection.send("last words")
        await connection.close(code, "that is all ☃")
        answered.set_result(connection.close_code)

    answered: asyncio.Future[int | None]

    answered = asyncio.get_running_loop().create_future()
    async with forwarded(close) as pair:
        websocket = await open_websocket(pair.client, "/")
        assert await websocket.receive() == "last words"
        closed = await receive_close(websocket)
        assert (closed.code, closed.reason) == (code, "that is all ☃")
        assert await answered == code


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1008, 3000, 4999])
async def test_a_close_of_the_client_reaches_the_upstream_with_its_code(code: int) -> None:
    seen: list[tuple[int | None, str | None]] = []

    async def listen(connection: ServerConnection) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            await connection.recv()
        seen.append((connection.close_code, connection.close_reason))

    reason = "" if code == 1005 else "enough ☃"
    async with forwarded(listen) as pair:
        websocket = await open_websocket(pair.client, "/")
        await websocket.close(code, reason)
        assert websocket.close_code == code
        await until(lambda: bool(seen))
    assert seen == [(code, reason)]


async def test_pings_and_pongs_are_passed_on() -> None:
    async def ping(connection: ServerConnection) -> None:
        waiting = await connection.ping(b"from upstream")
        await asyncio.gather(waiting, connection.recv())
        await connection.send("answered")

    async with forwarded(ping) as pair:
        websocket = await open_websocket(pair.client, "/")
        assert await websocket.receive_event() == Ping(b"from upstream")
        await websocket.send_ping(b"from client")
        assert await websocket.receive_event() == Pong(b"from client")
        await websocket.send_pong(b"from upstream")
        await websocket.send("go on")
        assert await websocket.receive_event() == "answered"
        assert await websocket.receive_event() == Close(1000, "")
        await websocket.close()


async def test_the_upstream_offers_compression_and_gets_none() -> None:
    extensions: list[object] = []

    async def listen(connection: ServerConnection) -> None:
        extensions.extend(connection.protocol.extensions)
        await echo(connection)

    async with forwarded(listen, compression="deflate") as pair:
        headers = {"Sec-WebSocket-Extensions": "permessage-deflate"}
        websocket = await open_websocket(pair.client, "/", headers=headers)
        await websocket.send("a" * 1000)
        assert await websocket.receive() == "a" * 1000
        assert "sec-websocket-extensions" not in websocket.headers
        await websocket.close()
    assert not extensions


# -- the end of one side -----------------------------------------------------------------------


async def test_a_client_that_goes_away_ends_the_upstreams_connection_at_once() -> None:
    codes: list[int | None] = []

    async def listen(connection: ServerConnection) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            await connection.recv()
        codes.append(connection.close_code)

    async with forwarded(listen) as pair:
        (await open_websocket(pair.client, "/")).abort()
        await until(lambda: codes == [1006])


async def test_an_upstream_that_goes_away() -> None:
    async def leave(connection: ServerConnection) -> None:
        await connection.send("one")
        connection.transport.abort()

    async with forwarded(leave) as pair:
        websocket = await open_websocket(pair.client, "/")
        assert await websocket.receive() == "one"
        assert (await receive_close(websocket)).code == 1006


UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


@pytest.mark.parametrize("status", [301, 401, 403, 404, 426, 503])
async def test_a_refusal_is_passed_on(status: int) -> None:
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
    # If it were followed, it would lead out of what the proxy was started with.
    head += b"Location: http://127.0.0.1:1/\r\nX-One: 1\r\nContent-Length: 2\r\n\r\nno"
    async with raw_upstream(head) as url, proxied(url) as pair:
        with pytest.raises(UpgradeRefused) as raised:
            await open_websocket(pair.client, "/")
        refused = raised.value
        assert (refused.status, refused.headers["x-one"], refused.body) == (status, "1", b"no")
        assert refused.headers["location"] == "http://127.0.0.1:1/"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        UPGRADE + b"Sec-WebSocket-Accept: nonsense\r\n\r\n",
        UPGRADE + b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_an_upstream_that_speaks_no_websocket(answer: bytes) -> None:
    async with raw_upstream(answer) as url, proxied(url) as pair:
        with pytest.raises(UpgradeRefused, match="502"):
            await open_websocket(pair.client, "/")


async def test_an_upstream_that_never_answers() -> None:
    async with raw_upstream(b"") as url, proxied(url, answer_timeout=0.2) as pair:
        with pytest.raises(UpgradeRefused, match="504"):
            await open_websocket(pair.client, "/")


async def test_no_upstream_at_all() -> None:
    async with proxied("http://127.0.0.1:1") as pair:
        with pytest.raises(UpgradeRefused, match="502"):
            await open_websocket(pair.client, "/")


@pytest.mark.parametrize("target", ["/..", "/%2e%2e/a", "/a%5C.."])
async def test_targets_that_lead_elsewhere(target: str) -> None:
    async with forwarded(echo) as pair:
        with pytest.raises(UpgradeRefused, match="403"):
            await open_websocket(pair.client, target)


async def test_an_upstream_that_breaks_the_rules() -> None:
    async def speak(request: web.Request) -> web.StreamResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        assert request.transport is not None
        request.transport.write(b"\x83\x00")  # an opcode that does not exist
        with contextlib.suppress(asyncio.CancelledError):
            await websocket.receive()
        return websocket

    app = web.Application()
    app.router.add_get("/", speak)
    async with web_server(app) as url, proxied(url) as pair:
        websocket = await open_websocket(pair.client, "/")
        assert (await receive_close(websocket)).code == 1014


# -- back-pressure -----------------------------------------------------------------------------


async def test_a_slow_client_stops_the_upstream() -> None:
    sent = 0

    async def pour(connection: ServerConnection) -> None:
        nonlocal sent
        for _ in range(400):
            await connection.send(bytes(100_000))
            sent += 1

    async with forwarded(pour, write_limit=1000) as pair:
        websocket = await open_websocket(pair.client, "/")
        before = -1
        while before != sent or not sent:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 200  # in windows and socket buffers
        received = 0
        with contextlib.suppress(PeerfetchError):
            while True:
                received += len(await websocket.receive())
        assert received == 400 * 100_000


async def test_a_slow_upstream_stops_the_client() -> None:
    read = asyncio.Event()

    async def wait(connection: ServerConnection) -> None:
        await read.wait()
        await echo_length(connection)

    async def echo_length(connection: ServerConnection) -> None:
        total = 0
        while message := await connection.recv():
            total += len(message)
        await connection.send(str(total))

    sent = 0
    async with forwarded(wait, max_queue=1) as pair:
        websocket = await open_websocket(pair.client, "/")

        async def pour() -> None:
            nonlocal sent
            for _ in range(400):
                await websocket.send(bytes(100_000))
                sent += 1
            await websocket.send(b"")

        pouring = asyncio.ensure_future(pour())
        before = -1
        while before != sent or not sent:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 200
        read.set()
        await pouring
        assert await websocket.receive() == str(400 * 100_000)
        await websocket.close()


class End:
    """One end of a relay: it says these things, and then nothing more."""

    close_sent = False

    def __init__(self, *says: str | Close) -> None:
        self._says = list(says)
        self.told: list[int] = []

    async def receive_event(self) -> str | Close:
        if not self._says:
            await asyncio.sleep(1000)
        return self._says.pop(0)

    async def send(self, message: str) -> None:
        await asyncio.sleep(0)


class ClientEnd(End):
    def send_close(self, code: int, reason: str) -> None:
        self.close_sent = True
        self.told.append(code)


class UpstreamEnd(End):
    async def send_close(self, code: int, reason: str) -> None:
        self.told.append(code)


@pytest.mark.virtual_time
@pytest.mark.parametrize("closes", ["client", "upstream"])
async def test_who_does_not_agree_to_a_close_is_left_after_5_seconds(closes: str) -> None:
    words = {"client": [], "upstream": []} | {closes: [Close(1001, "")]}
    client: Any = ClientEnd(*words["client"])
    upstream: Any = UpstreamEnd(*words["upstream"])
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await relay(client, upstream) == (closes == "upstream")
    assert loop.time() - began == pytest.approx(5.0)
    assert (upstream if closes == "client" else client).told == [1001]
