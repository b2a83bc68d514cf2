"""Multicast DNS on this machine, with nobody but ourselves."""

from __future__ import annotations

import asyncio
import secrets
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from peerfetch_fast.discovery import Found, _found, advertise, browse
from peerfetch_fast.errors import PeerfetchError

zeroconf = pytest.importorskip("zeroconf")

PIN = "sha256:" + "0a" * 32
SIGNALING = "ws://192.168.1.20:9000"


@pytest.mark.skipif(sys.platform != "linux", reason="what runners allow differs")
async def test_a_device_is_found_while_it_advertises() -> None:
    peer_id = secrets.token_hex(8)

    async def ours() -> list[Found]:
        return [device for device in await browse(1.5) if device.peer_id == peer_id]

    async with advertise(peer_id, SIGNALING, PIN):
        # What was just announced is not said again within a second (RFC 6762 section 6), which
        # leaves a busy machine little time: whoever looks again finds it.
        while not (devices := await ours()):
            pass
        [found] = devices
    assert (found.signaling, found.pin) == (SIGNALING, PIN)
    assert found.name.endswith(peer_id[:8])
    assert await ours() == []


def service(**told: Any) -> Any:
    properties = {name.encode(): value for name, value in told.items()}
    return SimpleNamespace(name="x._peerfetch._tcp.local.", properties=properties)


def test_a_device_that_tells_of_itself_is_found() -> None:
    told = {"id": b"device", "signaling": SIGNALING.encode(), "pin": PIN.encode()}
    assert _found(service(**told)) == Found("x", "device", SIGNALING, PIN)
    del told["pin"]
    assert _found(service(**told, other=None)) == Found("x", "device", SIGNALING, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": b"a/b"},
        {"id": b""},
        {"id": None},
        {"id": b"\xff"},
        {"signaling": b"ftp://x"},
        {"signaling": b"local:x"},
        {"signaling": b"ws://h/\x1b[2J"},
        {"signaling": b""},
        {"pin": b"sha256:0"},
    ],
)
def test_records_that_no_device_sends_are_left_out(wrong: dict[str, Any]) -> None:
    told = {"id": b"device", "signaling": SIGNALING.encode(), "pin": PIN.encode()}
    assert _found(service(**(told | wrong))) is None


def test_a_name_for_the_terminal() -> None:
    info = service(id=b"device", signaling=SIGNALING.encode())
    info.name = "\x1b[2J._peerfetch._tcp.local."
    assert _found(info) is None


async def test_a_url_that_cannot_be_announced() -> None:
    with pytest.raises(PeerfetchError, match="too long"):
        async with advertise("device", f"{SIGNALING}/{'a' * 300}", PIN):
            pass


def test_without_multicast_browsing_fails_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise OSError(19, "No such device")

    monkeypatch.setattr("zeroconf.asyncio.AsyncZeroconf", none)
    with pytest.raises(PeerfetchError, match="multicast"):
        asyncio.run(browse(0.1))
