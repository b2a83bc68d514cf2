"""Relays: allocations at TURN servers, on asyncio's sockets (:mod:`~peerfetch_fast.webrtc.ice.turn`
has the protocol).
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Callable
from typing import Any

from peerfetch_fast.errors import RelayError
from peerfetch_fast.webrtc.ice.events import Address
from peerfetch_fast.webrtc.ice.opening import unbroken
from peerfetch_fast.webrtc.ice.servers import Server, resolve
from peerfetch_fast.webrtc.ice.turn import State, TurnClient
from peerfetch_fast.webrtc.ice.turn_messages import Credentials, FrameError, StreamFrames

__all__ = ["RELAY_TIMEOUT", "Relay", "open_relay"]

logger = logging.getLogger(__name__)

RELAY_TIMEOUT = 8.0
"""Seconds that a TURN server has to make an allocation, over all of its addresses."""

CLOSE_TIMEOUT = 1.0
"""Seconds that a TURN server has to confirm that an allocation is given back."""

CHECK_TIMEOUT = 1.0
"""Seconds that a TURN server has to say that it has an allocation no more."""

RECEIVE_BUFFER = 256 * 1024
"""Bytes that the kernel keeps of what a server relays over UDP."""

MAX_UNSENT = 256 * 1024
"""Bytes that wait for a slow TCP connection to a server; what more there is is lost, as it would be
on a slow network."""

_WRONG_LOGIN = (401, 431, 441)

Receiver = Callable[[bytes, Address], object]


class Relay:
    """An address elsewhere, at which a TURN server takes datagrams for us and sends ours.

    :ivar on_lost: called once if the server gives the allocation up, or is gone.
    """

    def __init__(self, client: TurnClient, receiver: Receiver, *, stream: bool) -> None:
        self.on_lost: Callable[[Exception | None], object] | None = None
        self._client = client
        self._receiver: Receiver | None = receiver
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._frames = StreamFrames() if stream else None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._settled: asyncio.Future[None] | None = None
        self._wanted: frozenset[State] = frozenset()
        self._checked: asyncio.Future[None] | None = None

    @property
    def address(self) -> Address:
        """The relay's."""
        assert self._client.relayed is not None
        return self._client.relayed

    @property
    def local_address(self) -> str:
        """The address of this machine that the server is spoken to from."""
        name = self._transport.get_extra_info("sockname")
        return "" if name is None else str(name[0])

    @property
    def related_address(self) -> Address:
        """Our address as the server sees it."""
        assert self._client.mapped is not None
        return self._client.mapped

    def sendto(self, data: bytes, address: Address) -> None:
        """Have the server send a datagram. One that cannot be sent is lost."""
        framed = self._client.frame(data, address)
        if framed is not None:
            self._write(framed)
        else:
            self._client.send(data, address, self._loop.time())
            self._flush()

    async def allocate(self) -> None:
        """Make the allocation. Raises RelayError, of which the caller says which server it is."""
        self._client.allocate(self._loop.time())
        await self._until(frozenset((State.READY, State.CLOSED)))

    async def holds(self) -> bool:
        """Whether the server has the allocation still, for all that it says."""
        self._client.refresh(self._loop.time())
        self._checked = self._loop.create_future()
        self._flush()
        await asyncio.wait([self._checked], timeout=CHECK_TIMEOUT)
        return self._client.state is State.READY

    async def close(self) -> None:
        """Give the allocation back; a server that does not say so soon forgets it of itself."""
        self._receiver = self.on_lost = None
        if self._transport is None:
            return
        self._client.close(self._loop.time())
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._until(frozenset((State.CLOSED,)))
        except TimeoutError:
            logger.info("a TURN server did not take its allocation back in time")
        finally:
            self._stop()

    async def _until(self, states: frozenset[State]) -> None:
        """Wait for one of these states."""
        self._wanted = states
        self._settled = self._loop.create_future()
        self._flush()
        await self._settled

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._frames is None:
            self._transport.close()
        else:
            # The last request was sent: nobody waits for the server to close TLS.
            self._transport.abort()

    def _flush(self) -> None:
        """Send what there is to send, and see to what has become of the allocation."""
        for datagram in self._client.take_datagrams():
            self._write(datagram)
        self._schedule()
        settled = self._settled
        if settled is not None and self._client.state in self._wanted and not settled.done():
            settled.set_result(None)
        checked = self._checked
        if checked is not None and not self._client.refreshing and not checked.done():
            checked.set_result(None)
        if self._client.state is State.CLOSED and self.on_lost is not None:
            failure = self._client.failure
            self._lose(OSError(f"the relay is gone: {failure.reason if failure else ''}"))

    def _write(self, datagram: bytes) -> None:
        if self._transport.is_closing():
            return
        if self._frames is None:
            self._transport.sendto(datagram)
        elif self._transport.get_write_buffer_size() < MAX_UNSENT:
            self._transport.write(datagram)

    def _schedule(self) -> None:
        """Have a timer for what is due first: an earlier one serves as well."""
        due = self._client.deadline()
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._timer = None
        if due < float("inf") and not self._transport.is_closing():
            self._due = due
            self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._client.handle_timeout(self._loop.time())
        self._flush()

    def _lose(self, error: Exception | None) -> None:
        on_lost, self.on_lost = self.on_lost, None
        self._stop()
        if on_lost is not None:
            on_lost(error)

    # -- what the socket says ----------------------------------------------------------------------

    def opened(self, transport: Any) -> None:
        """There is a socket."""
        self._transport = transport

    def received(self, data: bytes) -> None:
        """A datagram, or a frame of a stream."""
        found = self._client.receive(data, self._loop.time())
        if found is None:
            self._flush()
        elif self._receiver is not None:
            self._receiver(*found)

    def received_of_stream(self, data: bytes) -> None:
        """Some octets of a stream."""
        assert self._frames is not None
        try:
            for frame in self._frames.feed(data):
                self.received(frame)
        except FrameError as error:
            logger.info("a TURN server says what is not TURN: %s", error)
            self._transport.abort()

    def gone(self, error: Exception | None) -> None:
        """The socket is closed."""
        self._client.lost()
        self._flush()
        self._lose(error)


