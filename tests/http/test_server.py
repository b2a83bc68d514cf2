from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerfetch_fast.errors import MessageTruncated, PeerfetchError, StreamReset, StreamStopped
from peerfetch_fast.http import codes
from peerfetch_fast.http.blocks import DATA, HEAD, BlockReader, block, block_header
from peerfetch_fast.http.heads import decode_response, encode_request, encode_trailers
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.settings import Settings
from peerfetch_fast.streams.session import Session
from peerfetch_fast.streams.stream import Stream
from support import http_pair, read_all, virtually

pytestmark = pytest.mark.virtual_time

GET = encode_request("GET", "/", [])


async def hello(exchange: Exchange) -> None:
    exchange.respond(200, [("content-type", "text/plain")], b"hello")


async def swallow(exchange: Exchange) -> None:
    """Read the body and say how long it was."""
    length = 0
    while piece := await exchange.read():
        length += len(piece)
    exchange.respond(200, [], str(length).encode())


async def open_with(session: Session, sent: bytes, *, end: bool = True) -> Stream:
    stream = await session.open_stream()
    await stream.write(sent)
    if end:
        stream.end()
    return stream


async def answer_of(stream: Stream) -> tuple[int, str]:
    """Status and text of the whole answer on ``stream``."""
    reader = BlockReader()
    found = reader.feed(await read_all(stream))
    assert stream.at_end
    assert not reader.inside
    assert found[0][0] == HEAD
    status, headers = decode_response(found[0][1])
    body = b"".join(payload for kind, payload in found[1:] if kind == DATA)
    assert int(headers["content-length"]) == len(body)
    return status, body.decode()


def head(**members: Any) -> bytes:
    return block(HEAD, json.dumps(members).encode())


async def test_an_answer_has_its_status_and_whole_body() -> None:
    async with http_pair(hello) as pair:
        assert await answer_of(await open_with(pair.client, GET)) == (200, "hello")


async def test_head_gets_the_length_and_no_body() -> None:
    async with http_pair(hello) as pair:
        response = await pair.fetch("/", method="HEAD")
        assert response.headers["content-length"] == "5"
        assert await response.bytes() == b""


@pytest.mark.parametrize(
    ("sent", "status", "says"),
    [
        (block(HEAD, b"nonsense"), 400, "not JSON"),
        (block(HEAD, b""), 400, "not JSON"),
        (head(target="/", headers=[]), 400, "method"),
        (head(method="GET", headers=[]), 400, "target"),
        (head(method="GET", target="/", headers=[["a", "b\r\nc"]]), 400, "header"),
        (head(method="GET", target="/", headers=[["content-length", "x"]]), 400, "Content-Length"),
        (
            head(method="POST", target="/", headers=[["content-length", "1"]] * 2 + [["a", "b"]])
            + block(DATA, b"12"),
            400,
            "longer",
        ),
        (
            head(method="POST", target="/", headers=[["content-length", "3"]]) + block(DATA, b"12"),
            400,
            "announced",
        ),
        (GET + GET, 400, "order"),
        (GET + encode_trailers([]) + block(DATA, b"x"), 400, "trailers"),
        (GET + block_header(0x02, 70_000), 431, "head of 70000"),
        (GET + b"\x00", 400, "middle"),
        (head(method="GET", target="/", protocol="websocket"), 501, "websocket"),
        (block_header(HEAD, 64 * 1024 + 1), 431, "65537"),
        (block_header(HEAD, 1 << 40), 431, "at most 65536"),
    ],
)
@pytest.mark.parametrize("seed", [None, 3])
async def test_a_broken_request_is_answered_in_a_sentence_and_its_neighbour_goes_on(
    sent: bytes, status: int, says: str, seed: int | None
) -> None:
    async with http_pair(swallow, seed=seed) as pair:
        neighbour = asyncio.ensure_future(pair.fetch("/", body=b"fine"))
        got, text = await answer_of(await open_with(pair.client, sent))
        assert got == status
        assert says in text
        assert text.endswith(".\n")
        assert await (await neighbour).text() == "4"
        assert pair.client.open_streams == pair.server.open_streams == 0


async def test_a_message_without_a_head_is_reset() -> None:
    async with http_pair(hello) as pair:
        for sent in (block(DATA, b"x"), b"", b"\x01", encode_trailers([])):
            with pytest.raises(StreamReset) as raised:
                await read_all(await open_with(pair.client, sent))
            assert raised.value.code == codes.MESSAGE_ERROR


async def test_a_smaller_limit_of_heads() -> None:
    async with http_pair(hello, max_head=100) as pair:
        assert (await pair.fetch("/")).status == 200
        response = await pair.fetch("/" + "x" * 100)
        assert response.status == 431


async def test_a_head_that_does_not_come() -> None:
    async with http_pair(hello) as pair:
        began = asyncio.get_running_loop().time()
        stream = await open_with(pair.client, GET[:-1], end=False)
        with pytest.raises(StreamReset) as raised:
            await stream.read()
        assert raised.value.code == codes.REQUEST_INCOMPLETE
        assert asyncio.get_running_loop().time() - began == pytest.approx(
            Settings().head_timeout, abs=0.1
        )
        with pytest.raises(StreamStopped):
            await stream.write(b"x")
        await asyncio.sleep(1)
        assert pair.client.open_streams == pair.server.open_streams == 0


