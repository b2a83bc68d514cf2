"""Relays: allocations at TURN servers (RFC 8656), by aioice's client."""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import Callable
from typing import Any

from peerfetch_fast.errors import RelayError
from peerfetch_fast.webrtc.ice.events import Address
from peerfetch_fast.webrtc.ice.opening import OPENING_TIMEOUT
from peerfetch_fast.webrtc.ice.servers import Server, resolve

__all__ = ["RELAY_TIMEOUT", "Relay", "open_relay"]

logger = logging.getLogger(__name__)

RELAY_TIMEOUT = 8.0
"""Seconds that a TURN server has to make an allocation, over all of its addresses."""

CLOSE_TIMEOUT = 1.0
"""Seconds that a TURN server has to confirm that an allocation is given back."""

CHANNEL_REFRESH = 240.0
"""Seconds after which a channel is bound again: it lives for ten minutes, the permission behind it
for five (RFC 8656 sections 9 and 12)."""

CHANNEL_RETRY = 10.0
"""Seconds after which a binding that has failed is tried again; what is there serves on."""

MAX_BINDING = 64
"""Datagrams that wait while a channel to their peer is bound; more are lost, as on a network."""

Receiver = Callable[[bytes, Address], object]


class Relay(asyncio.DatagramProtocol):
    """An address elsewhere, at which a TURN server takes datagrams for us and sends ours.

    :ivar address: the relay's.
    :ivar related_address: what the server sees of us.
    :ivar on_lost: called once if the server gives the allocation up.
    """

    def __init__(self, receiver: Receiver, opened: asyncio.Event) -> None:
        self.on_lost: Callable[[Exception | None], object] | None = None
        self._receiver: Receiver | None = receiver
        self._transport: Any = None
        self._refreshing: set[asyncio.Task[None]] = set()
        opened.set()

    @property
    def address(self) -> Address:
        host, port = self._transport.get_extra_info("sockname")
        return host, port

    @property
    def local_address(self) -> str:
        """The address of this machine that the server is spoken to from."""
        transport = self._transport._TurnTransport__inner_protocol.transport
        name = transport.get_extra_info("sockname")
        return "" if name is None else str(name[0])

    @property
    def related_address(self) -> Address:
        host, port = self._transport.get_extra_info("related_address")
        return host, port

    def sendto(self, data: bytes, address: Address) -> None:
        """Have the server send a datagram. One that cannot be sent is lost."""
        client = self._transport._TurnTransport__inner_protocol
        channel = client.peer_to_channel.get(address)
        if channel is None:
            if len(self._transport._TurnTransport__send_tasks) < MAX_BINDING:
                self._transport.sendto(data, address)
        elif not client.transport.is_closing():
            # aioice makes a task of each datagram, which costs more than all the rest, and has them
            # all bind the channel again when that is due.
            if time.time() > client.channel_refresh_at[channel]:
                self._refresh(client, channel, address)
            client._send(struct.pack(">HH", channel, len(data)) + data)

    def _refresh(self, client: Any, channel: int, address: Address) -> None:
        client.channel_refresh_at[channel] = time.time() + CHANNEL_REFRESH

        async def bind() -> None:
            try:
                await client.channel_bind(channel, address)
            except Exception as exc:
                # aioice raises whatever its reading of an answer happens to raise.
                logger.info("a channel of %s was not bound again: %r", self.address, exc)
                client.channel_refresh_at[channel] = time.time() + CHANNEL_RETRY

        task = asyncio.create_task(bind())
        self._refreshing.add(task)
        task.add_done_callback(self._refreshing.discard)

    async def close(self) -> None:
        """Give the allocation back; a server that does not say so soon forgets it of itself."""
        self._receiver = self.on_lost = None
        for task in list(self._refreshing):
            task.cancel()
        transport = self._transport
        transport.close()
        closing = transport._TurnTransport__close_task
        done, _ = await asyncio.wait([closing], timeout=CLOSE_TIMEOUT)
        if not done:
            closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)

    # -- what aioice calls -------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        if self._receiver is not None and data:
            self._receiver(data, address)

    def error_received(self, exc: Exception) -> None:
        logger.debug("a datagram was not relayed: %r", exc)

    def connection_lost(self, exc: Exception | None) -> None:
        on_lost, self.on_lost = self.on_lost, None
        if on_lost is not None:
            on_lost(exc)


async def open_relay(server: Server, receiver: Receiver) -> Relay:
    """Make an allocation.

    :param receiver: called with each datagram that comes to the relay, and where it is from.
    :raises RelayError: the server refuses, or is silent, or is no TURN server.
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
    # A certificate is of a name, which the loop resolves once more.
    if server.scheme == "turns":
        addresses = [(server.host, server.port)]
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
    from aioice import turn

    opened = asyncio.Event()
    task = asyncio.create_task(
        turn.create_turn_endpoint(
            lambda: Relay(receiver, opened),
            server_addr=address,
            username=server.username,
            password=server.credential,
            channel_refresh_time=int(CHANNEL_REFRESH),
            ssl=server.scheme == "turns",
            transport=server.transport,
        )
    )
    task.add_done_callback(lambda _: opened.set())
    try:
        _, relay = await asyncio.shield(task)
    except asyncio.CancelledError:
        await _abandon(task, opened)
        raise
    except Exception as exc:
        raise _failure(server, exc) from exc
    return relay


async def _abandon(task: asyncio.Task[Any], opened: asyncio.Event) -> None:
    """Nobody wants the relay any more: aioice closes a socket that is open, uvloop loses others."""
    opening = asyncio.create_task(opened.wait())
    try:
        await asyncio.wait([opening], timeout=OPENING_TIMEOUT)
    finally:
        opening.cancel()
        task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and task.exception() is None:
        await task.result()[1].close()


def _failure(server: Server, exc: Exception) -> RelayError:
    from aioice import stun

    if isinstance(exc, stun.TransactionFailed):
        code, reason = exc.response.attributes.get("ERROR-CODE", (0, "no reason given"))
        advice = "; check the user name and the credential" if code in (401, 431, 441) else ""
        return RelayError(f"the TURN server {server} refuses: {code} {reason}{advice}")
    if isinstance(exc, stun.TransactionTimeout):
        return RelayError(f"the TURN server {server} does not answer")
    if isinstance(exc, OSError):
        return RelayError(f"the TURN server {server} cannot be reached: {exc}")
    # aioice raises whatever its reading of an answer happens to raise.
    return RelayError(f"the TURN server {server} answers nonsense: {exc!r}")
