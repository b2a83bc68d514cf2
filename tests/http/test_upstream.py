from __future__ import annotations

import asyncio
import contextlib
import gzip
import posixpath
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import orjson
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.errors import PeerfetchError, StreamReset
from peerfetch_fast.http import codes
from peerfetch_fast.http.blocks import DATA, HEAD, BlockReader, block
from peerfetch_fast.http.heads import decode_response, encode_request
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.http.upstream import Upstream
from peerfetch_fast.settings import UpstreamSettings
from support import Pair, http_pair, run, until

# -- upstreams: aiohttp's server, and sockets that do what no server should -------------------

dotted = st.lists(
    st.sampled_from(["/", ".", "%2e", "%2F", "\\", "%5C", ";", "a", "?", "@", ":", "/base"])
).map("".join)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def aiohttp_server(handler: Callable[[web.Request], Awaitable[Any]]) -> AsyncIterator[str]:
    """The URL of a server with ``handler`` for everything."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@dataclass
class RawServer:
    url: str = ""
    connections: int = 0
    open: int = 0
    heads: list[bytes] = field(default_factory=list)


@contextlib.asynccontextmanager
async def raw_server(serve: Serve | bytes, *, keep: bool = False) -> AsyncIterator[RawServer]:
    """A server that reads a head and then runs ``serve``, or sends those bytes.

    :param keep: leave the connection open after the bytes.
    """
    found = RawServer()
    tasks: set[asyncio.Task[Any]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        found.connections += 1
        found.open += 1
        try:
            while True:
                found.heads.append(await reader.readuntil(b"\r\n\r\n"))
                if isinstance(serve, bytes):
                    writer.write(serve)
                    await writer.drain()
                    if keep:
                        continue
                    return
                await serve(reader, writer)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            found.open -= 1
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    found.url = f"http://{host}:{port}"
    try:
        yield found
    finally:
        server.close()
        if tasks:  # those whose client has gone end by themselves
            await asyncio.wait(tasks, timeout=0.5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def proxied(url: str, **options: Any) -> AsyncIterator[Pair]:
    """A client whose requests go through an Upstream to ``url``."""
    async with Upstream(url, UpstreamSettings(**options)) as upstream, http_pair(upstream) as pair:
        yield pair


async def request_of(request: web.Request) -> web.Response:
    """Answer with what came."""
    answer = {
        "method": request.method,
        "target": request.raw_path,
        "headers": [[n.decode().lower(), v.decode("latin-1")] for n, v in request.raw_headers],
        "body": (await request.read()).decode("latin-1"),
    }
    return web.Response(body=orjson.dumps(answer))


async def raw_answer(pair: Pair, sent: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body of the answer to a request of these bytes."""
    stream = await pair.client.open_stream()
    await stream.write(sent)
    stream.end()
    got = b""
    while piece := await stream.read():
        got += piece
    reader = BlockReader()
    found = reader.feed(got)
    assert stream.at_end
    assert not reader.inside
    assert found[0][0] == HEAD
    status, headers = decode_response(found[0][1])
    return status, list(headers.items()), b"".join(p for kind, p in found if kind == DATA)


# -- what is passed on ------------------------------------------------------------------------


async def test_the_request_arrives_as_it_was_made() -> None:
    async with aiohttp_server(request_of) as url, proxied(url) as pair:
        response = await pair.fetch(
            "/a%2Fb/%C3%A4?x=1&x=%26+y",
            method="PUT",
            headers=[("Accept", "a"), ("X-Y", "\xc3\xa4"), ("accept", "b"), ("Cookie", "c=1")],
            body=b"\0body\xff",
        )
        got = await response.json()
        assert got["method"] == "PUT"
        assert got["target"] == "/a%2Fb/%C3%A4?x=1&x=%26+y"
        assert got["body"] == "\0body\xff"
        host = url.removeprefix("http://")
        assert sorted(map(tuple, got["headers"])) == [
            ("accept", "a"),
            ("accept", "b"),
            ("content-length", "6"),
            ("cookie", "c=1"),
            ("host", host),
            ("x-y", "\xc3\xa4"),
        ]


async def test_a_request_without_headers_gets_none_but_host() -> None:
    async with aiohttp_server(request_of) as url, proxied(url) as pair:
        got = await (await pair.fetch("/")).json()
        assert [name for name, _ in got["headers"]] == ["host"]
        assert got["method"] == "GET"


