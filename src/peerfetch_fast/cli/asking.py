"""Questions to the person at the terminal, while the event loop goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading

import click

__all__ = ["asked"]

MAX_LINE = 4096
"""Bytes of a line that is typed."""


async def asked(question: str) -> str:
    """The line that the person types, without its end. Raises EOFError where nobody can type."""
    click.echo(question, nl=False, err=True)
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[str | None] = loop.create_future()

    def settle(line: str | None) -> None:
        if not typed.done():
            typed.set_result(line)

    def wait() -> None:
        line = _read_line(sys.stdin.fileno())
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, line)

    # Nothing but the person ends it. Neither the end of the program nor other work may wait for it.
    threading.Thread(target=wait, name="peerfetch-asking", daemon=True).start()
    line = await typed
    if line is None:
        raise EOFError
    return line


def _read_line(descriptor: int) -> str | None:
    """A line, or None at the end. Not by ``sys.stdin``: Python does not end while a thread reads
    from that.
    """
    line = bytearray()
    with contextlib.suppress(OSError):
        while len(line) < MAX_LINE and not line.endswith(b"\n"):
            octet = os.read(descriptor, 1)
            if not octet:
                break
            line += octet
    return line.decode(errors="replace").rstrip("\r\n") if line else None
