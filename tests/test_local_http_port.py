"""A peer as a local HTTP server: what passes through it, and who may use it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from peerfetch_fast import Peer, PeerState, Server, connect, serve
from peerfetch_fast.local_http_port import LocalHttpPort
from support import until, web_server
from test_peer import signaling_server

DATA = bytes(range(256)) * 4000


@dataclass
class Local:
    """The local side of a device."""

    client: aiohttp.ClientSession
    url: str
    port: int
    peer: Peer
    server: Server
    go: asyncio.Event
    gone: asyncio.Event
    forwarder: LocalHttpPort

    async def ask(self, path: str, method: str = "GET", **options: Any) -> tuple[int, bytes]:
        async with self.client.request(
            method, self.url + path, allow_redirects=False, **options
        ) as answer:
            return answer.status, await answer.read()

    async def raw(self, request: bytes) -> bytes:
        """What comes in answer to these bytes until the connection is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        try:
            return await reader.read()
        finally:
            writer.close()


def application(go: asyncio.Event, gone: asyncio.Event) -> web.Application:
    async def echo(request: web.Request) -> web.Response:
        body = await request.text()
        fields = {n.decode().lower(): v.decode() for n, v in request.raw_headers}
        answer = {"method": request.method, "target": request.raw_path, "body": body}
        return web.json_response(
            {**answer, "headers": fields}, headers=[("X-Two", "a"), ("X-Two", "b")]
        )

    async def data(request: web.Request) -> web.StreamResponse:
        wanted = request.http_range
        part = DATA[wanted]
        headers = {}
        if wanted.start is not None:
            end = wanted.start + len(part) - 1
            headers["Content-Range"] = f"bytes {wanted.start}-{end}/{len(DATA)}"
        return web.Response(status=206 if headers else 200, body=part, headers=headers)

    async def pieces(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            await response.write(b"first")
            await go.wait()
        except asyncio.CancelledError:
            gone.set()
            raise
        await response.write(b"second")
        return response

    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        await go.wait()
        assert request.transport is not None
        request.transport.abort()
        return response

    async def moved(request: web.Request) -> web.Response:
        raise web.HTTPFound("/echo")

    async def empty(request: web.Request) -> web.Response:
        return web.Response(status=int(request.query["status"]))

    async def size(request: web.Request) -> web.Response:
        total = 0
        async for piece in request.content.iter_any():
            total += len(piece)
        return web.Response(text=str(total))

    async def websocket(request: web.Request) -> web.StreamResponse:
        if "refuse" in request.query:
            return web.Response(status=403, text="not you", headers={"X-Why": "because"})
        socket = web.WebSocketResponse(protocols=("chat",))
        await socket.prepare(request)
        try:
            async for message in socket:
                if message.data == "bye":
                    await socket.close(code=4000, message=b"as you say")
                elif message.type is WSMsgType.TEXT:
                    await socket.send_str(message.data.upper())
                else:
                    await socket.send_bytes(message.data[::-1])
        finally:
            gone.set()
        return socket

    async def never(request: web.Request) -> web.Response:
        await go.wait()
        return web.Response()

    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/echo", echo)
    app.router.add_get("/data", data)
    app.router.add_get("/pieces", pieces)
    app.router.add_get("/cut", cut)
    app.router.add_get("/moved", moved)
    app.router.add_get("/empty", empty)
    app.router.add_put("/size", size)
    app.router.add_post("/never", never)
    app.router.add_get("/websocket", websocket)
    return app


@contextlib.asynccontextmanager
async def local(hosts: tuple[str, ...] = ()) -> AsyncIterator[Local]:
    go, gone = asyncio.Event(), asyncio.Event()
    async with (
        web_server(application(go, gone)) as upstream,
        signaling_server(message_queue_time=0.2) as signaling,
        serve(upstream, signaling=signaling) as server,
        connect(server.peer_id, signaling=signaling) as peer,
        aiohttp.ClientSession(auto_decompress=False) as client,
    ):
        forwarder = LocalHttpPort(peer, hosts)
        port = await forwarder.start(0)
        url = f"http://127.0.0.1:{port}"
        try:
            yield Local(client, url, port, peer, server, go, gone, forwarder)
        finally:
            go.set()
            await forwarder.close()


async def test_requests_and_answers_pass_as_they_are() -> None:
    async with local() as here:
        async with here.client.post(
            here.url + "/echo?a=b%20c&d", data="body", headers={"X-A": "1"}
        ) as answer:
            got = await answer.json()
            assert answer.headers.getall("X-Two") == ["a", "b"]
            assert answer.content_type == "application/json"
        assert (got["method"], got["target"], got["body"]) == (
            "POST",
            "/echo?a=b%20c&d",
            "body",
        )
        assert got["headers"]["x-a"] == "1"
        assert got["headers"]["content-length"] == "4"
        assert got["headers"]["host"] != f"127.0.0.1:{here.port}"  # the upstream's own
        for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS"):
            status, body = await here.ask("/echo", method)
            assert (status, method.encode() in body) == (200, True)
            assert b'"body": ""' in body
        async with here.client.head(here.url + "/data") as answer:
            assert answer.headers["content-length"] == str(len(DATA))
        for code in (204, 304, 404, 500):
            assert (await here.ask(f"/empty?status={code}"))[0] == code


async def test_ranges_and_redirects_pass_through() -> None:
    async with local() as here:
        assert await here.ask("/data") == (200, DATA)
        status, body = await here.ask("/data", headers={"Range": "bytes=1000-1999"})
        assert (status, body) == (206, DATA[1000:2000])
        async with here.client.get(here.url + "/moved", allow_redirects=False) as answer:
            assert (answer.status, answer.headers["location"]) == (302, "/echo")
        async with here.client.get(here.url + "/moved") as answer:
            assert answer.url.path == "/echo"


async def test_bodies_stream_both_ways() -> None:
    async with local() as here:
        async with here.client.get(here.url + "/pieces") as answer:
            assert await answer.content.readany() == b"first"
            here.go.set()
            assert await answer.content.read() == b"second"

        async def upload() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield bytes(100_000)

        assert await here.ask("/size", "PUT", data=upload()) == (200, b"10000000")
        # curl waits to be told to go on.
        request = (
            b"PUT /size HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\n"
            b"Connection: close\r\nContent-Length: 3\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(request)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert (await reader.read()).endswith(b"\r\n\r\n3")
        writer.close()


async def test_a_client_that_goes_away_stops_the_upstream() -> None:
    async with local() as here:
        async with here.client.get(here.url + "/pieces") as answer:
            assert await answer.content.readany() == b"first"
            answer.close()
        await here.gone.wait()
        await until(lambda: here.peer.session.open_streams == 0)


async def test_half_an_answer_does_not_look_whole() -> None:
    async with local() as here, here.client.get(here.url + "/cut") as answer:
        assert await answer.content.readany() == b"half"
        here.go.set()
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


def get(*lines: str, target: str = "/echo") -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", *lines, "Connection: close", "", ""]).encode()


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "LOCALHOST:8080", "app.localhost", "[::1]:8080", "mine.lan:1"],
)
async def test_names_of_this_machine(host: str) -> None:
    async with local(hosts=("Mine.LAN",)) as here:
        assert (await here.raw(get(f"Host: {host}"))).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "192.168.1.2:8080",
        "evil.example@127.0.0.1",
        "127.0.0.1/evil.example",
        "127.0.0.1?evil.example",
        "127.0.0.1:evil",
        "[",
        "",
    ],
)
async def test_a_name_that_was_rebound_is_refused(host: str) -> None:
    async with local() as here:
        answer = await here.raw(get(f"Host: {host}"))
        assert answer.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 400 "))
        assert b"target" not in answer
        assert here.peer.session.open_streams == 0


