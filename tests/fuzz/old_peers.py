"""``peerfetch.1``, whose messages an old client or an old proxy sends as an input tells it to."""

from __future__ import annotations

import asyncio
import contextlib
import json
from functools import partial

from tests.fuzz.program import Program, run_offline

from peerfetch_fast.errors import MessageError, PeerfetchError
from peerfetch_fast.http.client import fetch
from peerfetch_fast.http.server import Exchange, serve_session
from peerfetch_fast.peerfetch1.messages import (
    MAX_REQUEST,
    encode_request,
    parse_head,
    parse_request,
)
from peerfetch_fast.peerfetch1.old_client import link_to_old_client
from peerfetch_fast.peerfetch1.old_proxy import link_to_old_proxy
from peerfetch_fast.peerfetch1.urls import locate
from peerfetch_fast.streams.link import MemoryLink, memory_pair
from peerfetch_fast.streams.session import Session

UPSTREAMS = {"http://localhost:8778": "/", "http://camera.local/base": "/camera"}
LEAPS = (0.0, 0.01, 0.3, 1.0, 2.0, 20.0)
URLS = (
    "/",
    "ping",
    "http://localhost:8778/a?b",
    "http://camera.local/base/x",
    "http://elsewhere/",
    "//x",
    "",
)
HEADS = (
    '{"status":200}',
    '{"status":200,"content-type":"text/plain"}',
    '{"status":202}',
    '{"status":204}',
    '{"status":404,"content-type":null}',
    "pong",
    "body",
)


class Raw:
    """The other end of a channel: it keeps what comes, and whether the channel was closed."""

    def __init__(self, link: MemoryLink) -> None:
        self.link = link
        self.received: list[bytes | str] = []
        self.closed = False
        link.attach(self)

    def message_received(self, message: bytes | str) -> None:
        self.received.append(message)

    def parts_received(self, head: bytes, body: bytes) -> None:
        raise AssertionError("nothing of peerfetch.1 comes in parts")

    def buffered_low(self) -> None:
        pass

    def link_closed(self, error: Exception | None) -> None:
        self.closed = True


def peerfetch1_messages(data: bytes) -> int:
    """One message, as a request and as a head; what is understood can be written and read again."""
    for message in (data.decode(errors="replace"), data):
        try:
            request = parse_request(message)
        except MessageError:
            continue
        assert request.method in ("GET", "PUT", "POST")
        with contextlib.suppress(MessageError):
            again = parse_request(encode_request(request))
            assert (again.url, again.method) == (request.url.removesuffix("?"), request.method)
    with contextlib.suppress(MessageError):
        assert 200 <= parse_head(data).status <= 599
    return 1


def peerfetch1_client(data: bytes) -> int:
    """An old client asks this device, whose upstream answers slowly, much, or not at all."""
    return run_offline(_old_client(Program(data)))


async def _old_client(program: Program) -> int:
    steps = asked = 0
    ours, theirs = memory_pair()
    refused: list[str] = []
    link = link_to_old_client(ours, partial(locate, upstreams=UPSTREAMS), refused.append)
    client, session = Raw(theirs), Session(link, opener=False)

    async def serve(exchange: Exchange) -> None:
        nonlocal asked
        asked += 1
        assert exchange.target.startswith("/"), exchange.target
        await asyncio.sleep((0.0, 0.0, 1.5, 60.0)[len(exchange.target) % 4])
        await exchange.read()
        exchange.start(200 + 2 * (asked % 3), [("content-type", "text/x")], None)
        await exchange.write(b"x" * (10_000 * (len(exchange.target) % 9)))
        exchange.end()

    serving = asyncio.ensure_future(serve_session(session, serve))
    while program and steps < 100:
        steps += 1
        match program.byte() % 5:
            case 0:
                client.link.send(program.piece())
            case 1:
                client.link.send(program.text())
            case 2 | 3:
                client.link.send(_request(program))
            case _:
                await asyncio.sleep(program.pick(LEAPS))
        for at, message in enumerate(client.received):
            assert len(message) <= client.link.max_message_size, at
        client.received.clear()
    client.link.close()
    with contextlib.suppress(PeerfetchError):
        await serving
    await session.wait_closed()
    await asyncio.sleep(100)
    return steps


