from __future__ import annotations

import asyncio
import gc
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerfetch_fast.errors import (
    FetchTimeout,
    HeadTooLarge,
    InvalidRequest,
    LinkClosed,
    MessageError,
    MessageTruncated,
    PeerfetchError,
    SessionClosed,
    StreamReset,
)
from peerfetch_fast.http import codes
from peerfetch_fast.http.blocks import DATA, HEAD, BlockReader, block, block_header
from peerfetch_fast.http.client import fetch
from peerfetch_fast.http.heads import Headers, decode_request, encode_response, encode_trailers
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.settings import Settings
from peerfetch_fast.streams.session import Session
from support import Pair, http_pair, raw_pair, until, virtually

pytestmark = pytest.mark.virtual_time

OK = encode_response(200, [])


async def echo(exchange: Exchange) -> None:
    """Answer with the request's own method, target, headers and body, as JSON."""
    body = b""
    while piece := await exchange.read():
        body += piece
    answer = {
        "method": exchange.method,
        "target": exchange.target,
        "headers": list(exchange.headers.items()),
        "body": body.decode("latin-1"),
    }
    exchange.respond(200, [("content-type", "application/json")], orjson.dumps(answer))


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


class Answers:
    """A server that answers every request with the same bytes, and FIN if ``end``.

    ``codes`` are what the client gave the requests up with.
    """

    def __init__(self, session: Session, answer: bytes, *, end: bool = True) -> None:
        self._session = session
        self._answer = answer
        self._end = end
        self.requests: list[bytes] = []
        self.stopped = asyncio.Event()
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        while True:
            try:
                stream = await self._session.accept()
            except PeerfetchError:
                return
            stream.on_aborted = self.stopped.set
            self.requests.append(await stream.read())
            stream.write_nowait(self._answer)
            if self._end:
                stream.end()


def ask_raw(answer: bytes, *, end: bool = True, seed: int | None = None, **options: Any) -> Any:
    """The body that a client reads of an answer of these bytes."""

    async def main() -> tuple[int, bytes]:
        async with raw_pair(seed=seed) as (client, server):
            Answers(server, answer, end=end)
            response = await fetch(client, "/", **options)
            return response.status, await response.bytes()

    return virtually(main())


# -- the answer -------------------------------------------------------------------------------


async def test_status_ok_and_headers() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.respond(
            int(exchange.target[1:]), [("set-cookie", "a=1"), ("x", "y"), ("set-cookie", "b=2")]
        )

    async with http_pair(handler) as pair:
        for status in (200, 201, 299, 301, 404, 500, 599):
            response = await pair.fetch(f"/{status}")
            assert response.status == status
            assert response.ok == (200 <= status <= 299)
            assert response.headers["SET-COOKIE"] == "a=1"
            assert response.headers.getall("Set-Cookie") == ["a=1", "b=2"]
            assert [*response.headers.items()] == [
                ("set-cookie", "a=1"),
                ("x", "y"),
                ("set-cookie", "b=2"),
                ("content-length", "0"),
            ]
            assert str(status) in repr(response)
            assert await response.bytes() == b""


