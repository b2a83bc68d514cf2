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
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast import _framing, connect
from peerfetch_fast.errors import (
    AccessDenied,
    InvalidAccessToken,
    LinkClosed,
    PeerfetchError,
    ProtocolError,
)
from peerfetch_fast.http.client import fetch
from peerfetch_fast.http.server import Exchange, serve_session
from peerfetch_fast.settings import Limits, Settings
from peerfetch_fast.streams._wire import varint
from peerfetch_fast.streams.access import Access, Code, CodeAccess
from peerfetch_fast.streams.link import memory_pair
from peerfetch_fast.streams.session import Session
from processes import TRANSPORTS, require_transport
from support import run, until
from test_peer import world
from wire import decode, encode

ALL_VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "peerfetch2.json").read_text())
VECTORS = ALL_VECTORS["access"]
CODES = ALL_VECTORS["codes"]
OPENER, RESPONDER, MIDDLE = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32
TOKEN = "a token that nobody guesses"


def access(*, opener: bool, token: str = TOKEN, remote: bytes | None = None) -> Access:
    local, other = (OPENER, RESPONDER) if opener else (RESPONDER, OPENER)
    return Access(token, opener=opener, local=local, remote=remote or other)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vectors_give_the_proofs_that_each_side_admits(vector: dict[str, str]) -> None:
    ends = bytes.fromhex(vector["opener"]), bytes.fromhex(vector["responder"])
    opener = Access(vector["token"], opener=True, local=ends[0], remote=ends[1])
    responder = Access(vector["token"], opener=False, local=ends[1], remote=ends[0])
    assert opener.proof.hex() == vector["opener_proof"]
    assert responder.proof.hex() == vector["responder_proof"]
    assert opener.admits(responder.proof)
    assert responder.admits(opener.proof)


@pytest.mark.parametrize("vector", CODES, ids=lambda vector: vector["name"])
def test_vectors_of_codes(vector: dict[str, str]) -> None:
    ends = bytes.fromhex(vector["opener"]), bytes.fromhex(vector["responder"])
    opener, responder = (
        CodeAccess(
            Code(vector["code"]),
            opener=role == "opener",
            local=local,
            remote=remote,
            scalar=bytes.fromhex(vector[f"{role}_scalar"]),
        )
        for role, local, remote in (("opener", *ends), ("responder", *ends[::-1]))
    )
    assert opener.share is not None
    assert responder.share is not None
    assert opener.share.hex() == vector["opener_share"]
    assert responder.share.hex() == vector["responder_share"]
    assert encode({"type": "PAKE", "share": opener.share.hex()}).hex() == vector["opener_pake"]
    opener.take_share(responder.share)
    responder.take_share(opener.share)
    assert opener.proof.hex() == vector["opener_proof"]
    assert responder.proof.hex() == vector["responder_proof"]
    assert opener.admits(responder.proof)
    assert responder.admits(opener.proof)
    assert not opener.admits(opener.proof)


def code_access(code: Code, *, opener: bool, scalar: int = 7) -> CodeAccess:
    local, remote = (OPENER, RESPONDER) if opener else (RESPONDER, OPENER)
    return CodeAccess(
        code, opener=opener, local=local, remote=remote, scalar=bytes([scalar + opener]) * 32
    )


@pytest.mark.virtual_time
@pytest.mark.parametrize("seed", [None, 1, 2, 3])
async def test_the_same_code_on_both_sides(seed: int | None) -> None:
    kept = Code("123-able-boat")
    both = code_access(Code("123-able-boat"), opener=True), code_access(kept, opener=False)
    async with sessions(*both, seed=seed) as (client, server, asked):
        assert not client.proved
        assert not server.proved
        await client.wait_proved()
        response = await fetch(client, "/with-code")
        assert response.status == 200
        assert asked == ["/with-code"]
    assert kept.used_by == OPENER
    assert kept.over


