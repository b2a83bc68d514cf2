"""Nodes in Python, through a hub: sockets, REST and queries between them, and with themselves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peerfetch_fast import PeerfetchError, PeerUnavailable
from peerfetch_fast.errors import AccessDenied, ConnectError, InvalidRequest, WebSocketClosed
from peerfetch_fast.signaling.peerjs.server import SignalingServer
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings
from peerfetch_fast.smoke import NetworkHub, Node, PortInUse, PortRefused, Queryable, continuations
from peerfetch_fast.smoke.continuations import Waiting
from peerfetch_fast.smoke.rest import Request, Response
from peerfetch_fast.smoke.sockets import Socket


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@contextlib.asynccontextmanager
async def nodes(count: int, **options: Any) -> AsyncIterator[list[Node]]:
    server = SignalingServer(SignalingServerSettings(smoke=True))
    await server.start("127.0.0.1", 0)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(server.close)
        made = [Node(NetworkHub(f"{server.url}/smoke"), **options) for _ in range(count)]
        for node in made:
            await stack.enter_async_context(node)
        yield made


def serve_all(node: Node) -> None:
    """What the tests ask for, on port 80."""
    app = node.rest.create_server()

    @app.get("/hello/:name")
    async def hello(request: Request, response: Response) -> None:
        await response.text(f"hello {request.params['name']} from {request.remote}", 201)

    @app.post("/echo")
    async def echo(request: Request, response: Response) -> None:
        response.headers["x-query"] = ",".join(request.query["q"])
        await response.json(await request.json())

    @app.get("/fails")
    async def fails(_: Request, _response: Response) -> None:
        raise RuntimeError("secret")

    app.listen(80)


async def test_addresses_and_ports() -> None:
    async with nodes(2) as (host, guest):
        assert [host.address, guest.address] == ["0.0.0.1", "0.0.0.2"]
        serve_all(host)
        with pytest.raises(PortInUse):
            host.rest.create_server().listen("80")
        for node, remote, seen in (
            (guest, "0.0.0.1", "0.0.0.2"),
            (host, "localhost", "localhost"),
            (host, "0.0.0.1", "localhost"),
        ):
            response = await node.rest.fetch(f"rest://{remote}/hello/b%20c")
            assert (response.status, await response.text()) == (201, f"hello b c from {seen}")
        for url in ("rest://0.0.0.1:81/", "rest://localhost/"):
            with pytest.raises(PortRefused, match="forcefully closed this connection"):
                await guest.rest.fetch(url)
        with pytest.raises(PeerUnavailable):
            await guest.rest.fetch("rest://0.0.0.9/")
        with pytest.raises(InvalidRequest):
            await guest.rest.fetch("http://0.0.0.1/")


async def test_requests_bodies_and_errors() -> None:
    async with nodes(1) as (node,):
        serve_all(node)
        response = await node.rest.fetch("/echo?q=1&q=2", method="post", json={"a": [1]})
        assert response.headers["x-query"] == "1,2"
        assert await response.json() == {"a": [1]}
        failed = await node.rest.fetch("/fails")
        assert (failed.status, await failed.text()) == (500, "internal server error")
        assert (await node.rest.fetch("/absent")).status == 404


async def test_host_names_and_the_way_back_on_one_connection() -> None:
    async with nodes(2) as (host, guest):
        serve_all(host)
        serve_all(guest)
        await host.hub.register("host")
        response = await guest.rest.fetch("rest://host/hello/a")
        assert await response.text() == "hello a from 0.0.0.2"
        response = await host.rest.fetch(f"rest://{guest.address}/hello/a")
        assert await response.text() == "hello a from 0.0.0.1"
        assert not host.network._peers
        with pytest.raises(PeerUnavailable, match="no node has the host name 'nobody'"):
            await guest.rest.fetch("rest://nobody/")


async def test_sockets() -> None:
    async with nodes(2) as (host, guest):

        async def echo(socket: Socket) -> None:
            async for message in socket:
                await socket.send(message)

        host.sockets.create_server(echo).listen(7000)
        for node, remote in ((guest, "0.0.0.1"), (host, "localhost")):
            async with await node.sockets.connect(remote, 7000) as socket:
                for message in (b"", b"hello", bytes(1_500_000)):
                    await socket.send(message)
                    assert await socket.receive() == message
        with pytest.raises(PortRefused):
            await guest.sockets.connect("localhost", 7000)

        async def greet(socket: Socket) -> None:
            await socket.send("hello")

        host.sockets.create_server(greet).listen("greeting")
        socket = await guest.sockets.connect("0.0.0.1", "greeting")
        assert [message async for message in socket] == [b"hello"]
        with pytest.raises(WebSocketClosed):
            await socket.send("late")


async def test_sockets_are_closed_in_order_with_the_node_of_either_end() -> None:
    async with nodes(3) as (host, *guests):
        opened: asyncio.Queue[Socket] = asyncio.Queue()

        async def listen(socket: Socket) -> None:
            opened.put_nowait(socket)
            await socket.send("last")
            async for _ in socket:
                pass

        async def read(socket: Socket) -> list[bytes]:
            return [message async for message in socket]

        host.sockets.create_server(listen).listen(1)
        sockets = [await guest.sockets.connect(host.address, 1) for guest in guests]
        readers = [asyncio.create_task(read(socket)) for socket in sockets]
        for _ in guests:
            await opened.get()
        await guests[0].close()
        await host.close()
        for reader in readers:
            assert await reader == [b"last"]


async def test_a_call_that_nobody_waits_for_any_more_is_made_anew() -> None:
    async with nodes(1) as (guest,):
        call = asyncio.create_task(guest.rest.fetch("rest://0.0.0.2/hello/a"))
        while not guest.network._peers:
            await asyncio.sleep(0)
        [dialing] = guest.network._peers.values()
        call.cancel()
        await asyncio.wait((call, dialing))
        assert isinstance(dialing.exception(), PeerUnavailable)
        async with Node(NetworkHub(guest.hub._url)) as host:
            serve_all(host)
            response = await guest.rest.fetch(f"rest://{host.address}/hello/a")
            assert await response.text() == "hello a from 0.0.0.1"


async def test_a_path_that_looks_like_an_authority_is_a_path() -> None:
    async with nodes(1) as (node,):
        serve_all(node)
        for target in ("//[x", "//host/hello/a"):
            assert (await node.rest.fetch(target)).status == 404


async def test_records_of_a_slow_source_do_not_wait_for_those_behind_them() -> None:
    read = asyncio.Event()

    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            yield number
            await read.wait()
            read.clear()

    async with nodes(1) as (node,):
        app = node.rest.create_server()

        @app.get("/")
        async def all_of_them(_: Request, response: Response) -> None:
            await response.query(numbers())

        app.listen(80)
        response = await node.rest.fetch("/")
        assert response.headers["content-type"] == "application/x-ndjson"
        async with asyncio.timeout(10):
            expected = 0
            async for number in response.query():
                assert number == expected
                expected += 1
                read.set()
        assert expected == 3


async def test_a_record_that_is_no_json_ends_a_pulled_query(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with nodes(1) as (node,):
        app = node.rest.create_server()

        @app.get("/")
        async def one(_: Request, response: Response) -> None:
            await response.query([object()], prefetch=0)

        app.listen(80)
        response = await node.rest.fetch("/")
        with pytest.raises(PeerfetchError, match="the query was broken off"):
            await response.query().to_list()
        assert "a query failed" in caplog.text


@pytest.mark.parametrize("prefetch", [None, 0])
async def test_records_are_pulled_and_end_with_who_reads_them(prefetch: int | None) -> None:
    pulled, ended = 0, asyncio.Event()

    async def numbers() -> AsyncIterator[dict[str, int]]:
        nonlocal pulled
        try:
            while True:
                pulled += 1
                yield {"at": pulled - 1}
        finally:
            ended.set()

    async with nodes(1) as (node,):
        app = node.rest.create_server()

        @app.get("/")
        async def all_of_them(_: Request, response: Response) -> None:
            await response.query(numbers(), prefetch=prefetch)

        @app.get("/few")
        async def few(_: Request, response: Response) -> None:
            records = Queryable([{"at": 2}, {"at": 1}]).where(lambda one: one["at"] > 0)
            await response.query(records, prefetch=prefetch)

        app.listen(80)
        response = await node.rest.fetch("/")
        found = await response.query().select(lambda one: one["at"]).take(3).to_list()
        assert found == [0, 1, 2]
        async with asyncio.timeout(10):
            await ended.wait()
        if prefetch == 0:
            assert pulled == 3
        response = await node.rest.fetch("/few")
        ordered = response.query().order_by(lambda one: one["at"])
        assert [one["at"] async for one in ordered] == [1, 2]


async def test_an_access_token_and_a_pin() -> None:
    async with nodes(1, access_token="known") as (host,):
        serve_all(host)
        server = host.hub._url
        for token, wanted in (("known", None), ("unknown", AccessDenied)):
            async with Node(NetworkHub(server), access_token=token) as guest:
                work = guest.rest.fetch(f"rest://{host.address}/hello/a")
                if wanted is None:
                    assert (await work).status == 201
                    with pytest.raises(ConnectError, match="not the pinned one"):
                        await guest.rest.fetch("rest://0.0.0.1/", pin=f"sha256:{'0' * 64}")
                else:
                    with pytest.raises(wanted):
                        await work


async def test_256_nodes_are_connected_at_once() -> None:
    async with contextlib.AsyncExitStack() as stack:
        settings = SignalingServerSettings(smoke=True, max_per_address=1000)
        server = SignalingServer(settings)
        await server.start("127.0.0.1", 0)
        stack.push_async_callback(server.close)

        async def node() -> Node:
            return await stack.enter_async_context(Node(NetworkHub(f"{server.url}/smoke")))

        host = await node()
        serve_all(host)
        guests = [await node() for _ in range(256)]
        for guest in guests:
            response = await guest.rest.fetch(f"rest://{host.address}/hello/a")
            assert await response.text() == f"hello a from {guest.address}"
        # All of them still are: each is asked on the connection that it has made.
        for guest in guests:
            response = await guest.rest.fetch(f"rest://{host.address}/absent")
            assert response.status == 404
        assert host.network._server is not None
        assert len(host.network._server.peers) == 256


async def test_answers_that_wait_count_for_each_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(continuations, "MAX_WAITING", 2)
    async with nodes(3) as (host, one, other):
        app = host.rest.create_server()
        ended: list[int] = []

        @app.get("/")
        async def query(_: Request, response: Response) -> None:
            await response.query([1, 2], prefetch=0)

        @app.get("/later")
        async def later(_: Request, response: Response) -> None:
            await response._continue("query", Waiting(_nothing, lambda: ended.append(1)), None)

        app.listen(80)
        url = f"rest://{host.address}/"
        assert [(await one.rest.fetch(url)).status for _ in range(3)] == [200, 200, 500]
        answer = await other.rest.fetch(url)
        assert await answer.query().to_list() == [1, 2]
        await other.rest.fetch(f"{url}later")
        assert ended == []
        await other.close()
        async with asyncio.timeout(20):
            while not ended:  # with the session, not when its time is up
                await asyncio.sleep(0)


async def _nothing(_: object) -> None:
    raise AssertionError("nobody comes for it")