async def test_bytes_text_json_and_iteration() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(200, [("content-type", "application/json")], None)
        for piece in (b'{"a":', b' "\xc3\xa4"', b"}"):
            await exchange.write(piece)
            await asyncio.sleep(1)
        exchange.end()

    async with http_pair(handler) as pair:
        whole = '{"a": "ä"}'
        assert await (await pair.fetch("/")).bytes() == whole.encode()
        assert await (await pair.fetch("/")).text() == whole
        assert await (await pair.fetch("/")).json() == {"a": "ä"}
        response = await pair.fetch("/")
        assert [piece async for piece in response] == [b'{"a":', b' "\xc3\xa4"', b"}"]
        assert await response.bytes() == b""


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/plain", b"\xc3\xa4", "ä"),
        ("text/plain; charset=ISO-8859-1", b"\xe4", "ä"),
        ('text/plain; x=y; Charset="utf-16-le"', b"a\0", "a"),
        ("text/plain; charset=no-such-thing", b"\xc3\xa4", "ä"),
        ("text/plain; charset=rot13", b"abc", "abc"),  # a codec, and not one of text
        ("text/plain; charset=undefined", b"abc", "abc"),  # a codec that refuses everything
        ("text/plain; charset=punycode", b"\xc3\xa4", "ä"),
        ("text/plain; charset=idna", b"\xc3\xa4", "ä"),
        ("text/plain; charset=", b"abc", "abc"),
        ("text/plain", b"a\xffb", "a\ufffdb"),
        # The Encoding standard's "decode": a byte order mark goes before the charset.
        ("text/plain", b"\xef\xbb\xbfa", "a"),
        ("text/plain; charset=iso-8859-1", b"\xef\xbb\xbf\xc3\xa4", "ä"),
        ("text/plain", b"\xfe\xff\0a", "a"),
        ("text/plain; charset=utf-8", b"\xff\xfea\0", "a"),
        ("text/plain; charset=utf-16", b"\xff\xfea\0", "a"),
        ("text/plain", b"\xef\xbb\xbf\xef\xbb\xbfa", "\ufeffa"),  # the first alone
        ("text/plain", b"\xef\xbb", "\ufffd"),
    ],
)
async def test_text_in_the_charset_that_is_named(content_type: str, body: bytes, text: str) -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.respond(200, [("content-type", content_type)], body)

    async with http_pair(handler) as pair:
        assert await (await pair.fetch("/")).text() == text


async def test_text_that_would_take_for_ever() -> None:
    # Python decodes this one in a time that grows with the square of its length.
    body = b"x-" + b"b" * 1_000_000

    async def handler(exchange: Exchange) -> None:
        exchange.respond(200, [("content-type", "text/plain; charset=Punycode")], body)

    async with http_pair(handler) as pair:
        assert await (await pair.fetch("/")).text() == body.decode()


async def test_json_behind_a_byte_order_mark() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.respond(200, [], b'\xef\xbb\xbf{"a": 1}')

    async with http_pair(handler) as pair:
        assert await (await pair.fetch("/")).json() == {"a": 1}


async def test_json_that_is_none() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.respond(200, [], b"<html>")

    async with http_pair(handler) as pair:
        with pytest.raises(ValueError, match="unexpected"):
            await (await pair.fetch("/")).json()


def test_informational_heads_are_skipped() -> None:
    answer = encode_response(103, [("link", "</a>")]) + encode_response(100, []) + OK
    assert ask_raw(answer + block(DATA, b"body")) == (200, b"body")


async def test_trailers_are_there_once_the_body_is_read() -> None:
    async with raw_pair() as (client, server):
        Answers(server, OK + block(DATA, b"x") + encode_trailers([("x-sum", "1")]))
        response = await fetch(client, "/")
        assert response.trailers is None
        assert await response.bytes() == b"x"
        assert response.trailers is not None
        assert response.trailers["X-Sum"] == "1"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_answers_without_a_body(method: str, status: int) -> None:
    head = encode_response(status, [("content-length", "1000000")])
    assert ask_raw(head, method=method) == (status, b"")
    with pytest.raises(MessageError):
        ask_raw(head + block(DATA, b"x"), method=method)


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
async def test_large_bodies_of_unknown_length_both_ways(seed: int | None) -> None:
    size = 3_000_000

    async def handler(exchange: Exchange) -> None:
        assert exchange.length is None
        exchange.start(200, [], None)
        while piece := await exchange.read():
            await exchange.write(piece)
        exchange.end()

    body = bytes(range(256)) * (size // 256)

    async def upload() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 70_001):
            yield body[at : at + 70_001]

    async with http_pair(handler, seed=seed, delay=0.01) as pair:
        response = await pair.fetch("/", body=upload())
        assert "content-length" not in response.headers
        assert await response.bytes() == body


# -- the request ------------------------------------------------------------------------------


async def asked(pair: Pair, target: str = "/", **options: Any) -> dict[str, Any]:
    answer = await (await pair.fetch(target, **options)).json()
    answer["headers"] = [tuple(field) for field in answer["headers"]]
    return dict(answer)