async def test_the_host_of_the_client_is_not_passed_on() -> None:
    async with aiohttp_server(request_of) as url, proxied(url) as pair:
        got = await (await pair.fetch("/", headers={"Host": "evil"})).json()
        assert dict(got["headers"])["host"] == url.removeprefix("http://")


async def test_the_upstream_is_told_who_asks_and_claims_are_replaced() -> None:
    async with aiohttp_server(request_of) as url, Upstream(url) as upstream:

        async def handler(exchange: Exchange) -> None:
            exchange.client, exchange.server, exchange.prefix = "them", "us", "/cam"
            await upstream(exchange)

        async with http_pair(handler) as pair:
            claims = {"Forwarded": "for=127.0.0.1", "X-Forwarded-For": "::1", "X-Real-IP": "x"}
            got = await (await pair.fetch("/", headers=claims)).json()
            assert sorted(got["headers"]) == [
                ["forwarded", "for=_them;host=us;proto=peer"],
                ["host", url.removeprefix("http://")],
                ["x-forwarded-prefix", "/cam"],
            ]


async def test_references_of_the_upstream_to_itself_come_back_through_us() -> None:
    async def handler(request: web.Request) -> web.Response:
        origin = f"http://{request.host}"
        return web.Response(
            status=302,
            headers=[
                ("Location", f"{origin}/base/x"),
                ("Content-Location", "/base/y"),
                ("Set-Cookie", "a=1; Path=/base/; Domain=example.org"),
            ],
        )

    async with aiohttp_server(handler) as url, Upstream(f"{url}/base") as upstream:

        async def below(exchange: Exchange) -> None:
            exchange.prefix = "/cam"
            await upstream(exchange)

        async with http_pair(below) as pair:
            response = await pair.fetch("/")
            assert response.headers["location"] == "/cam/x"
            assert response.headers["content-location"] == "/cam/y"
            assert response.headers["set-cookie"] == "a=1; Path=/cam/"
            await response.bytes()


async def test_the_path_of_the_upstream_goes_before_that_of_the_request() -> None:
    async with aiohttp_server(request_of) as url:
        for path in ("/base", "/base/"):
            async with proxied(url + path) as pair:
                got = await (await pair.fetch("/a?b")).json()
                assert got["target"] == "/base/a?b"


async def test_the_answer_arrives_as_it_was_made() -> None:
    async def handler(request: web.Request) -> web.Response:
        response = web.Response(status=418, body=b"\0\xff")
        response.headers.extend([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X", "\xe4")])
        return response

    async with aiohttp_server(handler) as url, proxied(url) as pair:
        response = await pair.fetch("/")
        assert response.status == 418
        assert response.headers.getall("set-cookie") == ["a=1", "b=2"]
        assert response.headers["content-length"] == "2"
        assert await response.bytes() == b"\0\xff"


async def test_fields_of_one_connection_stop_here_both_ways() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nConnection: X-A, keep-alive\r\nX-A: 1\r\nX-B: 2\r\n"
        b"Keep-Alive: timeout=5\r\nProxy-Connection: close\r\nUpgrade: h2c\r\n"
        b"Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"
    )
    async with raw_server(answer) as server, proxied(server.url) as pair:
        request = encode_request(
            "GET",
            "/",
            [
                ["connection", "x-gone"],
                ["x-gone", "1"],
                ["te", "trailers"],
                ["upgrade", "websocket"],
                ["proxy-connection", "close"],
                ["x-stays", "2"],
            ],  # type: ignore[list-item]
        )
        status, headers, body = await raw_answer(pair, request)
        assert (status, headers, body) == (200, [("x-b", "2")], b"ok")
        head = server.heads[0].lower()
        assert b"x-stays: 2" in head
        for name in (b"x-gone", b"te:", b"upgrade", b"proxy-connection", b"transfer-encoding"):
            assert name not in head


async def test_nothing_is_decompressed_followed_or_kept() -> None:
    seen: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.path, request.headers.get("cookie")))
        if request.path == "/gzip":
            return web.Response(body=gzip.compress(b"text"), headers={"Content-Encoding": "gzip"})
        return web.Response(
            status=302, headers={"Location": "/elsewhere", "Set-Cookie": "id=1; Path=/"}
        )

    async with aiohttp_server(handler) as url, proxied(url) as pair:
        response = await pair.fetch("/gzip", headers={"accept-encoding": "gzip"})
        assert response.headers["content-encoding"] == "gzip"
        assert gzip.decompress(await response.bytes()) == b"text"
        for _ in range(2):
            response = await pair.fetch("/moved")
            assert response.status == 302
            assert response.headers["location"] == "/elsewhere"
            assert await response.bytes() == b""
        assert seen == [("/gzip", None), ("/moved", None), ("/moved", None)]


