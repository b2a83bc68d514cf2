"""Sockets: messages to and from ports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from peerfetch_fast.errors import UpgradeRefused, WebSocketClosed
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.http.websocket import WebSocket
from peerfetch_fast.smoke.network import PORT, Network, PortHandlers, PortRefused

if TYPE_CHECKING:
    from peerfetch_fast.smoke.old.channels import Segments

__all__ = ["Socket", "SocketServer", "Sockets"]


class Socket:
    """One end of a connection to a port: iterate over it for the messages of the other end. Close
    it after use, or use ``async with``.
    """

    def __init__(
        self, websocket: WebSocket | Segments, local: str | None, remote: str | None
    ) -> None:
        self._websocket = websocket
        self.local = local
        """Our address, and theirs."""
        self.remote = remote

    async def send(self, message: str | bytes) -> None:
        """Send a message, waiting while the other end reads slowly. Raises WebSocketClosed."""
        await self._websocket.send(message.encode() if isinstance(message, str) else message)

    async def receive(self) -> bytes:
        """The next message. Raises WebSocketClosed, WebSocketError."""
        message = await self._websocket.receive()
        return message.encode() if isinstance(message, str) else message

    def __aiter__(self) -> Socket:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self.receive()
        except WebSocketClosed as closed:
            if closed.code != 1006:
                raise StopAsyncIteration from None
            raise

    async def close(self) -> None:
        """Close it; the other end reads what was sent before. Idempotent."""
        await self._websocket.close()

    async def __aenter__(self) -> Socket:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()


class SocketServer:
    """Takes the sockets of a port."""

    def __init__(
        self,
        network: Network,
        handler: Callable[[Socket], Awaitable[None]],
        opened: WeakSet[Socket],
    ) -> None:
        self._network = network
        self._handler = handler
        self._opened = opened
        self._port: str | None = None

    def listen(self, port: int | str) -> SocketServer:
        """Take them. Raises PortInUse."""
        self._network.ports.bind(str(port), PortHandlers(socket=self._accept))
        self._port = str(port)
        return self

    def dispose(self) -> None:
        """Take no more; those that are open stay."""
        if self._port is not None:
            self._network.ports.unbind(self._port)
            self._port = None

    async def _accept(self, exchange: Exchange) -> None:
        if exchange.protocol != "websocket":
            exchange.refuse(501, "This port takes sockets.")
            return
        websocket = exchange.accept_websocket()
        async with Socket(websocket, exchange.server, exchange.client) as socket:
            self._opened.add(socket)
            await self._handler(socket)


class Sockets:
    """A node's socket servers, and its sockets to others."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._opened: WeakSet[Socket] = WeakSet()

    def create_server(self, handler: Callable[[Socket], Awaitable[None]]) -> SocketServer:
        """A server that calls ``handler`` with each socket, which is closed when that returns."""
        return SocketServer(self._network, handler, self._opened)

    async def connect(self, remote: str, port: int | str, *, pin: str | None = None) -> Socket:
        """Open a socket to a port of a node: an address, a host name or ``localhost``.

        :param pin: the fingerprint that the node's certificate must have.

        Raises PortRefused, PeerUnavailable, SignalingError, ConnectError.
        """
        peer = await self._network.peer(remote, pin)
        websocket: WebSocket | Segments
        if (node := self._network.old_node(peer)) is not None:
            websocket = await node.open(str(port))
        else:
            try:
                websocket = await peer.websocket("/", headers={PORT: str(port)})
            except UpgradeRefused:
                raise PortRefused(remote) from None
        socket = Socket(websocket, self._network.address, remote)
        self._opened.add(socket)
        return socket

    async def close(self) -> None:
        """Close those that are open. Idempotent."""
        await asyncio.gather(*(socket.close() for socket in self._opened))
