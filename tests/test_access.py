"""Proofs of the access token: their bytes, and what sessions and servers make of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peerfetch_fast import _framing, connect
from peerfetch_fast.access import Access
from peerfetch_fast.errors import (
    AccessDenied,
    ConnectError,
    InvalidAccessToken,
    LinkClosed,
    PeerfetchError,
    SessionClosed,
)
from peerfetch_fast.http.client import fetch
from peerfetch_fast.http.server import Exchange, serve_session
from peerfetch_fast.link import memory_pair
from peerfetch_fast.session import Session
from peerfetch_fast.settings import Limits, Settings
from processes import TRANSPORTS, require_transport
from support import run, until, virtually
from test_peer import world

VECTORS = json.loads((Path(__file__).parent / "vectors" / "peerfetch2.json").read_text())["access"]
OPENER, RESPONDER, MIDDLE = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32
TOKEN = "a token that nobody guesses"


def access(*, opener: bool, token: str = TOKEN, remote: bytes | None = None) -> Access:
    local, other = (OPENER, RESPONDER) if opener else (RESPONDER, OPENER)
    return Access(token, opener=opener, local=local, remote=remote or other)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vectors(vector: dict[str, str]) -> None:
    ends = bytes.fromhex(vector["opener"]), bytes.fromhex(vector["responder"])
    opener = Access(vector["token"], opener=True, local=ends[0], remote=ends[1])
    responder = Access(vector["token"], opener=False, local=ends[1], remote=ends[0])
    assert opener.proof.hex() == vector["opener_proof"]
    assert responder.proof.hex() == vector["responder_proof"]
    assert opener.admits(responder.proof)
    assert responder.admits(opener.proof)


@pytest.mark.parametrize("opener", [True, False])
def test_proofs_that_are_worth_nothing(opener: bool) -> None:
    ours = access(opener=opener)
    other = access(opener=not opener)
    assert ours.admits(other.proof)
    # Its own, reflected; another token's; one for another connection.
    assert not ours.admits(ours.proof)
    assert not ours.admits(access(opener=not opener, token="another").proof)
    assert not ours.admits(access(opener=not opener, remote=MIDDLE).proof)
    for proof in (b"", bytes(32), other.proof[:-1], other.proof + b"\0"):
        assert not ours.admits(proof)


def test_a_peer_that_uses_our_certificate_on_both_sides_cannot_swap_roles() -> None:
    same = Access(TOKEN, opener=True, local=OPENER, remote=OPENER)
    assert not same.admits(same.proof)


@pytest.mark.parametrize("token", ["", "x" * 1025, "ä" * 513, "\ud800"])
def test_what_is_no_token(token: str) -> None:
    with pytest.raises(InvalidAccessToken, match="access token"):
        access(opener=True, token=token)
    with pytest.raises(InvalidAccessToken):
        connect("somebody", signaling="ws://127.0.0.1:1", access_token=token)


# -- sessions ------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def sessions(
    opener: Access | None,
    responder: Access | None,
    *,
    settings: Settings | None = None,
    seed: int | None = None,
) -> AsyncIterator[tuple[Session, Session, list[str]]]:
    """A client, a server, and the targets that its handler was asked for."""
    asked: list[str] = []

    async def handler(exchange: Exchange) -> None:
        asked.append(exchange.target)
        exchange.respond(200, body=b"served")

    one, other = memory_pair(seed=seed)
    client = Session(one, opener=True, accepting=False, settings=settings, access=opener)
    server = Session(other, opener=False, settings=settings, access=responder)
    serving = asyncio.ensure_future(serve_session(server, handler))
    try:
        yield client, server, asked
    finally:
        client.abort()
        await client.wait_closed()
        await server.wait_closed()
        await serving


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_the_same_token_on_both_sides(seed: int | None) -> None:
    async def main() -> None:
        both = access(opener=True), access(opener=False)
        async with sessions(*both, seed=seed) as (client, server, asked):
            assert not client.proved
            assert not server.proved
            # A request that is made at once waits for the proof.
            response = await fetch(client, "/early")
            assert await response.text() == "served"
            assert client.proved
            assert server.proved
            assert asked == ["/early"]
            await client.wait_proved()
            await server.wait_proved()

    virtually(main())


def test_the_serving_side_asks_nothing_before_the_proof_either() -> None:
    async def main() -> None:
        async with sessions(None, access(opener=False)) as (_, server, _asked):
            opening = asyncio.ensure_future(server.open_stream())
            with pytest.raises(AccessDenied):
                await opening

    virtually(main())


def test_another_token_on_the_other_side() -> None:
    async def main() -> None:
        both = access(opener=True, token="a"), access(opener=False, token="b")
        async with sessions(*both) as (client, server, asked):
            with pytest.raises(AccessDenied, match="does not know"):
                await server.wait_proved()
            # Ending it is left to the server, whose own proof the client does not get to see.
            assert server.error is None
            assert not server.proved
            asking = asyncio.ensure_future(fetch(client, "/"))
            await asyncio.sleep(1)
            assert not asking.done()
            server.abort(_framing.ACCESS_DENIED, "the access token is wrong")
            with pytest.raises(AccessDenied, match="the access token is wrong"):
                await asking
            with pytest.raises(AccessDenied):
                await client.wait_proved()
            assert asked == []

    virtually(main())


def test_a_client_without_the_token() -> None:
    async def main() -> None:
        async with sessions(None, access(opener=False)) as (client, server, asked):
            for _ in range(3):
                response = await fetch(client, "/", body=b"not read")
                assert response.status == 401
                assert response.headers["www-authenticate"]
                assert "access token" in await response.text()
            assert asked == []
            with pytest.raises(AccessDenied, match="in time"):
                await server.wait_proved()
            with pytest.raises(AccessDenied):
                await fetch(client, "/")

    virtually(main())


def test_a_server_without_the_token() -> None:
    async def main() -> None:
        began = asyncio.get_running_loop().time()
        async with sessions(access(opener=True), None) as (client, server, asked):
            asking = asyncio.ensure_future(fetch(client, "/"))
            with pytest.raises(AccessDenied, match="in time"):
                await asking
            assert asyncio.get_running_loop().time() - began == pytest.approx(10, abs=0.1)
            assert asked == []
            await server.wait_closed()
            assert isinstance(server.error, AccessDenied)

    virtually(main())


def test_a_server_in_the_middle() -> None:
    async def main() -> None:
        # It knows the token and has another certificate than the client sees: no better than a
        # wrong token, also when it sends what the client itself has sent.
        middle = Access(TOKEN, opener=False, local=MIDDLE, remote=OPENER)
        for proof in (middle.proof, access(opener=True).proof):
            one, other = memory_pair()
            client = Session(one, opener=True, accepting=False, access=access(opener=True))
            server = Session(other, opener=False)
            other.send(_framing.varint(0x20) + _framing.varint(32) + proof)
            with pytest.raises(AccessDenied, match="stands between"):
                await client.wait_proved()
            assert client._engine.opened == 0
            await client.wait_closed()
            await server.wait_closed()
            assert isinstance(server.error, AccessDenied)

    virtually(main())


def test_neither_has_a_token() -> None:
    async def main() -> None:
        async with sessions(None, None) as (client, server, asked):
            assert client.proved
            assert server.proved
            await client.wait_proved()
            assert (await fetch(client, "/")).status == 200
            assert asked == ["/"]

    virtually(main())


def test_waiting_ends_with_the_session() -> None:
    async def main() -> None:
        one, other = memory_pair()
        client = Session(one, opener=True, access=access(opener=True))
        server = Session(other, opener=False)
        waiting = asyncio.ensure_future(client.wait_proved())
        cancelled = asyncio.ensure_future(client.wait_proved())
        await asyncio.sleep(0)
        cancelled.cancel()
        one.cut(None)
        with pytest.raises(LinkClosed):
            await waiting
        await client.wait_closed()
        await server.wait_closed()
        with contextlib.suppress(asyncio.CancelledError):
            await cancelled

    virtually(main())


# -- servers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_token_on_a_connection(transport: str) -> None:
    require_transport(transport)

    async def main() -> None:
        async with world(access_token=TOKEN, limits=Limits(access_delay=0.05)) as there:
            options: dict[str, Any] = {"transport": transport}
            async with there.connect(**options, access_token=TOKEN) as peer:
                assert await (await peer.fetch("/x")).text() == "/x"
            assert not there.server.refused
            with pytest.raises(AccessDenied, match="the access token is wrong"):
                await there.connect(**options, access_token="wrong")
            await until(lambda: not there.server.peers)
            assert there.server.refused == {"wrong access token": 1}
            async with there.connect(**options) as peer:
                assert (await peer.fetch("/x")).status == 401
            assert there.server.refused["no access token"] == 1
            assert there.asked == ["/x"]

    run(main())


def test_the_answer_to_a_wrong_token_takes_its_time() -> None:
    async def main() -> None:
        async with world(access_token=TOKEN, limits=Limits(access_delay=0.5)) as there:
            loop = asyncio.get_running_loop()
            began = loop.time()
            with pytest.raises(AccessDenied):
                await there.connect(access_token="wrong")
            assert loop.time() - began >= 0.5

    run(main())


def test_a_server_without_token_takes_no_client_that_asks_for_one() -> None:
    async def main() -> None:
        async with world() as there:
            with pytest.raises(AccessDenied, match="in time"):
                await there.connect(access_token=TOKEN, settings=Settings(access_timeout=0.2))
            assert there.asked == []

    run(main())


def test_a_client_that_never_proves_has_to_leave() -> None:
    async def main() -> None:
        async with world(access_token=TOKEN, settings=Settings(access_timeout=0.3)) as there:
            async with there.connect() as peer:
                await peer.wait_closed()
                assert isinstance(peer.session.error, AccessDenied)
            assert there.server.refused["no access token in time"] == 1

    run(main())


def test_who_fails_too_often_is_locked_out(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a machine with several addresses it is chance which one a connection takes.
    monkeypatch.setattr("peerfetch_fast.webrtc.gatherer.host_addresses", lambda: ["127.0.0.1"])

    async def main() -> None:
        limits = Limits(access_delay=0.01, access_failures=3, access_lockout=60)
        async with world(access_token=TOKEN, limits=limits) as there:
            for _ in range(3):
                with pytest.raises(AccessDenied):
                    await there.connect(access_token="wrong")
            # Each came with another peer id; the address is the same, and so is now refused with
            # the right token too.
            with pytest.raises((ConnectError, LinkClosed, SessionClosed)):
                await there.connect(access_token=TOKEN)
            assert there.server.refused["wrong access token"] == 3
            assert there.server.refused["too many wrong access tokens"] == 1
            assert there.asked == []

    with caplog.at_level(logging.WARNING):
        run(main())
    # Three refusals of a kind, told once.
    assert caplog.text.count("wrong access token\n") == 1


def test_guesses_at_the_same_time_are_no_more_than_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("peerfetch_fast.webrtc.gatherer.host_addresses", lambda: ["127.0.0.1"])

    async def main() -> None:
        limits = Limits(access_delay=0.01, access_failures=3, access_lockout=60)
        async with world(access_token=TOKEN, limits=limits) as there:
            guesses = (there.connect(access_token=f"wrong {n}") for n in range(8))
            ended = await asyncio.gather(*guesses, return_exceptions=True)
            assert all(isinstance(error, PeerfetchError) for error in ended)
            assert there.server.refused["wrong access token"] == 3
            assert there.server.refused["too many wrong access tokens"] == 5
            assert not there.server._admission._proving

    run(main())


def test_those_who_know_the_token_come_in_together() -> None:
    async def main() -> None:
        limits = Limits(access_failures=1)
        async with world(access_token=TOKEN, limits=limits) as there:
            connecting = (there.connect(access_token=TOKEN) for _ in range(6))
            for peer in await asyncio.gather(*connecting):
                await peer.close()
            assert not there.server.refused

    run(main())
