"""The server on a real socket, against aiohttp's WebSocket client and raw TCP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import AF_INET6
from socket import socket as tcp_socket
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from aiohttp.typedefs import Handler

from peerfetch_fast.errors import SignalingError
from peerfetch_fast.signaling import Refusal, SignalingServer, SignalingServerSettings
from peerfetch_fast.signaling.peerjs.messages import CLOSE_POLICY, CLOSE_SILENT, CLOSE_TAKEN_OVER
from support import run, until


class Wire:
    """A server, and a hand to speak to it."""

    def __init__(self, server: SignalingServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session
        self._sockets: list[aiohttp.ClientWebSocketResponse] = []

    @property
    def base(self) -> str:
        return self.server.url.partition("?")[0]

    async def ask(
        self, path: str, method: str = "GET", headers: dict[str, str] | None = None
    ) -> aiohttp.ClientResponse:
        url = self.base.replace("ws:", "http:") + path
        async with self.session.request(method, url, headers=headers) as response:
            await response.read()
            return response

    async def socket(self, path: str = "/peerjs", **query: str) -> aiohttp.ClientWebSocketResponse:
        socket = await self.session.ws_connect(self.base + path, params=query, autoping=False)
        self._sockets.append(socket)
        return socket

    async def join(self, peer_id: str, token: str = "t") -> aiohttp.ClientWebSocketResponse:
        socket = await self.socket(key="peerjs", id=peer_id, token=token, version="1.5.4")
        assert await socket.receive_json() == {"type": "OPEN"}
        return socket

    async def until_gone(self, socket: aiohttp.ClientWebSocketResponse) -> int | None:
        """Wait for the server to close; return the code that it gave."""
        while True:
            frame = await socket.receive()
            if frame.type not in (WSMsgType.TEXT, WSMsgType.PONG):
                return socket.close_code

    async def close(self) -> None:
        await self.server.close()
        for socket in self._sockets:
            await socket.close()


@asynccontextmanager
async def serving(host: str = "127.0.0.1", **settings: Any) -> AsyncIterator[Wire]:
    # Some clients here never read the close that they get.
    server = SignalingServer(SignalingServerSettings(**{"close_timeout": 0.2, **settings}))
    await server.start(host, 0)
    async with aiohttp.ClientSession() as session:
        wire = Wire(server, session)
        try:
            yield wire
        finally:
            await wire.close()


async def raw_websocket(server: SignalingServer, peer_id: str) -> tuple[Any, Any]:
    """A WebSocket without a library that would keep its rules."""
    host, port = server.url.removeprefix("ws://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**16)
    writer.write(
        f"GET /peerjs?key=peerjs&id={peer_id}&token=t HTTP/1.1\r\nHost: x\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def until_cut(writer: asyncio.StreamWriter) -> None:
    """Wait until the other side has cut the connection, without reading from it."""
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(b"\x89\x80\x00\x00\x00\x00")  # a ping
            await writer.drain()
            await asyncio.sleep(0.01)
    writer.close()


async def test_ids_are_given_and_are_128_random_bits() -> None:
    async with serving() as wire:
        ids = set()
        for _ in range(20):
            response = await wire.ask("/peerjs/id?ts=1&version=1.5.4")
            assert response.status == 200
            assert response.content_type == "text/plain"
            ids.add(await response.text())
        assert len(ids) == 20
        assert all(re.fullmatch(r"[0-9a-f]{32}", peer_id) for peer_id in ids)


async def test_peers_are_listed_only_where_discovery_is_allowed() -> None:
    async with serving() as wire:
        assert (await wire.ask("/peerjs/peers")).status == 401
    async with serving(allow_discovery=True) as wire:
        await wire.join("alice")
        await wire.join("bob")
        assert await (await wire.ask("/peerjs/peers")).json() == ["alice", "bob"]
        assert wire.server.peer_ids == ["alice", "bob"]


async def test_the_root_describes_the_server() -> None:
    async with serving() as wire:
        description = await (await wire.ask("/")).json()
        assert set(description) == {"name", "description", "website"}


async def test_pages_of_any_origin_may_ask() -> None:
    async with serving() as wire:
        page = {"Origin": "https://app.example"}
        for path in ("/", "/peerjs/id", "/peerjs/peers"):
            response = await wire.ask(path, headers=page)
            assert response.headers["Access-Control-Allow-Origin"] == page["Origin"]
            preflight = await wire.ask(path, "OPTIONS", headers=page)
            assert preflight.status == 204
            assert preflight.headers["Access-Control-Allow-Origin"] == page["Origin"]
            assert "GET" in preflight.headers["Access-Control-Allow-Methods"]


async def test_pages_of_other_origins_than_those_allowed_are_refused_and_counted() -> None:
    app, foreign = {"Origin": "https://app.example"}, {"Origin": "https://evil.example"}

    async with serving(allowed_origins=("https://app.example",)) as wire:
        await wire.join("alice", "secret")
        room = "/peerjs/alice/secret/room"
        asked = [
            *((path, method) for path in ("/", "/peerjs/id") for method in ("GET", "OPTIONS")),
            *((f"{room}/id", "GET"), (f"{room}/x/join", "POST"), (f"{room}/x/join", "OPTIONS")),
        ]
        for count, (path, method) in enumerate(asked, 1):
            response = await wire.ask(path, method, foreign)
            assert response.status == 403
            assert "evil.example" in await response.text()
            assert "Access-Control-Allow-Origin" not in response.headers
            assert wire.server.refused == {Refusal.FOREIGN_ORIGIN: count}
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await wire.session.ws_connect(
                f"{wire.base}/peerjs",
                params={"key": "peerjs", "id": "eve", "token": "t"},
                headers=foreign,
            )
        assert refused.value.status == 403
        assert wire.server.peer_ids == ["alice"]
        assert wire.server.refused == {Refusal.FOREIGN_ORIGIN: len(asked) + 1}

        own = {"Origin": wire.base.replace("ws:", "http:")}
        for allowed in (app, own):
            response = await wire.ask("/peerjs/id", headers=allowed)
            assert response.status == 200
            assert response.headers["Access-Control-Allow-Origin"] == allowed["Origin"]
            assert response.headers["Vary"] == "Origin"
            denied = await wire.ask("/peerjs/peers", headers=allowed)
            assert denied.status == 401
            assert denied.headers["Access-Control-Allow-Origin"] == allowed["Origin"]
            forbidden = await wire.ask(f"{room}/x/join", "POST", allowed)
            assert forbidden.status == 403
            assert forbidden.headers["Access-Control-Allow-Origin"] == allowed["Origin"]
            preflight = await wire.ask("/peerjs/id", "OPTIONS", allowed)
            assert preflight.headers["Access-Control-Allow-Origin"] == allowed["Origin"]
            socket = await wire.session.ws_connect(
                f"{wire.base}/peerjs",
                params={"key": "peerjs", "id": "bob", "token": "t"},
                headers=allowed,
            )
            assert await socket.receive_json() == {"type": "OPEN"}
            await socket.close()
        program = await wire.ask("/peerjs/id")
        assert program.status == 200
        assert "Access-Control-Allow-Origin" not in program.headers


async def test_path_and_key_are_as_set() -> None:
    async with serving(path="/my/app/", key="secret") as wire:
        assert wire.server.url.endswith("/my/app?key=secret")
        assert (await wire.ask("/secret/id")).status == 200
        assert (await wire.ask("/peerjs/id")).status == 404
        socket = await wire.socket(key="secret", id="alice", token="t")
        assert await socket.receive_json() == {"type": "OPEN"}
        socket = await wire.socket(key="peerjs", id="bob", token="t")
        assert (await socket.receive_json())["type"] == "ERROR"


async def test_plain_http_to_the_websocket_is_told_to_upgrade() -> None:
    async with serving() as wire:
        assert (await wire.ask("/peerjs?key=peerjs&id=a&token=t")).status == 426


@pytest.mark.parametrize(
    ("query", "kind", "refusal"),
    [
        ({"id": "a", "token": "t"}, "ERROR", Refusal.MISSING_PARAMETERS),
        ({"key": "peerjs", "id": "a"}, "ERROR", Refusal.MISSING_PARAMETERS),
        ({"key": "x", "id": "a", "token": "t"}, "ERROR", Refusal.WRONG_KEY),
        ({"key": "peerjs", "id": "a\x00", "token": "t"}, "ERROR", Refusal.BAD_ID),
        ({"key": "peerjs", "id": "held", "token": "x"}, "ID-TAKEN", Refusal.ID_TAKEN),
        ({"key": "peerjs", "id": "late", "token": "t"}, "ERROR", Refusal.TOO_MANY_CLIENTS),
    ],
)
async def test_refused_handshakes_are_answered_and_closed(
    query: dict[str, str], kind: str, refusal: Refusal
) -> None:
    async with serving(max_clients=1) as wire:
        await wire.join("held")
        socket = await wire.socket(**query)
        answer = await socket.receive_json()
        assert answer["type"] == kind
        assert answer["payload"]["msg"]
        assert await wire.until_gone(socket) == CLOSE_POLICY
        assert wire.server.refused == {refusal: 1}


async def test_messages_are_forwarded_both_ways() -> None:
    async with serving() as wire:
        alice, bob = await wire.join("alice"), await wire.join("bob")
        offer = {"sdp": {"type": "offer", "sdp": "v=0\r\nö"}, "connectionId": "dc_1"}
        await alice.send_json({"type": "OFFER", "dst": "bob", "payload": offer})
        assert await bob.receive_json() == {
            "type": "OFFER",
            "src": "alice",
            "dst": "bob",
            "payload": offer,
        }
        await bob.send_json({"type": "ANSWER", "dst": "alice", "payload": 1, "src": "carol"})
        assert (await alice.receive_json())["src"] == "bob"


async def test_offers_wait_for_the_late_and_expire_for_the_absent() -> None:
    async with serving(message_queue_time=1.5) as wire:
        alice = await wire.join("alice")
        await alice.send_json({"type": "OFFER", "dst": "bob", "payload": 1})
        await alice.send_json({"type": "OFFER", "dst": "nobody", "payload": 2})
        await alice.send_json({"type": "CANDIDATE", "dst": "nobody", "payload": 3})
        await alice.ping()
        assert (await alice.receive()).type is WSMsgType.PONG  # the three are in
        bob = await wire.join("bob")
        assert (await bob.receive_json())["payload"] == 1
        assert await alice.receive_json() == {"type": "EXPIRE", "src": "nobody", "dst": "alice"}
        await alice.send_json({"type": "OFFER", "dst": "alice", "payload": "next"})
        assert (await alice.receive_json())["payload"] == "next"  # and only one EXPIRE
        assert wire.server.refused == {Refusal.EXPIRED: 2}


async def test_the_same_token_takes_over_and_the_old_socket_is_closed() -> None:
    async with serving() as wire:
        old = await wire.join("alice")
        new = await wire.join("alice")
        assert await wire.until_gone(old) == CLOSE_TAKEN_OVER
        await new.send_json({"type": "OFFER", "dst": "alice", "payload": 1})
        assert (await new.receive_json())["src"] == "alice"


async def test_the_silent_are_dropped_while_pings_and_heartbeats_keep_alive() -> None:
    async with serving(alive_timeout=2.0) as wire:
        silent = await wire.join("silent")
        pings, beats = await wire.join("pings"), await wire.join("beats")
        gone = asyncio.ensure_future(wire.until_gone(silent))
        while not gone.done():
            await asyncio.wait([gone], timeout=0.1)
            await pings.ping(b"alive?")
            frame = await pings.receive()
            assert (frame.type, bytes(frame.data)) == (WSMsgType.PONG, b"alive?")
            await beats.send_json({"type": "HEARTBEAT"})
        assert await gone == CLOSE_SILENT
        assert wire.server.peer_ids == ["beats", "pings"]
        assert wire.server.refused == {Refusal.SILENT: 1}


async def test_a_place_is_free_again_when_its_client_vanishes() -> None:
    async with serving() as wire:
        _, writer = await raw_websocket(wire.server, "alice")
        assert wire.server.peer_ids == ["alice"]
        writer.transport.abort()
        while wire.server.peer_ids:
            await asyncio.sleep(0)
        await wire.join("alice", token="another")


async def test_bad_messages_are_counted_and_the_connection_goes_on() -> None:
    async with serving() as wire:
        alice = await wire.join("alice")
        await alice.send_bytes(b'{"type": "OFFER", "dst": "alice"}')
        await alice.send_str("no json")
        await alice.send_str('{"type": "GREETING"}')
        await alice.send_str('{"type": "OFFER", "dst": "\\n"}')
        await alice.send_str('{"type": "OFFER"}')
        await alice.send_json({"type": "OFFER", "dst": "alice", "payload": 1})
        assert (await alice.receive_json())["payload"] == 1
        assert wire.server.refused == {
            Refusal.BINARY: 1,
            Refusal.NOT_JSON: 1,
            Refusal.UNKNOWN_TYPE: 1,
            Refusal.BAD_ID: 1,
            Refusal.BAD_SHAPE: 1,
        }


async def test_an_offer_of_256_kib_is_passed_on_and_waits_for_who_is_late() -> None:
    async with serving() as wire:
        alice = await wire.join("alice")
        empty = json.dumps({"type": "OFFER", "dst": "bob", "payload": ""})
        payload = "x" * (256 * 1024 - len(empty))
        for _ in range(2):  # the first waits
            await alice.send_json({"type": "OFFER", "dst": "bob", "payload": payload})
            if "bob" not in wire.server.peer_ids:
                await until(lambda: wire.server._realm.queued_bytes > 0)
                bob = await wire.join("bob")
            assert (await bob.receive_json())["payload"] == payload


async def test_a_message_may_be_as_large_as_allowed_and_no_larger() -> None:
    async with serving(max_message_size=1000) as wire:
        alice = await wire.join("alice")
        empty = json.dumps({"type": "OFFER", "dst": "alice", "payload": ""})
        largest = empty.replace('""', '"' + "x" * (1000 - len(empty)) + '"')
        assert len(largest) == 1000
        await alice.send_str(largest)
        assert (await alice.receive_json())["type"] == "OFFER"
        await alice.send_str(largest + " ")
        assert await wire.until_gone(alice) == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
        assert wire.server.refused == {Refusal.OVERSIZED: 1}


@pytest.mark.parametrize(
    "junk",
    [
        b"\x83\x80\x00\x00\x00\x00",  # a reserved opcode
        b"\xff" * 50,  # reserved bits
        b"\x81\x82\x00\x00\x00\x00\xff\xff",  # masked text that is not UTF-8
        b"\x89\xfe\x00\xff" + b"\x00" * 259,  # a ping longer than a ping may be
    ],
)
async def test_junk_below_the_messages_ends_only_its_own_connection(junk: bytes) -> None:
    async with serving() as wire:
        reader, writer = await raw_websocket(wire.server, "junk")
        writer.write(junk)
        await reader.read()  # until the server has closed
        writer.close()
        assert wire.server.refused == {Refusal.UNDECODABLE: 1}
        await wire.join("alice")
        assert wire.server.peer_ids == ["alice"]


async def test_a_flood_is_slowed_down_and_loses_nothing() -> None:
    async with serving(message_burst=5, message_rate=400) as wire:
        flooder, bob = await wire.join("flooder"), await wire.join("bob")
        started = asyncio.get_running_loop().time()
        for n in range(45):
            await flooder.send_json({"type": "OFFER", "dst": "bob", "payload": n})
        assert [(await bob.receive_json())["payload"] for _ in range(45)] == list(range(45))
        # The 45th passes once 39 tokens beyond the burst have come; clocks can be coarse.
        assert asyncio.get_running_loop().time() - started >= 35 / 400
        assert wire.server.refused[Refusal.THROTTLED] > 0


async def test_who_does_not_read_is_dropped_and_the_memory_is_free_again() -> None:
    payload = "x" * 60_000
    limits = {"max_queue": 64_000, "max_outgoing": 200_000, "max_outgoing_total": 300_000}
    limits["max_message_size"] = 64 * 1024
    async with serving(message_burst=100_000, **limits) as wire:
        alice = await wire.join("alice")
        for n in range(6):
            _, writer = await raw_websocket(wire.server, f"slow-{n}")
            while f"slow-{n}" in wire.server.peer_ids:
                await alice.send_json({"type": "LEAVE", "dst": f"slow-{n}", "payload": payload})
                await asyncio.sleep(0)
            await until_cut(writer)
        assert wire.server.refused == {Refusal.SLOW_READER: 6}
        for n in range(10):
            await alice.send_json({"type": "OFFER", "dst": "alice", "payload": payload})
            assert len((await alice.receive_json())["payload"]) == 60_000, n


async def test_a_close_does_not_wait_for_who_does_not_read() -> None:
    async with serving(message_burst=100_000, max_outgoing=2**26, max_outgoing_total=2**26) as wire:
        alice = await wire.join("alice")
        _, writer = await raw_websocket(wire.server, "slow")
        for _ in range(300):  # 18 MB: more than the sockets between hold
            await alice.send_json({"type": "LEAVE", "dst": "slow", "payload": "x" * 60_000})
        await alice.ping()
        assert (await alice.receive()).type is WSMsgType.PONG
        await wire.join("slow")  # takes over
        await until_cut(writer)
        assert not wire.server.refused


async def test_a_queue_as_full_as_may_be_reaches_its_destination() -> None:
    async with serving() as wire:
        alice = await wire.join("alice")
        for _ in range(10):
            await alice.send_json({"type": "OFFER", "dst": "bob", "payload": "x" * 60_000})
        await alice.ping()
        assert (await alice.receive()).type is WSMsgType.PONG
        refused = wire.server.refused[Refusal.QUEUE_FULL]
        assert refused > 0
        bob = await wire.join("bob")
        for _ in range(10 - refused):
            assert (await bob.receive_json())["type"] == "OFFER"
        assert wire.server.peer_ids == ["alice", "bob"]


async def test_closing_says_good_bye_and_frees_the_address() -> None:
    async with serving() as wire:
        alice = await wire.join("alice")
        closing = asyncio.ensure_future(wire.server.close())
        assert await wire.until_gone(alice) == aiohttp.WSCloseCode.GOING_AWAY
        await closing
        await wire.server.close()
        again = SignalingServer()
        await again.start("127.0.0.1", int(wire.server.url.rpartition(":")[2]))
        await again.close()


async def test_a_client_that_ignores_the_close_does_not_hold_it_up() -> None:
    server = SignalingServer(SignalingServerSettings(close_timeout=0.1))
    await server.start("127.0.0.1", 0)
    _, writer = await raw_websocket(server, "deaf")
    await server.close()
    writer.close()


async def test_an_address_in_use_is_reported_with_its_name() -> None:
    async with serving() as wire:
        port = int(wire.server.url.rpartition(":")[2])
        with pytest.raises(SignalingError, match=f"127.0.0.1 port {port}"):
            await SignalingServer().start("127.0.0.1", port)


def test_there_is_no_url_before_the_start() -> None:
    with pytest.raises(SignalingError, match="before it is started"):
        _ = SignalingServer().url


def _has_ipv6() -> bool:
    try:
        with tcp_socket(AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
async def test_ipv6_addresses_are_bracketed() -> None:
    async with serving("::1") as wire:
        assert re.fullmatch(r"ws://\[::1\]:[0-9]+", wire.server.url)
        await wire.join("alice")


async def test_the_routes_fit_beside_others() -> None:
    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    server = SignalingServer(SignalingServerSettings(path="/signal/"))
    app = web.Application()
    app.router.add_get("/", hello)
    server.add_routes(app)
    runner = web.AppRunner(app, shutdown_timeout=5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://{host}:{port}/") as response:
            assert await response.text() == "hello"
        async with session.get(f"http://{host}:{port}/signal/peerjs/id") as response:
            assert len(await response.text()) == 32
        query = {"key": "peerjs", "id": "alice", "token": "t"}
        socket = await session.ws_connect(f"ws://{host}:{port}/signal/peerjs", params=query)
        assert await socket.receive_json() == {"type": "OPEN"}
        stopping = asyncio.ensure_future(runner.cleanup())
        assert (await socket.receive()).data == aiohttp.WSCloseCode.GOING_AWAY
        await stopping


def test_who_is_gone_before_the_answer_is_no_error_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @web.middleware
    async def cut(request: web.Request, handler: Handler) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return await handler(request)

    async def scenario() -> None:
        server = SignalingServer(middlewares=(cut,))
        await server.start("127.0.0.1", 0)
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.ws_connect(f"{server.url}/peerjs?key=peerjs&id=a&token=t")
        await server.close()

    run(scenario())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