async def test_an_answer_before_the_upload_is_read_stops_it_without_an_error() -> None:
    async with http_pair(hello) as pair:
        stream = await open_with(pair.client, GET + block_header(DATA, 1 << 40), end=False)
        assert await answer_of(stream) == (200, "hello")
        with pytest.raises(StreamStopped) as raised:
            await stream.write(b"more")
        assert raised.value.code == codes.NO_ERROR


async def test_handler_sees_the_request() -> None:
    seen: list[Any] = []

    async def handler(exchange: Exchange) -> None:
        seen.append((exchange.method, exchange.target, exchange.headers.getall("x")))
        seen.append((exchange.has_body, exchange.length, exchange.started))
        exchange.respond(200)
        seen.append(exchange.started)

    async with http_pair(handler) as pair:
        await pair.fetch("/a?b", method="put", headers=[("X", "1"), ("x", "2")], body=b"abc")
        assert seen == [("PUT", "/a?b", ["1", "2"]), (True, 3, False), True]
        seen.clear()
        await pair.fetch("/", headers={"x": ""})
        assert seen[1] == (False, None, False)
        seen.clear()
        await pair.fetch("/", headers={"x": ""}, body=b"")
        assert seen[1] == (False, 0, False)


@pytest.mark.parametrize("when", ["before", "after the head", "after the body"])
async def test_a_handler_that_fails(when: str) -> None:
    async def handler(exchange: Exchange) -> None:
        if when != "before":
            exchange.start(200, [], None)
            await exchange.write(b"half")
            await asyncio.sleep(1)
        if when == "after the body":
            exchange.end()
        raise KeyError("a bug")

    async with http_pair(handler) as pair:
        response = await pair.fetch("/")
        if when == "before":
            assert response.status == 500
            assert "a bug" not in await response.text()  # which is nobody's business
        elif when == "after the head":
            with pytest.raises(StreamReset) as raised:
                await response.bytes()
            assert raised.value.code == codes.INTERNAL_ERROR
        else:
            assert await response.bytes() == b"half"


@pytest.mark.parametrize("started", [False, True])
async def test_a_handler_that_does_not_finish(started: bool) -> None:
    async def handler(exchange: Exchange) -> None:
        if started:
            exchange.start(200, [], None)
            await asyncio.sleep(1)

    async with http_pair(handler) as pair:
        response = await pair.fetch("/")
        if started:
            with pytest.raises(StreamReset):
                await response.bytes()
        else:
            assert response.status == 500


@pytest.mark.parametrize(
    ("length", "written"), [(4, [b"abc"]), (3, [b"ab", b"cd"]), (0, [b"a"]), (1, [])]
)
async def test_an_answer_of_another_length_than_announced(
    length: int, written: list[bytes]
) -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(200, [("content-length", str(length))], length)
        await asyncio.sleep(1)
        for piece in written:
            await exchange.write(piece)
        exchange.end()

    async with http_pair(handler) as pair:
        response = await pair.fetch("/")
        with pytest.raises(PeerfetchError):
            await response.bytes()


async def test_fields_of_one_connection_are_not_sent() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(
            200, [("connection", "x-a"), ("x-a", "1"), ("keep-alive", "1"), ("x-b", "2")], 0
        )
        exchange.end()

    async with http_pair(handler) as pair:
        stream = await open_with(pair.client, GET)
        assert await stream.read() == block(HEAD, b'{"status":200,"headers":[["x-b","2"]]}')


@pytest.mark.parametrize("how", ["reset", "stop", "cut", "abort"])
async def test_the_handler_is_cancelled_when_nobody_wants_the_answer(how: str) -> None:
    entered, left = asyncio.Event(), asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    async with http_pair(handler) as pair:
        stream = await open_with(pair.client, GET, end=how != "reset")
        await entered.wait()
        if how == "reset":
            stream.reset(codes.REQUEST_CANCELLED)
        elif how == "stop":
            stream.stop(codes.REQUEST_CANCELLED)
        elif how == "cut":
            pair.link.cut(None)
        else:
            pair.client.abort()
        await asyncio.wait_for(left.wait(), 1)
        assert pair.server.open_streams == 0 or how in ("reset", "stop")


@pytest.mark.parametrize("how", ["stop", "cut"])
@pytest.mark.parametrize("error", [KeyError, MessageTruncated, StreamStopped])
async def test_a_handler_that_answers_its_cancellation_with_an_error(how: str, error: type) -> None:
    """There is nobody left to tell; nothing escapes into the event loop (see ``virtually``)."""

    entered, left = asyncio.Event(), asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            left.set()
            raise (error("x", 1) if error is StreamStopped else error("x")) from None

    async with http_pair(handler) as pair:
        stream = await open_with(pair.client, GET, end=False)
        await entered.wait()
        if how == "stop":
            stream.cancel(codes.REQUEST_CANCELLED)
        else:
            pair.link.cut(None)
        await left.wait()
        await asyncio.sleep(1)
        if how == "stop":
            assert pair.server.open_streams == 0