@pytest.mark.parametrize(
    ("lines", "allowed"),
    [
        (["Origin: http://127.0.0.1:8080"], True),
        (["Origin: http://mine.lan"], True),
        (["Origin: http://127.0.0.1:3000"], False),
        (["Origin: http://localhost:8080"], False),
        (["Origin: https://evil.example"], False),
        (["Origin: null"], False),
        (["Origin: "], False),
        (["Origin: http://["], False),
        (["Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors"], True),
        (["Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"], True),
        (["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"], True),
        (["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"], False),
    ],
)
async def test_pages_of_other_origins_are_refused(lines: list[str], allowed: bool) -> None:
    async with local(hosts=("mine.lan", "")) as here:
        for upgrade in ([], ["Upgrade: websocket", "Connection: upgrade"]):
            if upgrade and allowed:
                continue
            answer = await here.raw(get("Host: 127.0.0.1:8080", *lines, *upgrade))
            assert answer.startswith(b"HTTP/1.1 200 " if allowed else b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1/echo", "*", "/../echo", "http://evil.example/"]
)
async def test_targets_that_are_none(target: str) -> None:
    async with local() as here:
        answer = await here.raw(get("Host: localhost", target=target))
        assert answer.split()[1] in (b"400", b"403")


def told(answer: bytes) -> dict[str, str]:
    """The fields that the upstream had, as its echo says."""
    return dict(json.loads(answer.partition(b"\r\n\r\n")[2])["headers"])


