"""A raw upstream on one side and a client of ours on the other: what is on the wire between the
proxy and its upstream.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from certificates import self_signed
from peerfetch_fast.errors import StreamReset
from peerfetch_fast.http import codes
from peerfetch_fast.http.blocks import DATA, block
from peerfetch_fast.http.h1 import End, Request, ServerConnection
from peerfetch_fast.http.heads import encode_request, encode_trailers
from peerfetch_fast.http.upstream import Upstream
from peerfetch_fast.settings import UpstreamSettings
from support import Pair, http_pair, read_all, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Answer = Callable[["Visit"], Awaitable[None]]


@dataclass
class Visit:
    """A connection to the raw upstream, and which it is."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    def reset(self) -> None:
        """Close with RST."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.close()


@dataclass
class Raw:
    """An upstream that does what a test says, with each connection."""

    answer: Answer
    url: str = ""
    visits: list[Visit] = field(default_factory=list)
    open: int = 0


@contextlib.asynccontextmanager
async def raw(answer: Answer, *, path: Path | None = None, tls: Any = None) -> AsyncIterator[Raw]:
    found = Raw(answer)
    tasks: set[asyncio.Task[Any]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        found.open += 1
        visit = Visit(reader, writer, len(found.visits))
        found.visits.append(visit)
        try:
            await answer(visit)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            found.open -= 1
            tasks.discard(task)
            writer.close()

    if path is not None:
        server = await asyncio.start_unix_server(connected, path)
        found.url = f"unix:{path}"
    else:
        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        found.url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
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
    async with Upstream(url, UpstreamSettings(**options)) as upstream, http_pair(upstream) as pair:
        yield pair


def always(octets: bytes) -> Answer:
    async def answer(visit: Visit) -> None:
        while True:
            await visit.head()
            visit.writer.write(octets)

    return answer


def once(octets: bytes) -> Answer:
    async def answer(visit: Visit) -> None:
        await visit.head()
        visit.writer.write(octets)
        await visit.writer.drain()

    return answer


# -- what goes out ------------------------------------------------------------------------------


async def test_a_request_octet_for_octet() -> None:
    heads: list[bytes] = []

    async def answer(visit: Visit) -> None:
        heads.append(await visit.head())
        visit.writer.write(OK)

    async with raw(answer) as upstream, proxied(upstream.url) as pair:
        fields = [("x-b", "1"), ("content-length", "1"), ("a", "\xe4"), ("x-b", "2")]
        stream = await pair.client.open_stream()
        target = "//a//b;c=1/%2F%c3%A4?"
        await stream.write(encode_request("M-SEARCH", target, fields) + block(DATA, b"x"))
        stream.end()
        await read_all(stream)
        host = upstream.url.removeprefix("http://").encode()
        assert heads == [
            b"M-SEARCH //a//b;c=1/%2F%c3%A4? HTTP/1.1\r\nhost: " + host + b"\r\n"
            b"x-b: 1\r\ncontent-length: 1\r\na: \xe4\r\nx-b: 2\r\n\r\n"
        ]


@pytest.mark.parametrize("length", ["0", None])
async def test_a_post_without_a_body(length: str | None) -> None:
    heads: list[bytes] = []

    async def answer(visit: Visit) -> None:
        heads.append(await visit.head())
        visit.writer.write(OK)

    async with raw(answer) as upstream, proxied(upstream.url) as pair:
        headers = {} if length is None else {"content-length": length}
        await (await pair.fetch("/", method="POST", headers=headers)).bytes()
        assert (b"content-length: 0\r\n" in heads[0]) == (length is not None)
        assert b"transfer-encoding" not in heads[0]


async def whole_request(visit: Visit) -> list[Any]:
    """The events of one request."""
    server, events = ServerConnection(), []
    while not events or not isinstance(events[-1], End):
        data = await visit.reader.read(65536)
        if not data:
            raise ConnectionResetError
        server.receive(data)
        while (event := server.next_event()) is not None:
            events.append(event)
    return events


async def test_trailers_pass_both_ways() -> None:
    asked: list[Any] = []

    async def answer(visit: Visit) -> None:
        asked.extend(await whole_request(visit))
        visit.writer.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            b"2\r\nok\r\n0\r\nX-Sum: \xe4\r\nContent-Length: 5\r\n\r\n"
        )

    async with raw(answer) as upstream, proxied(upstream.url) as pair:
        stream = await pair.client.open_stream()
        trailers = [("x-sum", "1"), ("content-length", "9"), ("host", "evil"), ("te", "x")]
        request = encode_request("PUT", "/", []) + block(DATA, b"body")
        await stream.write(request + encode_trailers(trailers))
        stream.end()
        got = await read_all(stream)
        assert b'{"headers":[["x-sum","\xc3\xa4"]]}' in got
        assert asked[-1].trailers == [("x-sum", "1")]


# -- what comes back ----------------------------------------------------------------------------


TOLERATED = {
    "a body in an answer to HEAD": ("HEAD", OK, 200, b""),
    "two equal lengths": (
        "GET",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        200,
        b"ok",
    ),
    "a list of equal lengths": ("GET", OK.replace(b": 2", b": 2, 2"), 200, b"ok"),
    "a version in lower case": ("GET", OK.replace(b"HTTP", b"http"), 200, b"ok"),
    "LF alone": ("GET", OK.replace(b"\r\n", b"\n"), 200, b"ok"),
    "status 600": ("GET", OK.replace(b"200", b"600"), 600, b"ok"),
    "status 999": ("GET", OK.replace(b"200", b"999"), 999, b"ok"),
    "no reason": ("GET", OK.replace(b" OK", b""), 200, b"ok"),
    "both framings": (
        "GET",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nok\r\n0\r\n\r\n",
        200,
        b"ok",
    ),
    "chunks in HTTP/1.0": (
        "GET",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        200,
        b"ok",
    ),
    "a body behind 204": ("GET", OK.replace(b"200", b"204"), 204, b""),
    "a body behind 304": ("GET", OK.replace(b"200", b"304"), 304, b""),
    "an empty line before the answer": ("GET", b"\r\n" + OK, 200, b"ok"),
    "padded chunk sizes": (
        "GET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2  \r\nok\r\n0  \r\n\r\n",
        200,
        b"ok",
    ),
    "control characters in a value": ("GET", OK.replace(b"OK", b"OK\r\nX: \x01"), 200, b"ok"),
    "a reason of Latin-1": ("GET", OK.replace(b"OK", b"\xe4"), 200, b"ok"),
}


@pytest.mark.parametrize(("method", "answer", "status", "body"), TOLERATED.values(), ids=TOLERATED)
async def test_faults_that_are_tolerated_leave_the_answer_whole(
    method: str, answer: bytes, status: int, body: bytes
) -> None:
    async with raw(always(answer)) as upstream, proxied(upstream.url) as pair:
        for _ in range(3):  # and nothing is left over for the next
            response = await pair.fetch("/", method=method)
            assert response.status == status
            assert await response.bytes() == body


REFUSED = {
    "folding": OK.replace(b"OK", b"OK\r\nX: 1\r\n 2"),
    "a space before the colon": OK.replace(b"OK", b"OK\r\nX : 1"),
    "NUL": OK.replace(b"OK", b"OK\r\nX: \0"),
    "a bare CR": OK.replace(b"OK", b"OK\r\nX: a\rb"),
    "two lengths": OK.replace(b"OK", b"OK\r\nContent-Length: 3"),
    "another coding": OK.replace(b"OK", b"OK\r\nTransfer-Encoding: gzip"),
    "a hexadecimal length": OK.replace(b": 2", b": 0x2"),
    "HTTP/2": OK.replace(b"1.1", b"2.0"),
    "a protocol that nobody asked for": b"HTTP/1.1 101 x\r\nUpgrade: x\r\n\r\n",
    "informational answers without end": b"HTTP/1.1 103 x\r\nLink: x\r\n\r\n" * 4000,
}


@pytest.mark.parametrize("answer", REFUSED.values(), ids=REFUSED)
async def test_faults_that_are_not_tolerated_are_answered_with_502(answer: bytes) -> None:
    async with raw(once(answer)) as upstream, proxied(upstream.url) as pair:
        response = await pair.fetch("/")
        assert response.status == 502
        assert "broken answer" in await response.text()


@pytest.mark.parametrize(
    "chunks", [b"0x2\r\nok\r\n", b"2\r\nokk\r\n", b"2;a\0\r\nok\r\n", b"2\rok", b"-2\r\nok\r\n"]
)
async def test_chunks_that_are_none_break_the_answer_off(chunks: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    async with raw(once(answer + b"0\r\n\r\n")) as upstream, proxied(upstream.url) as pair:
        with pytest.raises(StreamReset) as raised:
            await (await pair.fetch("/")).bytes()
        assert raised.value.code == codes.UPSTREAM_ERROR


async def test_a_body_that_ends_with_a_reset_is_not_whole() -> None:
    async def answer(visit: Visit) -> None:
        await visit.head()
        visit.writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await visit.writer.drain()
        await go.wait()
        visit.reset()

    go: asyncio.Event

    go = asyncio.Event()
    async with raw(answer) as upstream, proxied(upstream.url) as pair:
        response = await pair.fetch("/")
        assert await response.read() == b"half"
        go.set()
        with pytest.raises(StreamReset) as raised:
            await response.read()
        assert raised.value.code == codes.UPSTREAM_ERROR


# -- informational answers and Expect --------------------------------------------------------------


async def test_informational_answers_are_passed_on() -> None:
    answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n"
    answer += b"HTTP/1.1 102 Processing\r\n\r\n" + OK

    seen: list[Any] = []
    async with raw(once(answer)) as upstream, proxied(upstream.url) as pair:
        response = await pair.fetch(
            "/", on_informational=lambda *told: seen.append((told[0], list(told[1].items())))
        )
        assert await response.bytes() == b"ok"
    assert seen == [(103, [("link", "</a>"), ("link", "</b>")]), (102, [])]


async def test_expect_is_honoured_end_to_end() -> None:
    """The client sends its body once it was asked for it, and the upstream gets it only then."""

    async def answer(visit: Visit) -> None:
        heads.append(await visit.head())
        with contextlib.suppress(asyncio.TimeoutError):
            before.append(await asyncio.wait_for(visit.reader.read(1), 0.2))
        visit.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await visit.reader.readexactly(4) == b"body"
        visit.writer.write(OK)

    heads: list[bytes] = []
    before: list[bytes] = []

    asked = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        await asked.wait()
        yield b"body"

    async with raw(answer) as upstream, proxied(upstream.url) as pair:
        for content in (body(), b"body"):  # a client that waits, and one that does not
            response = await pair.fetch(
                "/",
                method="PUT",
                headers={"expect": "100-continue", "content-length": "4"},
                body=content,
                on_informational=lambda status, _: asked.set() if status == 100 else None,
            )
            assert response.status == 200
            await response.bytes()
    assert all(b"expect: 100-continue\r\n" in head for head in heads)
    assert before == []


async def test_a_body_that_the_upstream_does_not_want_is_not_sent() -> None:
    rest: list[bytes] = []

    async def answer(visit: Visit) -> None:
        await visit.head()
        visit.writer.write(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno")
        rest.append(await visit.reader.read())

    async with raw(answer) as upstream, proxied(upstream.url) as pair:
        response = await pair.fetch(
            "/", method="PUT", headers={"expect": "100-continue"}, body=b"body"
        )
        assert (response.status, await response.bytes()) == (401, b"no")
        await until(lambda: rest == [b""])


# -- answers before the body ends --------------------------------------------------------------


@pytest.mark.parametrize("how", ["closes", "resets", "stays", "reads some"])
async def test_a_large_upload_that_is_refused_at_once(how: str) -> None:
    """It gets its answer, ten times of ten."""

    async def answer(visit: Visit) -> None:
        await visit.head()
        if how == "reads some":
            await visit.reader.readexactly(100_000)
        visit.writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        if how == "stays":
            await visit.reader.read(1)
            await gone.wait()
        elif how == "resets":
            await visit.writer.drain()
            visit.reset()

    gone: asyncio.Event

    gone = asyncio.Event()
    async with raw(answer) as upstream, proxied(upstream.url) as pair:
        for _ in range(10):
            response = await pair.fetch("/", method="PUT", body=bytes(50_000_000))
            assert response.status == 413
            assert await response.bytes() == b"big"
        gone.set()
        await until(lambda: upstream.open == 0)
        await until(lambda: pair.client.open_streams == pair.server.open_streams == 0)


async def test_an_answer_that_begins_before_the_body_ends_does_not_stop_it() -> None:
    async def answer(visit: Visit) -> None:
        await visit.head()
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n")
        left = 300_000
        while left:
            data = await visit.reader.read(left)
            visit.writer.write(data)
            left -= len(data)

    async with raw(answer) as upstream, proxied(upstream.url) as pair:
        whole = bytes(range(250)) * 1200
        response = await pair.fetch("/", method="POST", body=whole)
        assert await response.bytes() == whole


# -- connections ------------------------------------------------------------------------------


async def test_each_session_has_connections_of_its_own() -> None:
    async def answer(visit: Visit) -> None:
        while True:
            await visit.head()
            number = str(visit.number).encode()
            visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + number)

    async with (
        raw(answer) as server,
        Upstream(server.url) as upstream,
        http_pair(upstream) as one,
    ):
        async with http_pair(upstream) as other:
            for _ in range(3):
                assert await (await one.fetch("/")).bytes() == b"0"
                assert await (await other.fetch("/")).bytes() == b"1"
            assert server.open == 2
        # One that has ended takes its connections with it.
        await until(lambda: server.open == 1)
        assert await (await one.fetch("/")).bytes() == b"0"


@pytest.mark.parametrize("octets", [OK, b"\r\n", b"H", b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
async def test_a_connection_that_receives_anything_while_idle_is_closed(octets: bytes) -> None:
    async def answer(visit: Visit) -> None:
        await visit.head()
        visit.writer.write(OK)
        await go.wait()
        visit.writer.write(octets)
        await visit.reader.read()
        closed.set()

    go: asyncio.Event
    closed: asyncio.Event

    go, closed = asyncio.Event(), asyncio.Event()
    async with raw(answer) as upstream, proxied(upstream.url) as pair:
        assert await (await pair.fetch("/")).bytes() == b"ok"
        go.set()
        await closed.wait()
        assert await (await pair.fetch("/")).bytes() == b"ok"
        assert len(upstream.visits) == 2


@pytest.mark.parametrize(
    "answer", [OK + OK, OK.replace(b"OK", b"OK\r\nConnection: close"), OK.replace(b"1.1", b"1.0")]
)
async def test_connections_that_are_not_used_again(answer: bytes) -> None:
    async with raw(always(answer)) as upstream, proxied(upstream.url) as pair:
        for number in range(3):
            assert await (await pair.fetch("/")).bytes() == b"ok"
            assert len(upstream.visits) == number + 1


async def test_a_planted_answer_reaches_nobody_else() -> None:
    """The body of a GET that the upstream takes for another request: its answer stays with the
    peer that sent it, and is not even given to that one's next request.
    """

    async def answer(visit: Visit) -> None:
        while True:
            head = await visit.head()
            path = head.split(b" ")[1]
            visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(path) + path)

    planted = b"GET /planted HTTP/1.1\r\nHost: x\r\n\r\n"
    async with (
        raw(answer) as server,
        Upstream(server.url) as upstream,
        http_pair(upstream) as attacker,
        http_pair(upstream) as victim,
    ):
        for _ in range(10):
            got = await attacker.fetch("/a", method="GET", body=planted)
            assert await got.bytes() == b"/a"
            await until(lambda: server.open <= 1)
            assert await (await victim.fetch("/v")).bytes() == b"/v"
            assert await (await attacker.fetch("/b")).bytes() == b"/b"


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("PUT", b"x"), ("POST", b"x" * 9000)])
@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_a_request_that_met_a_closed_connection_is_sent_again(
    method: str, body: bytes | None, how: str
) -> None:
    async def answer(visit: Visit) -> None:
        if visit.number == 0:
            await whole_request(visit)
            visit.writer.write(OK)
            await visit.reader.read(1)  # the beginning of the next request
            if how == "reset":
                visit.reset()
            return
        asked.extend(await whole_request(visit))
        visit.writer.write(OK)

    asked: list[Any] = []

    async with raw(answer) as upstream, proxied(upstream.url) as pair:
        for _ in range(2):
            response = await pair.fetch("/", method=method, body=body)
            assert await response.bytes() == b"ok"
        assert len(upstream.visits) == 2
    head, *pieces, _ = asked
    assert isinstance(head, Request)
    assert head.method == method
    assert b"".join(pieces) == (body or b"")


async def test_large_bodies_and_answered_requests_are_not_sent_again() -> None:
    """A body that is too large to be kept, and a request whose answer has begun."""

    async def answer(visit: Visit) -> None:
        await whole_request(visit)
        visit.writer.write(OK)
        head = await visit.head()
        if b"PUT" in head:
            await visit.reader.readexactly(2000)
        else:
            visit.writer.write(b"HTTP/1.1 200")
            await visit.writer.drain()

    async with raw(answer) as upstream, proxied(upstream.url, resend_buffer=1000) as pair:
        for method, body in (("PUT", bytes(2000)), ("GET", None)):
            assert await (await pair.fetch("/")).bytes() == b"ok"
            visits = len(upstream.visits)
            response = await pair.fetch("/", method=method, body=body)
            assert response.status == 502
            assert len(upstream.visits) == visits


async def test_a_fresh_connection_that_is_closed_is_not_tried_again() -> None:
    async def answer(visit: Visit) -> None:
        await visit.head()

    async with raw(answer) as upstream, proxied(upstream.url) as pair:
        assert (await pair.fetch("/")).status == 502
        assert len(upstream.visits) == 1


async def test_idle_connections_are_closed_after_a_while_and_bounded() -> None:
    together = asyncio.Event()

    async def answer(visit: Visit) -> None:
        await visit.head()
        if len(upstream.visits) == 5:
            together.set()
        await together.wait()
        visit.writer.write(OK)
        await visit.reader.read()

    async with (
        raw(answer) as upstream,
        proxied(upstream.url, max_idle=2, idle_timeout=0.3) as pair,
    ):

        async def ask() -> None:
            assert await (await pair.fetch("/")).bytes() == b"ok"

        await asyncio.gather(*(ask() for _ in range(5)))
        await until(lambda: upstream.open <= 2)
        await until(lambda: upstream.open == 0)
        assert await (await pair.fetch("/")).bytes() == b"ok"  # and there is room again
        await until(lambda: upstream.open == 1)


async def test_what_is_held_of_requests_and_answers_is_charged_and_let_go_of() -> None:
    async def answer(visit: Visit) -> None:
        while True:
            head, *_ = await whole_request(visit)
            if head.method == "PUT":
                await go.wait()
                visit.writer.write(OK)
            else:
                visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n")
                visit.writer.write(bytes(3_000_000))

    go: asyncio.Event

    go = asyncio.Event()
    async with raw(answer) as upstream, proxied(upstream.url) as pair:
        account = pair.server.account
        asking = asyncio.ensure_future(pair.fetch("/", method="PUT", body=bytes(200_000)))
        await until(lambda: account.held >= 200_000)
        go.set()
        await (await asking).bytes()
        await until(lambda: account.held < 200_000)
        response = await pair.fetch("/")
        await until(lambda: account.held >= 300_000)  # that of the stream, and more
        assert len(await response.bytes()) == 3_000_000
        await until(lambda: account.held < 200_000)


# -- smuggling ------------------------------------------------------------------------------------

PLANTED = b"0\r\n\r\nGET /planted HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "fields",
    [
        [("transfer-encoding", "chunked")],
        [("transfer-encoding", "chunked"), ("content-length", str(len(PLANTED)))],
        [("content-length", str(len(PLANTED))), ("transfer-encoding", "xchunked")],
        [("connection", "content-length"), ("content-length", str(len(PLANTED)))],
        [("te", "trailers"), ("upgrade", "h2c"), ("connection", "upgrade, http2-settings")],
        [("content-length", str(len(PLANTED)))] * 2,
        [("content-length", f"{len(PLANTED)}, {len(PLANTED)}")],
        [("content-length", f"00{len(PLANTED)}")],
    ],
)
async def test_framing_of_a_client_never_reaches_the_upstream(
    fields: list[tuple[str, str]],
) -> None:
    """Its body is one body, and what is in it no request."""
    asked: list[list[Any]] = []

    async def answer(visit: Visit) -> None:
        while True:
            asked.append(await whole_request(visit))
            visit.writer.write(OK)

    async with raw(answer) as upstream, proxied(upstream.url) as pair:
        stream = await pair.client.open_stream()
        await stream.write(encode_request("POST", "/", fields) + block(DATA, PLANTED))
        stream.end()
        assert b'"status":200' in await read_all(stream)
    ((head, *pieces, _),) = asked
    assert head.target == "/"
    assert b"".join(pieces) == PLANTED
    assert {"upgrade", "te"}.isdisjoint(name for name, _ in head.headers)


@pytest.mark.parametrize("length", ["+5", "0x5", "5 5", "5, 6", "-1", "", "5,", "5;5", "\u00b2"])
async def test_lengths_that_are_none_never_reach_the_upstream(length: str) -> None:
    async with raw(always(OK)) as upstream, proxied(upstream.url) as pair:
        stream = await pair.client.open_stream()
        request = encode_request("POST", "/", [("content-length", length)])
        await stream.write(request + block(DATA, b"hello"))
        stream.end()
        assert b'"status":400' in await read_all(stream)
        assert upstream.visits == []


@pytest.mark.parametrize(
    ("method", "target", "fields"),
    [
        ("GET /x HTTP/1.1\r\nA:", "/", []),
        ("GET", "/ HTTP/1.1\r\nHost: evil\r\n\r\nGET /", []),
        ("GET", "/\tx", []),
        ("GET", "/\0", []),
        ("GET", "/\xe4", []),
        ("GET", "/", [("a", "b\r\nc: d")]),
        ("GET", "/", [("a\r\nb", "c")]),
        ("GET", "/", [("a", "b\0")]),
        ("GET", "/", [("a b", "c")]),
        ("GET", "/", [("a:", "c")]),
        ("GET", "/", [("a", "\u0120")]),
        ("GET", "/", [("a", "b\nTransfer-Encoding: chunked")]),
    ],
)
async def test_heads_that_would_be_two_never_reach_the_upstream(
    method: str, target: str, fields: list[tuple[str, str]]
) -> None:
    async with raw(always(OK)) as upstream, proxied(upstream.url) as pair:
        stream = await pair.client.open_stream()
        await stream.write(encode_request(method, target, fields))
        stream.end()
        assert b'"status":400' in await read_all(stream)
        assert upstream.visits == []


# -- other places -------------------------------------------------------------------------------


async def test_a_unix_socket_is_asked_and_502_says_where_there_is_none(tmp_path: Path) -> None:
    heads: list[bytes] = []

    async def answer(visit: Visit) -> None:
        heads.append(await visit.head())
        visit.writer.write(OK)

    async with (
        raw(answer, path=tmp_path / "app.sock") as upstream,
        proxied(upstream.url) as pair,
    ):
        assert await (await pair.fetch("/a?")).bytes() == b"ok"
        assert heads[0].startswith(b"GET /a? HTTP/1.1\r\nhost: localhost\r\n")
    async with proxied(f"unix:{tmp_path}/nothing") as pair:
        response = await pair.fetch("/")
        assert response.status == 502
        assert f"unix:{tmp_path}/nothing" in await response.text()


async def test_tls_by_its_issuer_or_by_a_pin(tmp_path: Path) -> None:
    file, key = self_signed(tmp_path, "localhost")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(file, key)
    der = ssl.PEM_cert_to_DER_cert(file.read_text())
    pin = f"sha256:{hashlib.sha256(der).hexdigest()}"
    wrong = f"sha256:{hashlib.sha256(b'').hexdigest()}"

    async def answer(visit: Visit) -> None:
        while True:
            await whole_request(visit)
            visit.writer.write(OK)

    async with raw(answer, tls=tls) as upstream:
        for settings in ({"ca": file}, {"pin": pin}):
            async with proxied(upstream.url, **settings) as pair:
                for _ in range(2):
                    assert await (await pair.fetch("/")).bytes() == b"ok"
                large = await pair.fetch("/", method="PUT", body=bytes(300_000))
                assert large.status == 200
        for settings in ({}, {"pin": wrong}):
            async with proxied(upstream.url, **settings) as pair:
                response = await pair.fetch("/")
                assert response.status == 502
                assert "certificate" in await response.text()
        async with proxied(upstream.url.replace("localhost", "127.0.0.1"), ca=file) as pair:
            assert (await pair.fetch("/")).status == 502