@pytest.mark.parametrize("error", [KeyError, MessageTruncated])
async def test_a_handler_that_breaks_off_and_then_fails(error: type[Exception]) -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.break_off(codes.UPSTREAM_ERROR)
        raise error("x")

    async with http_pair(handler) as pair:
        with pytest.raises(StreamReset) as raised:
            await pair.fetch("/")
        assert raised.value.code == codes.UPSTREAM_ERROR


async def test_a_handler_whose_headers_cannot_be_sent() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.respond(200, [("x", "\ud800")])

    async with http_pair(handler) as pair:
        assert (await pair.fetch("/")).status == 500


async def test_a_request_that_is_given_up_before_the_server_looks() -> None:
    entered = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal entered
        entered += 1
        exchange.respond(200)

    async with http_pair(handler) as pair:
        for _ in range(50):
            stream = await open_with(pair.client, GET, end=False)
            await asyncio.sleep(0)
            stream.cancel(codes.REQUEST_CANCELLED)
        await asyncio.sleep(1)
        assert pair.client.open_streams == pair.server.open_streams == 0
        assert (await pair.fetch("/")).status == 200


async def test_a_slow_client_makes_the_handler_wait() -> None:
    written = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal written
        exchange.start(200, [], None)
        for _ in range(1000):
            await exchange.write(b"x" * 100_000)
            written += 100_000
        exchange.end()

    async with http_pair(handler) as pair:
        response = await pair.fetch("/")
        await asyncio.sleep(60)
        assert written < 3_000_000
        assert len(await response.bytes()) == 100_000_000


async def test_priority_of_the_request_orders_the_answers() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.respond(200, [], b"x" * 60_000)

    async with http_pair(handler) as pair:
        done: list[str] = []

        async def ask(priority: str) -> None:
            response = await pair.fetch("/", headers={"priority": priority})
            await response.bytes()
            done.append(priority)

        await asyncio.gather(*(ask(f"u={urgency}") for urgency in (7, 5, 6, 0)))
        assert done == ["u=0", "u=5", "u=6", "u=7"]


async def test_small_answers_do_not_wait_for_a_large_one() -> None:
    async def handler(exchange: Exchange) -> None:
        if exchange.target == "/large":
            exchange.start(200, [], None)
            for _ in range(300):
                await exchange.write(b"x" * 100_000)
            exchange.end()
        else:
            exchange.respond(200, [], b"small")

    async with http_pair(handler, delay=0.01) as pair:
        large = await pair.fetch("/large")
        reading = asyncio.ensure_future(large.bytes())
        for _ in range(20):
            assert await (await pair.fetch("/small")).bytes() == b"small"
        assert not reading.done()
        assert len(await reading) == 30_000_000


@pytest.mark.parametrize("how", ["reset", "cancel"])
async def test_a_request_that_is_given_up_before_its_handler_begins(how: str) -> None:
    async with http_pair(hello, delay=0.01) as pair:
        stream = await open_with(pair.client, GET, end=False)
        await asyncio.sleep(0.001)  # it has left; what follows arrives together with it
        getattr(stream, how)(codes.REQUEST_CANCELLED)
        await asyncio.sleep(1)
        assert pair.server.open_streams == pair.client.open_streams == 0


@given(st.lists(st.binary(min_size=1, max_size=80), max_size=6), st.booleans(), st.booleans())
@settings(max_examples=60)
def test_any_request_is_answered_or_reset(pieces: list[bytes], whole: bool, end: bool) -> None:
    async def main() -> None:
        async with http_pair(swallow) as pair:
            stream = await pair.client.open_stream()
            stream.write_nowait(GET if whole else b"")
            try:
                for piece in pieces:
                    await stream.write(piece)
                if end:
                    stream.end()
                else:
                    stream.reset(codes.REQUEST_CANCELLED)
                await read_all(stream)
            except PeerfetchError:
                pass
            assert (await pair.fetch("/")).status == 200

    virtually(main())


async def test_all_handlers_end_with_the_session() -> None:
    running = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal running
        running += 1
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)  # as when connections are being closed
            running -= 1

    async with http_pair(handler) as pair:
        asking = [asyncio.ensure_future(pair.fetch("/")) for _ in range(100)]
        await asyncio.sleep(1)
        assert running == 100
        pair.link.cut(None)
        results = await asyncio.gather(*asking, return_exceptions=True)
        assert all(isinstance(result, PeerfetchError) for result in results)
    assert running == 0


async def test_the_trailers_of_a_request() -> None:
    async def handler(exchange: Exchange) -> None:
        assert exchange.trailers is None
        assert await exchange.read() == b"x"
        assert await exchange.read() == b""
        assert exchange.trailers is not None
        exchange.respond(200, [], exchange.trailers["x-sum"].encode())

    async with http_pair(handler) as pair:
        sent = encode_request("POST", "/", []) + block(DATA, b"x")
        stream = await open_with(pair.client, sent + encode_trailers([("x-sum", "1")]))
        assert await answer_of(stream) == (200, "1")