@pytest.mark.virtual_time
async def test_another_code() -> None:
    kept = Code("123-able-boat")
    both = code_access(Code("123-able-acid"), opener=True), code_access(kept, opener=False)
    async with sessions(*both) as (client, server, asked):
        with pytest.raises(AccessDenied):
            await server.wait_proved()
        assert not client.proved
        assert client._engine.open() is None
        assert asked == []
    assert kept.guesses_left == 2
    assert kept.used_by is None


@pytest.mark.virtual_time
@pytest.mark.parametrize("pause", [0.0, 15.0])
async def test_guesses_are_counted_over_connections_whoever_makes_them_and_however_slowly(
    pause: float,
) -> None:
    """Each is another session with another certificate; nothing asks for its address."""
    kept = Code("123-able-boat")
    for number, words in enumerate(["123-able-acid", "123-acid-boat", "123-baby-boat"]):
        assert not kept.over
        local = bytes([100 + number]) * 32
        guess = CodeAccess(Code(words), opener=True, local=local, remote=RESPONDER, scalar=local)
        ours = CodeAccess(
            kept, opener=False, local=RESPONDER, remote=local, scalar=bytes(31) + b"\x09"
        )
        async with sessions(guess, ours) as (_, server, asked):
            with pytest.raises(AccessDenied):
                await server.wait_proved()
            assert asked == []
        await asyncio.sleep(pause)
    assert kept.over
    right = code_access(Code("123-able-boat"), opener=True), code_access(kept, opener=False)
    async with sessions(*right) as (_, server, asked):
        with pytest.raises(AccessDenied):
            await server.wait_proved()
        assert asked == []
    assert kept.used_by is None


@pytest.mark.virtual_time
@pytest.mark.parametrize("other", [None, "a token"])
async def test_a_code_on_one_side_only(other: str | None) -> None:
    """Who knows of no code, an old version say, skips the share and proves nothing."""
    without = None if other is None else access(opener=False, token=other)
    async with sessions(code_access(Code("123-able-boat"), opener=True), without) as (client, *_):
        with pytest.raises(AccessDenied, match="code"):
            await client.wait_proved()


@pytest.mark.virtual_time
async def test_a_token_is_no_guess_at_a_code() -> None:
    kept = Code("123-able-boat")
    both = access(opener=True), code_access(kept, opener=False)
    async with sessions(*both) as (_, server, asked):
        with pytest.raises(AccessDenied):
            await server.wait_proved()
        assert asked == []
    assert kept.guesses_left == 3


@pytest.mark.parametrize("opener", [True, False])
@pytest.mark.parametrize("share", [bytes(32), b"\x01" + bytes(31)])
def test_a_share_of_low_order_ends_the_session(opener: bool, share: bytes) -> None:
    kept = Code("123-able-boat")
    one = _framing.Engine(
        Settings(), opener=opener, now=0.0, access=code_access(kept, opener=opener)
    )
    with pytest.raises(AccessDenied):
        one.receive(encode({"type": "PAKE", "share": share.hex()}), 0.0)
    assert not one.proved
    assert kept.guesses_left == 3


@pytest.mark.parametrize("with_code", [True, False])
def test_shares_that_break_the_protocol(with_code: bool) -> None:
    share = "09" + "00" * 31
    for frames, code in (
        ([{"type": "PAKE", "share": share}] * 2, _framing.PROTOCOL_VIOLATION),
        ([{"type": "PAKE", "share": share[2:]}], _framing.FRAME_ENCODING_ERROR),
        ([{"type": "PAKE", "share": share + "00"}], _framing.FRAME_ENCODING_ERROR),
        ([{"type": "PAKE", "share": ""}], _framing.FRAME_ENCODING_ERROR),
    ):
        both = code_access(Code("123-able-boat"), opener=False) if with_code else None
        one = _framing.Engine(Settings(), opener=False, now=0.0, access=both)
        with pytest.raises(ProtocolError) as raised:
            one.receive(encode(*frames), 0.0)
        assert raised.value.code == code