async def test_connections_are_pooled() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with raw_server(answer, keep=True) as server, proxied(server.url) as pair:
        for _ in range(10):
            assert await (await pair.fetch("/")).bytes() == b"ok"
        assert server.connections == 1
        assert len(server.heads) == 10


async def test_many_at_once_are_not_queued() -> None:
    together = asyncio.Event()
    waiting = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal waiting
        waiting += 1
        if waiting == 200:
            together.set()
        await together.wait()
        return web.Response(text=request.path)

    async with aiohttp_server(handler) as url, proxied(url) as pair:

        async def ask(number: int) -> None:
            assert await (await pair.fetch(f"/{number}")).text() == f"/{number}"

        await asyncio.gather(*map(ask, range(200)))


@pytest.mark.parametrize(
    ("prefix", "base", "told"), [("/cam", "", 1), ("", "/app", 1), ("/a", "/a", 0), ("", "", 0)]
)
def test_why_a_digest_login_fails_is_said_once(
    prefix: str, base: str, told: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def challenge(request: web.Request) -> web.Response:
        return web.Response(status=401, headers={"WWW-Authenticate": 'Digest realm="x", nonce="y"'})

    async def main() -> None:
        async with aiohttp_server(challenge) as url, Upstream(url + base) as upstream:

            async def handler(exchange: Exchange) -> None:
                exchange.prefix = prefix
                await upstream(exchange)

            async with http_pair(handler) as pair:
                for _ in range(2):
                    assert (await pair.fetch("/")).status == 401

    run(main())
    assert len([r for r in caplog.records if "Digest" in r.getMessage()]) == told


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_head_and_statuses_without_a_body(method: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path == "/204":
            return web.Response(status=204)
        if request.path == "/304":
            return web.Response(status=304, headers={"ETag": '"1"', "Content-Length": "9"})
        return web.Response(body=b"123456789")

    async with aiohttp_server(handler) as url, proxied(url) as pair:
        for path, status in (("/204", 204), ("/304", 304)):
            response = await pair.fetch(path, method=method)
            assert response.status == status
            assert await response.bytes() == b""
        response = await pair.fetch("/", method=method)
        assert response.headers["content-length"] == "9"
        assert await response.bytes() == (b"" if method == "HEAD" else b"123456789")


async def test_ranges_pass_through(tmp_path: Any) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 1000)

    async def handler(request: web.Request) -> web.FileResponse:
        return web.FileResponse(tmp_path / "file")

    async with aiohttp_server(handler) as url, proxied(url) as pair:
        response = await pair.fetch("/", headers={"Range": "bytes=1000-1009"})
        assert response.status == 206
        assert response.headers["content-range"] == "bytes 1000-1009/256000"
        assert await response.bytes() == (bytes(range(256)) * 4)[1000:1010]
        response = await pair.fetch("/", headers={"Range": "bytes=999999-"})
        assert response.status == 416


@pytest.mark.parametrize("known", [True, False])
async def test_large_bodies_both_ways(known: bool) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if known:
            assert request.headers["content-length"] == str(len(whole))
            response.content_length = len(whole)
        else:
            assert request.headers["transfer-encoding"] == "chunked"
        await response.prepare(request)
        async for piece in request.content.iter_any():
            await response.write(piece)
        return response

    whole = bytes(range(256)) * 16_000

    async def body() -> AsyncIterator[bytes]:
        for at in range(0, len(whole), 100_001):
            yield whole[at : at + 100_001]

    async with aiohttp_server(handler) as url, proxied(url) as pair:
        headers = {"content-length": str(len(whole))} if known else {}
        response = await pair.fetch("/", body=body(), headers=headers)
        assert ("content-length" in response.headers) == known
        assert await response.bytes() == whole


async def test_a_get_whose_end_comes_late_has_no_body() -> None:
    """A peer may send head and FIN in two messages; to the upstream that is no chunked upload."""

    async with aiohttp_server(request_of) as url, proxied(url) as pair:
        for method in ("GET", "HEAD", "DELETE", "OPTIONS"):
            stream = await pair.client.open_stream()
            stream.write_nowait(encode_request(method, "/", []))
            await asyncio.sleep(0.02)
            stream.end()
            got = b""
            while piece := await stream.read():
                got += piece
            assert stream.at_end
            assert b"transfer-encoding" not in got
            assert b'"status":200' in got


async def test_a_get_with_a_body_keeps_it() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"query "
        yield b"me"

    async with aiohttp_server(request_of) as url, proxied(url) as pair:
        got = await (await pair.fetch("/", method="GET", body=body())).json()
        assert got["body"] == "query me"


async def test_one_content_length_is_sent_however_many_came() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with raw_server(answer) as server, proxied(server.url) as pair:
        for fields in (["3", "3"], ["3, 3"], ["003"]):
            request = encode_request("POST", "/", [("content-length", f) for f in fields])
            status, _, _ = await raw_answer(pair, request + block(DATA, b"abc"))
            assert status == 200
        for head in server.heads:
            assert head.lower().count(b"content-length") == 1
            assert b"ontent-length: 3\r\n" in head.lower()


async def test_an_upstream_that_does_not_know_expect() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(3) == b"abc"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with raw_server(serve) as server, proxied(server.url, answer_timeout=5) as pair:
        response = await pair.fetch("/", body=b"abc", headers={"Expect": "100-continue"})
        assert response.status == 200


async def test_events_pass_one_by_one() -> None:
    go = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number in range(5):
            await response.write(b"data: %d\n\n" % number)
            await go.wait()
            go.clear()
        return response

    async with aiohttp_server(handler) as url, proxied(url) as pair:
        response = await pair.fetch("/")
        for number in range(5):
            assert await response.read() == b"data: %d\n\n" % number
            go.set()
        assert await response.read() == b""


async def test_a_login_in_the_url_is_for_the_upstream_only() -> None:
    async with aiohttp_server(request_of) as url:
        with_login = url.replace("http://", "http://user:secret@")
        async with proxied(with_login) as pair:
            got = await (await pair.fetch("/")).json()
            assert dict(got["headers"])["authorization"] == "Basic dXNlcjpzZWNyZXQ="
    async with proxied(with_login) as pair:  # and now nobody listens there
        response = await pair.fetch("/")
        assert response.status == 502
        assert "secret" not in await response.text()


# -- where requests may lead ------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.example/",
        "http://127.0.0.1:1/",
        "https://{host}/",
        "http://{host}.evil.example/",
        "http://{host}@evil.example/",
        "http://{host}",
        "ftp://{host}/",
        "evil.example/",
        "*",
        "/\\evil.example/",
        "/..",
        "/../secret",
        "/a/../../secret",
        "/a/./b",
        "/.",
        "/%2e%2e/secret",
        "/%2E%2E%2Fsecret",
        "/..%2fsecret",
        "/.%2e/secret",
        "/a%2f..%2f..%2fsecret",
        "/..%5csecret",
        "/a%5c..%5c..%5csecret",
        "/..;/secret",
        "/..;x=y/secret",
        "/%2e%2e%3b/secret",
        "http://{host}/base/../secret",
        "http://{host}/other",
        "http://{host}/basement",
    ],
)
async def test_targets_that_lead_elsewhere(target: str) -> None:
    async with aiohttp_server(request_of) as url, proxied(f"{url}/base") as pair:
        request = encode_request("GET", target.format(host=url.removeprefix("http://")), [])
        status, _, body = await raw_answer(pair, request)
        assert status == 403
        assert b"does not forward" in body


