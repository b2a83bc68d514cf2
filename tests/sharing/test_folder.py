"""A directory that a proxy serves: its folders as ZIPs, and what others send into them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from tests.sharing.conftest import contents_of, fill

from peerfetch_fast import connect, serve
from peerfetch_fast.peer import Peer
from peerfetch_fast.sharing import folder as module
from peerfetch_fast.sharing.folder import Folder
from peerfetch_fast.sharing.inbox import Arrived
from peerfetch_fast.signaling import SignalingServer
from processes import posix_only
from steps import processor_time

pytestmark = posix_only

ID = "0123456789abcdef" * 2


@contextlib.asynccontextmanager
async def served(
    directory: Path, quota: int | None = None, arrived: list[Arrived] | None = None
) -> AsyncIterator[Peer]:
    """One who is connected to a proxy of that directory."""
    found: list[Arrived] = [] if arrived is None else arrived
    signaling = SignalingServer()
    await signaling.start("127.0.0.1", 0)
    try:
        async with (
            serve(
                {"/pub": Folder(directory, quota, found.append)}, signaling=signaling.url
            ) as server,
            connect(server.url, signaling=signaling.url) as peer,
        ):
            yield peer
    finally:
        await signaling.close()


async def put(peer: Peer, target: str, body: bytes, size: int | None = None) -> tuple[int, bytes]:
    query = f"?id={ID}&size={len(body) if size is None else size}"
    response = await peer.fetch(f"{target}{query}", method="PUT", body=body)
    return response.status, await response.bytes()


async def test_a_folder_as_a_zip_of_what_is_seen_in_it(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "src/deep/link").symlink_to(tmp_path / "src", target_is_directory=True)
    (tmp_path / "src/deep/to a file").symlink_to(tmp_path / "src/plain.txt")
    (tmp_path / "src/.secret").mkdir()
    (tmp_path / "src/.secret/key").write_text("secret")
    expected = {
        name: content
        for name, content in contents_of(tmp_path).items()
        if name.startswith("src/") and "/." not in name
    }
    async with served(tmp_path) as peer:
        listing = await peer.fetch("/pub/src/", headers={"accept": "application/json"})
        assert orjson.loads(await listing.bytes())["offers"] == ["~share/zip"]
        response = await peer.fetch("/pub/src/~share/zip/src.zip")
        body = await response.bytes()
        assert response.headers["content-length"] == str(len(body))
        assert "src.zip" in response.headers["content-disposition"]
        etag = response.headers["etag"]
        # It is gone on with, as long as nothing has changed.
        headers = {"range": "bytes=100-", "if-range": etag}
        rest = await peer.fetch("/pub/src/~share/zip", headers=headers)
        assert (rest.status, await rest.bytes()) == (206, body[100:])
        (tmp_path / "src/plain.txt").write_text("another one")
        anew = await peer.fetch("/pub/src/~share/zip", headers=headers)
        assert anew.status == 200
        assert anew.headers["etag"] != etag
        await anew.bytes()
        top = await peer.fetch("/pub/~share/zip")
        with zipfile.ZipFile(io.BytesIO(await top.bytes())) as archive:
            assert f"{tmp_path.name}/src/deep/er/file" in archive.namelist()
        for nothing in ("/pub/no/~share/zip", "/pub/src/empty/~share/zip"):
            assert (await peer.fetch(nothing)).status == 404
        for hidden in ("/pub/src/.secret/~share/zip", "/pub/src/../../~share/zip"):
            assert (await peer.fetch(hidden)).status == 404
        assert (await peer.fetch("/pub/src/~share/zip", method="POST")).status == 405
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
        found = {name: archive.read(name) for name in names if not name.endswith("/")}
    assert found == expected
    assert "src/nothing/in/here/" in names


async def test_a_target_of_many_segments_is_looked_at_once(tmp_path: Path) -> None:
    async with served(tmp_path, 10_000) as peer:
        with processor_time(1.0):
            response = await peer.fetch("/pub" + "/a" * 30_000)
        assert response.status == 404
        await response.bytes()


async def test_only_so_many_zips_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ZIPS", 1)
    (tmp_path / "file").write_bytes(os.urandom(8_000_000))
    async with served(tmp_path) as peer:
        first = await peer.fetch("/pub/~share/zip")
        second = await peer.fetch("/pub/~share/zip")
        assert second.status == 503
        assert len(await first.bytes()) > 8_000_000
        await second.bytes()
        third = await peer.fetch("/pub/~share/zip")
        assert third.status == 200


async def test_what_is_sent_is_kept_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/a.txt").write_text("mine")
    arrived: list[Arrived] = []
    async with served(tmp_path, 10_000, arrived) as peer:
        listing = await peer.fetch("/pub/", headers={"accept": "application/json"})
        assert orjson.loads(await listing.bytes())["offers"] == ["~share/zip", "~inbox"]
        told = orjson.loads(await (await peer.fetch("/pub/deep/~inbox")).bytes())
        assert told["free"] == 10_000
        status, said = await put(peer, "/pub/deep/er/~inbox/files/a.txt", b"another")
        assert (status, orjson.loads(said)) == (201, {"name": "a (2).txt"})
        assert await put(peer, "/pub/~inbox/files/b", b"12345", 10) == (202, b"")
        target = f"/pub/~inbox/files/b?id={ID}&size=10"
        head = await peer.fetch(target, method="HEAD")
        assert head.headers["upload-offset"] == "5"
        # What is unfinished is not seen.
        listing = await peer.fetch("/pub/", headers={"accept": "application/json"})
        entries = orjson.loads(await listing.bytes())["entries"]
        assert [entry["name"] for entry in entries] == ["deep"]
        headers = {"upload-offset": "5"}
        done = await peer.fetch(target, method="PUT", headers=headers, body=b"67890")
        assert done.status == 201
    assert contents_of(tmp_path) == {
        "deep/er/a.txt": b"mine",
        "deep/er/a (2).txt": b"another",
        "b": b"1234567890",
    }
    assert [one.name for one in arrived] == ["deep/er/a (2).txt", "b"]


@pytest.mark.parametrize(
    "target",
    [
        "/pub/no/~inbox/files/a",
        "/pub/file/~inbox/files/a",
        "/pub/.hidden/~inbox/files/a",
        "/pub/%2e%2e/~inbox/files/a",
        "/pub/%2e%2e%2f/~inbox/files/a",
        "/pub/%ff/~inbox/files/a",
        "/pub/elsewhere/~inbox/files/a",
        "/pub/a%00b/~inbox/files/a",
    ],
)
async def test_nothing_is_kept_elsewhere(tmp_path: Path, target: str) -> None:
    root = tmp_path / "root"
    (root / ".hidden").mkdir(parents=True)
    (root / "file").write_text("a file")
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "elsewhere").symlink_to(outside)
    before = contents_of(tmp_path)
    async with served(root, 10_000) as peer:
        status, _ = await put(peer, target, b"content")
        assert status in (400, 403, 404)
    assert contents_of(tmp_path) == before


async def test_without_leave_nothing_is_taken(tmp_path: Path) -> None:
    async with served(tmp_path) as peer:
        assert (await put(peer, "/pub/~inbox/files/a", b"content"))[0] == 405
        assert (await peer.fetch("/pub/~inbox")).status == 404
    assert await asyncio.to_thread(os.listdir, tmp_path) == []