def test_the_responder_proves_nothing_before_the_opener_has() -> None:
    code = code_access(Code("123-able-boat"), opener=False)
    one = _framing.Engine(Settings(), opener=False, now=0.0, access=code)
    one.receive(encode({"type": "PAKE", "share": "09" + "00" * 31}), 0.0)
    sent = decode(one.next_message(0.0))
    assert [frame["type"] for frame in sent] == ["SETTINGS", "PAKE"]
    assert one.next_message(0.0) is None


async def round_trips(opener: Access | None, responder: Access | None) -> float:
    """How many pass until the first answer is there."""
    loop = asyncio.get_running_loop()
    async with sessions(opener, responder, delay=0.5) as (client, _, asked):
        began = loop.time()
        if opener is not None:
            await client.wait_proved()
        assert (await fetch(client, "/")).status == 200
        assert asked == ["/"]
        return loop.time() - began


@pytest.mark.virtual_time
async def test_a_code_costs_one_round_trip_more_than_a_token_and_who_is_known_none() -> None:
    token = await round_trips(access(opener=True), access(opener=False))
    code = await round_trips(
        code_access(Code("123-able-boat"), opener=True),
        code_access(Code("123-able-boat"), opener=False),
    )
    # Later connections are known by their certificates, and prove nothing.
    assert await round_trips(None, None) == 1
    assert (token, code) == (2, 3)


def recorded(code: str, words: str, scalar: int) -> list[bytes]:
    """The messages of an opener to a responder with ``code``, as somebody could record them."""
    opener = _framing.Engine(
        Settings(),
        opener=True,
        now=0.0,
        access=code_access(Code(words), opener=True, scalar=scalar),
    )
    responder = _framing.Engine(
        Settings(), opener=False, now=0.0, access=code_access(Code(code), opener=False)
    )
    kept = []
    for _ in range(3):
        while message := opener.next_message(0.0):
            kept.append(bytes(message))
            responder.receive(kept[-1], 0.0)
        while message := responder.next_message(0.0):
            opener.receive(bytes(message), 0.0)
    assert responder.proved
    return kept


def test_recorded_frames_of_a_code_are_a_wrong_guess_on_any_other_connection() -> None:
    """The same code, certificates and opener; the responder's scalar is another each time."""
    messages = recorded("123-able-boat", "123-able-boat", 7)
    frames = [frame["type"] for message in messages for frame in decode(message)]
    assert frames[:3] == ["SETTINGS", "PAKE", "ACCESS"]
    kept = Code("123-able-boat")
    again = _framing.Engine(
        Settings(), opener=False, now=0.0, access=code_access(kept, opener=False, scalar=70)
    )
    for message in messages:
        with contextlib.suppress(AccessDenied):
            again.receive(message, 0.0)
    assert not again.proved
    assert kept.used_by is None
    assert kept.guesses_left == 2


def test_recorded_frames_of_a_responder_prove_nothing_on_another_connection() -> None:
    kept = code_access(Code("123-able-boat"), opener=False)
    share = kept.share
    first = code_access(Code("123-able-boat"), opener=True)
    assert share is not None
    assert first.share is not None
    kept.take_share(first.share)
    replayed = encode(
        {"type": "PAKE", "share": share.hex()}, {"type": "ACCESS", "proof": kept.proof.hex()}
    )
    for scalar, proved in ((7, True), (70, False)):
        opener = _framing.Engine(
            Settings(),
            opener=True,
            now=0.0,
            access=code_access(Code("123-able-boat"), opener=True, scalar=scalar),
        )
        with contextlib.nullcontext() if proved else pytest.raises(AccessDenied):
            opener.receive(replayed, 0.0)
        assert opener.proved is proved


