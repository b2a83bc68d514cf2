"""httpx.AsyncClient and httpx.Client through peers: what their users expect of a transport.

What httpx's own tests of a live server say is run by tests/interop/test_httpx_suite.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

httpx = pytest.importorskip("httpx")

from peerfetch_fast import Peer, PeerState, Server, serve  # noqa: E402
from peerfetch_fast.httpx import SyncTransport, Transport  # noqa: E402
from peerfetch_fast.settings import Settings  # noqa: E402
from processes import environment  # noqa: E402
from support import run, until, web_server  # noqa: E402
from test_peer import signaling_server  # noqa: E402


@dataclass
class Site:
    """An upstream behind a peer, and a client with the transport."""

    client: Any
    server: Server
    signaling: str
    go: asyncio.Event
    cancelled: asyncio.Event
    upstream_port: int
    loop: asyncio.AbstractEventLoop
    received: bytearray = field(default_factory=bytearray)

    def url(self, path: str) -> str:
        return f"peer://{self.server.peer_id}{path}"


@contextlib.asynccontextmanager
async def site(settings: Settings | None = None, **options: Any) -> AsyncIterator[Site]:
    go, cancelled, received = asyncio.Event(), asyncio.Event(), bytearray()

    async def echo(request: web.Request) -> web.Response:
        body = await request.text()
        fields = [[n.decode(), v.decode()] for n, v in request.raw_headers]
        answer = {"method": request.method, "target": request.raw_path, "body": body}
        return web.json_response({**answer, "headers": fields})

    async def slow(request: web.Request) -> web.Response:
        try:
            await go.wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return web.Response(text="slow")

    async def pieces(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await go.wait()
        await response.write(b"second")
        return response

    async def take(request: web.Request) -> web.Response:
        async for piece in request.content.iter_any():
            received.extend(piece)
            if received == b"one":
                go.set()
        return web.Response(text=str(len(received)))

    async def never(request: web.Request) -> web.Response:
        await go.wait()  # without a look at the body
        return web.Response()

    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 1000
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response

    async def packed(request: web.Request) -> web.Response:
        headers = [("Content-Encoding", "gzip"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        return web.Response(body=gzip.compress(b"unpacked"), headers=headers)

    async def moved(request: web.Request) -> web.Response:
        raise web.HTTPFound("/echo?moved")

    app = web.Application()
    app.router.add_route("*", "/echo", echo)
    app.router.add_get("/slow", slow)
    app.router.add_get("/pieces", pieces)
    app.router.add_put("/take", take)
    app.router.add_put("/never", never)
    app.router.add_get("/cut", cut)
    app.router.add_get("/packed", packed)
    app.router.add_get("/moved", moved)
    async with (
        web_server(app) as upstream,
        signaling_server(message_queue_time=0.2) as signaling,
        serve(upstream, signaling=signaling, settings=settings) as server,
    ):
        transport = Transport(signaling=signaling)
        options = {"timeout": 60, **options}
        async with httpx.AsyncClient(transport=transport, **options) as client:
            loop = asyncio.get_running_loop()
            port = int(upstream.rpartition(":")[2])
            yield Site(client, server, signaling, go, cancelled, port, loop, received)
            go.set()


async def test_requests_and_answers() -> None:
    async with site() as there:
        answer = await there.client.post(
            there.url("/echo?a=b%20c"), json={"x": 1}, headers={"X-A": "ä".encode()}
        )
        got = answer.json()
        assert (got["method"], got["target"], got["body"]) == (
            "POST",
            "/echo?a=b%20c",
            '{"x":1}',
        )
        assert ["x-a", "ä"] in [[name.lower(), value] for name, value in got["headers"]]
        # The host of the URL is a peer, and not what the upstream is called.
        assert ["host", f"127.0.0.1:{there.upstream_port}"] in got["headers"]
        assert answer.status_code == 200
        assert answer.reason_phrase == "OK"
        assert answer.http_version == "HTTP/1.1"
        assert isinstance(answer.extensions["peer"], Peer)
        assert str(answer.url) == there.url("/echo?a=b%20c")
        for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"):
            answer = await there.client.request(method, there.url("/echo"))
            assert answer.status_code == 200
            if method != "HEAD":
                assert answer.json()["method"] == method
                assert answer.json()["body"] == ""


async def test_httpx_does_what_is_its_own() -> None:
    async with site(follow_redirects=True) as there:
        answer = await there.client.get(there.url("/packed"))
        assert answer.text == "unpacked"
        assert dict(answer.cookies) == {"a": "1", "b": "2"}
        assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
        answer = await there.client.get(there.url("/moved"))
        assert [seen.status_code for seen in answer.history] == [302]
        assert answer.json()["target"] == "/echo?moved"
        assert answer.history[0].headers["location"] == there.url("/echo?moved")
        there.client.base_url = there.url("/")
        assert (await there.client.get("/moved")).json()["target"] == "/echo?moved"
        async with there.client.stream("GET", there.url("/packed")) as answer:
            assert gzip.decompress(b"".join([p async for p in answer.aiter_raw()])) == (b"unpacked")


async def test_one_connection_to_a_peer_for_all_requests() -> None:
    async with site() as there:
        answers = await asyncio.gather(
            *(there.client.get(there.url(f"/echo?{number}")) for number in range(40))
        )
        assert [a.json()["target"] for a in answers] == [f"/echo?{n}" for n in range(40)]
        assert len(there.server.peers) == 1
        assert len({answer.extensions["peer"] for answer in answers}) == 1


async def test_bodies_stream_both_ways() -> None:
    async with site() as there:

        async def upload() -> AsyncIterator[bytes]:
            yield b"one"
            await there.go.wait()  # the upstream has it before the second is made
            yield b"two"

        answer = await there.client.put(there.url("/take"), content=upload())
        assert (answer.text, there.received) == ("6", b"onetwo")
        there.go.clear()
        async with there.client.stream("GET", there.url("/pieces")) as answer:
            pieces = answer.aiter_bytes()
            assert await anext(pieces) == b"first"
            there.go.set()
            assert await anext(pieces) == b"second"


async def test_leaving_a_stream_stops_the_upstream() -> None:
    async with site() as there:
        async with there.client.stream("GET", there.url("/pieces")) as answer:
            peer = answer.extensions["peer"]
            assert await anext(answer.aiter_bytes()) == b"first"
        await until(lambda: peer.session.open_streams == 0)
        asking = asyncio.ensure_future(there.client.get(there.url("/slow")))
        await until(lambda: peer.session.open_streams == 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await there.cancelled.wait()


async def test_each_timeout_is_raised_as_httpx_names_it() -> None:
    async with site(Settings(max_streams=16)) as there:
        url, none = there.url, {"connect": 60, "read": 60, "write": 60, "pool": 60}
        await there.client.get(url("/echo"))

        def only(**one: float) -> Any:
            return httpx.Timeout(**none | one)

        with pytest.raises(httpx.ReadTimeout, match=r"answer did not come within 0\.1 s"):
            await there.client.get(url("/slow"), timeout=only(read=0.1))
        with pytest.raises(httpx.ReadTimeout, match="piece"):
            await there.client.get(url("/pieces"), timeout=only(read=2.0))
        with pytest.raises(httpx.WriteTimeout) as caught:
            body = bytes(50_000_000)
            await there.client.put(url("/never"), content=body, timeout=only(write=0.3))
        assert str(caught.value.request.url) == url("/never")
        busy = [asyncio.ensure_future(there.client.get(url("/slow"))) for _ in range(20)]
        [peer] = [task.result() for task in there.client._transport._peers.values()]
        await until(lambda: len(peer.session._openers) > 0)  # some of them wait for a stream
        with pytest.raises(httpx.PoolTimeout, match="stream"):
            await there.client.get(url("/echo"), timeout=only(pool=0.1))
        there.go.set()
        await asyncio.gather(*busy)
        await there.server.close(timeout=0.1)
        await peer.wait_for(PeerState.RECONNECTING)
        with pytest.raises(httpx.ConnectTimeout, match="connection"):
            await there.client.get(url("/echo"), timeout=only(connect=0.2))


async def test_errors_are_httpx_s() -> None:
    async with site() as there:
        with pytest.raises(httpx.ConnectError, match="nobody") as caught:
            await there.client.get("peer://nobody/")
        assert str(caught.value.request.url) == "peer://nobody/"
        for url in ("http://127.0.0.1/", "other://x/", "peer:///path"):
            with pytest.raises((httpx.UnsupportedProtocol, httpx.LocalProtocolError)):
                await there.client.get(url)
        with pytest.raises(httpx.RemoteProtocolError):
            await there.client.get(there.url("/cut"))
        with pytest.raises(httpx.LocalProtocolError):
            await there.client.request("GE T", there.url("/echo"))
        async with there.client.stream("GET", there.url("/pieces")) as answer:
            pieces = answer.aiter_bytes()
            await anext(pieces)
            answer.extensions["peer"].session.abort()
            with pytest.raises(httpx.ReadError):
                await anext(pieces)
        # The connection comes back by itself.
        assert (await there.client.get(there.url("/echo"))).status_code == 200


async def test_a_post_that_was_lost_is_not_repeated() -> None:
    async def upload() -> AsyncIterator[bytes]:
        yield b"one"

    async with site() as there:
        await there.client.get(there.url("/echo"))
        [peer] = [task.result() for task in there.client._transport._peers.values()]
        asking = asyncio.ensure_future(there.client.put(there.url("/never"), content=upload()))
        await until(lambda: peer.session.open_streams == 1)
        peer.session.abort()
        with pytest.raises(httpx.ReadError, match="not sent again"):
            await asking


async def test_a_peer_that_was_given_up_is_dialled_again() -> None:
    async with site() as there:
        first = (await there.client.get(there.url("/echo"))).extensions["peer"]
        await first.abort()
        second = (await there.client.get(there.url("/echo"))).extensions["peer"]
        assert second is not first
        assert second.state is PeerState.CONNECTED


async def test_closing_while_a_connection_is_made() -> None:
    async with signaling_server(message_queue_time=60) as signaling:
        transport = Transport(signaling=signaling)
        async with httpx.AsyncClient(transport=transport) as client:
            asking = asyncio.ensure_future(client.get("peer://nobody/"))
            await asyncio.sleep(0.1)
        with pytest.raises((asyncio.CancelledError, httpx.TransportError)):
            await asking


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_httpx_s_own_timeout_lets_the_word_of_signaling_servers_come(kind: str) -> None:
    # PeerJS's server lets a message wait for 5 s, and looks each second.
    async with signaling_server(message_queue_time=5.5) as signaling:
        if kind == "async":
            async with httpx.AsyncClient(transport=Transport(signaling=signaling)) as client:
                with pytest.raises(httpx.ConnectError, match="nobody"):
                    await client.get("peer://nobody/")
            return

        def ask() -> None:
            with (
                httpx.Client(transport=SyncTransport(signaling=signaling)) as client,
                pytest.raises(httpx.ConnectError, match="nobody"),
            ):
                client.get("peer://nobody/")

        await asyncio.to_thread(ask)


# -- httpx.Client ---------------------------------------------------------------------------------


def synchronously(work: Callable[[Site, Any], None], **options: Any) -> None:
    """Run ``work`` with a site and an httpx.Client, in a thread that has no event loop."""

    async def main() -> None:
        async with site() as there:

            def with_client() -> None:
                transport = SyncTransport(signaling=there.signaling)
                with httpx.Client(transport=transport, **{"timeout": 60, **options}) as client:
                    work(there, client)

            await asyncio.to_thread(with_client)
        left = [thread.name for thread in threading.enumerate() if thread.name == "peerfetch"]
        assert not left

    run(main())


def test_the_synchronous_client_asks_and_keeps_one_connection() -> None:
    def work(there: Site, client: Any) -> None:
        answer = client.post(there.url("/echo?a=b%20c"), json={"x": 1})
        got = answer.json()
        assert (got["method"], got["target"], got["body"]) == ("POST", "/echo?a=b%20c", '{"x":1}')
        assert (answer.status_code, answer.http_version) == (200, "HTTP/1.1")
        assert answer.extensions["peer"].fingerprint == there.server.fingerprint
        answer = client.get(there.url("/packed"))
        assert (answer.text, dict(answer.cookies)) == ("unpacked", {"a": "1", "b": "2"})
        assert client.get(there.url("/moved")).json()["target"] == "/echo?moved"
        for method in ("HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"):
            assert client.request(method, there.url("/echo")).status_code == 200
        assert len(there.server.peers) == 1

    synchronously(work, follow_redirects=True)


def test_many_threads_share_a_synchronous_client() -> None:
    def work(there: Site, client: Any) -> None:
        with ThreadPoolExecutor(20) as threads:
            answers = threads.map(lambda n: client.get(there.url(f"/echo?{n}")), range(60))
            assert [a.json()["target"] for a in answers] == [f"/echo?{n}" for n in range(60)]
        assert len(there.server.peers) == 1

    synchronously(work)


def test_the_synchronous_body_is_iterated_by_who_asks() -> None:
    def work(there: Site, client: Any) -> None:
        threads = []

        def pieces() -> Iterator[bytes]:
            for piece in (b"one", b"", b"two"):
                threads.append(threading.current_thread())
                yield piece

        assert client.put(there.url("/take"), content=pieces()).text == "6"
        assert there.received == b"onetwo"
        assert set(threads) == {threading.current_thread()}
        closed = []

        def failing() -> Iterator[bytes]:
            try:
                yield b"one"
                raise KeyError("of ours")
            finally:
                closed.append(True)

        with pytest.raises(KeyError, match="of ours"):
            client.put(there.url("/take"), content=failing())
        assert closed == [True]
        # An answer that comes before all was sent.
        large = iter([bytes(1_000_000)] * 20)
        assert client.post(there.url("/cut"), content=large).status_code == 405

    synchronously(work)


def test_synchronous_streams_give_pieces_as_they_come() -> None:
    def work(there: Site, client: Any) -> None:
        with client.stream("GET", there.url("/pieces")) as answer:
            pieces = answer.iter_bytes()
            assert next(pieces) == b"first"
            there.loop.call_soon_threadsafe(there.go.set)
            assert next(pieces) == b"second"
            assert list(pieces) == []
        there.loop.call_soon_threadsafe(there.go.clear)
        with client.stream("GET", there.url("/pieces")) as answer:
            session = answer.extensions["peer"].session
            assert next(answer.iter_bytes()) == b"first"
            assert session.open_streams == 1
        forgotten = client.send(client.build_request("GET", there.url("/pieces")), stream=True)
        del forgotten, answer
        gc.collect()

        async def ended() -> None:
            await until(lambda: session.open_streams == 0)

        asyncio.run(ended())

    synchronously(work)


def test_the_errors_of_the_synchronous_client_are_httpx_s() -> None:
    def work(there: Site, client: Any) -> None:
        with pytest.raises(httpx.ConnectError, match="nobody") as caught:
            client.get("peer://nobody/")
        assert str(caught.value.request.url) == "peer://nobody/"
        with pytest.raises(httpx.UnsupportedProtocol):
            client.get("http://127.0.0.1/")
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(there.url("/cut"))
        with pytest.raises(httpx.LocalProtocolError):
            client.request("GE T", there.url("/echo"))
        with pytest.raises(httpx.ReadTimeout, match="answer"):
            client.get(there.url("/slow"), timeout=httpx.Timeout(60, read=0.1))
        with pytest.raises(httpx.WriteTimeout):
            pieces = iter([bytes(1_000_000)] * 50)
            client.put(there.url("/never"), content=pieces, timeout=httpx.Timeout(60, write=0.3))

    synchronously(work)


def test_closing_a_synchronous_client_ends_what_runs() -> None:
    def work(there: Site, client: Any) -> None:
        client.get(there.url("/echo"))
        transport = client._transport
        with ThreadPoolExecutor(2) as threads:
            [peer] = [task.result() for task in transport._transport._peers.values()]
            answer = threads.submit(client.get, there.url("/slow"))
            with client.stream("GET", there.url("/pieces")) as streaming:
                pieces = streaming.iter_bytes()
                assert next(pieces) == b"first"
                asyncio.run(until(lambda: peer.session.open_streams == 2))
                transport.close()
                with pytest.raises(httpx.ReadError):
                    next(pieces)
            with pytest.raises(httpx.ReadError):
                answer.result()
        with pytest.raises(httpx.ReadError, match="closed"):
            client.get(there.url("/echo"))
        transport.close()

    synchronously(work)


def test_a_synchronous_transport_that_is_forgotten_ends_its_thread() -> None:
    def work(there: Site, client: Any) -> None:
        forgotten = SyncTransport(signaling=there.signaling)
        request = httpx.Request("GET", there.url("/echo"))
        assert forgotten.handle_request(request).read()
        thread = forgotten._background._thread
        assert thread is not None
        assert thread.is_alive()
        del forgotten
        gc.collect()
        assert not thread.is_alive()

    synchronously(work)


async def test_a_program_that_closes_nothing_ends(tmp_path: Path) -> None:
    async with site() as there:
        code = f"""
import httpx, peerfetch_fast

transport = peerfetch_fast.httpx.SyncTransport(signaling={there.signaling!r})
client = httpx.Client(transport=transport, timeout=60)
print(client.get({there.url("/echo")!r}).json()["target"])
"""
        ended = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-c", code),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(tmp_path),
        )
        told, failed = await asyncio.wait_for(ended.communicate(), 60)
        assert (told, failed, ended.returncode) == (b"/echo\n", b"", 0)