@pytest.mark.parametrize(
    ("target", "reaches"),
    [
        ("http://{host}/base/a?b", "/base/a?b"),
        ("http://{host}/base/", "/base/"),
        ("http://{host}/base?", "/base?"),
        ("/...", "/base/..."),
        ("/.well-known/x", "/base/.well-known/x"),
        ("/a..b/..c", "/base/a..b/..c"),
        ("/a?x=../../y", "/base/a?x=../../y"),
        ("/a?u=http://evil.example//", "/base/a?u=http://evil.example//"),
        ("/a//b", "/base/a//b"),
        ("//evil.example/", "/base//evil.example/"),
        ("//evil.example", "/base//evil.example"),
        ("http://{host}/base//evil.example/", "/base//evil.example/"),
        ("/a?", "/base/a?"),
        ("/?", "/base/?"),
        ("/a;b=c/%2F%c3%A4;?;", "/base/a;b=c/%2F%c3%A4;?;"),
        ("/@evil.example/", "/base/@evil.example/"),
        ("/:80/", "/base/:80/"),
    ],
)
async def test_targets_that_lead_to_the_upstream(target: str, reaches: str) -> None:
    async with aiohttp_server(request_of) as url, proxied(f"{url}/base") as pair:
        request = encode_request("GET", target.format(host=url.removeprefix("http://")), [])
        status, _, body = await raw_answer(pair, request)
        assert status == 200
        assert orjson.loads(body)["target"] == reaches


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)) | dotted)
def test_no_target_leads_out_of_the_upstream(target: str) -> None:
    upstream = Upstream("http://127.0.0.1:8778/base")
    for form in (target, f"/{target}", f"http://127.0.0.1:8778{target}"):
        asked = upstream._target(form)
        if asked is not None:
            path = unquote(asked.partition("?")[0])
            assert path == "/base" or path.startswith("/base/")
            assert (posixpath.normpath(path) + "/").startswith("/base/")


