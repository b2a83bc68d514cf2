"""Old clients, one that a test plays by hand, in front of any handler."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from peerfetch_fast.http.server import Exchange, Handler, serve_session
from peerfetch_fast.peerfetch1 import old_client as module
from peerfetch_fast.peerfetch1.old_client import (
    ANSWER_TIMEOUT,
    MAX_REQUESTS,
    link_to_old_client,
)
from peerfetch_fast.peerfetch1.urls import locate
from peerfetch_fast.streams.link import MemoryLink, memory_pair
from peerfetch_fast.streams.session import Session
from support import virtually

pytestmark = pytest.mark.virtual_time

DEVICE = "http://localhost:8778"


class OldClient:
    """The client's end of its channel."""

    def __init__(self, channel: MemoryLink) -> None:
        self.channel = channel
        self.got: asyncio.Queue[bytes | str | None] = asyncio.Queue()
        channel.attach(self)

    def message_received(self, message: bytes | str) -> None:
        self.got.put_nowait(message)

    def parts_received(self, head: bytes, body: bytes) -> None:
        raise AssertionError

    def buffered_low(self) -> None:
        pass

    def link_closed(self, error: Exception | None) -> None:
        self.got.put_nowait(None)

    def send(self, url: str, **fields: Any) -> None:
        self.channel.send(json.dumps({"url": url, **fields}))

    async def head(self) -> Any:
        message = await self.got.get()
        assert isinstance(message, str)
        return json.loads(message)

    async def answer(self) -> tuple[Any, bytes | str | None]:
        while (head := await self.head())["status"] == 202:
            assert head == {"status": 202}
        return head, None if head["status"] == 204 else await self.got.get()

    async def get(self, url: str, **fields: Any) -> tuple[Any, bytes | str | None]:
        self.send(url, **fields)
        return await self.answer()


@contextlib.asynccontextmanager
async def old_client(
    handler: Handler, *, refused: Counter[str] | None = None, takes: int = 65536
) -> AsyncIterator[OldClient]:
    """An old client of ``handler``; everything of it is gone after the block."""
    refused = Counter() if refused is None else refused
    one, other = memory_pair(max_message_size=takes)
    find = partial(locate, upstreams={DEVICE: "/"})
    link = link_to_old_client(other, find, lambda reason: refused.update([reason]))
    session = Session(link, opener=False)
    serving = asyncio.ensure_future(serve_session(session, handler))
    client = OldClient(one)
    try:
        yield client
    finally:
        one.close()
        await serving
        await session.wait_closed()
        assert session.open_streams == 0
        while await client.got.get() is not None:
            pass


async def hello(exchange: Exchange) -> None:
    body = b""
    while piece := await exchange.read():
        body += piece
    told = [exchange.method, exchange.target, exchange.headers.get("content-type"), body.decode()]
    exchange.respond(200, [("content-type", "application/json")], json.dumps(told).encode())


async def test_a_request_and_its_answer() -> None:
    async with old_client(hello) as client:
        head, body = await client.get(f"{DEVICE}/api/x?y=z", method="GET")
        assert isinstance(body, bytes)
        assert json.loads(body) == ["GET", "/api/x?y=z", None, ""]
        assert head == {
            "status": 200,
            "content-type": "application/json",
            "content-length": len(body),
        }


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"method": "POST", "json": {"a": 1}}, ["POST", "/", "application/json", '{"a":1}']),
        ({"method": "PUT", "data": "ü"}, ["PUT", "/", "text/plain; charset=utf-8", "ü"]),
        ({"method": "PUT"}, ["PUT", "/", None, ""]),
    ],
)
async def test_bodies_arrive_as_old_clients_write_them(
    fields: dict[str, Any], told: list[Any]
) -> None:
    async with old_client(hello) as client:
        _, body = await client.get("/?", **fields)
        assert isinstance(body, bytes)
        assert json.loads(body) == told


async def test_no_second_message_without_a_body() -> None:
    async def nothing(exchange: Exchange) -> None:
        exchange.start(204 if exchange.target == "/204" else 200, [], 0)
        exchange.end()

    async with old_client(nothing) as client:
        assert (await client.get("/204"))[1] is None
        head, body = await client.get("/")
        assert (head["status"], head["content-length"], body) == (200, 0, b"")


async def test_a_head_each_second_while_waiting() -> None:
    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(3.5)
        exchange.respond(202, body=b"taken")

    async with old_client(slow) as client:
        client.send("/")
        for _ in range(3):
            assert await client.head() == {"status": 202}
        # An upstream's own 202 would be taken for one of these.
        assert (await client.head())["status"] == 200
        assert await client.got.get() == b"taken"


async def test_pings_are_answered_in_their_turn() -> None:
    async with old_client(hello) as client:
        client.send("/")
        client.send("ping?", method="GET")
        assert (await client.answer())[0]["content-type"] == "application/json"
        assert await client.answer() == ({"status": 200}, "pong")


