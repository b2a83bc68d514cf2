"""TURN on the port of HTTPS: networks that let nothing else through let that.

Below TLS a TURN client begins with a STUN request, an HTTP client with a letter or with an empty
line (RFC 9112 section 2.2). The octets of a TURN client are handed to the TURN server as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import cast

from peerfetch_fast.rendezvous.seldom import SeldomLog

__all__ = ["TurnDiversion"]

logger = logging.getLogger(__name__)

REQUEST = 0
"""The first octet of every STUN request and indication with a standard method: methods below 0x80
leave all its bits 0 (RFC 8489 sections 5 and 18.2)."""

CONNECT_TIMEOUT = 5.0
"""Seconds that the TURN server, which is on this machine, may take to be connected to."""


class TurnDiversion:
    """Hands connections of TURN clients on, as the ``divert`` of a listener.

    :param host: and ``port``: where the TURN server takes TCP.
    :param at_most: connections that are handed on at once; more are cut.
    :ivar connections: how many there are.
    :ivar relayed: bytes that were handed on, in both directions.
    """

    def __init__(self, host: str, port: int, at_most: int) -> None:
        self._address = host, port
        self._at_most = at_most
        self.connections = 0
        self._log = SeldomLog(logger)
        self.relayed = 0

    def __call__(self, first: bytes) -> asyncio.Protocol | None:
        """The handler that takes over a connection on which these octets came first, if any."""
        return _Near(self) if first[0] == REQUEST else None

    async def connect(self, near: _Near) -> _Far | None:
        """The other half of a connection; None where there is none to be had."""
        if self.connections > self._at_most:
            self._log.warning("more than %d connections are relayed by TLS", self._at_most)
            return None
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, far = await loop.create_connection(lambda: _Far(near), *self._address)
        except OSError as error:  # as TimeoutError is
            self._log.warning("the TURN server cannot be reached: %s", error)
            return None
        return far


class _Half(asyncio.Protocol):
    """One half of a connection that is handed on: what comes here leaves at the other."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Half | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    # Reading stops while the other side cannot take more: neither side can fill our memory.
    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        # The transport may be closing, which uvloop says with an exception.
        with contextlib.suppress(RuntimeError):
            if self.other is not None and self.other.transport is not None:
                self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class _Far(_Half):
    """The half to the TURN server."""

    def __init__(self, near: _Near) -> None:
        super().__init__()
        self.other = near

    def data_received(self, data: bytes) -> None:
        assert isinstance(self.other, _Near)
        self.other.diversion.relayed += len(data)
        super().data_received(data)


class _Near(_Half):
    """The half to the client."""

    def __init__(self, diversion: TurnDiversion) -> None:
        super().__init__()
        self.diversion = diversion
        self._early = bytearray()
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.diversion.connections += 1
        assert self.transport is not None
        self.transport.pause_reading()
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        far = await self.diversion.connect(self)
        if far is None or self.transport is None:
            if far is not None and far.transport is not None:
                far.transport.close()
            if self.transport is not None:
                self.transport.abort()
            return
        self.other = far
        assert far.transport is not None
        far.transport.write(bytes(self._early))
        self._early.clear()
        self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.diversion.relayed += len(data)
        if self.other is None:
            self._early += data  # what had been read already
        else:
            super().data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.diversion.connections -= 1
        if self._connecting is not None:
            self._connecting.cancel()
        super().connection_lost(error)