@pytest.mark.parametrize("method", ["CONNECT", "connect", "TRACE", "Trace"])
async def test_methods_that_are_not_forwarded(method: str) -> None:
    async with aiohttp_server(request_of) as url, proxied(url) as pair:
        status, _, _ = await raw_answer(pair, encode_request(method, "/", []))
        assert status == 403


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:80",
        "localhost",
        "ftp://host/",
        "http://",
        "http:///path",
        "http://host/?query",
        "http://host/#fragment",
        "http://host:port",
        "http://host:99999",
        "http://[::1",
        "http://ho st/",
        "http://host\r\n/",
    ],
)
def test_urls_that_are_no_upstream(url: str) -> None:
    with pytest.raises(ValueError, match="upstream"):
        Upstream(url)


# -- upstreams that fail ----------------------------------------------------------------------


async def test_an_upstream_that_refuses_is_answered_with_502() -> None:
    async with raw_server(b"") as server:
        pass
    async with proxied(server.url) as pair:
        response = await pair.fetch("/")
        assert response.status == 502
        text = await response.text()
        assert text.startswith("The upstream")
        assert text.endswith(".\n")
        # With a body under way as well, and the session goes on.
        assert (await pair.fetch("/", body=b"x" * 1_000_000)).status == 502


async def test_a_host_that_is_not_found_is_answered_with_502_or_504() -> None:
    async with proxied("http://no-such-host.invalid") as pair:
        assert (await pair.fetch("/")).status in (502, 504)


@pytest.mark.parametrize("uploading", [False, True])
async def test_an_upstream_that_never_answers_is_answered_with_504(uploading: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # and never answers

    async with raw_server(serve) as server, proxied(server.url, answer_timeout=0.2) as pair:
        response = await pair.fetch("/", body=b"x" if uploading else None)
        assert response.status == 504
        assert "in time" in await response.text()
        await until(lambda: server.open == 0)


async def test_an_upload_that_takes_longer_than_the_answer_may() -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b"x" * 1000
            await asyncio.sleep(0.3)

    async with aiohttp_server(request_of) as url, proxied(url, answer_timeout=2) as pair:
        response = await pair.fetch("/", body=body())
        assert response.status == 200
        assert len((await response.json())["body"]) == 8000


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: %s\r\n" % (b"y" * 1000) * 100 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"n" * 300 + b": x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 1000 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
    ids=lambda answer: answer[:50].decode("latin-1"),
)
async def test_broken_answers_are_answered_with_502(answer: bytes) -> None:
    async with raw_server(answer) as server, proxied(server.url) as pair:
        response = await pair.fetch("/")
        assert response.status == 502
        assert (await response.text()).startswith("The upstream")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n8\r\nmore",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
    ],
    ids=lambda answer: answer[17:].decode("latin-1"),
)
async def test_an_upstream_that_dies_inside_its_answer(answer: bytes) -> None:
    async with raw_server(answer) as server, proxied(server.url) as pair:
        with pytest.raises(StreamReset) as raised:
            response = await pair.fetch("/")
            assert response.status == 200
            await response.bytes()
        assert raised.value.code == codes.UPSTREAM_ERROR


async def test_an_upstream_that_goes_on_with_nonsense() -> None:
    go = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await go.wait()
        writer.write(b"zz\r\n")
        await reader.read()

    async with raw_server(serve) as server, proxied(server.url) as pair:
        response = await pair.fetch("/")
        assert await response.read() == b"half"
        go.set()
        with pytest.raises(StreamReset) as raised:
            await response.read()
        assert raised.value.code == codes.UPSTREAM_ERROR
        await until(lambda: server.open == 0)


