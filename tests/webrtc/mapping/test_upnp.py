"""UPnP-IGD with those who are no router, or a hostile one; tests/nat has a real one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from peerfetch_fast.errors import MappingError
from peerfetch_fast.webrtc.mapping import ssdp, upnp
from support import until

DEVICE = """<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><device>
<deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType>
<serviceList>{services}</serviceList></device></root>
"""
SERVICE = """<service><serviceType>urn:x:{number}</serviceType><serviceId>urn:x:{number}</serviceId>
<SCPDURL>/service</SCPDURL><controlURL>/</controlURL><eventSubURL>/</eventSubURL></service>
"""
DESCRIPTION = """<?xml version="1.0"?>
<scpd xmlns="urn:schemas-upnp-org:service-1-0"><serviceStateTable/></scpd>
"""


class Answering(asyncio.DatagramProtocol):
    """Answers each search with some datagrams."""

    transport: Any

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = answers
        self.searched = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.searched += 1
        for answer in self.answers:
            self.transport.sendto(answer, addr)


@contextlib.asynccontextmanager
async def network(
    monkeypatch: pytest.MonkeyPatch, answers: list[bytes]
) -> AsyncIterator[Answering]:
    transport, answering = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Answering(answers), local_addr=("127.0.0.1", 0)
    )
    monkeypatch.setattr(ssdp, "GROUP", transport.get_extra_info("sockname")[:2])
    try:
        yield answering
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def described_by(answer: Callable[[str], str]) -> AsyncIterator[tuple[bytes, list[str]]]:
    """A server of descriptions: the answer to a search that leads to it, and what was asked for."""
    asked = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text=answer(request.path), content_type="text/xml")

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"HTTP/1.1 200 OK\r\nLOCATION: http://127.0.0.1:{port}/\r\n\r\n".encode(), asked
    finally:
        await runner.cleanup()


async def test_a_search_that_nobody_waits_for_leaves_no_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = []
    loop = asyncio.get_running_loop()
    opening = loop.create_datagram_endpoint

    async def noting(*args: Any, **kwargs: Any) -> Any:
        transport, protocol = await opening(*args, **kwargs)
        opened.append(transport)
        return transport, protocol

    monkeypatch.setattr(loop, "create_datagram_endpoint", noting)
    searching = asyncio.ensure_future(upnp.find_gateway("127.0.0.1"))
    await until(lambda: opened)
    searching.cancel()
    await asyncio.wait((searching,))
    assert searching.cancelled()
    assert all(transport.is_closing() for transport in opened)


async def test_what_is_no_answer_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upnp, "SEARCH_TIME", 0.2)
    escaped: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: escaped.append(context))
    nonsense = [
        b"",
        b"HTTP/1.1 200 \xff\n",
        b"HTTP/1.1 200 OK\r\nLOCATION: http://[\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nLOCATION: http://192.0.2.1/\r\n\r\n",
    ]
    async with network(monkeypatch, nonsense) as answering:
        with pytest.raises(MappingError, match="no router here"):
            await upnp.find_gateway("127.0.0.1")
        assert answering.searched == 2
    assert not escaped


async def test_not_all_who_answer_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upnp, "SEARCH_TIME", 0.2)
    async with described_by(lambda path: "no XML") as (answer, asked):
        many = [answer.replace(b"/\r", f"/{number}\r".encode()) for number in range(20)]
        async with network(monkeypatch, many):
            with pytest.raises(MappingError, match="no router here"):
                await upnp.find_gateway("127.0.0.1")
    assert asked == ["/0", "/1", "/2", "/3"]


async def test_a_router_describes_itself_by_so_many_documents(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upnp, "SEARCH_TIME", 0.2)
    services = "".join(SERVICE.format(number=number) for number in range(500))
    device = DEVICE.format(services=services)
    describing = described_by(lambda path: device if path == "/" else DESCRIPTION)
    async with describing as (answer, asked), network(monkeypatch, [answer]):
        with pytest.raises(MappingError, match="no router here"):
            await upnp.find_gateway("127.0.0.1")
    assert len(asked) == upnp.MAX_DESCRIPTIONS


async def test_a_router_is_searched_once_and_again_when_it_is_not_there_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upnp, "SEARCH_TIME", 0.2)
    device = DEVICE.format(services="")
    async with network(monkeypatch, []) as answering:
        for _ in range(2):
            async with described_by(lambda _: device) as (answer, asked):
                answering.answers = [answer]
                for _ in range(3):
                    assert isinstance(await upnp.find_gateway("127.0.0.1"), upnp.Gateway)
                # It describes itself to each: its ports are its own.
                assert len(asked) == 3
        assert answering.searched == 2 * len(ssdp.TARGETS)


async def test_where_nobody_answers_nobody_is_searched_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upnp, "SEARCH_TIME", 0.1)
    async with network(monkeypatch, []) as answering:
        for _ in range(3):
            with pytest.raises(MappingError, match="no router here"):
                await upnp.find_gateway("127.0.0.1")
        assert answering.searched == len(ssdp.TARGETS)
        upnp._answered.keep("127.0.0.1", {}, 0.0)  # its time is over
        with pytest.raises(MappingError, match="no router here"):
            await upnp.find_gateway("127.0.0.1")
        assert answering.searched == 2 * len(ssdp.TARGETS)
