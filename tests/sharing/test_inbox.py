"""An inbox, and those who send more than they may."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import pytest
from tests.sharing.conftest import contents_of

from peerfetch_fast import connect, serve
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.peer import Peer
from peerfetch_fast.sharing import inbox as module
from peerfetch_fast.sharing.directory import Directory
from peerfetch_fast.sharing.inbox import ROOT, Arrived, InboxResources
from peerfetch_fast.signaling import SignalingServer
from processes import posix_only
from support import until

pytestmark = posix_only

ID = "0123456789abcdef" * 2


@contextlib.asynccontextmanager
async def inbox(
    directory: Path, quota: int = 10_000, arrived: list[Arrived] | None = None
) -> AsyncIterator[Peer]:
    """One who sends, connected to an inbox."""
    found: list[Arrived] = [] if arrived is None else arrived
    signaling = SignalingServer()
    await signaling.start("127.0.0.1", 0)
    resources = InboxResources(directory, quota, found.append)
    try:
        async with (
            serve(resources, signaling=signaling.url, peer_id="inbox-1") as server,
            connect(server.url, signaling=signaling.url) as peer,
        ):
            yield peer
    finally:
        await signaling.close()


async def put(
    peer: Peer, name: str, body: bytes, *, size: int | None = None, offset: int = 0, one: str = ID
) -> tuple[int, str]:
    """Send (a part of) a file: the status, and the offset or what is said."""
    response = await peer.fetch(
        f"{ROOT}/files/{name}?id={one}&size={len(body) if size is None else size}",
        method="PUT",
        headers={"upload-offset": str(offset), "share-name": "anna"},
        body=body,
    )
    return response.status, response.headers.get("upload-offset") or await response.text()


async def test_what_is_sent_arrives(tmp_path: Path) -> None:
    arrived: list[Arrived] = []
    async with inbox(tmp_path / "in", arrived=arrived) as peer:
        assert await put(peer, "a.txt", b"one") == (201, '{"name":"a.txt"}')
        assert await put(peer, "a.txt", b"two") == (201, '{"name":"a (2).txt"}')
        assert (await put(peer, "empty", b""))[0] == 201
        assert (await (await peer.fetch(ROOT)).json())["free"] == 10_000 - 6
    assert contents_of(tmp_path / "in") == {"a.txt": b"one", "a (2).txt": b"two", "empty": b""}
    assert arrived[0] == Arrived("a.txt", 3, "anna")


async def test_the_longest_name_comes_twice(tmp_path: Path) -> None:
    async with inbox(tmp_path / "in") as peer:
        for content in (b"one", b"two"):
            assert (await put(peer, f"a.{'b' * 253}", content))[0] == 201
    kept = {f"a.{'b' * 253}": b"one", f"a.{'b' * 249} (2)": b"two"}
    assert contents_of(tmp_path / "in") == kept


async def test_what_broke_off_is_gone_on_with_after_a_restart(tmp_path: Path) -> None:
    async with inbox(tmp_path / "in") as peer:
        assert await put(peer, "x", b"12345", size=10) == (202, "5")
        assert contents_of(tmp_path / "in").keys() == {f".peerfetch-{ID}.part"}
    async with inbox(tmp_path / "in") as peer:
        head = await peer.fetch(f"{ROOT}/files/x?id={ID}&size=10", method="HEAD")
        assert head.headers["upload-offset"] == "5"
        assert await put(peer, "x", b"wrong", size=10, offset=3) == (409, "5")
        assert (await put(peer, "x", b"67890", size=10, offset=5))[0] == 201
    assert contents_of(tmp_path / "in") == {"x": b"1234567890"}


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("..%2f..%2fetc%2fpasswd", "passwd"),
        ("%2e%2e", "file"),
        (".bashrc", "bashrc"),
        ("a%00b%0ac", "a_b_c"),
        ("C:%5Cx%5Cphoto.jpg", "photo.jpg"),
        ("x" * 400 + ".jpg", "x" * 251 + ".jpg"),
    ],
)
async def test_names_are_cleaned(tmp_path: Path, told: str, kept: str) -> None:
    async with inbox(tmp_path / "in") as peer:
        assert (await put(peer, told, b"x"))[0] == 201
    assert contents_of(tmp_path / "in") == {kept: b"x"}
    assert os.listdir(tmp_path) == ["in"]


async def test_no_more_than_the_quota(tmp_path: Path) -> None:
    async with inbox(tmp_path / "in", quota=10) as peer:
        assert (await put(peer, "x", b"1", size=11))[0] == 413
        assert (await put(peer, "x", b"1", size=8))[0] == 202
        other = "f" * 32
        assert (await put(peer, "y", b"1", size=3, one=other))[0] == 413
        assert (await put(peer, "y", b"12", one=other))[0] == 201
        assert (await put(peer, "x", b"2345678", size=8, offset=1))[0] == 201
        assert (await put(peer, "z", b"1"))[0] == 413
    assert contents_of(tmp_path / "in") == {"x": b"12345678", "y": b"12"}


async def test_room_is_kept_for_what_comes_and_not_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inbox(tmp_path / "in", quota=10) as peer:
        assert (await put(peer, "x", b"12", size=10))[0] == 202
        assert (await put(peer, "y", b"1", one="f" * 32))[0] == 413
        monkeypatch.setattr(module, "KEPT", 0.0)
        assert (await put(peer, "y", b"123456789", one="f" * 32))[0] == 413
        assert (await put(peer, "y", b"12345678", one="f" * 32))[0] == 201
        assert (await put(peer, "x", b"3", size=10, offset=2))[0] == 413
    assert contents_of(tmp_path / "in")["y"] == b"12345678"


async def test_of_too_many_unfinished_the_oldest_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_UNFINISHED", 2)
    async with inbox(tmp_path / "in") as peer:
        for one in "ab":
            assert (await put(peer, one, b"1", size=2, one=one * 32))[0] == 202
        assert (await put(peer, "c", b"1", size=2, one="c" * 32))[0] == 503
        monkeypatch.setattr(module, "KEPT", 0.0)
        assert (await put(peer, "a", b"", size=2, offset=1, one="a" * 32))[0] == 202
        assert (await put(peer, "b", b"2", size=3, offset=1, one="b" * 32))[0] == 202
        assert (await put(peer, "c", b"1", size=2, one="c" * 32))[0] == 202
        assert await put(peer, "a", b"2", size=2, offset=1, one="a" * 32) == (409, "0")
        assert (await put(peer, "b", b"3", size=3, offset=2, one="b" * 32))[0] == 201
    parts = {f".peerfetch-{one * 32}.part" for one in "c"}
    assert contents_of(tmp_path / "in").keys() == {"b", *parts}


async def test_one_name_without_end_is_not_tried_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0
    put_beside = Directory.put

    def counted(*arguments: Any, **options: Any) -> None:
        nonlocal tried
        tried += 1
        put_beside(*arguments, **options)

    (tmp_path / "a.txt").touch()
    for number in range(2, 1000):
        (tmp_path / f"a ({number}).txt").touch()
    monkeypatch.setattr(Directory, "put", counted)
    async with inbox(tmp_path) as peer:
        status, said = await put(peer, "a.txt", b"x")
    assert (status, said.startswith('{"name":"a (')) == (201, True)
    assert tried < 300


async def test_no_more_files_than_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 2)
    async with inbox(tmp_path / "in") as peer:
        for name in "ab":
            assert (await put(peer, name, b""))[0] == 201
        status, said = await put(peer, "c", b"")
        assert (status, "2 files" in said) == (503, True)
    assert contents_of(tmp_path / "in").keys() == {"a", "b"}


async def test_what_cannot_be_kept_takes_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with inbox(tmp_path / "in", quota=10) as peer:
        with monkeypatch.context() as patched:
            patched.setattr(Directory, "open", full)
            status, said = await put(peer, "x", b"12345678")
        assert (status, said) == (507, "It cannot be kept: No space left on device.\n")
        assert (await (await peer.fetch(ROOT)).json())["free"] == 10
        assert (await put(peer, "y", b"12345678", one="f" * 32))[0] == 201


async def test_more_than_was_announced_is_refused(tmp_path: Path) -> None:
    async with inbox(tmp_path / "in") as peer:
        status, said = await put(peer, "x", b"x" * 100, size=5)
        assert (status, said) == (400, "More came than was announced.\n")
    assert "x" not in contents_of(tmp_path / "in")


class Sending:
    """The request of one who sends two octets and has more."""

    method = "PUT"
    target = f"{ROOT}/files/x?id={ID}&size=3"
    headers: Mapping[str, str] = MappingProxyType({})

    async def read(self) -> bytes:
        return b"12"


async def test_a_file_stays_open_until_all_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, goes_on, closed = threading.Event(), threading.Event(), list[OSError]()
    write_all = module._write_all

    def slow(file: int, data: bytes) -> None:
        entered.set()
        goes_on.wait(60)
        try:
            write_all(file, data)
        except OSError as error:
            closed.append(error)

    monkeypatch.setattr(module, "_write_all", slow)
    resources = InboxResources(tmp_path, 10)
    sending = asyncio.ensure_future(resources(cast(Exchange, Sending())))
    await until(entered.is_set)
    sending.cancel()
    await asyncio.wait((sending,), timeout=0)
    goes_on.set()
    await asyncio.wait((sending,))
    await resources.close()
    assert closed == []
    assert contents_of(tmp_path) == {f".peerfetch-{ID}.part": b"12"}


async def test_the_loop_does_not_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: set[tuple[str, bool]] = set()
    loop = threading.get_ident()

    def note(name: str, work: Callable[..., object]) -> None:
        def noted(*arguments: object, **options: object) -> object:
            used.add((name, threading.get_ident() == loop))
            return work(*arguments, **options)

        monkeypatch.setattr(Directory, name, noted)

    for name in ("size", "open", "put"):
        note(name, getattr(Directory, name))
    async with inbox(tmp_path / "in") as peer:
        assert (await put(peer, "x", b"x"))[0] == 201
        await peer.fetch(f"{ROOT}/files/x?id={ID}&size=1", method="HEAD")
    assert used == {("size", False), ("open", False), ("put", False)}


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 404),
        ("GET", f"{ROOT}/files/x?id={ID}&size=1", 405),
        ("PUT", ROOT, 404),
        ("PUT", f"{ROOT}/files/x", 400),
        ("PUT", f"{ROOT}/files/x?id=../../x&size=1", 400),
        ("PUT", f"{ROOT}/files/x?id={ID}&size=-1", 400),
        ("PUT", f"{ROOT}/files/x?id={ID}&size=9999999999999999999", 400),
        ("PUT", f"{ROOT}/files/x?" + "a&" * 100, 400),
        ("DELETE", f"{ROOT}/files/x?id={ID}&size=1", 405),
    ],
)
async def test_a_hostile_sender(tmp_path: Path, method: str, target: str, status: int) -> None:
    async with inbox(tmp_path / "in") as peer:
        assert (await peer.fetch(target, method=method)).status == status
        assert (await put(peer, "x", b"x"))[0] == 201
