"""Asking a router, which is a few lines here; tests/nat has a real one."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peerfetch_fast.errors import MappingError
from peerfetch_fast.webrtc.mapping import mapper, pcp
from peerfetch_fast.webrtc.mapping.mapper import default_gateway, open_port
from support import until

PUBLIC = bytes((11, 0, 0, 11))


class Router(asyncio.DatagramProtocol):
    """Keeps what it was asked for: the lifetimes, by port."""

    transport: Any

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.asked: list[tuple[int, int]] = []
        self.lifetime = 3600

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(self.answer(data), addr)

    def answer(self, data: bytes) -> bytes:
        if self.kind == "nat-pmp":
            if data[0] == 2:
                return bytes((0, 0x81, 0, 1)) + bytes(4)
            if data == b"\0\0":
                return bytes((0, 0x80)) + bytes(6) + PUBLIC
            self.asked.append((int.from_bytes(data[4:6], "big"), int.from_bytes(data[8:12], "big")))
            return bytes((0, 0x81)) + bytes(6) + data[4:6] * 2 + data[8:12]
        self.asked.append((int.from_bytes(data[40:42], "big"), int.from_bytes(data[4:8], "big")))
        code = 2 if self.kind == "refusing" else 0
        address = b"\xc0\xa8\0\1" if self.kind == "private" else PUBLIC
        lifetime = min(self.lifetime, self.asked[-1][1]).to_bytes(4, "big")
        head = bytes((2, 0x81, 0, code)) + lifetime + bytes(16)
        return head + data[24:44] + bytes(10) + b"\xff\xff" + address


@contextlib.asynccontextmanager
async def router(monkeypatch: pytest.MonkeyPatch, kind: str) -> AsyncIterator[Router]:
    transport, made = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Router(kind), local_addr=("127.0.0.1", 0)
    )
    monkeypatch.setattr(pcp, "PORT", transport.get_extra_info("sockname")[1])
    monkeypatch.setattr(mapper, "default_gateway", lambda: "127.0.0.1")

    async def nothing(self: object) -> Any:
        raise MappingError("no router here speaks UPnP-IGD")

    monkeypatch.setattr(mapper._Upnp, "open", nothing)
    try:
        yield made
    finally:
        transport.close()


@pytest.mark.parametrize("kind", ["pcp", "nat-pmp"])
async def test_a_port_is_opened_and_given_back(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    async with router(monkeypatch, kind) as asked:
        mapping = await open_port("127.0.0.1", 40_000)
        assert (mapping.host, mapping.port) == ("11.0.0.11", 40_000)
        await mapping.close()
        assert asked.asked == [(40_000, 3600), (40_000, 0)]


async def test_a_port_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapper, "MIN_WAIT", 0.05)
    async with router(monkeypatch, "pcp") as asked:
        asked.lifetime = 1  # and is asked for again each half second
        mapping = await open_port("127.0.0.1", 40_000)
        await until(lambda: len(asked.asked) >= 3)
        await mapping.close()


@pytest.mark.parametrize(
    ("kind", "says"),
    [("refusing", "not allowed there"), ("private", "no public address: 192.168.0.1")],
)
async def test_what_is_of_no_use_is_an_error(
    monkeypatch: pytest.MonkeyPatch, kind: str, says: str
) -> None:
    async with router(monkeypatch, kind) as asked:
        with pytest.raises(MappingError, match=says):
            await open_port("127.0.0.1", 40_000)
        if kind == "private":
            assert asked.asked[-1] == (40_000, 0)  # it is not left open


async def test_where_nobody_answers_that_is_said_and_nobody_asked_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mapper, "WAITS", (0.05, 0.05))
    questions: list[bytes] = []
    async with router(monkeypatch, "pcp") as asked:
        answers = asked.answer
        asked.answer = lambda data: questions.append(data) or b""  # type: ignore[method-assign]
        for _ in range(3):
            with pytest.raises(MappingError, match=r"does not answer to PCP.*speaks UPnP-IGD"):
                await open_port("127.0.0.1", 40_000)
        assert len(questions) == 2
        asked.answer = answers  # type: ignore[method-assign]
        mapper._silent.clear()  # its time is over
        await (await open_port("127.0.0.1", 40_000)).close()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells of its routes")
def test_the_router_is_the_one_that_leads_to_the_internet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    routes = tmp_path / "route"
    monkeypatch.setattr(mapper, "_ROUTES", routes)
    head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    other = "wlan0\t00000000\t0201A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
    best = "eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
    near = "eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    routes.write_text(head + near + other + best)
    assert default_gateway() == "192.168.1.1"
    routes.write_text(head + near)
    assert default_gateway() is None
    routes.unlink()
    assert default_gateway() is None