async def test_an_error_where_the_old_proxy_was_silent() -> None:
    async def never(exchange: Exchange) -> None:
        await asyncio.sleep(1000)

    async def broken(exchange: Exchange) -> None:
        exchange.start(200, [], 10)
        await exchange.write(b"half")
        exchange.break_off(1)

    began = asyncio.get_running_loop().time()
    async with old_client(never) as client:
        head, body = await client.get("/")
        assert (head["status"], body) == (504, b"The answer took longer than 19 s.\n")
    assert asyncio.get_running_loop().time() - began < ANSWER_TIMEOUT + 1
    async with old_client(broken) as client:
        head, body = await client.get("/")
        assert head["status"] == 502
        assert isinstance(body, bytes)
        assert b"cut short" in body


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_that_is_too_large_for_one_message(announced: bool) -> None:
    async def large(exchange: Exchange) -> None:
        size = int(exchange.target[1:])
        exchange.start(
            200,
            [("content-length", str(size))] if announced else [],
            size if announced else None,
        )
        for _ in range(size // 1024):
            await exchange.write(bytes(1024))
        exchange.end()

    refused: Counter[str] = Counter()
    async with old_client(large, refused=refused) as client:
        head, body = await client.get("/65536")
        assert (head["status"], body) == (200, bytes(65536))
        assert not refused
        for size in (66560, 1 << 30):
            head, body = await client.get(f"/{size}")
            assert head["status"] == 502
            assert isinstance(body, bytes)
            assert b"at most 65536 bytes" in body
            assert len(body) == head["content-length"]
        assert (await client.get("/1024"))[0]["status"] == 200
    assert refused["old client's answer too large"] == 2


def test_a_client_that_takes_anything_gets_so_much(monkeypatch: Any) -> None:
    """An answer is held whole, whatever the client says that it takes."""
    monkeypatch.setattr(module, "MAX_ANSWER", 100_000)
    written = 0

    async def endless(exchange: Exchange) -> None:
        nonlocal written
        exchange.start(200, [], None)
        while True:
            await exchange.write(bytes(1024))
            written += 1024

    async def main() -> None:
        async with old_client(endless, takes=1 << 30) as client:
            head, body = await client.get("/")
            assert head["status"] == 502
            assert isinstance(body, bytes)
            assert b"at most 100000 bytes" in body

    virtually(main())
    assert written < 1_000_000


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("http://example.org/", 403),
        ("http://localhost:22/", 403),
        ("http://localhost:8778@example.org/", 403),
        ("gopher://x", 400),
        ("", 400),
    ],
)
async def test_urls_that_are_not_served(url: str, status: int) -> None:
    refused: Counter[str] = Counter()
    async with old_client(hello, refused=refused) as client:
        assert (await client.get(url))[0]["status"] == status
        assert (await client.get("/"))[0]["status"] == 200
    assert refused.total() == 1


@pytest.mark.parametrize(
    "message",
    [
        *("", "{", "[]", "x" * 300_000, b"\0\xff", b""),
        *('{"url":"/' + "x" * 8192 + '"}', '{"url":' + "[" * 200_000, '{"url":"\\ud800"}'),
        *('{"url":"/","json":' + "[" * 900 + "]" * 900 + "}"),
        *('{"url":"/","data":{"a":[]}}', '{"url":"/","method":"' + "P" * 100_000 + '"}'),
    ],
)
async def test_messages_that_are_no_request(message: bytes | str) -> None:
    refused: Counter[str] = Counter()
    async with old_client(hello, refused=refused) as client:
        client.channel.send(message)
        assert (await client.answer())[0]["status"] == 400
        assert (await client.get("/"))[0]["status"] == 200
    assert refused == {"old client's request": 1}


@pytest.mark.parametrize("message", ['{"url":"/"}', "x" * 200_000])
async def test_a_client_that_floods_is_cut_off(message: str) -> None:
    async def never(exchange: Exchange) -> None:
        await asyncio.sleep(1000)

    refused: Counter[str] = Counter()
    async with old_client(never, refused=refused) as client:
        for _ in range(MAX_REQUESTS + 2):
            client.channel.send(message)
        while await client.got.get() is not None:
            pass
        client.got.put_nowait(None)
    assert refused["old client's requests"] >= 1


async def test_a_client_that_vanishes_cancels_its_request() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        started.set()
        try:
            await asyncio.sleep(1000)
        finally:
            cancelled.set()

    async with old_client(slow) as client:
        client.send("/")
        await started.wait()
        client.channel.cut(ConnectionError("gone"))
        await cancelled.wait()


async def test_one_that_is_gone_before_it_is_served() -> None:
    one, other = memory_pair()
    session = Session(link_to_old_client(other, lambda url: url, print), opener=False)
    one.close()
    await session.wait_closed()


async def test_the_serving_side_ends_it_in_order() -> None:
    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(1.5)
        exchange.respond(200, body=b"done")

    one, other = memory_pair()
    session = Session(link_to_old_client(other, lambda url: url, print), opener=False)
    serving = asyncio.ensure_future(serve_session(session, slow))
    client = OldClient(one)
    client.send("/")
    assert await client.head() == {"status": 202}
    closing = asyncio.ensure_future(session.close())
    assert await client.head() == {
        "status": 200,
        "content-type": "application/octet-stream",
        "content-length": 4,
    }
    assert await client.got.get() == b"done"
    await closing
    assert await client.got.get() is None
    await serving


async def test_one_that_asks_and_does_not_read_gets_no_more_than_is_buffered() -> None:
    asked: list[str] = []

    async def large(exchange: Exchange) -> None:
        asked.append(exchange.target)
        exchange.respond(200, [], bytes(200_000))

    async with old_client(large, takes=1 << 20) as client:
        stuck = client.channel._other
        assert stuck is not None
        carry = stuck._carry
        stuck._carry = lambda: None  # type: ignore[method-assign]
        for number in range(MAX_REQUESTS):
            client.send(f"/{number}")
        await asyncio.sleep(10)
        assert len(asked) == 2
        assert stuck.buffered_amount < module.MAX_BUFFERED + 300_000
        stuck._carry = carry  # type: ignore[method-assign]
        carry()
        for _ in range(MAX_REQUESTS):
            head, body = await client.answer()
            assert (head["status"], len(body or b"")) == (200, 200_000)
        assert asked == [f"/{number}" for number in range(MAX_REQUESTS)]