def test_a_recorded_proof_of_the_token_is_worth_nothing_between_other_certificates() -> None:
    proof = access(opener=True).proof
    for remote, proved in ((OPENER, True), (MIDDLE, False)):
        responder = _framing.Engine(
            Settings(),
            opener=False,
            now=0.0,
            access=Access(TOKEN, opener=False, local=RESPONDER, remote=remote),
        )
        # The responder's session goes on after a wrong proof: who has shown it may be told why.
        responder.receive(encode({"type": "ACCESS", "proof": proof.hex()}), 0.0)
        assert responder.proved is proved


@pytest.mark.parametrize("kind", ["PAKE", "ACCESS"])
def test_a_frame_that_comes_twice_on_a_connection_ends_it(kind: str) -> None:
    """So nobody has two guesses on one."""
    kept = Code("123-able-boat")
    one = _framing.Engine(Settings(), opener=False, now=0.0, access=code_access(kept, opener=False))
    share = {"type": "PAKE", "share": "09" + "00" * 31}
    wrong = {"type": "ACCESS", "proof": "00" * 32}
    frames = [share, share] if kind == "PAKE" else [share, wrong, wrong]
    with pytest.raises(ProtocolError):
        one.receive(encode(*frames), 0.0)
    assert not one.proved
    assert kept.guesses_left == (3 if kind == "PAKE" else 2)


@given(st.lists(st.booleans(), max_size=12))
def test_a_code_lets_one_in_or_three_guess(proofs: list[bool]) -> None:
    kept, over = Code("123-able-boat"), []
    kept.on_over = lambda: over.append(True)
    let_in = [kept.try_proof(right, bytes([number])) for number, right in enumerate(proofs)]
    first = proofs.index(True) if True in proofs else len(proofs)
    good = first < len(proofs) and first < 3
    assert let_in == [good and number == first for number in range(len(proofs))]
    assert kept.used_by == (bytes([first]) if good else None)
    assert kept.over == (good or proofs[:3] == [False] * 3)
    assert over == [True] * kept.over


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
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidAccessToken, match="access token"):
        access(opener=True, token=token)
    with pytest.raises(InvalidAccessToken):
        connect("somebody", signaling="ws://127.0.0.1:1", access_token=token)


def test_the_longest_token_is_one() -> None:
    token = "ä" * 512
    prover, verifier = access(opener=True, token=token), access(opener=False, token=token)
    assert verifier.admits(prover.proof)


# -- sessions ------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def sessions(
    opener: Access | None,
    responder: Access | None,
    *,
    settings: Settings | None = None,
    seed: int | None = None,
    delay: float = 0.0,
) -> AsyncIterator[tuple[Session, Session, list[str]]]:
    """A client, a server, and the targets that its handler was asked for."""
    asked: list[str] = []

    async def handler(exchange: Exchange) -> None:
        asked.append(exchange.target)
        exchange.respond(200, body=b"served")

    one, other = memory_pair(seed=seed, delay=delay)
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


@pytest.mark.virtual_time
@pytest.mark.parametrize("seed", [None, 1, 2, 3])
async def test_the_same_token_on_both_sides(seed: int | None) -> None:
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


@pytest.mark.virtual_time
async def test_the_serving_side_asks_nothing_before_the_proof_either() -> None:
    async with sessions(None, access(opener=False)) as (_, server, _asked):
        opening = asyncio.ensure_future(server.open_stream())
        with pytest.raises(AccessDenied):
            await opening


@pytest.mark.virtual_time
async def test_another_token_on_the_other_side() -> None:
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


@pytest.mark.virtual_time
async def test_a_client_without_the_token() -> None:
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