async def test_without_options_a_get_is_sent_and_with_a_body_a_post() -> None:
    async with http_pair(echo) as pair:
        assert await asked(pair, "/a?b=c") == {
            "method": "GET",
            "target": "/a?b=c",
            "headers": [],
            "body": "",
        }
        posted = await asked(pair, body=b"\x00\xff")
        assert posted["method"] == "POST"
        assert posted["headers"] == [("content-length", "2")]
        assert posted["body"] == "\x00\xff"


@pytest.mark.parametrize(
    ("options", "content_type", "sent"),
    [
        ({"json": {"ä": [1, None]}}, "application/json", b'{"\xc3\xa4":[1,null]}'),
        ({"json": []}, "application/json", b"[]"),
        ({"json": 1, "headers": {"Content-Type": "application/x"}}, "application/x", b"1"),
        ({"body": "ä"}, "text/plain;charset=UTF-8", b"\xc3\xa4"),
        ({"body": bytearray(b"ab")}, None, b"ab"),
        ({"body": memoryview(b"abcd")[::2].tobytes()}, None, b"ac"),
        ({"body": memoryview(b"abcd").cast("H")}, None, b"abcd"),
        ({"body": b""}, None, b""),
    ],
)
async def test_each_kind_of_body_is_sent_with_its_type_and_length(
    options: dict[str, Any], content_type: str | None, sent: bytes
) -> None:
    async with http_pair(echo) as pair:
        got = await asked(pair, **options)
        headers = dict(got["headers"])
        assert got["body"].encode("latin-1") == sent
        assert headers.get("content-type") == content_type
        assert headers["content-length"] == str(len(sent))
        assert got["method"] == "POST"


async def test_headers_are_sent_in_order_repeatable_and_end_to_end() -> None:
    async with http_pair(echo) as pair:
        sent = [("Accept", "a"), ("X", " b "), ("accept", "c"), ("TE", "trailers")]
        got = await asked(pair, headers=[*sent, ("Connection", "x-gone"), ("X-Gone", "1")])
        assert got["headers"] == [("accept", "a"), ("x", "b"), ("accept", "c")]
        got = await asked(pair, headers={"A": "latin \xe4"})
        assert got["headers"] == [("a", "latin \xe4")]


@pytest.mark.parametrize(
    ("target", "params", "expected"),
    [
        ("/", {"a": 1, "b": ["x", "y z"]}, "/?a=1&b=x&b=y+z"),
        ("/p?q=1", [("q", "2"), ("q", "ä&")], "/p?q=1&q=2&q=%C3%A4%26"),
        ("/p", {}, "/p"),
        ("/a b/ä#fragment", None, "/a%20b/%C3%A4"),
        ("/a%20b%2F?x=%", None, "/a%20b%2F?x=%"),
        ("/x\r\ny: z\0", None, "/x%0D%0Ay:%20z%00"),
        ('/"<>\\^`{|}', None, "/%22%3C%3E%5C%5E%60%7B%7C%7D"),
        ("/!$&'()*+,;=:@[]~-._", None, "/!$&'()*+,;=:@[]~-._"),
    ],
)
async def test_characters_that_a_target_cannot_hold_are_quoted(
    target: str, params: Any, expected: str
) -> None:
    async with http_pair(echo) as pair:
        assert (await asked(pair, target, params=params))["target"] == expected


