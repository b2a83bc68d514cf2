"""An HTTP server that does what servers do at their worst: ``bad_upstream.py PATTERN READY``.

Written on sockets, as no HTTP library lets its users do this. Every answer ends its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from bench.pattern import LONGEST, Pattern

HALF = 10_000


class Upstream:
    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern
        self._release = asyncio.Event()
        self._next = asyncio.Semaphore(0)
        self.abandoned = 0
        self.waited_for = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            target = urlsplit(head.split(b" ", 2)[1].decode())
            query = {name: int(value) for name, value in parse_qsl(target.query)}
            answering = getattr(self, target.path.strip("/"))
            if head.startswith(b"POST"):
                await answering(reader, writer, **query)
            else:
                await self._until_gone(reader, answering(writer, **query))
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _until_gone(
        self, reader: asyncio.StreamReader, answering: Coroutine[Any, Any, None]
    ) -> None:
        """Give up an answer when its connection is closed."""
        tasks = [asyncio.ensure_future(answering), asyncio.ensure_future(reader.read(1))]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            self.abandoned += 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    def _begin(writer: asyncio.StreamWriter, *fields: str) -> None:
        lines = ("HTTP/1.1 200 OK", "Connection: close", *fields, "", "")
        writer.write("\r\n".join(lines).encode())

    async def quick(self, writer: asyncio.StreamWriter) -> None:
        told = {"abandoned": self.abandoned, "waited_for": self.waited_for}
        body = json.dumps(told).encode()
        self._begin(writer, f"Content-Length: {len(body)}")
        writer.write(body)
        await writer.drain()

    async def slow(self, writer: asyncio.StreamWriter, size: int) -> None:
        """A byte for each ``/next``, and one before."""
        self._begin(writer, f"Content-Length: {size}")
        for at in range(size):
            writer.write(self._pattern.piece(at, 1))
            await self._next.acquire()

    async def next(self, writer: asyncio.StreamWriter) -> None:
        self._next.release()
        await self.quick(writer)

    async def cut(self, writer: asyncio.StreamWriter, chunked: int) -> None:
        """Half a body, and then nothing more."""
        if chunked:
            self._begin(writer, "Transfer-Encoding: chunked")
            writer.write(f"{2 * HALF:x}\r\n".encode())
        else:
            self._begin(writer, f"Content-Length: {2 * HALF}")
        writer.write(self._pattern.piece(0, HALF))
        await writer.drain()

    async def never(self, writer: asyncio.StreamWriter) -> None:
        self.waited_for += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.waited_for -= 1

    async def unknown(self, writer: asyncio.StreamWriter, size: int) -> None:
        """A body without a length: it ends with the connection."""
        self._begin(writer)
        for at in range(0, size, LONGEST):
            writer.write(self._pattern.piece(at, min(LONGEST, size - at)))
            await writer.drain()

    async def upload(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int
    ) -> None:
        """Say whether the body is that of the pattern; the client gave its length."""
        at, right = 0, True
        while at < size and (piece := await reader.read(LONGEST)):
            right = right and self._pattern.holds(piece, at)
            at += len(piece)
        body = json.dumps({"received": at, "right": right}).encode()
        self._begin(writer, f"Content-Length: {len(body)}")
        writer.write(body)
        await writer.drain()

    async def halves(self, writer: asyncio.StreamWriter, number: int) -> None:
        """One half at once, and the other after ``/release``."""
        self._begin(writer, f"Content-Length: {2 * HALF}")
        writer.write(self._pattern.piece(number, HALF))
        await writer.drain()
        await self._release.wait()
        writer.write(self._pattern.piece(number + HALF, HALF))
        await writer.drain()

    async def release(self, writer: asyncio.StreamWriter) -> None:
        self._release.set()
        await self.quick(writer)


async def main(pattern: Path, ready: Path) -> None:
    upstream = Upstream(Pattern(pattern))
    server = await asyncio.start_server(upstream.connected, "127.0.0.1", 0, backlog=512)
    host, port = server.sockets[0].getsockname()
    temporary = ready.with_suffix(".new")
    temporary.write_text(f"http://{host}:{port}")
    temporary.replace(ready)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*map(Path, sys.argv[1:])))
