"""Who shares in a network, who takes files there, and asking them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from tests.sharing.conftest import contents_of

from peerfetch_fast import receive, serve, share
from peerfetch_fast.cli import room as commands
from peerfetch_fast.cli.room import in_room, is_name
from peerfetch_fast.errors import SharingError
from peerfetch_fast.http.routing import Resources
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.sharing import room as module
from peerfetch_fast.sharing.links import ShareLink
from peerfetch_fast.sharing.room import Member, ask_for, member_id, members
from peerfetch_fast.signaling import SignalingServer
from processes import posix_only
from support import until

pytestmark = posix_only


@contextlib.asynccontextmanager
async def meeting() -> AsyncIterator[str]:
    server = SignalingServer()
    await server.start("127.0.0.1", 0)
    try:
        yield server.url
    finally:
        await server.close()


async def test_who_is_seen_is_asked_and_lets_others_have_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    asked: list[str] = []

    async def admit(name: str) -> bool:
        asked.append(name)
        return name == "bob"

    async with (
        meeting() as signaling,
        share(
            [tmp_path / "file"],
            signaling=signaling,
            code=False,
            seen_as="Anna's PC",
            on_knock=admit,
        ),
    ):
        assert await in_room(signaling, "takes") == []
        [member] = await in_room(signaling, "gives")
        assert member.name == "Anna-s-PC"
        with pytest.raises(SharingError, match="would rather not"):
            await ask_for(member, "eve\x1b[2J")
        link = await ask_for(member, "bob")
        await receive(link, tmp_path / "in")
    assert asked == ["eve\\x1b[2J", "bob"]
    assert contents_of(tmp_path / "in") == {"file": b"content"}


class Taking(Resources):
    """Somebody who has the page open, and gets what they are offered."""

    def __init__(self, signaling: str, into: Path) -> None:
        self.signaling, self.into = signaling, into
        self.tasks: list[asyncio.Task[object]] = []
        self.titles: list[str] = []

    async def __call__(self, exchange: Exchange) -> None:
        assert exchange.target == "/~room/offer"
        told = orjson.loads(await exchange.read())
        self.titles.append(told["title"])
        link = ShareLink(self.signaling, told["peer_id"], told["pin"], told["token"])
        exchange.respond(204)
        self.tasks.append(asyncio.ensure_future(receive(link, self.into)))


async def test_what_is_offered_to_somebody_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    async with meeting() as signaling:
        taking = Taking(signaling, tmp_path / "in")
        there = member_id("takes", "phone")
        async with (
            serve(taking, signaling=signaling, peer_id=there, discoverable=True),
            share([tmp_path / "file"], signaling=signaling, code=False) as sharing,
        ):
            [member] = await in_room(signaling, "takes")
            await sharing.offer_to(member, "anna")
            await asyncio.gather(*taking.tasks)
    assert taking.titles == ["file"]
    assert contents_of(tmp_path / "in") == {"file": b"content"}


async def test_few_are_asked_about_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_QUESTIONS", 1)
    (tmp_path / "file").write_text("content")
    came, go = asyncio.Event(), asyncio.Event()

    async def admit(_: str) -> bool:
        came.set()
        await go.wait()
        return False

    async with (
        meeting() as signaling,
        share([tmp_path / "file"], signaling=signaling, seen_as="anna", on_knock=admit),
    ):
        [member] = await in_room(signaling, "gives")
        first = asyncio.ensure_future(ask_for(member, "bob"))
        await came.wait()
        with pytest.raises(SharingError, match="Others are asking"):
            await ask_for(member, "carol")
        go.set()
        with pytest.raises(SharingError, match="would rather not"):
            await first


async def test_who_asks_and_goes_has_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question that a person reads cannot be taken back: none follows until it is answered."""
    monkeypatch.setattr(module, "MAX_QUESTIONS", 1)
    (tmp_path / "file").write_text("content")
    asked: list[str] = []
    over = asyncio.Event()

    async def admit(name: str) -> bool:
        asked.append(name)
        try:
            await asyncio.Event().wait()
        finally:
            over.set()
        return False

    async with meeting() as signaling:
        giving = share([tmp_path / "file"], signaling=signaling, seen_as="anna", on_knock=admit)
        async with giving as sharing:
            [member] = await in_room(signaling, "gives")
            first = asyncio.ensure_future(ask_for(member, "bob"))
            await until(lambda: asked == ["bob"])
            first.cancel()
            await until(lambda: not sharing._door.seen.peers)
            with pytest.raises(SharingError, match="Others are asking"):
                await ask_for(member, "carol")
            assert not over.is_set()
        await until(over.is_set)
    assert asked == ["bob"]


async def test_few_lines_are_told_of_many_who_come(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = 0

    async def many(*_: object) -> list[Member]:
        nonlocal looks
        looks += 1
        return [Member(f"{looks} {number}", "takes", "bob", "") for number in range(200)]

    monkeypatch.setattr(commands, "in_room", many)
    monkeypatch.setattr(commands, "LOOK_EACH", 0.0)
    telling = asyncio.ensure_future(commands.tell_of_room("ws://127.0.0.1:1"))
    await until(lambda: looks >= 3)
    telling.cancel()
    assert capsys.readouterr().out.count("here  bob") <= looks * commands.MAX_TOLD


def test_ids_say_who_it_is() -> None:
    for name, shown in (("laptop", "laptop"), ("größe <b>", "gr-e-b"), ("", "somebody")):
        [member] = members([(member_id("gives", name), "ws://x")] * 2)
        assert (member.kind, member.name) == ("gives", shown)
    strange = [
        "share-1",
        "gives-0a1b2c3d",
        "gives-a b-0a1b2c3d",
        "gives-a-0A1B2C3D",
        "wait-a-0a1b2c3d",
    ]
    assert members([(one, "ws://x") for one in strange]) == []
    assert not any(map(is_name, ["123-able-boat", "http://x/#y", "peer://x", ""]))
    assert is_name("Chrome-on-Android")