@given(st.text())
@settings(max_examples=50)
def test_any_target_is_sent_or_refused(target: str) -> None:
    async def main() -> None:
        async with http_pair(echo) as pair:
            try:
                assert await asked(pair, f"/{target}")
            except InvalidRequest:
                assert any("\ud800" <= char <= "\udfff" for char in target)

    virtually(main())


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("", {}),
        ("path", {}),
        ("http://elsewhere/", {}),
        ("?a=b", {}),
        ("#/", {}),
        ("/\ud800", {}),
        ("/", {"params": {"a": "\ud800"}}),
        ("/", {"method": ""}),
        ("/", {"method": "GE T"}),
        ("/", {"method": "GET\r\nx: y"}),
        ("/", {"method": "GÄT"}),
        ("/", {"method": "GET\0"}),
        ("/", {"headers": {"a": "b\r\nc: d"}}),
        ("/", {"headers": {"a": "b\nc"}}),
        ("/", {"headers": {"a": "b\rc"}}),
        ("/", {"headers": {"a": "b\0"}}),
        ("/", {"headers": {"a": "\u20ac"}}),
        ("/", {"headers": {"a": "\ud800"}}),
        ("/", {"headers": {"a": 1}}),
        ("/", {"headers": {"": "b"}}),
        ("/", {"headers": {"a b": "c"}}),
        ("/", {"headers": {"a:": "c"}}),
        ("/", {"headers": {"a\r\n": "c"}}),
        ("/", {"headers": {"ä": "c"}}),
        ("/", {"body": b"a", "json": 1}),
        ("/", {"body": 1}),
        ("/", {"body": [b"a"]}),
        ("/", {"body": "\ud800"}),
        ("/", {"timeout": -1}),
        ("/", {"timeout": float("nan")}),
        ("/", {"body": pieces(b"a"), "headers": {"content-length": "x"}}),
        (
            "/",
            {"body": pieces(b"a"), "headers": [("content-length", "1"), ("content-length", "2")]},
        ),
    ],
)
async def test_requests_that_cannot_be_sent(target: str, options: dict[str, Any]) -> None:
    async with http_pair(echo) as pair:
        with pytest.raises(InvalidRequest):
            await pair.fetch(target, **options)
        assert pair.client.open_streams == 0


async def test_the_length_of_bytes_is_not_for_the_caller_to_say() -> None:
    async with http_pair(echo) as pair:
        got = await asked(pair, body=b"abc", headers={"Content-Length": "7"})
        assert got["headers"] == [("content-length", "3")]


async def test_priority_goes_out_and_orders_what_is_sent() -> None:
    """Of two uploads the more urgent one arrives first, though it was begun last."""

    async with raw_pair() as (client, server):
        asking = [
            asyncio.ensure_future(
                fetch(client, f"/{urgency}", body=b"x" * 60_000, headers={"priority": urgency})
            )
            for urgency in ("u=5", "u=1")
        ]
        ended = []
        streams = [await server.accept() for _ in asking]
        for stream in streams:
            assert stream.id in (0, 2)

        async def drain(stream: Any) -> None:
            while await stream.read():
                pass
            ended.append(stream.id)

        await asyncio.gather(*map(drain, streams))
        assert ended == [2, 0]
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)


# -- giving up --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "async with", "collected", "cancelled", "break"])
async def test_giving_up_early_cancels_the_handler_at_once(how: str) -> None:
    cancelled: list[float] = []

    async def handler(exchange: Exchange) -> None:
        exchange.start(200, [], None)
        try:
            while True:
                await exchange.write(b"x" * 10_000)
        except asyncio.CancelledError:
            cancelled.append(asyncio.get_running_loop().time())
            raise

    loop = asyncio.get_running_loop()
    async with http_pair(handler, delay=0.01) as pair:
        response = await pair.fetch("/")
        if how == "close":
            response.close()
            response.close()
        elif how == "async with":
            async with response:
                assert await response.read()
        elif how == "collected":
            del response
            gc.collect()
        elif how == "cancelled":
            task = asyncio.ensure_future(response.bytes())
            await asyncio.sleep(0.1)
            task.cancel()
            await asyncio.wait([task])
        else:
            async with response:
                async for _ in response:
                    break
        given_up = loop.time()
        await asyncio.sleep(1)
        assert len(cancelled) == 1
        assert cancelled[0] - given_up < 0.05
        assert pair.client.open_streams == pair.server.open_streams == 0
        if how != "collected":
            with pytest.raises(RuntimeError, match="closed"):
                await response.read()


async def test_closing_after_the_end_changes_nothing() -> None:
    async with http_pair(echo) as pair:
        async with await pair.fetch("/") as response:
            assert await response.bytes()
        assert pair.client.open_streams == 0


async def test_cancelling_fetch_cancels_the_handler() -> None:
    entered, left = asyncio.Event(), asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    async with http_pair(handler) as pair:
        task = asyncio.ensure_future(pair.fetch("/"))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await left.wait()