@pytest.mark.virtual_time
async def test_a_server_without_the_token() -> None:
    began = asyncio.get_running_loop().time()
    async with sessions(access(opener=True), None) as (client, server, asked):
        asking = asyncio.ensure_future(fetch(client, "/"))
        with pytest.raises(AccessDenied, match="in time"):
            await asking
        assert asyncio.get_running_loop().time() - began == pytest.approx(10, abs=0.1)
        assert asked == []
        await server.wait_closed()
        assert isinstance(server.error, AccessDenied)


@pytest.mark.virtual_time
async def test_a_server_in_the_middle() -> None:
    # It knows the token and has another certificate than the client sees: no better than a
    # wrong token, also when it sends what the client itself has sent.
    middle = Access(TOKEN, opener=False, local=MIDDLE, remote=OPENER)
    for proof in (middle.proof, access(opener=True).proof):
        one, other = memory_pair()
        client = Session(one, opener=True, accepting=False, access=access(opener=True))
        server = Session(other, opener=False)
        other.send(varint(0x20) + varint(32) + proof)
        with pytest.raises(AccessDenied, match="stands between"):
            await client.wait_proved()
        assert client._engine.opened == 0
        await client.wait_closed()
        await server.wait_closed()
        assert isinstance(server.error, AccessDenied)


@pytest.mark.virtual_time
async def test_neither_has_a_token() -> None:
    async with sessions(None, None) as (client, server, asked):
        assert client.proved
        assert server.proved
        await client.wait_proved()
        assert (await fetch(client, "/")).status == 200
        assert asked == ["/"]


@pytest.mark.virtual_time
async def test_waiting_ends_with_the_session() -> None:
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


# -- servers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_token_on_a_connection(transport: str) -> None:
    require_transport(transport)

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


async def test_the_answer_to_a_wrong_token_takes_its_time() -> None:
    async with world(access_token=TOKEN, limits=Limits(access_delay=0.5)) as there:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(AccessDenied):
            await there.connect(access_token="wrong")
        assert loop.time() - began >= 0.5


async def test_a_server_without_token_takes_no_client_that_asks_for_one() -> None:
    async with world() as there:
        with pytest.raises(AccessDenied, match="in time"):
            await there.connect(access_token=TOKEN, settings=Settings(access_timeout=0.2))
        assert there.asked == []


async def test_a_client_that_never_proves_has_to_leave() -> None:
    async with world(access_token=TOKEN, settings=Settings(access_timeout=0.3)) as there:
        async with there.connect() as peer:
            await peer.wait_closed()
            assert isinstance(peer.session.error, AccessDenied)
        assert there.server.refused["no access token in time"] == 1


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
            with pytest.raises(AccessDenied, match="too many wrong access tokens: wait 60 s"):
                await there.connect(access_token=TOKEN)
            assert there.server.refused["wrong access token"] == 3
            assert there.server.refused["too many wrong access tokens"] == 1
            assert there.asked == []

    with caplog.at_level(logging.WARNING):
        run(main())
    # Three refusals of a kind, told once.
    assert caplog.text.count("wrong access token\n") == 1


async def test_guesses_at_the_same_time_are_no_more_than_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("peerfetch_fast.webrtc.gatherer.host_addresses", lambda: ["127.0.0.1"])

    limits = Limits(access_delay=0.01, access_failures=3, access_lockout=60)
    async with world(access_token=TOKEN, limits=limits) as there:
        guesses = (there.connect(access_token=f"wrong {n}") for n in range(8))
        ended = await asyncio.gather(*guesses, return_exceptions=True)
        assert all(isinstance(error, PeerfetchError) for error in ended)
        assert there.server.refused["wrong access token"] == 3
        assert there.server.refused["too many wrong access tokens"] == 5
        assert not there.server._admission._proving


async def test_those_who_know_the_token_come_in_together() -> None:
    limits = Limits(access_failures=1)
    async with world(access_token=TOKEN, limits=limits) as there:
        connecting = (there.connect(access_token=TOKEN) for _ in range(6))
        for peer in await asyncio.gather(*connecting):
            await peer.close()
        assert not there.server.refused
