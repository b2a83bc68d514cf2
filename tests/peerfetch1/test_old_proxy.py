"""Old proxies, one that a test plays by hand, asked with today's fetch."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from peerfetch_fast.errors import LinkClosed, PeerfetchError, PeerUnresponsive, ProtocolError
from peerfetch_fast.http.client import Response, fetch
from peerfetch_fast.peerfetch1.old_proxy import DEAD_AFTER, link_to_old_proxy
from peerfetch_fast.streams.link import MemoryLink, memory_pair
from peerfetch_fast.streams.session import Session
from support import gathered

pytestmark = pytest.mark.virtual_time

Answer = Callable[["OldProxy", dict[str, Any]], Any]


class OldProxy:
    """The proxy's end of the channel, which answers as the old one does."""

    def __init__(self, channel: MemoryLink, answer: Answer, deaf_for: float = 0.0) -> None:
        self.channel = channel
        self.requests: list[dict[str, Any]] = []
        self.running = 0
        self.most = 0
        self.pings = 0
        self.closed = asyncio.Event()
        self._answer = answer
        self._tasks: set[asyncio.Task[None]] = set()
        self._hears = asyncio.get_running_loop().time() + deaf_for
        channel.attach(self)

    def message_received(self, message: bytes | str) -> None:
        if asyncio.get_running_loop().time() < self._hears:
            return
        request = json.loads(message)
        if request["url"].startswith("ping"):
            self.pings += 1
            self.say({"status": 200}, "pong")
            return
        self.requests.append(request)
        task = asyncio.ensure_future(self._serve(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, request: dict[str, Any]) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        waiting = asyncio.ensure_future(self._wait())
        try:
            await self._answer(self, request)
        finally:
            waiting.cancel()
            self.running -= 1

    async def _wait(self) -> None:
        while True:
            self.say({"status": 202})
            await asyncio.sleep(1)

    def say(self, head: dict[str, Any], *body: bytes | str) -> None:
        self.channel.send(json.dumps(head))
        for piece in body:
            self.channel.send(piece)

    def parts_received(self, head: bytes, body: bytes) -> None:
        raise AssertionError

    def buffered_low(self) -> None:
        pass

    def link_closed(self, error: Exception | None) -> None:
        self.closed.set()


class Client:
    def __init__(self, session: Session, proxy: OldProxy) -> None:
        self.session = session
        self.proxy = proxy

    async def __call__(self, target: str, **options: Any) -> Response:
        return await fetch(self.session, target, **options)


@contextlib.asynccontextmanager
async def client_of(answer: Answer, **options: Any) -> AsyncIterator[Client]:
    one, other = memory_pair(max_message_size=65536)
    proxy = OldProxy(other, answer, **options)
    session = Session(link_to_old_proxy(one), opener=True, accepting=False)
    try:
        yield Client(session, proxy)
    finally:
        session.abort()
        await session.wait_closed()
        await proxy.closed.wait()
        for task in proxy._tasks:
            task.cancel()
        await asyncio.gather(*proxy._tasks, return_exceptions=True)


async def echo(proxy: OldProxy, request: dict[str, Any]) -> None:
    body = json.dumps(request).encode()
    proxy.say(
        {"status": 200, "content-type": "application/json", "content-length": len(body)}, body
    )


async def silent(proxy: OldProxy, request: dict[str, Any]) -> None:
    if "silent" not in request["url"]:
        await echo(proxy, request)


async def slow(proxy: OldProxy, request: dict[str, Any]) -> None:
    await asyncio.sleep(5.5)
    await echo(proxy, request)


async def nothing(proxy: OldProxy, request: dict[str, Any]) -> None:
    proxy.say({"status": 204, "content-type": "None", "content-length": 0})


async def sleep(proxy: OldProxy, request: dict[str, Any]) -> None:
    await asyncio.sleep(1000)


async def test_a_request_and_its_answer() -> None:
    async with client_of(echo) as client:
        response = await client("/http://localhost:8778/api", params={"a": 1})
        assert response.status == 200
        assert response.headers["content-type"] == "application/json"
        url = "http://localhost:8778/api?a=1"
        assert await response.json() == {"url": url, "method": "GET"}
        posted = await (await client("/x", json={"a": 1})).json()
        assert posted == {"url": "/x", "method": "POST", "json": {"a": 1}}
        put = await (await client("/x", method="PUT", body="text")).json()
        assert put == {"url": "/x", "method": "PUT", "data": "text"}


async def test_one_at_a_time() -> None:
    async with client_of(slow) as client:
        answers = await gathered(*(client(f"/{n}") for n in range(5)))
        assert [(await answer.json())["url"] for answer in answers] == [f"/{n}" for n in range(5)]
        assert client.proxy.most == 1


async def test_an_answer_without_a_body_ends_with_its_head() -> None:
    async with client_of(nothing) as client:
        for _ in range(2):
            response = await client("/")
            assert (response.status, await response.bytes()) == (204, b"")


async def test_an_upstream_s_own_202_is_no_waiting() -> None:
    async def accepted(proxy: OldProxy, request: dict[str, Any]) -> None:
        await asyncio.sleep(2.5)  # with heads that say that it waits
        proxy.say({"status": 202, "content-type": "text/plain", "content-length": 5}, b"later")

    async with client_of(accepted) as client:
        response = await client("/")
        assert (response.status, await response.bytes()) == (202, b"later")


async def test_a_proxy_that_does_not_listen_at_once_loses_no_request() -> None:
    async with client_of(echo, deaf_for=1.0) as client:
        assert (await client("/")).ok


async def test_a_proxy_that_says_nothing_is_given_up_with_a_reason() -> None:
    async with client_of(silent) as client:
        answers = await gathered(client("/silent"), client("/a"))
        assert answers[0].status == 504
        assert b"no answer" in await answers[0].bytes()
        assert (await answers[1].json())["url"] == "/a"


async def test_an_answer_that_nobody_waits_for_is_not_the_next_ones() -> None:
    async with client_of(slow) as client:
        first = asyncio.ensure_future(client("/first"))
        await asyncio.sleep(1)
        first.cancel()
        second = await client("/second")
        assert (await second.json())["url"] == "/second"


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"method": "DELETE"}, 501),
        ({"method": "HEAD"}, 501),
        ({"body": b"\xff\xd8\xff"}, 415),
        ({"body": "x" * 70_000}, 413),
        ({"json": ["x" * 140_000]}, 413),
        ({"body": "\n" * 40_000}, 413),
    ],
)
async def test_what_the_old_protocol_cannot_say_is_refused_before_it_is_sent(
    options: dict[str, Any], status: int
) -> None:
    async with client_of(echo) as client:
        assert (await client("/", **options)).status == status
        assert not client.proxy.requests
        assert (await client("/")).status == 200