def _request(program: Program) -> str:
    fields: dict[str, object] = {"url": program.pick(URLS)}
    flags = program.byte()
    if flags & 1:
        fields["method"] = program.pick(("GET", "post", "PUT", "DELETE", "", 5))
    if flags & 2:
        fields["json"] = program.pick((None, [], {"a": 1}, "x", program.text()))
    if flags & 4:
        fields["data"] = program.pick((None, "x", {"a": "b"}, {"a": []}, [], program.text()))
    if flags & 8:
        fields["url"] = program.text()
    if flags & 16:
        fields["more"] = "x" * (MAX_REQUEST // 4)
    return json.dumps(fields)


def peerfetch1_proxy(data: bytes) -> int:
    """An old proxy answers this client, who asks for several things at once and gives some up."""
    return run_offline(_old_proxy(Program(data)))


async def _old_proxy(program: Program) -> int:
    steps = 0
    ours, theirs = memory_pair()
    proxy = Raw(theirs)
    session = Session(link_to_old_proxy(ours), opener=True)
    asking: list[asyncio.Task[None]] = []

    async def ask(method: str, target: str, body: bytes | None) -> None:
        with contextlib.suppress(PeerfetchError):
            async with await fetch(session, target, method=method, body=body) as response:
                assert 200 <= response.status <= 599
                await response.read()

    while program and steps < 100:
        steps += 1
        match program.byte() % 8:
            case 0:
                proxy.link.send(program.piece())
            case 1:
                proxy.link.send(program.text())
            case 2 | 3:
                proxy.link.send(program.pick(HEADS))
            case 4 | 5 if len(asking) < 20:
                method = program.pick(("GET", "POST", "PUT", "DELETE", "HEAD"))
                target = program.pick(("/api", "/http://localhost:8778/api", "/?", "/é"))
                body = program.piece() if method != "GET" else None
                asking.append(asyncio.ensure_future(ask(method, target, body)))
            case 6 if asking:
                program.pick(asking).cancel()
            case _:
                await asyncio.sleep(program.pick(LEAPS))
        for message in proxy.received:
            parse_request(message)
        proxy.received.clear()
    proxy.link.close()
    await asyncio.gather(*asking, return_exceptions=True)
    await session.wait_closed()
    await asyncio.sleep(100)
    return steps


def peerfetch1_messages_seeds() -> list[bytes]:
    return [
        b'{"url":"http://localhost:8778/api"}',
        b'{"url":"/a?","method":"POST","json":{"a":[1,2.5,null]}}',
        b'{"url":"/a","method":"PUT","data":{"a":"b c","d":true}}',
        b'{"url":"ping"}',
        *(head.encode() for head in HEADS),
    ]


def peerfetch1_client_seeds() -> list[bytes]:
    requests = [bytes((2, url, 0)) for url in range(len(URLS))]
    return [
        b"".join(requests) + bytes((4, 5)),
        bytes((2, 1, 0, 4, 1)) + requests[0] + bytes((4, 3)) + requests[2] + bytes((4, 5, 4, 5)),
        bytes((2, 0, 7, 1, 2, 1, 2, 4, 4)) * 3,
        bytes((0, 3)) + b"abc" + bytes((1, 2)) + b"{}" + bytes((2, 0, 8, 5)) + b"/\xc3\xa9/x",
    ]


def peerfetch1_proxy_seeds() -> list[bytes]:
    pong, ask = bytes((2, 0, 2, 5)), bytes((4, 0, 0))
    return [
        pong + ask + bytes((7, 1, 2, 1, 2, 6, 7, 2)),
        pong + ask * 3 + bytes((7, 1, 2, 2, 2, 3, 7, 1, 2, 0, 0, 2, 65, 66, 6, 2, 7, 4)),
        pong * 5 + bytes((4, 1, 1, 2, 65, 66, 7, 3)) + pong * 3 + bytes((7, 5)),
        bytes((7, 5)) + ask + bytes((7, 5)),
    ]