async def test_timeout_of_the_head() -> None:
    left = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            left.set()

    async with http_pair(handler) as pair:
        began = asyncio.get_running_loop().time()
        with pytest.raises(FetchTimeout, match=r"answer.*7 s"):
            await pair.fetch("/", timeout=7)
        assert asyncio.get_running_loop().time() - began == pytest.approx(7, abs=0.1)
        await left.wait()


async def test_timeout_is_of_each_piece_and_not_of_the_whole_body() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(200, [], None)
        for _ in range(10):
            await asyncio.sleep(4)
            await exchange.write(b"x")
        await asyncio.sleep(6)
        exchange.end()

    async with http_pair(handler) as pair:
        response = await pair.fetch("/", timeout=5)
        for _ in range(10):
            assert await response.read() == b"x"
        with pytest.raises(FetchTimeout):
            await response.read()
        with pytest.raises(RuntimeError):
            await response.read()


async def test_timeout_of_a_free_stream() -> None:
    async def handler(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    async with http_pair(handler, settings=Settings(max_streams=16)) as pair:
        asking = [asyncio.ensure_future(pair.fetch("/")) for _ in range(16)]
        await asyncio.sleep(1)
        with pytest.raises(FetchTimeout, match="free stream"):
            await pair.fetch("/", timeout=3)
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)


# -- uploads ----------------------------------------------------------------------------------


class Broken(Exception):
    pass


async def test_a_body_that_raises_fails_the_fetch_with_what_it_raised() -> None:
    failed: list[BaseException] = []

    async def handler(exchange: Exchange) -> None:
        try:
            while await exchange.read():
                pass
        except BaseException as error:
            failed.append(error)
            raise

    async def body() -> AsyncIterator[bytes]:
        yield b"some"
        await asyncio.sleep(1)
        raise Broken

    async with http_pair(handler) as pair:
        with pytest.raises(Broken):
            await pair.fetch("/", body=body())
        await asyncio.sleep(1)
        # It was never an end to the server, only a request that broke off.
        assert len(failed) == 1
        assert isinstance(failed[0], (asyncio.CancelledError, StreamReset))


async def test_a_body_that_raises_while_the_answer_is_read() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(200, [], None)
        while piece := await exchange.read():
            await exchange.write(piece)

    async def body() -> AsyncIterator[bytes]:
        yield b"some"
        await asyncio.sleep(5)
        raise Broken

    async with http_pair(handler) as pair:
        response = await pair.fetch("/", body=body())
        with pytest.raises(Broken):
            await response.bytes()


@pytest.mark.parametrize("bad", ["text", 5])
async def test_a_body_of_anything_but_bytes(bad: Any) -> None:
    async def handler(exchange: Exchange) -> None:
        while await exchange.read():
            pass
        exchange.respond(200)

    async with http_pair(handler) as pair:
        with pytest.raises(TypeError):
            await pair.fetch("/", body=pieces(b"a", bad, b"b"))


@pytest.mark.parametrize(
    ("length", "error"), [("2", MessageError), ("4", MessageTruncated), ("0", MessageError)]
)
async def test_a_body_of_another_length_than_announced(length: str, error: type[Exception]) -> None:
    whole = False

    async def handler(exchange: Exchange) -> None:
        nonlocal whole
        while await exchange.read():
            pass
        whole = True
        exchange.respond(200)

    async with http_pair(handler) as pair:
        with pytest.raises(error):
            await pair.fetch("/", body=pieces(b"ab", b"c"), headers={"content-length": length})
        await asyncio.sleep(1)
        assert not whole


@pytest.mark.parametrize("status", [200, 413])
async def test_a_server_that_answers_before_it_has_read_the_upload(status: int) -> None:
    closed = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        assert await exchange.read()
        exchange.respond(status, [], b"enough")

    async def body() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 100_000
        finally:
            closed.set()

    async with http_pair(handler, delay=0.01) as pair:
        response = await pair.fetch("/", body=body())
        assert response.status == status
        assert await response.bytes() == b"enough"
        await closed.wait()  # the iterator is not left hanging
        await asyncio.sleep(1)
        assert pair.client.open_streams == 0


