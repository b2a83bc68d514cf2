"""What running programs tell of themselves, by sockets that are theirs alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from peerfetch_fast import status
from peerfetch_fast.status import ask_all, parse, told
from peerfetch_fast.webrtc.data_connection import DataConnection
from peerfetch_fast.webrtc.ice.candidate import Candidate
from peerfetch_fast.webrtc.ice.events import Selected
from processes import posix_only
from support import until
from test_peer import world

pytestmark = posix_only


def telling(state: Path, program: str = "proxy", **about: Any) -> Any:
    return told(state, program, about, lambda: (), lambda: Counter(x=2))


@pytest.mark.parametrize("depth", [0, 30])
async def test_what_is_told_is_heard_and_by_the_owner_alone(tmp_path: Path, depth: int) -> None:
    state = tmp_path.joinpath(*["deep"] * depth)  # too long for a socket's address

    async with telling(state, "proxy", peer_id="a"), telling(state, "forward", peer_id="b"):
        found = await asyncio.to_thread(ask_all, state)
        assert [(one["program"], one["peer_id"]) for one in found] == [
            ("proxy", "a"),
            ("forward", "b"),
        ]
        for one in found:
            assert (one["pid"], one["peers"], one["refused"]) == (os.getpid(), [], {"x": 2})
        sockets = list((state / "status").iterdir())
        assert {stat.S_IMODE(path.stat().st_mode) for path in sockets} == {0o600}
        assert stat.S_IMODE((state / "status").stat().st_mode) == 0o700
    assert not list((state / "status").iterdir())
    assert ask_all(state) == []


async def test_it_is_told_who_is_connected_and_how(tmp_path: Path) -> None:
    async with (
        world() as there,
        told(tmp_path, "proxy", {}, lambda: there.server.peers, lambda: there.server.refused),
        there.connect() as peer,
    ):
        await (await peer.fetch("/a")).bytes()
        await until(lambda: len(there.server.peers) == 1)
        [program] = await asyncio.to_thread(ask_all, tmp_path)
        [client] = program["peers"]
        assert client["way"] == "direct"
        assert client["state"] == "connected"
        assert client["address"]
        assert client["requests"] == 0
        assert client["sent"] > 0
        assert client["received"] > 0
        assert program["since"] <= client["since"]
        assert status.about_peer(peer)["way"] == "direct"


@pytest.mark.parametrize(
    ("kinds", "way"),
    [
        (("host", "prflx"), "direct"),
        (("srflx", "srflx"), "direct"),
        (("relay", "host"), "relayed"),
        (("host", "relay"), "relayed"),
        (None, None),
    ],
)
async def test_a_way_through_a_relay_of_either_side_is_relayed(
    kinds: tuple[str, str] | None, way: str | None
) -> None:
    selected = None
    if kinds is not None:
        local, remote = (
            Candidate("1", 1, "udp", 1, "192.0.2.1", 5000 + place, kind)
            for place, kind in enumerate(kinds)
        )
        selected = Selected(0, ("192.0.2.1", 5001), remote, local)

    connection = DataConnection()
    connection._ice.selected = selected
    try:
        assert connection.way == way
    finally:
        connection._ice.selected = None
        await connection.close()


async def test_a_socket_that_was_left_is_no_error(tmp_path: Path) -> None:
    directory = tmp_path / "status"
    directory.mkdir()
    for name in ("proxy-99999999.sock", f"proxy-{os.getpid()}.sock"):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(directory / name))
    (directory / "forward-1.sock").write_text("no socket")
    assert ask_all(tmp_path) == []
    # What may be about to listen stays.
    assert not (directory / "proxy-99999999.sock").exists()
    assert (directory / f"proxy-{os.getpid()}.sock").exists()

    async with telling(tmp_path):
        assert len(await asyncio.to_thread(ask_all, tmp_path)) == 1


async def test_no_socket_is_no_reason_not_to_run(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("no directory")

    async with telling(tmp_path):
        pass


async def test_readers_that_do_not_read_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "ANSWER_TIMEOUT", 0.5)
    large = "x" * 3_000_000

    async with telling(tmp_path, large=large):
        [path] = (tmp_path / "status").iterdir()
        with contextlib.ExitStack() as stack:
            for _ in range(3 * status.MAX_READERS):
                reader = stack.enter_context(socket.socket(socket.AF_UNIX))
                reader.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    reader.connect(str(path))
            # They hold all places, for as long as each is given.
            async with asyncio.timeout(30):
                while not await asyncio.to_thread(ask_all, tmp_path):
                    pass


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b'{"program": 1, "peers": [], "refused": {}}',
        b'{"program": "a", "peers": {}, "refused": {}}',
        b'{"program": "a", "peers": [], "refused": []}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_lines_that_no_program_tells_are_refused(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of whichever kind
        parse(line)


async def test_what_tells_too_much_or_nothing_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "ANSWER_TIMEOUT", 0.2)
    monkeypatch.setattr(status, "MAX_ANSWER", 1000)
    (tmp_path / "status").mkdir()

    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "status" / "silent-1.sock"))
        silent.listen()
        async with telling(tmp_path, large="x" * 1000), telling(tmp_path, "forward"):
            [one] = await asyncio.to_thread(ask_all, tmp_path)
            assert one["program"] == "forward"
