"""Allocations at TURN servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aioice import stun
from tests.webrtc.servers import ServerProtocol, dead_server, stun_server

from peerfetch_fast.errors import RelayError
from peerfetch_fast.webrtc.ice import relays
from peerfetch_fast.webrtc.ice.relays import open_relay
from peerfetch_fast.webrtc.ice.servers import Server
from peerfetch_fast.webrtc.ice.turn_peers import MAX_WAITING
from support import until

LOOPBACK = "127.0.0.1"


class Peer(asyncio.DatagramProtocol):
    """What is behind a relay."""

    transport: asyncio.DatagramTransport

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Any]] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.append((data, addr))


@contextlib.asynccontextmanager
async def peer() -> AsyncIterator[Peer]:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        Peer, local_addr=(LOOPBACK, 0)
    )
    try:
        yield protocol
    finally:
        transport.close()


def turn(address: tuple[str, int], **options: Any) -> Server:
    return Server("turn", *address, options.pop("transport", "udp"), **options)


def nobody(data: bytes, address: Any) -> None:
    raise AssertionError("nothing was sent")


async def test_datagrams_go_both_ways() -> None:
    received: list[tuple[bytes, Any]] = []
    async with stun_server() as address, peer() as other:
        relay = await open_relay(turn(address), lambda *got: received.append(got))
        assert relay.related_address[0] == LOOPBACK
        there = other.transport.get_extra_info("sockname")
        for number in range(20):  # a channel is bound, and then used
            relay.sendto(b"%d" % number, there)
            await until(lambda number=number: len(other.received) > number)
        assert other.received == [(b"%d" % n, relay.address) for n in range(20)]
        other.transport.sendto(b"back", relay.address)
        await until(lambda: received)
        assert received == [(b"back", there)]
        await relay.close()
        relay.sendto(b"late", there)


async def test_what_waits_for_a_permission_is_bounded() -> None:
    async with stun_server() as address, peer() as other:
        relay = await open_relay(turn(address), nobody)
        there = other.transport.get_extra_info("sockname")
        for number in range(MAX_WAITING + 10):
            relay.sendto(bytes((number,)), there)
        await until(lambda: len(other.received) >= MAX_WAITING)
        relay.sendto(b"last", there)
        await until(lambda: other.received[-1][0] == b"last")
        assert len(other.received) == MAX_WAITING + 1
        await relay.close()


@contextlib.asynccontextmanager
async def serving(protocol: ServerProtocol) -> AsyncIterator[tuple[str, int]]:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: protocol, local_addr=(LOOPBACK, 0)
    )
    try:
        yield transport.get_extra_info("sockname")
    finally:
        transport.close()
        await asyncio.sleep(0)


async def test_who_has_a_channel_is_sent_no_indications() -> None:
    class Counting(ServerProtocol):
        framed = 0

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.framed += data[0] >> 6
            super().datagram_received(data, addr)

    server = Counting(None, False, False)
    async with serving(server) as address, peer() as other:
        relay = await open_relay(turn(address), nobody)
        there = other.transport.get_extra_info("sockname")
        for number in range(30):
            relay.sendto(b"x", there)
            await until(lambda number=number: len(other.received) > number)
        assert server.framed > 15
        await relay.close()


async def test_a_server_that_refuses() -> None:
    class Refusing(ServerProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            request = stun.parse_message(data)
            answer = stun.Message(request.message_method, stun.Class.ERROR, request.transaction_id)
            answer.attributes["ERROR-CODE"] = (486, "Allocation Quota Reached")
            self.transport.sendto(bytes(answer), addr)

    async with serving(Refusing(None, False, False)) as address:
        with pytest.raises(RelayError, match="refuses: 486 Allocation Quota Reached"):
            await open_relay(turn(address), nobody)


async def test_a_server_that_is_silent(monkeypatch: Any) -> None:
    monkeypatch.setattr(relays, "RELAY_TIMEOUT", 0.2)
    with dead_server() as address, pytest.raises(RelayError, match="does not answer"):
        await open_relay(turn(address), nobody)


async def test_servers_that_are_not_there(monkeypatch: Any) -> None:
    with pytest.raises(RelayError, match="cannot be reached"):
        await open_relay(turn((LOOPBACK, 1), transport="tcp"), nobody)

    async def resolve(server: Server) -> Any:
        raise OSError("no such name")

    monkeypatch.setattr(relays, "resolve", resolve)
    with pytest.raises(RelayError, match="cannot be found: no such name"):
        await open_relay(turn(("nowhere.invalid", 1)), nobody)


async def test_a_server_that_answers_nonsense() -> None:
    class Nonsense(ServerProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            request = stun.parse_message(data)
            answer = stun.Message(
                request.message_method, stun.Class.RESPONSE, request.transaction_id
            )
            self.transport.sendto(bytes(answer), addr)

    async with serving(Nonsense(None, False, False)) as address:
        with pytest.raises(RelayError):
            await open_relay(turn(address), nobody)


async def test_who_gives_up_leaves_no_socket() -> None:
    with dead_server() as address:
        for turns in (0, 1, 2, 5):
            opening = asyncio.ensure_future(open_relay(turn(address), nobody))
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening


async def test_a_server_that_does_not_take_it_back(monkeypatch: Any) -> None:
    monkeypatch.setattr(relays, "CLOSE_TIMEOUT", 0.1)
    async with stun_server(forgetful=True) as address:
        relay = await open_relay(turn(address), nobody)
        relay.on_lost = lambda _: pytest.fail("it was closed, not lost")
        await relay.close()


@pytest.mark.parametrize(
    ("server", "holds"), [({}, True), ({"forgetful": True}, True), ({"anew": True}, False)]
)
async def test_whether_a_server_still_relays(
    monkeypatch: Any, server: dict[str, bool], holds: bool
) -> None:
    """One that does not answer in time may do so later."""
    if "forgetful" in server:
        monkeypatch.setattr(relays, "CHECK_TIMEOUT", 0.05)
        monkeypatch.setattr(relays, "CLOSE_TIMEOUT", 0.05)

    async with stun_server(**server) as address:
        relay = await open_relay(turn(address), nobody)
        lost = asyncio.Event()
        relay.on_lost = lambda _: lost.set()
        assert await relay.holds() is holds
        assert lost.is_set() is not holds
        await relay.close()


async def test_a_relay_that_is_lost() -> None:
    async with stun_server() as address:
        relay = await open_relay(turn(address), nobody)
        lost: list[Exception | None] = []
        relay.on_lost = lost.append
        relay._transport.close()
        await until(lambda: lost)
        await relay.close()
        assert len(lost) == 1
