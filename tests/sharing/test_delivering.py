"""Files that are sent to an inbox, or into a folder of a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.sharing.conftest import contents_of, fill

from peerfetch_fast import send, serve
from peerfetch_fast.errors import SharingError
from peerfetch_fast.http.routing import Resources
from peerfetch_fast.sharing.folder import Folder
from peerfetch_fast.sharing.inbox import Arrived, InboxResources
from peerfetch_fast.sharing.receive import Progress
from peerfetch_fast.sharing.share import Door, Identity, open_door
from peerfetch_fast.signaling import SignalingServer
from peerfetch_fast.webrtc.transports import ConnectionOptions
from processes import posix_only
from support import until

pytestmark = posix_only


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERFETCH_STATE_DIR", str(tmp_path / "state"))


@contextlib.asynccontextmanager
async def inbox(resources: Resources) -> AsyncIterator[Door]:
    """An inbox at a signaling server of its own."""
    signaling = SignalingServer()
    await signaling.start("127.0.0.1", 0)
    door = await open_door(
        resources,
        Identity.new("inbox"),
        signaling=signaling.url,
        public=None,
        code=True,
        options=ConnectionOptions(),
        discoverable=False,
        on_code=lambda: None,
    )
    try:
        yield door
    finally:
        await door.close()
        await signaling.close()


async def test_files_and_directories_arrive(tmp_path: Path) -> None:
    fill(tmp_path)
    large = tmp_path / "large"
    large.write_bytes(os.urandom(3_000_000))
    into = tmp_path / "in"
    arrived: list[Arrived] = []
    seen: list[tuple[int, int]] = []
    async with inbox(InboxResources(into, 10**9, arrived.append)) as door:
        sent = await send(
            [large, tmp_path / "src"],
            str(door.link),
            name="anna",
            on_progress=lambda progress: seen.append((progress.have, progress.total)),
        )
        assert [one.name for one in sent] == ["large", "src.zip"]
        [again] = await send([large], str(door.code), signaling=door.link.signaling)
        assert again.name == "large (2)"
    assert (into / "large").read_bytes() == (into / "large (2)").read_bytes() == large.read_bytes()
    with zipfile.ZipFile(into / "src.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(into)
    assert contents_of(into / "src") == contents_of(tmp_path / "src")
    assert {one.sender for one in arrived[:2]} == {"anna"}
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] == sum(one.size for one in sent)


async def test_what_broke_off_is_gone_on_with(tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(os.urandom(5_000_000))
    into = tmp_path / "in"
    breaks = [1_000_000, 3_000_000]
    async with inbox(InboxResources(into, 10**9)) as door:

        def show(progress: Progress) -> None:
            if breaks and progress.have >= breaks[0]:
                del breaks[0]
                for peer in door.server.peers:
                    peer.session.abort()

        await send([large], str(door.link), on_progress=show)
    assert not breaks
    assert contents_of(into) == {"large": large.read_bytes()}


async def test_another_process_goes_on_with_it(tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(os.urandom(20_000_000))
    into = tmp_path / "in"
    async with inbox(InboxResources(into, 10**9)) as door:
        first = asyncio.ensure_future(send([large], str(door.link)))
        # What was sent may be under way still: it counts once it is on the disk.
        await until(lambda: any(part.stat().st_size for part in into.glob(".*.part")))
        first.cancel()
        await asyncio.wait((first,))
        offsets: list[int] = []
        await send([large], str(door.link), on_progress=lambda p: offsets.append(p.have))
        assert offsets[0] > 0, "it begins where it broke off"
    assert contents_of(into) == {"large": large.read_bytes()}


async def test_what_is_not_taken_is_said(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(2000))
    async with inbox(InboxResources(tmp_path / "in", 1000)) as door:
        with pytest.raises(SharingError, match="room for 1000 bytes"):
            await send([file], str(door.link))
        with pytest.raises(FileNotFoundError):
            await send([tmp_path / "no"], str(door.link))
    assert contents_of(tmp_path / "in") == {}


async def test_into_a_folder_of_a_device(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(os.urandom(2000))
    (tmp_path / "served/deep").mkdir(parents=True)
    signaling = SignalingServer()
    await signaling.start("127.0.0.1", 0)
    try:
        folder = Folder(tmp_path / "served", 10_000)
        async with serve(folder, signaling=signaling.url) as server:
            await send([file], f"peer://{server.peer_id}/deep/", signaling=signaling.url)
            with pytest.raises(SharingError, match="nothing can be sent there"):
                await send([file], f"peer://{server.peer_id}/no/", signaling=signaling.url)
    finally:
        await signaling.close()
    assert contents_of(tmp_path / "served") == {"deep/file": file.read_bytes()}