async def test_pings_go_on_while_nothing_is_asked() -> None:
    async with client_of(echo) as client:
        await asyncio.sleep(30)
        assert client.proxy.pings >= 15
        assert (await client("/")).ok


async def test_a_proxy_that_is_dead() -> None:
    async with client_of(echo, deaf_for=1e9) as client:
        began = asyncio.get_running_loop().time()
        with pytest.raises(PeerUnresponsive):
            await client("/")
        assert asyncio.get_running_loop().time() - began < DEAD_AFTER + 1


async def test_a_proxy_is_alive_while_a_long_message_comes() -> None:
    async def large(proxy: OldProxy, request: dict[str, Any]) -> None:
        proxy.say = lambda *_: None  # type: ignore[method-assign]
        ours = proxy.channel._other
        assert ours is not None
        for _ in range(3 * round(DEAD_AFTER)):
            await asyncio.sleep(1)
            ours.received += 10_000  # of the body, which is not whole yet
        proxy.channel.send('{"status": 200, "content-type": "image/png"}')
        proxy.channel.send(b"body")

    async with client_of(large) as client:
        assert await (await client("/")).bytes() == b"body"


async def test_a_proxy_that_goes() -> None:
    async with client_of(sleep) as client:
        waiting = [asyncio.ensure_future(client("/")) for _ in range(3)]
        await asyncio.sleep(2)
        client.proxy.channel.close()
        for one in waiting:
            with pytest.raises(LinkClosed):
                await one


@pytest.mark.parametrize(
    "messages",
    [
        ["nonsense"],
        [b"\xff\0"],
        ['{"status": 1}'],
        ["[]"],
        ["x" * 10_000_000],
        ['{"status":200,"content-type":"a"}', "b", '{"status":200,"content-type":"a"}', "b"],
    ],
)
async def test_a_proxy_that_speaks_nonsense(messages: list[bytes | str]) -> None:
    async def answer(proxy: OldProxy, request: dict[str, Any]) -> None:
        for message in messages:
            proxy.channel.send(message)

    async with client_of(answer) as client:
        with contextlib.suppress(PeerfetchError):
            await client("/")
        await client.session.wait_closed()
        assert isinstance(client.session.error, ProtocolError)