class _Socket(asyncio.DatagramProtocol, asyncio.Protocol):
    """The protocol that asyncio calls."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def connection_made(self, transport: Any) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        self._relay.opened(transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """See :class:`asyncio.DatagramProtocol`."""
        self._relay.received(data)

    def error_received(self, exc: Exception) -> None:
        """See :class:`asyncio.DatagramProtocol`. The other side may listen there again."""
        logger.debug("a TURN server's host says: %r", exc)

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        self._relay.received_of_stream(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        self._relay.gone(exc)


async def open_relay(server: Server, receiver: Receiver) -> Relay:
    """Make an allocation.

    :param receiver: called with each datagram that comes to the relay, and where it is from.

    Raises RelayError if the server refuses, or is silent, or is no TURN server.
    """
    try:
        async with asyncio.timeout(RELAY_TIMEOUT):
            return await _open(server, receiver)
    except TimeoutError:
        raise RelayError(f"the TURN server {server} does not answer") from None


async def _open(server: Server, receiver: Receiver) -> Relay:
    try:
        addresses = await resolve(server)
    except OSError as exc:
        raise RelayError(f"the TURN server {server} cannot be found: {exc}") from exc
    failure = RelayError(f"the TURN server {server} has no address")
    for address in addresses:
        try:
            async with asyncio.timeout(RELAY_TIMEOUT / len(addresses)):
                return await _allocate(server, address, receiver)
        except TimeoutError:
            failure = RelayError(f"the TURN server {server} does not answer")
        except RelayError as exc:
            failure = exc
    raise failure


async def _allocate(server: Server, address: Address, receiver: Receiver) -> Relay:
    stream = server.transport == "tcp"
    try:
        credentials = Credentials(server.username, server.credential)
    except ValueError as exc:
        raise RelayError(f"the TURN server {server} cannot be asked: {exc}") from exc
    client = TurnClient(credentials, random.SystemRandom(), reliable=stream)
    relay = Relay(client, receiver, stream=stream)
    try:
        await unbroken(_connect(server, address, relay))
        await relay.allocate()
    except OSError as exc:
        raise RelayError(f"the TURN server {server} cannot be reached: {exc}") from exc
    except BaseException:
        # Nobody wants it any more; what is still being made is given back.
        await unbroken(relay.close())
        raise
    if client.state is State.READY:
        return relay
    await relay.close()
    raise _refused(server, client)


async def _connect(server: Server, address: Address, relay: Relay) -> None:
    """Open the socket."""
    loop = asyncio.get_running_loop()
    if server.transport == "tcp":
        tls = server.scheme == "turns"
        await loop.create_connection(
            lambda: _Socket(relay),
            *address,
            ssl=tls or None,
            server_hostname=server.host if tls else None,
        )
        return
    transport, _ = await loop.create_datagram_endpoint(lambda: _Socket(relay), remote_addr=address)
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


def _refused(server: Server, client: TurnClient) -> RelayError:
    failure = client.failure
    if failure is None:
        return RelayError(f"the TURN server {server} has closed the connection")
    if not failure.code:
        return RelayError(f"the TURN server {server} has made no allocation: {failure.reason}")
    advice = "; check the user name and the credential" if failure.code in _WRONG_LOGIN else ""
    return RelayError(f"the TURN server {server} refuses: {failure.code} {failure.reason}{advice}")