async def test_a_page_here_is_a_page_of_the_upstream() -> None:
    async with local(hosts=("mine.lan",)) as here:
        own = f"127.0.0.1:{here.port}"
        answer = await here.raw(
            get(
                f"Host: {own}",
                f"Origin: http://{own}",
                f"Referer: http://{own}/login?next=/",
                f"Destination: http://{own}/new",
                "X-Forwarded-Host: evil.example",
                "Forwarded: for=127.0.0.1",
            )
        )
        fields = told(answer)
        upstream = f"http://{fields['host']}"
        assert fields["host"] != own
        assert fields["origin"] == upstream
        assert fields["referer"] == f"{upstream}/login?next=/"
        assert fields["destination"] == f"{upstream}/new"
        assert fields["x-forwarded-host"] == own
        assert fields["x-forwarded-proto"] == "http"
        assert fields["forwarded"].endswith(f';host="{own}";proto=http')
        assert ip_address(fields["x-forwarded-for"])


@pytest.mark.parametrize(
    "lines",
    [
        ["Origin: http://mine.lan"],
        ["Referer: http://evil.example/"],
        ["Referer: http://127.0.0.1:80801/"],
        ["Referer: http://127.0.0.1:8080@evil.example/"],
        ["Destination: http://localhost:8080/new"],
    ],
)
async def test_what_is_from_elsewhere_stays_so(lines: list[str]) -> None:
    async with local(hosts=("mine.lan",)) as here:
        fields = told(await here.raw(get("Host: 127.0.0.1:8080", *lines)))
        for line in lines:
            name, _, value = line.partition(": ")
            assert fields[name.lower()] == value


async def test_a_second_origin_hides_behind_none() -> None:
    async with local() as here:
        lines = ("Origin: http://localhost", "Origin: https://evil.example")
        for both in (lines, lines[::-1]):
            answer = await here.raw(get("Host: localhost", *both))
            assert answer.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 400 "))


async def test_while_the_device_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerfetch_fast.local_http_port.AWAY_TIMEOUT", 0.2)

    async with local() as here:
        assert (await here.ask("/echo"))[0] == 200
        # What is not safe to repeat, and is under way.
        asking = asyncio.ensure_future(here.ask("/never", "POST", data=b"x"))
        await until(lambda: here.peer.session.open_streams > 0)
        await here.server.close(timeout=0)
        status, body = await asking
        assert status == 502
        assert b"did not answer" in body
        await here.peer.wait_for(PeerState.RECONNECTING)
        for options in ({}, {"headers": {"Upgrade": "websocket", "Connection": "upgrade"}}):
            status, body = await here.ask("/echo", **options)
            assert status == 504
            assert b"is away" in body
        await here.peer.abort()
        status, body = await here.ask("/echo")
        assert (status, b"did not answer" in body) == (502, True)


async def test_websockets_pass_through_and_refusals_too() -> None:
    async with local() as here:
        url = here.url + "/websocket"
        async with here.client.ws_connect(url, protocols=("other", "chat")) as socket:
            assert socket.protocol == "chat"
            await socket.send_str("text ä")
            assert await socket.receive_str() == "TEXT Ä"
            await socket.send_bytes(DATA)
            assert await socket.receive_bytes() == DATA[::-1]
            await socket.ping(b"there?")
            await socket.send_str("bye")
            closed = await socket.receive()
            assert closed.type is WSMsgType.CLOSE
            assert (closed.data, closed.extra) == (4000, "as you say")
        here.gone.clear()
        async with here.client.ws_connect(url) as socket:
            await socket.close(code=4001)
        await here.gone.wait()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await here.client.ws_connect(url + "?refuse")
        assert refused.value.status == 403
        assert refused.value.headers is not None
        assert refused.value.headers["X-Why"] == "because"
        await until(lambda: here.peer.session.open_streams == 0)


async def test_a_websocket_whose_client_is_lost() -> None:
    async with local() as here:
        socket = await here.client.ws_connect(here.url + "/websocket")
        await socket.send_str("a")
        assert await socket.receive_str() == "A"
        assert socket._response.connection is not None
        transport = socket._response.connection.transport
        assert transport is not None
        transport.abort()
        await here.gone.wait()
        await until(lambda: here.peer.session.open_streams == 0)
        await socket.close()
