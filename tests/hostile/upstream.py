"""``python -m tests.hostile.upstream``: the HTTP server of a small device, as many write it.

It never looks at the body of a request: what it has not read, it takes for the next one.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
import sys

from bench.peers.channel import tell

PIECE = bytes(64 * 1024)
LARGE = 160
"""Pieces of a large answer."""

_TARGET = re.compile(rb"[A-Z]+ (\S+) HTTP/1\.1\r\n")
_USER = re.compile(rb"(?i)\r\nx-user: *([^\r]*)")
_KEY = re.compile(rb"(?i)\r\nsec-websocket-key: *([^\r]*)")
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        while await _answer(await reader.readuntil(b"\r\n\r\n"), reader, writer):
            await writer.drain()
    writer.close()


async def _answer(asked: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether the connection can be used for the next."""
    found = _TARGET.match(asked)
    if found is None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        return False
    target = found[1]
    if target == b"/socket" and (key := _KEY.search(asked)) is not None:
        accept = base64.b64encode(hashlib.sha1(key[1] + _MAGIC).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        while await reader.read(65_536):
            pass
        return False
    pieces = {b"/large": LARGE, b"/endless": 1 << 20}.get(target)
    if pieces is not None:
        size = pieces * len(PIECE)
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(pieces):
            writer.write(PIECE)
            await writer.drain()
        return True
    user = found[1] if (found := _USER.search(asked)) else b"-"
    body = b"answer to " + target + b" for " + user
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    return True


async def _main() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    tell("open", url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_main())
