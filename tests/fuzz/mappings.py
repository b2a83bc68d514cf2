"""Routers that are asked for a port, and those of the network who answer in their place."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from tests.fuzz.program import Offline, Program, run_offline

from peerfetch_fast.errors import MappingError
from peerfetch_fast.webrtc.mapping import mapper, ssdp

__all__ = ["port_mapping", "port_mapping_seeds"]

HERE = "127.0.0.1"
PORT = 40_000
ADDRESSES = (bytes((11, 0, 0, 11)), bytes((192, 168, 0, 1)), bytes(4), bytes((127, 0, 0, 1)))
LIFETIMES = (3600, 0, 1, 120, 0xFFFFFFFF)


class _Router(Offline):
    """A loop on which the program answers what is asked; at its end, nobody does."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program
        self.question = b""
        self.asked = 0

    async def sock_sendall(self, sock: Any, data: bytes) -> None:
        self.question = data
        self.asked += 1

    async def sock_recv(self, sock: Any, size: int) -> bytes:
        if not self.program:
            await asyncio.sleep(3600)
        return self._answer()[:size]

    def _answer(self) -> bytes:
        program, question = self.program, self.question
        match program.byte() % 5:
            case 0:
                return program.piece()
            case 1:
                return bytes((0, 0x81, 0, 1)) + bytes(4)
            case 2:
                answer = bytes((0, 0x80)) + bytes(6) + program.pick(ADDRESSES)
            case 3:
                lifetime = program.pick(LIFETIMES).to_bytes(4, "big")
                answer = bytes((0, 0x81)) + bytes(6) + question[4:6] * 2 + lifetime
            case _:
                lifetime = program.pick(LIFETIMES).to_bytes(4, "big")
                head = bytes((2, 0x81, 0, 0)) + lifetime + bytes(16) + question[24:44]
                answer = head + bytes(10) + b"\xff\xff" + program.pick(ADDRESSES)
        changed = bytearray(answer)
        for _ in range(program.byte() % 4):
            changed[program.byte() % len(changed)] = program.byte()
        return bytes(changed)


class _NoUpnp:
    def __init__(self, *_: object) -> None: ...

    async def open(self) -> Any:
        raise MappingError("no router here speaks UPnP-IGD")

    async def close(self) -> None: ...


async def _ask(router: _Router) -> None:
    try:
        mapping = await mapper.open_port(HERE, PORT)
    except MappingError:
        return
    assert ipaddress.ip_address(mapping.host).is_global
    assert 0 < mapping.port < 65_536
    before = router.asked, router.time()
    await asyncio.sleep(7200)
    # Three questions are asked in a renewal, each three times at most.
    renewals = (router.time() - before[1]) / mapper.MIN_WAIT
    assert router.asked - before[0] <= 9 * renewals
    await mapping.close()


def port_mapping(data: bytes) -> int:
    """Answers to PCP and NAT-PMP, right, changed or of anybody's making, for a port that is asked
    for, kept for two hours and given back; and the same bytes as an answer to SSDP's search.
    """
    for answer in (data, b"HTTP/1.1 200 OK\r\nLOCATION: http://127.0.0.1" + data):
        location = ssdp.location_of(answer, HERE)
        assert location is None or urlsplit(location).hostname == HERE
    router = _Router(Program(data))
    with (
        patch.object(mapper, "default_gateway", lambda: HERE),
        patch.object(mapper, "_Upnp", _NoUpnp),
    ):
        run_offline(_ask(router), router)
    return router.asked


def port_mapping_seeds() -> list[bytes]:
    """A router of each kind, renewals, refusals, and answers to SSDP."""
    old = bytes((1, 2, 0, 0, 3, 0, 0))
    location = b"HTTP/1.1 200 OK\r\nLOCATION: http://127.0.0.1:5000/rootDesc.xml\r\n\r\n"
    return [
        bytes((4, 0, 0, 0)) * 3,
        old * 3,
        bytes((4, 2, 0, 0)) * 8,
        bytes((4, 0, 1, 0)) * 2,
        bytes((4, 0, 0, 1, 3, 2)),
        bytes((0, 3)) + b"abc" + old,
        bytes((4, 4, 0, 2, 43, 0, 42, 0)),
        location,
        b":5000/rootDesc.xml\r\n",
    ]