async def test_a_pooled_connection_that_is_reset() -> None:
    go, reset = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await go.wait()
        writer.write(b"0\r\n\r\n")
        await reset.wait()
        linger = struct.pack("ii", 1, 0)  # close() sends RST
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()

    async with raw_server(serve) as server, proxied(server.url) as pair:
        response = await pair.fetch("/")
        assert await response.read() == b"half"
        go.set()
        assert await response.read() == b""
        reset.set()
        await until(lambda: server.open == 0)


async def test_an_answer_that_ends_with_its_connection() -> None:
    answer = b"HTTP/1.0 200 OK\r\n\r\nall of it"
    async with raw_server(answer) as server, proxied(server.url) as pair:
        response = await pair.fetch("/")
        assert "content-length" not in response.headers
        assert await response.bytes() == b"all of it"


async def test_informational_answers_are_skipped() -> None:
    answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    answer += b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with raw_server(answer) as server, proxied(server.url) as pair:
        response = await pair.fetch("/")
        assert response.status == 200
        assert await response.bytes() == b"ok"


async def test_an_upstream_that_answers_before_it_has_read_the_upload() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await writer.drain()
        writer.close()

    async def body() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 50_000
            await asyncio.sleep(0)

    async with raw_server(serve) as server, proxied(server.url) as pair:
        response = await pair.fetch("/", body=body())
        assert response.status == 413
        assert await response.bytes() == b"big"
        await until(lambda: pair.client.open_streams == pair.server.open_streams == 0)


@pytest.mark.parametrize("known", [True, False])
async def test_an_upstream_that_answers_before_the_upload_begins(known: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
        await reader.read()

    async def body() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with raw_server(serve) as server, proxied(server.url) as pair:
        headers = {"content-length": "1000"} if known else {}
        response = await pair.fetch("/", body=body(), headers=headers)
        assert response.status == 401
        assert await response.bytes() == b"no"
        response.close()


@pytest.mark.parametrize("what", ["too long", "too short", "malformed"])
async def test_a_broken_upload_never_looks_whole_to_the_upstream(what: str) -> None:
    seen: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        try:
            seen.append(await request.read())
        except Exception as error:
            seen.append(error)
            raise
        return web.Response()

    async with aiohttp_server(handler) as url, proxied(url) as pair:
        request = {
            "too long": encode_request("POST", "/", [("content-length", "3")])
            + block(DATA, b"ab")
            + block(DATA, b"cd"),
            "too short": encode_request("POST", "/", [("content-length", "3")])
            + block(DATA, b"ab"),
            "malformed": encode_request("POST", "/", [])
            + block(DATA, b"ab")
            + encode_request("POST", "/", []),
        }[what]
        status, _, body = await raw_answer(pair, request)
        assert status == 400
        assert b"broken" in body
        await until(lambda: len(seen) == 1)
        assert isinstance(seen[0], Exception)


@pytest.mark.parametrize("moment", ["before the answer", "inside the answer", "inside the upload"])
@pytest.mark.parametrize("how", ["cancel", "cut"])
async def test_a_client_that_leaves_takes_the_upstream_request_with_it(
    moment: str, how: str
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if moment == "inside the answer":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await reader.read()

    async def body() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0.01)

    async with raw_server(serve) as server, proxied(server.url) as pair:
        upload = body() if moment == "inside the upload" else None

        async def ask() -> None:
            await (await pair.fetch("/", body=upload)).bytes()

        asking = asyncio.ensure_future(ask())
        await until(lambda: server.open == 1)
        if how == "cancel":
            asking.cancel()
        else:
            pair.link.cut(None)
        with pytest.raises((asyncio.CancelledError, PeerfetchError)):
            await asking
        await until(lambda: server.open == 0)
        await until(lambda: pair.server.open_streams == 0)


async def test_a_slow_client_slows_the_upstream() -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    async def settled() -> None:
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)

    async with raw_server(serve) as server, proxied(server.url) as pair:
        response = await pair.fetch("/")
        await settled()
        # Kernel buffers, aiohttp's, one stream's window and send buffer; and not 100 MB.
        assert sent < 20_000_000
        length = 0
        async for piece in response:
            length += len(piece)
        assert length == 100_000_000


async def test_closing_closes_the_pooled_connections() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with raw_server(answer, keep=True) as server:
        async with proxied(server.url) as pair:
            await pair.fetch("/")
            assert server.open == 1
        await until(lambda: server.open == 0)