async def test_the_iterator_is_closed_when_the_response_is() -> None:
    closed = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        exchange.start(200, [], None)
        await asyncio.Event().wait()

    async def body() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 100_000
        finally:
            closed.set()

    async with http_pair(handler) as pair:
        response = await pair.fetch("/", body=body())
        response.close()
        await asyncio.wait_for(closed.wait(), 1)


async def test_a_slow_server_slows_the_upload() -> None:
    taken = 0
    go = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await go.wait()
        while await exchange.read():
            pass
        exchange.respond(200)

    async def body() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield b"x" * 100_000

    async with http_pair(handler) as pair:
        task = asyncio.ensure_future(pair.fetch("/", body=body()))
        await asyncio.sleep(60)
        # The window of a stream and what a writer may have unsent, and not 100 MB.
        assert taken * 100_000 < 3_000_000
        go.set()
        assert (await task).status == 200
        assert taken == 1000


# -- broken answers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", MessageTruncated),
        (b"\x01", MessageTruncated),
        (encode_response(103, []), MessageTruncated),
        (block(DATA, b"x"), MessageError),
        (block(HEAD, b"nonsense"), MessageError),
        (block(HEAD, b'{"status":1000}'), MessageError),
        (block_header(HEAD, 64 * 1024 + 1), HeadTooLarge),
        (encode_trailers([]), MessageError),
        (encode_response(200, [("content-length", "x")]), MessageError),
        (encode_response(200, [("content-length", "5")]) + block(DATA, b"four"), MessageTruncated),
        (encode_response(200, [("content-length", "3")]) + block(DATA, b"four"), MessageError),
        (OK + block(DATA, b"half")[:-1], MessageTruncated),
        (OK + block(DATA, b"half") + b"\x00", MessageTruncated),
        (OK + OK, MessageError),
    ],
)
@pytest.mark.parametrize("seed", [None, 5])
def test_answers_that_are_none(answer: bytes, error: type[Exception], seed: int | None) -> None:
    with pytest.raises(error):
        ask_raw(answer, seed=seed)


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=60)
def test_any_answer_is_whole_or_a_typed_error(answer: bytes, after_head: bool) -> None:
    sent = (OK if after_head else b"") + answer
    try:
        status, body = ask_raw(sent)
    except PeerfetchError:
        return
    assert status == 200
    found = BlockReader().feed(sent)
    assert body == b"".join(payload for kind, payload in found if kind == DATA)


async def test_a_broken_answer_tells_the_server_to_stop() -> None:
    async with raw_pair() as (client, server):
        answers = Answers(server, block(HEAD, b"nonsense"), end=False)
        with pytest.raises(MessageError):
            await fetch(client, "/")
        await answers.stopped.wait()
        answers.stopped.clear()
        answers._answer = OK + OK
        response = await fetch(client, "/")
        with pytest.raises(MessageError):
            await response.bytes()
        await answers.stopped.wait()


async def test_a_reset_is_never_an_end() -> None:
    async with raw_pair() as (client, server):

        async def answer() -> None:
            stream = await server.accept()
            stream.write_nowait(OK + block(DATA, b"all of it"))
            await asyncio.sleep(1)
            stream.reset(codes.UPSTREAM_ERROR)

        answering = asyncio.ensure_future(answer())
        response = await fetch(client, "/")
        got = b""
        with pytest.raises(StreamReset) as raised:
            while True:
                got += await response.read()
        assert got == b"all of it"
        assert raised.value.code == codes.UPSTREAM_ERROR
        await answering


@pytest.mark.parametrize("moment", ["head", "body", "upload"])
async def test_the_connection_is_cut(moment: str) -> None:
    async def handler(exchange: Exchange) -> None:
        if moment == "body":
            exchange.start(200, [], None)
            await exchange.write(b"half")
        await asyncio.Event().wait()

    async def body() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 100_000

    async with http_pair(handler) as pair:
        asyncio.get_running_loop().call_later(1, pair.link.cut, None)
        with pytest.raises(LinkClosed):
            response = await pair.fetch("/", body=body() if moment == "upload" else None)
            await response.bytes()
        with pytest.raises(LinkClosed):
            await pair.fetch("/")


