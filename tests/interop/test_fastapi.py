"""A FastAPI application under uvicorn through the proxy: many requests at once, and disasters."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiortc import RTCIceServer
from tests.webrtc.servers import dead_server

from peerfetch_fast import Peer, connect, serve
from peerfetch_fast.errors import (
    LinkClosed,
    PeerfetchError,
    PeerLost,
    PeerUnresponsive,
    StreamReset,
)
from peerfetch_fast.http import codes
from peerfetch_fast.settings import Settings
from processes import Process, environment, posix_only, running, start_proxy, uvicorn
from support import run, until

pytestmark = posix_only

IMPATIENT = Settings(keep_alive=0.3, dead_after=3.0, resume_timeout=0.0, close_timeout=0.5)
"""Limits with which the other side's death is noticed sooner than a test would like to wait."""


@pytest.fixture
def proxy(fastapi: str, proxies: Callable[[str], Process]) -> Process:
    return proxies(fastapi)


def reach(proxy: Process, transport: Any, **options: Any) -> Any:
    ready = proxy.ready
    return connect(ready["peer_id"], signaling=ready["signaling"], transport=transport, **options)


async def test_hello_and_echo_answer_through_the_proxy(proxy: Process, transport: str) -> None:
    async with reach(proxy, transport) as peer:
        response = await peer.fetch("/api/hello")
        assert response.headers["content-type"] == "application/json"
        assert await response.json() == {"message": "Hello World"}
        response = await peer.fetch("/api/echo", params=[("a", "1 &"), ("a", "ä")])
        assert await response.json() == {"query": [["a", "1 &"], ["a", "ä"]]}
        sent = {"ä": [1, 2.5, None, {"b": "\u2603"}]}
        response = await peer.fetch("/api/echo", json=sent)
        assert response.ok
        assert await response.json() == sent
        response = await peer.fetch("/api/echo", method="DELETE")
        assert response.status == 405


async def test_256_requests_at_once_on_one_session(proxy: Process, transport: str) -> None:
    async with reach(proxy, transport) as peer:
        most = 0

        async def ask(number: int) -> None:
            nonlocal most
            if number % 2:
                sent = {"number": number, "filling": f"{number:05} " * (number * 10)}
                response = await peer.fetch("/api/echo", json=sent)
            else:
                sent = {"query": [["number", str(number)]]}
                response = await peer.fetch("/api/echo", params={"number": number})
            most = max(most, peer.session.open_streams)
            assert response.status == 200
            assert await response.json() == sent

        await asyncio.gather(*map(ask, range(256)))
        assert most > 200
        assert peer.session.open_streams == 0


async def test_an_upload_of_unknown_length(proxy: Process, transport: str) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 30_000

    async with reach(proxy, transport) as peer:
        response = await peer.fetch("/api/length", body=body())
        assert await response.json() == {"length": 3_000_000}


async def test_two_peers_at_once(proxy: Process, transport: str) -> None:
    async with reach(proxy, transport) as one, reach(proxy, "aiortc") as other:
        for peer in (one, other):
            assert (await (await peer.fetch("/api/hello")).json())["message"]


async def endless(peer: Peer) -> Any:
    """An answer that goes on, of which something was read."""
    response = await peer.fetch("/api/endless")
    assert response.status == 200
    assert set(await response.read()) == {ord("x")}
    return response


async def rest_of(response: Any) -> None:
    while await response.read():
        pass
    raise AssertionError("an answer that was cut short looks whole")


async def endless_answers(peer: Peer) -> int:
    return int((await (await peer.fetch("/api/running")).json())["running"])


