"""WebSockets between our own two ends, and against ends that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from peerfetch_fast.errors import (
    InvalidRequest,
    MessageError,
    StreamReset,
    UpgradeRefused,
    WebSocketClosed,
    WebSocketError,
)
from peerfetch_fast.http import codes, websocket_frames
from peerfetch_fast.http.blocks import DATA, HEAD, block
from peerfetch_fast.http.heads import decode_request, encode_request, encode_response
from peerfetch_fast.http.message import MessageReader
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.http.websocket import CLOSE_TIMEOUT, WebSocket, open_websocket
from peerfetch_fast.http.websocket_frames import (
    FRAGMENT_SIZE,
    Close,
    FrameReader,
    Ping,
    Pong,
    close_frame,
    message_frames,
    ping_frame,
)
from peerfetch_fast.settings import Settings
from peerfetch_fast.streams.session import Session
from peerfetch_fast.streams.stream import Stream
from support import Pair, http_pair, raw_pair, read_all, until, virtually

pytestmark = pytest.mark.virtual_time

SEEDS = [None, 1, 2]


async def echo(exchange: Exchange) -> None:
    """Give back every message, and close as the client does."""
    websocket = exchange.accept_websocket()
    async for message in websocket:
        await websocket.send(message)


@contextlib.asynccontextmanager
async def echoing(**options: Any) -> AsyncIterator[tuple[Pair, WebSocket]]:
    async with http_pair(echo, **options) as pair:
        async with await open_websocket(pair.client, "/") as websocket:
            yield pair, websocket
        await until(lambda: pair.server.open_streams == 0)


@pytest.mark.parametrize("seed", SEEDS)
async def test_messages_keep_type_boundaries_and_order(seed: int | None) -> None:
    sent: list[str | bytes] = ["hello", b"\0\xff", "", b"", "☃" * 1000, bytes(range(256)) * 2000]

    async with echoing(seed=seed) as (_, websocket):
        for message in sent:
            await websocket.send(message)
        assert [await websocket.receive() for _ in sent] == sent


async def test_the_handler_sees_the_request_and_its_fields_are_answered() -> None:
    seen: list[Exchange] = []

    async def handler(exchange: Exchange) -> None:
        seen.append(exchange)
        assert exchange.protocol == "websocket"
        answer = [("sec-websocket-protocol", "b"), ("set-cookie", "a=1")]
        hidden = [("sec-websocket-accept", "x"), ("upgrade", "websocket")]
        websocket = exchange.accept_websocket(answer + hidden)
        assert websocket.subprotocol == "b"
        await websocket.close(4000, "see you")

    answer_of_handler = [("sec-websocket-protocol", "b"), ("set-cookie", "a=1")]
    async with http_pair(handler) as pair:
        websocket = await open_websocket(
            pair.client,
            "/päth?x=1",
            subprotocols=["a", "b"],
            headers={"X-One": "1", "Sec-WebSocket-Key": "k", "Upgrade": "websocket"},
        )
        assert websocket.subprotocol == "b"
        assert list(websocket.headers.items()) == answer_of_handler
        with pytest.raises(WebSocketClosed) as raised:
            await websocket.receive()
        assert (raised.value.code, raised.value.reason) == (4000, "see you")
        assert websocket.close_code == 4000
    (exchange,) = seen
    assert (exchange.method, exchange.target) == ("GET", "/p%C3%A4th?x=1")
    assert list(exchange.headers.items()) == [
        ("x-one", "1"),
        ("sec-websocket-protocol", "a, b"),
    ]


async def closed_by(
    server: Callable[[WebSocket], Awaitable[object]],
    client: Callable[[WebSocket], Awaitable[object]],
    **options: Any,
) -> Pair:
    """Run both ends of a WebSocket."""
    done = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        try:
            await server(exchange.accept_websocket())
        finally:
            done.set()

    async with http_pair(handler, **options) as pair:
        websocket = await open_websocket(pair.client, "/")
        await client(websocket)
        await done.wait()
        await until(lambda: pair.client.open_streams == 0)
        await until(lambda: pair.server.open_streams == 0)
    return pair


async def receive_close(websocket: WebSocket) -> WebSocketClosed:
    with pytest.raises(WebSocketClosed) as raised:
        while True:
            await websocket.receive()
    return raised.value


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
@pytest.mark.parametrize("swapped", [False, True])
def test_closing_tells_code_and_reason(seed: int | None, code: int, swapped: bool) -> None:
    async def one(websocket: WebSocket) -> None:
        await websocket.close(code, "goodbye ☃")
        assert websocket.close_code == code  # as the other answered
        await websocket.close()
        with pytest.raises(WebSocketClosed):
            await websocket.send("late")

    async def other(websocket: WebSocket) -> None:
        closed = await receive_close(websocket)
        assert (closed.code, closed.reason) == (code, "goodbye ☃")
        assert (await receive_close(websocket)).code == code
        with pytest.raises(WebSocketClosed):
            await websocket.send("late")

    ends = (other, one) if swapped else (one, other)
    virtually(closed_by(*ends, seed=seed))


def test_both_close_at_once() -> None:
    async def close(websocket: WebSocket) -> None:
        await websocket.close(1001)
        assert websocket.close_code == 1001

    virtually(closed_by(close, close))


def test_messages_before_a_close_are_read_and_after_it_dropped() -> None:
    async def server(websocket: WebSocket) -> None:
        for number in range(100):
            await websocket.send(str(number))
        await websocket.close()

    async def client(websocket: WebSocket) -> None:
        assert [message async for message in websocket] == [str(n) for n in range(100)]

    async def impatient(websocket: WebSocket) -> None:
        assert await websocket.receive() == "0"
        await websocket.close()

    virtually(closed_by(server, client))
    virtually(closed_by(server, impatient))


def test_a_close_that_nobody_answers() -> None:
    async def server(websocket: WebSocket) -> None:
        await asyncio.sleep(1000)

    async def client(websocket: WebSocket) -> None:
        began = asyncio.get_running_loop().time()
        await websocket.close()
        assert asyncio.get_running_loop().time() - began == pytest.approx(CLOSE_TIMEOUT)
        assert websocket.close_code == 1006

    virtually(closed_by(server, client))


@pytest.mark.parametrize("code", [1005, 1006, 999])
async def test_codes_that_cannot_be_sent(code: int) -> None:
    async with echoing() as (_, websocket):
        if code != 1005:
            with pytest.raises(ValueError, match=str(code)):
                await websocket.close(code)
            await websocket.send("it is still open")
            assert await websocket.receive() == "it is still open"
        else:
            await websocket.close(code)
            assert websocket.close_code == 1005


def test_iterating_raises_for_other_codes() -> None:
    async def server(websocket: WebSocket) -> None:
        await websocket.close(1011, "broken")

    async def client(websocket: WebSocket) -> None:
        with pytest.raises(WebSocketClosed, match="1011 broken"):
            async for _ in websocket:
                raise AssertionError

    virtually(closed_by(server, client))


def test_leaving_the_block_with_an_error_breaks_it_off() -> None:
    async def server(websocket: WebSocket) -> None:
        await asyncio.sleep(1000)

    async def client(websocket: WebSocket) -> None:
        with pytest.raises(KeyError):
            async with websocket:
                raise KeyError
        assert websocket.close_code == 1006

    virtually(closed_by(server, client))


async def test_a_client_that_breaks_off_cancels_the_handler() -> None:
    ended = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        try:
            exchange.accept_websocket()
            await asyncio.sleep(1000)
        finally:
            ended.set()

    async with http_pair(handler) as pair:
        websocket = await open_websocket(pair.client, "/")
        receiving = asyncio.ensure_future(websocket.receive())
        await asyncio.sleep(1)
        websocket.abort()
        await asyncio.wait_for(ended.wait(), 0.1)
        with pytest.raises(WebSocketClosed):
            await receiving


async def test_a_handler_that_breaks_off() -> None:
    async def handler(exchange: Exchange) -> None:
        websocket = exchange.accept_websocket()
        await websocket.send("one")
        await websocket.receive()
        exchange.break_off(codes.UPSTREAM_ERROR)

    async with http_pair(handler) as pair:
        websocket = await open_websocket(pair.client, "/")
        assert await websocket.receive() == "one"
        pinging = asyncio.ensure_future(websocket.ping())
        await websocket.send("go")
        assert (await receive_close(websocket)).code == 1006
        with pytest.raises(WebSocketClosed):
            await pinging


async def test_the_session_is_lost() -> None:
    async with http_pair(echo) as pair:
        websocket = await open_websocket(pair.client, "/")
        receiving = asyncio.ensure_future(websocket.receive())
        await asyncio.sleep(0)
        pair.client.abort()
        with pytest.raises(WebSocketClosed) as raised:
            await receiving
        assert raised.value.code == 1006
        with pytest.raises(WebSocketClosed):
            await websocket.send("late")
        await websocket.close()


async def test_ping_measures_the_round_trip() -> None:
    async with echoing(delay=0.25) as (_, websocket):
        receiving = asyncio.ensure_future(websocket.receive())
        pings = [asyncio.ensure_future(websocket.ping()) for _ in range(3)]
        assert [await ping for ping in pings] == [pytest.approx(0.5, abs=0.01)] * 3
        await websocket.send("done")
        assert await receiving == "done"


async def test_a_ping_overtakes_the_rest_of_a_large_message() -> None:
    large = bytes(40 * FRAGMENT_SIZE)
    order: list[str] = []

    async def handler(exchange: Exchange) -> None:
        websocket = exchange.accept_websocket()
        while not isinstance(event := await websocket.receive_event(), Close):
            order.append(type(event).__name__)
        websocket.send_close(event.code)

    async with (
        http_pair(handler, settings=Settings(send_buffer=FRAGMENT_SIZE)) as pair,
        await open_websocket(pair.client, "/") as websocket,
    ):
        sending = asyncio.ensure_future(websocket.send(large))
        await asyncio.sleep(0)
        await websocket.send_ping(b"")
        await sending
    assert order == ["Ping", "bytes"]


async def test_a_cancelled_message_is_sent_all_the_same() -> None:
    large = bytes(range(256)) * (4 * 1024 * 1024 // 256)
    read = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        websocket = exchange.accept_websocket()
        await read.wait()
        assert await websocket.receive() == large
        assert await websocket.receive() == "next"
        await websocket.send("both")
        await websocket.close()

    async with http_pair(handler) as pair:
        websocket = await open_websocket(pair.client, "/")
        sending = asyncio.ensure_future(websocket.send(large))
        waiting = asyncio.ensure_future(websocket.send("never begun"))
        await asyncio.sleep(1)
        assert not sending.done()  # it waits, as the other side does not read
        for task in (waiting, sending):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        read.set()
        await websocket.send("next")
        assert [message async for message in websocket] == ["both"]


async def test_many_tasks_send_at_once() -> None:
    sent = [f"{number} " * 20_000 for number in range(20)]
    async with echoing(seed=3) as (_, websocket):
        sending = asyncio.gather(*map(websocket.send, sent))
        received = [await websocket.receive() for _ in sent]
        await sending
    assert sorted(map(str, received)) == sorted(sent)


async def test_a_slow_reader_stops_the_sender() -> None:
    read = asyncio.Event()
    sent = 0

    async def handler(exchange: Exchange) -> None:
        websocket = exchange.accept_websocket()
        await read.wait()
        async for _ in websocket:
            pass

    async with http_pair(handler) as pair:
        websocket = await open_websocket(pair.client, "/")

        async def send() -> None:
            nonlocal sent
            for _ in range(200):
                await websocket.send(bytes(100_000))
                sent += 1

        sending = asyncio.ensure_future(send())
        await asyncio.sleep(10)
        bound = pair.client.settings.initial_max_stream_data + pair.client.settings.send_buffer
        assert 0 < sent * 100_000 < bound + 200_000
        read.set()
        await sending
        await websocket.close()


def test_a_close_that_comes_while_a_message_waits() -> None:
    async def server(websocket: WebSocket) -> None:
        sending = asyncio.ensure_future(websocket.send(bytes(4 * 1024 * 1024)))
        assert (await receive_close(websocket)).code == 4000
        with contextlib.suppress(WebSocketClosed):  # whether it was sent is not known
            await sending

    async def client(websocket: WebSocket) -> None:
        await asyncio.sleep(5)  # the other side waits for us to read
        await websocket.close(4000)
        assert websocket.close_code == 4000

    virtually(closed_by(server, client))


def test_breaking_off_while_a_message_waits() -> None:
    async def server(websocket: WebSocket) -> None:
        await asyncio.sleep(1000)

    async def client(websocket: WebSocket) -> None:
        sending = asyncio.ensure_future(websocket.send(bytes(4 * 1024 * 1024)))
        await asyncio.sleep(5)
        assert not sending.done()
        websocket.abort()
        with pytest.raises(WebSocketClosed):
            await sending

    virtually(closed_by(server, client))


@pytest.mark.parametrize("lost", [False, True])
def test_after_it_was_broken_off(lost: bool) -> None:
    async def server(websocket: WebSocket) -> None:
        with contextlib.suppress(WebSocketClosed):
            await websocket.receive()
            websocket.abort()

    async def client(websocket: WebSocket) -> None:
        if lost:
            await websocket.send("hang up")
            with pytest.raises(WebSocketClosed):
                await websocket.receive()
        else:
            websocket.abort()
        for use in (websocket.send("x"), websocket.send_pong(b""), websocket.ping()):
            with pytest.raises(WebSocketClosed) as closed:
                await use
            assert closed.value.code == 1006
        with pytest.raises(WebSocketClosed):
            websocket.send_close(1000)
        await websocket.close()
        websocket.abort()
        assert websocket.close_code == 1006

    virtually(closed_by(server, client))


# -- refusals ----------------------------------------------------------------------------------


async def test_a_refusal_of_the_handler_is_raised_with_status_and_body() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.respond(401, [("www-authenticate", "Basic")], b"who are you?")

    async with http_pair(handler) as pair:
        with pytest.raises(UpgradeRefused, match="401") as raised:
            await open_websocket(pair.client, "/")
        assert raised.value.status == 401
        assert raised.value.headers["WWW-Authenticate"] == "Basic"
        assert raised.value.body == b"who are you?"


async def test_a_handler_that_knows_no_upgrades_cannot_grant_one_by_mistake() -> None:
    async def respond(exchange: Exchange) -> None:
        exchange.respond(200, [], b"a page")

    async def start(exchange: Exchange) -> None:
        exchange.start(200, [], None)
        await exchange.write(b"a page")
        exchange.end()

    for handler in (respond, start):
        async with http_pair(handler) as pair:
            with pytest.raises(UpgradeRefused) as raised:
                await open_websocket(pair.client, "/")
            assert raised.value.status == 501
            assert (await pair.fetch("/")).status == 200


async def test_the_body_of_a_refusal_is_bounded() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(404, [], None)
        while True:
            await exchange.write(bytes(10_000))

    async with http_pair(handler) as pair:
        with pytest.raises(UpgradeRefused) as raised:
            await open_websocket(pair.client, "/")
        assert len(raised.value.body) == 64 * 1024


async def test_no_more_than_a_session_may_have() -> None:
    async with http_pair(echo, settings=Settings(max_websockets=3)) as pair:
        open_ones = [await open_websocket(pair.client, "/") for _ in range(3)]
        with pytest.raises(UpgradeRefused, match="429"):
            await open_websocket(pair.client, "/")
        await open_ones[0].close()
        await until(lambda: pair.server.open_streams < 3)
        await (await open_websocket(pair.client, "/")).close()


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("path", {}),
        ("/", {"headers": {"a b": "c"}}),
        ("/", {"headers": {"a": "b\r\nc: d"}}),
        ("/", {"subprotocols": ["a\r\n"]}),
    ],
)
async def test_requests_that_are_not_sent(target: str, options: dict[str, Any]) -> None:
    async with http_pair(echo) as pair:
        with pytest.raises(InvalidRequest):
            await open_websocket(pair.client, target, **options)
        assert pair.client.open_streams == 0


# -- ends that misbehave -----------------------------------------------------------------------


async def raw_server(session: Session, *sent: bytes, end: bool = True) -> Stream:
    """Grant the next request, and send those bytes in it."""
    stream = await session.accept()
    reader = MessageReader(stream)
    assert decode_request(await reader.head())[3] == "websocket"
    stream.write_nowait(encode_response(200, []))
    for data in sent:
        stream.write_nowait(block(DATA, data))
    if end:
        stream.end()
    return stream


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x00\x01x", 1002),
        (b"\x01\x01\xff", 1007),
        (b"\x02\xbf\xff\xff\xff", 1009),
        (b"\x02\xff\xff\xff\xff\xff\xff\xff\xff", 1009),
    ],
)
async def test_what_is_not_allowed_is_answered_with_a_code(data: bytes, code: int) -> None:
    async with raw_pair() as (client, server):
        serving = asyncio.ensure_future(raw_server(server, data, end=False))
        websocket = await open_websocket(client, "/")
        for _ in range(2):
            with pytest.raises(WebSocketError) as raised:
                await websocket.receive()
            assert raised.value.code == code
        assert websocket.close_code == code
        stream = await serving
        reader = MessageReader(stream)
        frames = FrameReader()
        frames.feed(await reader.read())
        answer = frames.next_event()
        assert isinstance(answer, Close)
        assert answer.code == code
        assert await reader.read() == b""
        stream.cancel(codes.NO_ERROR)
        await websocket.close()
        await until(lambda: client.open_streams == 0)


@pytest.mark.parametrize(
    "sent",
    [
        [],
        [b"\x02"],
        [b"\x02\x05abc"],
        [b"\x12\x01a"],
        [b"\x09\x05abc"],
    ],
)
async def test_a_stream_that_ends_without_a_close(sent: list[bytes]) -> None:
    async with raw_pair() as (client, server):
        serving = asyncio.ensure_future(raw_server(server, *sent))
        websocket = await open_websocket(client, "/")
        assert (await receive_close(websocket)).code == 1006
        (await serving).cancel(codes.NO_ERROR)
        await websocket.close()


async def test_blocks_that_have_no_place_in_a_websocket() -> None:
    async with raw_pair() as (client, server):
        serving = asyncio.ensure_future(raw_server(server, end=False))
        websocket = await open_websocket(client, "/")
        stream = await serving
        stream.write_nowait(block(HEAD, b"{}"))
        assert (await receive_close(websocket)).code == 1006
        with pytest.raises(StreamReset):
            await read_all(stream)


async def test_a_sub_protocol_that_was_not_offered() -> None:
    async def handler(exchange: Exchange) -> None:
        websocket = exchange.accept_websocket([("sec-websocket-protocol", "c")])
        await websocket.receive()

    async with http_pair(handler) as pair:
        with pytest.raises(MessageError, match="not offered"):
            await open_websocket(pair.client, "/", subprotocols=["a"])


async def test_frames_that_come_with_the_answer_and_in_any_cuts() -> None:
    frames = b"".join(message_frames("hello")) + ping_frame(b"x") + close_frame(1001, "bye")
    async with raw_pair() as (client, server):
        serving = asyncio.ensure_future(
            raw_server(server, *(frames[at : at + 1] for at in range(len(frames))))
        )
        websocket = await open_websocket(client, "/")
        assert await websocket.receive_event() == "hello"
        assert await websocket.receive_event() == Ping(b"x")
        await websocket.send_pong(b"x")
        assert await websocket.receive_event() == Close(1001, "bye")
        websocket.send_close(1001)
        reader = MessageReader(await serving)
        answers = FrameReader()
        answers.feed(await reader.read() + await reader.read())
        assert [answers.next_event(), answers.next_event()] == [Pong(b"x"), Close(1001, "")]


async def test_a_flood_of_pings_is_slowed_by_who_does_not_read_the_answers() -> None:
    async with http_pair(echo) as pair:
        stream = await pair.client.open_stream()
        stream.write_nowait(encode_request("GET", "/", [], "websocket"))
        flood = block(DATA, ping_frame(bytes(125)) * 500)
        sent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(20):
                while True:
                    await stream.write(flood)
                    sent += len(flood)
        limits = pair.client.settings
        assert sent < 2 * limits.initial_max_stream_data + 2 * limits.send_buffer + 500_000


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [("POST", [], 400), ("GET", [("content-length", "0")], 400)],
)
async def test_requests_that_no_websocket_begins_with(
    method: str, headers: list[tuple[str, str]], status: int
) -> None:
    async with http_pair(echo) as pair:
        stream = await pair.client.open_stream()
        stream.write_nowait(encode_request(method, "/", headers, "websocket"))
        stream.end()
        assert f'"status":{status}'.encode() in await read_all(stream)


async def test_the_limit_of_a_message_can_be_chosen() -> None:
    async def handler(exchange: Exchange) -> None:
        websocket = exchange.accept_websocket()
        await websocket.send(b"x" * 100)
        await websocket.send(b"x" * 101)
        assert (await receive_close(websocket)).code == 1009

    assert websocket_frames.MAX_MESSAGE_SIZE == 4 * 1024 * 1024
    async with http_pair(handler) as pair:
        websocket = await open_websocket(pair.client, "/", max_message_size=100)
        assert await websocket.receive() == b"x" * 100
        with pytest.raises(WebSocketError, match="more than 100 bytes"):
            await websocket.receive()
        await until(lambda: pair.server.open_streams == 0)
