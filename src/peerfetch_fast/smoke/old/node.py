"""A connection with an old node: its data channels are ports."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Protocol

from peerfetch_fast.budget import Budget
from peerfetch_fast.errors import ConnectError, PeerfetchError
from peerfetch_fast.http.websocket import WebSocket, open_websocket
from peerfetch_fast.negotiation import Negotiation
from peerfetch_fast.signaling.seam import Signal
from peerfetch_fast.smoke.old.channels import Segments
from peerfetch_fast.streams.link import memory_pair
from peerfetch_fast.streams.session import Session
from peerfetch_fast.webrtc.channel_link import PROTOCOL
from peerfetch_fast.webrtc.data_connection import DataConnection

__all__ = ["NodeNegotiation", "OldNode"]

logger = logging.getLogger(__name__)

MAX_CHANNELS = 256
"""Channels at once, of either side."""

MAX_HELD = 16 * 1024 * 1024
"""Bytes that have come on all of them and nobody has taken."""

OPEN_TIMEOUT = 4.0
"""Seconds for which the other side's word is waited for that a port is open."""

ATTEMPTS = 3
"""Nodes of that package may miss that a channel has opened: they are asked again."""

WORD_DELAY = 0.03
"""Seconds before our word is said: with what opens the channel over there, it would be missed."""

ACCEPTED, REFUSED = b"\0", b"\1"


class Ports(Protocol):
    """What the ports of a node are for."""

    def serves(self, port: str) -> str | None:
        """``request``, ``socket``, or None where nobody listens."""


class OldNode:
    """One that is connected. What it asks comes by :attr:`link`, on which ``peerfetch.2`` is
    spoken; what it is asked goes by :meth:`open`.
    """

    def __init__(self, connection: DataConnection, address: str, ports: Ports) -> None:
        self.address = address
        self._connection = connection
        self._ports = ports
        self._budget = Budget(MAX_HELD)
        self._channels: set[Any] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        inner, self.link = memory_pair()
        self.session = Session(inner, opener=False, accepting=False)
        connection.on("connectionstatechange", self._on_state)

    def _on_state(self) -> None:
        if self._connection.connectionState in ("failed", "closed"):
            self.session.abort()
            for task in self._tasks:
                task.cancel()

    def _exceeded(self) -> None:
        logger.warning("%s sends more than is read: it is disconnected", self.address)
        self._start(self._connection.close())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            level = logging.INFO if isinstance(error, PeerfetchError) else logging.ERROR
            logger.log(level, "what %s asked for ended: %s", self.address, error)

    def _keep(self, channel: Any) -> None:
        self._channels.add(channel)
        channel.on("close", lambda: self._channels.discard(channel))

    async def open(self, port: str) -> Segments:
        """A socket to a port. Raises PortRefused, ConnectError."""
        from peerfetch_fast.smoke.network import PortRefused

        for _ in range(ATTEMPTS):
            if len(self._channels) >= MAX_CHANNELS:
                raise ConnectError(f"{MAX_CHANNELS} channels to {self.address} are open")
            channel = self._connection.createDataChannel(port)
            self._keep(channel)
            word: asyncio.Future[bytes | str | None] = asyncio.get_running_loop().create_future()
            segments = Segments(channel, self._budget, self._exceeded, word)
            try:
                await asyncio.wait((word,), timeout=OPEN_TIMEOUT)
            except asyncio.CancelledError:
                await segments.close()
                raise
            if word.done() and word.result() == ACCEPTED:
                return segments
            refused = word.done()
            await segments.close()
            if refused:  # who refuses closes at once, and its word may be lost
                raise PortRefused(self.address)
        raise ConnectError(f"'{self.address}' is not responding.")

    def offered(self, channel: Any) -> None:
        """A channel that the other side has opened."""
        if len(self._channels) >= MAX_CHANNELS:
            channel.close()
            return
        self._keep(channel)
        self._start(self._take(channel))

    async def _take(self, channel: Any) -> None:
        await asyncio.sleep(WORD_DELAY)
        port = channel.label
        serves = self._ports.serves(port)
        if channel.readyState != "open":
            return
        channel.send(REFUSED if serves is None else ACCEPTED)
        if serves is None:
            channel.close()
            return
        segments = Segments(channel, self._budget, self._exceeded)
        try:
            if serves == "request":
                from peerfetch_fast.smoke.old.rest import answer

                await answer(self.session, segments, port)
            else:
                await self._connect(segments, port)
        finally:
            await segments.close()

    async def _connect(self, segments: Segments, port: str) -> None:
        """Pass on what two sockets say."""
        from peerfetch_fast.smoke.network import PORT

        async with await open_websocket(self.session, "/", headers={PORT: port}) as socket:
            ways = [
                asyncio.ensure_future(_pass_on(*ends))
                for ends in ((segments, socket), (socket, segments))
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)


async def _pass_on(source: Segments | WebSocket, sink: Segments | WebSocket) -> None:
    while True:
        await sink.send(await source.receive())


class NodeNegotiation(Negotiation):
    """One with a node of either kind, if we have called it; else with an old one, which has.

    :param ports: what our ports are for.
    """

    def __init__(self, *arguments: Any, ports: Ports) -> None:
        super().__init__(*arguments)
        self._ports = ports
        self.node: OldNode | None = None

    def take_answer(self, answer: Signal) -> None:
        """See :class:`Negotiation`: old nodes name no protocol."""
        if answer.protocol != PROTOCOL:
            self._channel.close()
            self.connection.on("datachannel", self._on_channel)
            self._meet()

    async def answer(self, sdp: str) -> None:
        """See :class:`Negotiation`."""
        self._meet()
        await super().answer(sdp)

    def _meet(self) -> None:
        if not isinstance(self.connection, DataConnection):
            raise ConnectError(
                f"{self._peer_id} runs smoke-node, which is understood by the native transport only"
            )
        self.restartable, self.old = False, True
        self.connection.take_channels(MAX_CHANNELS)
        self.node = OldNode(self.connection, self._peer_id, self._ports)
        self.connection.on("connectionstatechange", self._on_connected)

    def _on_connected(self) -> None:
        if self.connection.connectionState == "connected" and not self.connected.done():
            assert self.node is not None
            self.connected.set_result(self.node.link)  # type: ignore[arg-type]

    def _on_channel(self, channel: Any) -> None:
        if self.node is None:
            super()._on_channel(channel)
        else:
            self.node.offered(channel)