async def test_after_goaway_running_requests_end_and_new_ones_are_refused() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(200, [], 4)
        await exchange.write(b"ha")
        await asyncio.sleep(5)
        await exchange.write(b"lf")
        exchange.end()

    async with http_pair(handler) as pair:
        response = await pair.fetch("/")
        closing = asyncio.ensure_future(pair.server.close())
        await asyncio.sleep(1)
        with pytest.raises(SessionClosed):
            await pair.fetch("/")
        assert await response.bytes() == b"half"
        await closing


async def test_a_side_that_serves_nothing_refuses() -> None:
    async with http_pair(echo) as pair:
        with pytest.raises(StreamReset) as raised:
            await fetch(pair.server, "/")
        assert raised.value.code == codes.REQUEST_REJECTED


@pytest.mark.parametrize("seed", range(3))
async def test_many_requests_at_once(seed: int) -> None:
    async def ask(pair: Pair, number: int) -> None:
        body = f"{number} ".encode() * number * 10
        got = await asked(pair, f"/{number}", body=body)
        assert got["target"] == f"/{number}"
        assert got["body"].encode() == body

    async with http_pair(echo, seed=seed, delay=0.01) as pair:
        await asyncio.gather(*(ask(pair, number) for number in range(600)))
        assert pair.client.open_streams == 0


async def test_what_is_sent_is_what_the_protocol_says() -> None:
    async with raw_pair() as (client, server):
        answers = Answers(server, OK)
        await fetch(client, "/a", method="put", body=b"xyz", headers={"A": "b"}, decode=False)
        [(head_kind, head), (data_kind, data)] = BlockReader().feed(answers.requests[0])
        assert (head_kind, data_kind, data) == (HEAD, DATA, b"xyz")
        method, target, headers, protocol = decode_request(head)
        assert (method, target, protocol) == ("PUT", "/a", None)
        assert orjson.loads(head)["headers"] == [["a", "b"], ["content-length", "3"]]
        assert list(headers) == ["a", "content-length"]


# -- decoding, priority and progress ------------------------------------------------------------


async def packed(exchange: Exchange) -> None:
    """Answer as the request's Accept-Encoding and target say."""
    accepted = exchange.headers.get("accept-encoding", "")
    body = gzip.compress(b"text " * 10_000) if exchange.target == "/gzip" else b"not gzip"
    headers = [("content-encoding", "gzip"), ("x-accepted", accepted)]
    exchange.respond(200, headers, body)


async def test_bodies_are_decoded_and_headers_left_as_they_came() -> None:
    async with http_pair(packed, delay=0.01) as pair:
        response = await fetch(pair.client, "/gzip")
        assert response.headers["x-accepted"] == "gzip, deflate, br, zstd"
        assert response.headers["content-encoding"] == "gzip"
        assert int(response.headers["content-length"]) < 1000
        assert response.decoded
        assert await response.text() == "text " * 10_000
        assert await response.read() == b""
        response = await fetch(pair.client, "/gzip", decode=False)
        assert response.headers["x-accepted"] == ""
        assert not response.decoded
        assert gzip.decompress(await response.bytes()) == b"text " * 10_000
        response = await fetch(pair.client, "/gzip", headers={"Accept-Encoding": "gzip"})
        assert response.headers["x-accepted"] == "gzip"
        assert await response.text() == "text " * 10_000
        response = await fetch(pair.client, "/gzip", headers={"Range": "bytes=0-9"})
        assert response.headers["x-accepted"] == "identity"
        response.close()
        with pytest.raises(MessageError, match="no valid gzip"):
            await (await fetch(pair.client, "/broken")).bytes()
        response = await fetch(pair.client, "/gzip", method="HEAD")
        assert await response.bytes() == b""