async def until_endless_answers(peer: Peer, number: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while await endless_answers(peer) != number:
        assert time.monotonic() < deadline, "the upstream's answers go on"
        await asyncio.sleep(0.05)


async def test_closing_early_ends_the_upstreams_answer(proxy: Process, transport: str) -> None:
    async with reach(proxy, transport) as peer:
        response = await endless(peer)
        assert await endless_answers(peer) == 1
        response.close()
        await until_endless_answers(peer, 0, 60)


def test_the_upstream_is_killed_inside_its_answer(tmp_path: Path, transport: str) -> None:
    with uvicorn(tmp_path) as (url, server), start_proxy(tmp_path, url, transport) as proxy:

        async def main() -> None:
            async with reach(proxy, transport) as peer:
                responses = [await endless(peer) for _ in range(3)]
                server.kill()
                for response in responses:
                    with pytest.raises(StreamReset) as raised:
                        await rest_of(response)
                    assert raised.value.code == codes.UPSTREAM_ERROR
                response = await peer.fetch("/api/hello")
                assert response.status == 502
                assert "did not answer" in await response.text()
                assert peer.session.open_streams == 0

        run(main())
        proxy.signal(15)  # type: ignore[arg-type]
        assert proxy.wait() == 0
        assert "Traceback" not in proxy.output


def test_a_client_is_killed_inside_an_answer(tmp_path: Path, fastapi: str, transport: str) -> None:
    with start_proxy(tmp_path, fastapi, transport) as proxy:

        async def main() -> None:
            async with reach(proxy, transport) as peer:
                assert await endless_answers(peer) == 0
                before = proxy.sockets()
                with running(
                    *(sys.executable, "-m", "peerfetch_fast", "fetch", "--transport", transport),
                    *(f"peer://{proxy.ready['peer_id']}/api/endless", "-o", tmp_path / "part"),
                    *("--retry-max-time", "2"),  # or the proxy would wait for it for a minute
                    *("--signaling", proxy.ready["signaling"]),
                    log=tmp_path / "client.log",
                    env=environment(tmp_path),
                ) as client:
                    await until_endless_answers(peer, 1, 60)
                    client.kill()
                    killed = time.monotonic()
                # Within seconds it is noticed and the upstream's work ended ...
                await until_endless_answers(peer, 0, 60)
                # ... and then nothing is left: neither its sockets nor the upstream's. One
                # connection to the upstream may stay in the pool.
                await until(lambda: proxy.sockets() <= before + 1)
                assert time.monotonic() - killed < 25

        run(main())
        proxy.signal(15)  # type: ignore[arg-type]
        assert proxy.wait() == 0
        assert "Traceback" not in proxy.output
        assert "never" not in proxy.output


def test_the_serving_program_is_killed(tmp_path: Path, fastapi: str, transport: str) -> None:
    with start_proxy(tmp_path, fastapi, transport) as proxy:

        async def main() -> None:
            # What becomes of it when the program comes back is tested in test_reconnect.py.
            async with reach(proxy, transport, settings=IMPATIENT, give_up_after=0) as peer:
                response = await endless(peer)
                waiting = asyncio.ensure_future(peer.fetch("/api/endless"))
                await waiting
                proxy.kill()
                with pytest.raises(PeerUnresponsive):
                    await rest_of(response)
                with pytest.raises(PeerUnresponsive):
                    await rest_of(waiting.result())
                with pytest.raises(PeerLost):
                    await peer.fetch("/api/hello")
                await peer.wait_closed()

        run(main())


async def test_a_client_that_vanishes_leaves_nothing_behind(
    tmp_path: Path, fastapi: str, proxies: Callable[[str], Process], transport: Any
) -> None:
    """As above, with the serving side in this process, where ``run`` sees every task."""
    signaling = proxies(fastapi).ready["signaling"]

    async with await serve(
        fastapi, signaling=signaling, transport=transport, settings=IMPATIENT
    ) as server:
        arguments = ("--signaling", signaling, "--transport", transport)
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "peerfetch_fast", "fetch", *arguments),
            f"peer://{server.peer_id}/api/endless",
            stdout=asyncio.subprocess.PIPE,
            env=environment(tmp_path),
        )
        assert client.stdout is not None
        assert await client.stdout.readexactly(1000)
        assert len(server.peers) == 1
        [peer] = server.peers
        client.kill()
        await client.communicate()
        await peer.wait_closed()
        assert isinstance(peer.session.error, LinkClosed)
        await until(lambda: not server.peers)


@pytest.mark.parametrize("who", ["client", "server"])
async def test_the_connection_is_torn_down_below_the_session(
    fastapi: str, proxies: Callable[[str], Process], transport: Any, who: str
) -> None:
    signaling = proxies(fastapi).ready["signaling"]

    async with (
        await serve(
            fastapi, signaling=signaling, transport=transport, settings=IMPATIENT
        ) as server,
        connect(
            server.peer_id,
            signaling=signaling,
            transport=transport,
            settings=IMPATIENT,
            give_up_after=0,
        ) as peer,
    ):
        response = await endless(peer)
        await until(lambda: len(server.peers) == 1)
        [served] = server.peers
        await (peer if who == "client" else served)._sessions.current.connection.close()
        with pytest.raises(LinkClosed):
            await rest_of(response)
        with pytest.raises(PeerfetchError):
            await peer.fetch("/api/hello")
        await asyncio.gather(peer.wait_closed(), served.wait_closed())
        await until(lambda: not server.peers)


def test_a_dead_stun_server_delays_nothing(tmp_path: Path, fastapi: str, transport: str) -> None:
    with dead_server() as (host, port):
        stun = f"stun:{host}:{port}"
        with start_proxy(tmp_path, fastapi, transport, "--ice-server", stun) as proxy:

            async def main() -> None:
                began = time.monotonic()
                async with reach(proxy, transport, ice_servers=[RTCIceServer(stun)]) as peer:
                    assert (await peer.fetch("/api/hello")).ok
                    # aiortc by itself takes five seconds on each side.
                    assert time.monotonic() - began < 3

            run(main())


def test_sigterm_lets_running_requests_end(tmp_path: Path, fastapi: str, transport: str) -> None:
    async def slow_body(go: asyncio.Event) -> AsyncIterator[bytes]:
        yield b"some "
        await go.wait()
        yield b"more"

    with start_proxy(tmp_path, fastapi, transport) as proxy:

        async def main() -> None:
            async with reach(proxy, transport, give_up_after=0) as peer:
                go = asyncio.Event()
                asking = asyncio.ensure_future(peer.fetch("/api/length", body=slow_body(go)))
                await until(lambda: peer.session.open_streams == 1)
                assert (await peer.fetch("/api/hello")).ok
                proxy.signal(15)  # type: ignore[arg-type]

                async def refused() -> bool:
                    try:
                        await peer.fetch("/api/hello")
                    except PeerfetchError:
                        return True
                    return False

                while not await refused():
                    await asyncio.sleep(0.02)
                go.set()
                assert await (await asking).json() == {"length": 9}
                await peer.wait_closed()

        run(main())
        assert proxy.wait() == 0
        assert "Traceback" not in proxy.output
