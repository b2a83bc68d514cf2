"""A STUN and TURN server on loopback, as small as the tests allow, and a dead one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

from aioice import stun


@contextlib.contextmanager
def dead_server() -> Iterator[tuple[str, int]]:
    """The address of a server that takes everything and answers nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


@contextlib.asynccontextmanager
async def stun_server(
    *,
    mapped: tuple[str, int] | None = None,
    forgetful: bool = False,
    closed: bool = False,
    anew: bool = False,
) -> AsyncIterator[tuple[str, int]]:
    """Serve STUN Binding and TURN over UDP without credentials.

    :param mapped: the address that every client is told is its own.
    :param forgetful: allocations are made, but not given back.
    :param anew: of an allocation that was made it knows nothing, as behind a router that has been
        started anew.
    :param closed: no channel is bound, and no peer permitted.
    """
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: ServerProtocol(mapped, forgetful, closed, anew), local_addr=("127.0.0.1", 0)
    )
    try:
        yield transport.get_extra_info("sockname")
    finally:
        transport.close()
        await asyncio.sleep(0)


PEERS = (stun.Method.CREATE_PERMISSION, stun.Method.CHANNEL_BIND)
"""What is asked for a peer."""


class ServerProtocol(asyncio.DatagramProtocol):
    def __init__(
        self, mapped: tuple[str, int] | None, forgetful: bool, closed: bool, anew: bool = False
    ) -> None:
        self.anew = anew
        self.mapped = mapped
        self.forgetful = forgetful
        self.closed = closed
        self.allocations: dict[Any, Allocation] = {}
        self.opening: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        for allocation in self.allocations.values():
            allocation.transport.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if data[0] & 0xC0 == 0x40:
            channel, length = struct.unpack("!HH", data[:4])
            allocation = self.allocations[addr]
            allocation.transport.sendto(data[4 : 4 + length], allocation.peers[channel])
            return
        request = stun.parse_message(data)
        if request.message_method == stun.Method.SEND:
            allocation = self.allocations[addr]
            there = request.attributes["XOR-PEER-ADDRESS"]
            if there[0] in allocation.permitted:
                allocation.transport.sendto(request.attributes["DATA"], there)
            return
        response = stun.Message(
            message_method=request.message_method,
            message_class=stun.Class.RESPONSE,
            transaction_id=request.transaction_id,
        )
        if request.message_method == stun.Method.ALLOCATE:
            task = asyncio.create_task(self.allocate(response, addr))
            self.opening.add(task)
            task.add_done_callback(self.opening.discard)
            return
        if request.message_method == stun.Method.BINDING:
            response.attributes["XOR-MAPPED-ADDRESS"] = self.mapped or addr
        elif request.message_method == stun.Method.REFRESH:
            if self.forgetful:
                return
            response.attributes["LIFETIME"] = request.attributes["LIFETIME"]
            if self.anew:
                response.message_class = stun.Class.ERROR
                response.attributes["ERROR-CODE"] = (437, "Allocation Mismatch")
        elif request.message_method in PEERS and self.closed:
            response.message_class = stun.Class.ERROR
            response.attributes["ERROR-CODE"] = (403, "Forbidden")
        elif request.message_method in PEERS:
            allocation = self.allocations[addr]
            there = request.attributes["XOR-PEER-ADDRESS"]
            allocation.permitted.add(there[0])
            if request.message_method == stun.Method.CHANNEL_BIND:
                allocation.peers[request.attributes["CHANNEL-NUMBER"]] = there
        self.transport.sendto(bytes(response), addr)

    async def allocate(self, response: stun.Message, addr: Any) -> None:
        _, allocation = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Allocation(self, addr), local_addr=("127.0.0.1", 0)
        )
        self.allocations[addr] = allocation
        response.attributes["LIFETIME"] = 600
        response.attributes["XOR-MAPPED-ADDRESS"] = addr
        response.attributes["XOR-RELAYED-ADDRESS"] = allocation.transport.get_extra_info("sockname")
        self.transport.sendto(bytes(response), addr)


class Allocation(asyncio.DatagramProtocol):
    def __init__(self, server: ServerProtocol, client: Any) -> None:
        self.server = server
        self.client = client
        self.peers: dict[int, Any] = {}
        self.permitted: set[str] = set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        for channel, peer in self.peers.items():
            if peer == addr:
                header = struct.pack("!HH", channel, len(data))
                self.server.transport.sendto(header + data, self.client)
                return
        if addr[0] in self.permitted:
            self.server.transport.sendto(indication(data, addr), self.client)


def indication(data: bytes, peer: tuple[str, int]) -> bytes:
    """What a port has sent to which no channel is bound (RFC 8656 section 11.3)."""
    transaction = bytes(12)
    address = stun.pack_xor_address(peer, transaction)
    body = struct.pack("!HH", 0x0012, len(address)) + address
    body += struct.pack("!HH", 0x0013, len(data)) + data + bytes(-len(data) % 4)
    return struct.pack("!HHI", 0x0017, len(body), 0x2112A442) + transaction + body