async def test_a_part_of_a_compressed_body_is_given_as_it_came() -> None:
    body = gzip.compress(b"text " * 10_000)

    async def handler(exchange: Exchange) -> None:
        headers = [("content-encoding", "gzip"), ("content-range", f"bytes 20-39/{len(body)}")]
        exchange.respond(206, headers, body[20:40])

    async with http_pair(handler) as pair:
        fields = {"Range": "bytes=20-39", "Accept-Encoding": "gzip"}
        response = await fetch(pair.client, "/", headers=fields)
        assert not response.decoded
        assert await response.bytes() == body[20:40]


def test_a_compressed_body_that_is_cut_short() -> None:
    body = gzip.compress(b"text " * 10_000)[:-4]
    head = encode_response(200, [("content-encoding", "gzip")])
    with pytest.raises(MessageTruncated, match="inside its gzip"):
        ask_raw(head + block(DATA, body))


async def test_a_decompression_bomb_takes_no_memory_and_lets_others_run() -> None:
    size = 256 * 1024 * 1024
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join([packer.compress(bytes(1 << 20)) for _ in range(size >> 20)] + [packer.flush()])

    async def handler(exchange: Exchange) -> None:
        exchange.respond(200, [("content-encoding", "gzip")], bomb)

    async with http_pair(handler) as pair:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        response = await fetch(pair.client, "/")
        counting = asyncio.ensure_future(others())
        tracemalloc.start()
        try:
            total = 0
            async for piece in response:
                total += len(piece)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            counting.cancel()
        assert total == size
        assert peak < 8 * 1024 * 1024
        assert turns > 100


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({}, None),
        ({"priority": "auto"}, None),
        ({"priority": "high"}, "u=1"),
        ({"priority": "low"}, "u=5"),
        ({"priority": "low", "headers": {"Priority": "u=0"}}, "u=0"),
    ],
)
async def test_the_priority_that_is_stated(options: dict[str, Any], field: str | None) -> None:
    async with http_pair(echo) as pair:
        assert dict((await asked(pair, **options))["headers"]).get("priority") == field


async def test_a_priority_that_is_none() -> None:
    async with http_pair(echo) as pair:
        with pytest.raises(InvalidRequest, match="priority"):
            await pair.fetch("/", priority="urgent")


async def test_progress_of_an_upload() -> None:
    async with http_pair(echo) as pair:
        told: list[tuple[int, int | None]] = []
        body = bytes(600_000)
        response = await pair.fetch("/", body=body, on_progress=lambda *args: told.append(args))
        assert len((await response.json())["body"]) == len(body)
        assert [sent for sent, _ in told] == [262_144, 524_288, 600_000]
        assert {total for _, total in told} == {600_000}
        told.clear()
        response = await pair.fetch(
            "/", body=pieces(b"ab", b"c"), on_progress=lambda *args: told.append(args)
        )
        assert (await response.json())["body"] == "abc"
        assert told == [(2, None), (3, None)]


async def test_progress_that_raises_fails_the_fetch() -> None:
    async with http_pair(echo) as pair:

        def stop(sent: int, total: int | None) -> None:
            raise KeyError("enough")

        with pytest.raises(KeyError, match="enough"):
            await pair.fetch("/", body=b"abc", on_progress=stop)


async def test_informational_answers_are_told_before_the_final_one() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.inform(103, [("link", "</a>"), ("link", "</b>"), ("connection", "close")])
        exchange.inform(102, [])
        exchange.respond(200, [], b"x")

    told: list[Any] = []

    def tell(status: int, headers: Headers) -> None:
        told.append((status, list(headers.items())))

    async with http_pair(handler) as pair:
        assert (await pair.fetch("/", on_informational=tell)).status == 200
        assert told == [(103, [("link", "</a>"), ("link", "</b>")]), (102, [])]
        assert (await pair.fetch("/")).status == 200


async def test_what_is_raised_about_an_informational_answer_ends_the_request() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.inform(103, [])
        await asyncio.sleep(1000)

    def refuse(status: int, headers: Headers) -> None:
        raise ValueError(status)

    async with http_pair(handler) as pair:
        with pytest.raises(ValueError, match="103"):
            await pair.fetch("/", on_informational=refuse)
        await until(lambda: pair.server.open_streams == 0)
