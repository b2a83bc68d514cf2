"""What coturn relays for whom, and how a relay is ended that is too much.

coturn tells each relay's beginning, bytes and end to a Redis server, which we are for it; a relay
is ended by its command line, a port of this machine. Both ask for a password that is made at the
start.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import re
import secrets
import socket
import time
from collections.abc import Iterable
from typing import cast

from peerfetch_fast.errors import RendezvousError
from peerfetch_fast.rendezvous.quotas import Quotas
from peerfetch_fast.rendezvous.redis_commands import Commands
from peerfetch_fast.rendezvous.seldom import SeldomLog

__all__ = ["Usage"]

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"

MAX_CONNECTIONS = 256
"""Connections at once: each thread of coturn makes one, and it has one for each core and some."""

INTERVAL = 10.0
"""Seconds between two looks whether relays have stood for too long."""

PAUSE = 0.2
"""Seconds after relays were ended: one who makes others at once is no reason to work without a
pause."""

CUT_TIMEOUT = 5.0
"""Seconds in which coturn must have taken what it is told."""

# coturn's names for what it tells, with the user name of our logins ("TIME:ACCOUNT").
_TOLD = re.compile(
    rb"turn/realm/[^/]+/user/[0-9]+:([A-Za-z0-9_-]+)/allocation/([0-9]+)/(status|traffic)"
)
_SIZES = re.compile(rb"rcvp=[0-9]+, rcvb=([0-9]{1,19}), sentp=[0-9]+, sentb=([0-9]{1,19})")


class Usage:
    """Counts what is relayed, and has relays ended. Use ``async with``.

    :ivar cut: how many relays were ended.
    :ivar connections: those on which coturn tells.
    """

    def __init__(self, quotas: Quotas) -> None:
        self.quotas = quotas
        self.cut = 0
        self._password = secrets.token_urlsafe(32)
        self._server: asyncio.Server | None = None
        self.connections: set[_Told] = set()
        self._look = asyncio.Event()
        self._cutting: asyncio.Task[None] | None = None
        self._port = self._command_port = 0
        self._log = SeldomLog(logger)

    async def __aenter__(self) -> Usage:
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: _Told(self), HOST, 0)
            self._port = self._server.sockets[0].getsockname()[1]
            self._command_port = _free_port()
        except OSError as error:
            raise RendezvousError(f"no port of {HOST} is to be had: {error.strerror}") from error
        self._cutting = loop.create_task(self._cut())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        assert self._cutting is not None
        self._cutting.cancel()
        self._server.close()
        for connection in tuple(self.connections):
            connection.close()

    def configuration(self) -> list[str]:
        """The lines of coturn's configuration that have it tell us, and listen to us."""
        return [
            f"redis-statsdb=ip={HOST} dbname=0 port={self._port} password={self._password}",
            f"cli-ip={HOST}",
            f"cli-port={self._command_port}",
            f"cli-password={self._password}",
        ]

    def refuses(self, account: str) -> bool:
        """Whether an account has used all that it may."""
        return self.quotas.refuses(account, time.monotonic())

    def ended(self) -> None:
        """coturn has ended, and all relays with it."""
        self.quotas.all_ended(time.monotonic())

    def is_password(self, given: bytes) -> bool:
        """Whether it is coturn that asks."""
        return hmac.compare_digest(given, self._password.encode())

    def told(self, name: bytes, content: bytes) -> None:
        """coturn tells something of a relay."""
        found = _TOLD.fullmatch(name)
        if found is None:
            return
        account, relay, now = found[1].decode(), found[2].decode(), time.monotonic()
        if found[3] == b"status" and content == b"deleted":
            self.quotas.ended(relay, now)
            return
        self.quotas.began(relay, account, now)
        sizes = _SIZES.fullmatch(content)
        if sizes is not None:
            self.quotas.carried(relay, int(sizes[1]) + int(sizes[2]), now)
        if self.quotas.refuses(account, now):
            self._look.set()

    async def _cut(self) -> None:
        """End the relays that are too much, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL):
                    await self._look.wait()
            self._look.clear()
            relays = self.quotas.refused(time.monotonic())
            if not relays:
                continue
            try:
                async with asyncio.timeout(CUT_TIMEOUT):
                    await self._command(f"cs {relay}" for relay in relays)
            except (OSError, EOFError, asyncio.LimitOverrunError) as error:  # TimeoutError is one
                self._log.warning("coturn does not end relays that are too much: %r", error)
                continue
            self.cut += len(relays)
            now = time.monotonic()
            for relay in relays:
                self.quotas.ended(relay, now)
            self._log.warning("%d relays were ended: their addresses have had enough", len(relays))
            await asyncio.sleep(PAUSE)

    async def _command(self, lines: Iterable[str]) -> None:
        """Have coturn do what these lines say. Raises OSError, EOFError and LimitOverrunError."""
        reader, writer = await asyncio.open_connection(HOST, self._command_port)
        try:
            await reader.readuntil(b"password: ")
            writer.write(f"{self._password}\r\n".encode())
            await reader.readuntil(b"> ")
            for line in lines:
                writer.write(f"{line}\r\n".encode())
                await reader.readuntil(b"> ")
        finally:
            writer.transport.abort()


class _Told(asyncio.Protocol):
    """A connection on which coturn tells."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        self._commands = Commands()
        self._admitted = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it
        self._usage.connections.add(self)
        if len(self._usage.connections) > MAX_CONNECTIONS:
            transport.close()

    def data_received(self, data: bytes) -> None:
        try:
            for command in self._commands.feed(data):
                self._answer(command)
        except (ValueError, PermissionError) as error:
            logger.warning("who is no coturn has come to its port: %s", error)
            self.close()

    def _answer(self, command: list[bytes]) -> None:
        """Take note of a command. Raises PermissionError where the password is missing."""
        name, *arguments = command
        if name.upper() == b"AUTH":
            self._admitted = self._usage.is_password(b"".join(arguments[-1:]))
        if not self._admitted:
            raise PermissionError("the password is another")
        if name.lower() == b"publish" and len(arguments) == 2:
            self._usage.told(*arguments)
        assert self._transport is not None
        self._transport.write(b"*0\r\n" if name.lower() == b"keys" else b"+OK\r\n")

    def connection_lost(self, error: Exception | None) -> None:
        self._usage.connections.discard(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _free_port() -> int:
    """A port that nobody has just now. Raises OSError."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])
