"""Raw streams of bytes: :class:`Tunnel` for either side, its opening by the client, and relaying
between a tunnel and a socket (docs/protocol.md, "TCP").
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
import struct

from peerfetch_fast.errors import InvalidRequest, PeerfetchError
from peerfetch_fast.http import codes
from peerfetch_fast.http.heads import encode_request
from peerfetch_fast.http.message import BodyWriter, MessageReader
from peerfetch_fast.http.upgrade import ask_upgrade
from peerfetch_fast.streams.account import Account
from peerfetch_fast.streams.session import Session
from peerfetch_fast.streams.stream import Stream

__all__ = ["TCP", "Tunnel", "is_port_name", "open_tunnel", "relay_socket", "reset_socket"]

logger = logging.getLogger(__name__)

TCP = "tcp"
"""The protocol's name in the head of the request."""

READ_SIZE = 64 * 1024
"""Bytes that are taken from a socket at a time."""

_NAME = re.compile(r"[0-9A-Za-z._-]{1,64}")
# SO_LINGER with 0 s: closing sends RST and drops unsent bytes, so that the other end sees the cut.
_NO_LINGER = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


def is_port_name(text: str) -> bool:
    """Whether a port can be served under this name: letters, digits, ``.``, ``_`` and ``-``."""
    return _NAME.fullmatch(text) is not None


class Tunnel:
    """A stream of bytes to a TCP port at the other side. Close it after use, or use ``async with``.

    One task may read and another write at the same time; not two of either.
    """

    def __init__(self, stream: Stream, reader: MessageReader) -> None:
        self._stream = stream
        self._reader = reader
        self._writer = BodyWriter(stream, None)

    @property
    def account(self) -> Account:
        """The account that counts the memory held for the other side."""
        return self._stream.session.account

    async def read(self) -> bytes:
        """The next bytes, b"" when the other side has ended its direction.

        Raises StreamReset when the other side broke it off, MessageTruncated, MessageError, and
        SessionClosed, LinkClosed or ProtocolError when the session ended first.
        """
        return await self._reader.read()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, waiting while the other side is slow.

        Raises StreamStopped when the other side broke it off, SessionClosed, LinkClosed or
        ProtocolError when the session ended, RuntimeError after :meth:`write_eof`.
        """
        await self._writer.write(data)

    def write_eof(self) -> None:
        """End this side's direction; the other one goes on. Raises as :meth:`write` does."""
        self._writer.end()

    def abort(self) -> None:
        """Cut the directions that have not ended; the other side sees a reset. Idempotent."""
        self._stream.cancel(codes.UPSTREAM_ERROR)

    async def __aenter__(self) -> Tunnel:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.abort()

    def __repr__(self) -> str:
        return f"<Tunnel on {self._stream!r}>"


async def open_tunnel(session: Session, name: str) -> Tunnel:
    """Open a tunnel to the port that the other side serves under ``name``.

    Raises InvalidRequest for what is no such name, UpgradeRefused when there is none or it takes no
    connection, StreamReset, LinkClosed, SessionClosed, ProtocolError, MessageError.
    """
    if not is_port_name(name):
        raise InvalidRequest(f"{name!r} is no name of a port: use letters, digits, '.', '_', '-'")
    request = encode_request("CONNECT", f"/{name}", [], TCP)
    stream, reader, _ = await ask_upgrade(session, request, "a tunnel")
    return Tunnel(stream, reader)


async def relay_socket(
    tunnel: Tunnel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """Relay both directions and their ends, and close both sides.

    Return whether both directions came to their end; if not, both sides get a reset.
    """
    loop = asyncio.get_running_loop()
    # Bytes that the socket does not take wait at the peer, and none are unsent at the end.
    writer.transport.set_write_buffer_limits(high=0)
    with contextlib.suppress(OSError):  # it is closed already, which reading tells
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    tasks = (
        loop.create_task(_to_socket(tunnel, writer)),
        loop.create_task(_to_tunnel(reader, tunnel)),
    )
    whole = False
    # asyncio reads ahead twice its limit before it pauses.
    held = tunnel.account.share()
    held.set(2 * READ_SIZE)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        whole = all(task.done() and task.exception() is None for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        held.set(0)
        if whole:
            writer.close()
        else:
            reset_socket(writer.transport)
            tunnel.abort()
    for task in tasks:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, (PeerfetchError, OSError)):
            logger.info("a tunnel broke off: %s", error)
        elif error is not None:
            raise error
    return whole


async def _to_socket(tunnel: Tunnel, writer: asyncio.StreamWriter) -> None:
    while piece := await tunnel.read():
        writer.write(piece)
        await writer.drain()
    writer.write_eof()


async def _to_tunnel(reader: asyncio.StreamReader, tunnel: Tunnel) -> None:
    while piece := await reader.read(READ_SIZE):
        await tunnel.write(piece)
    tunnel.write_eof()


def reset_socket(transport: asyncio.WriteTransport) -> None:
    """Close a connection with RST, so that its data does not look complete."""
    found = transport.get_extra_info("socket")
    if found is not None:
        with contextlib.suppress(OSError):  # the socket is closed already
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
