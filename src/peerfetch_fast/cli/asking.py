"""Questions to the person at the terminal, while the event loop goes on."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import partial

import click

from peerfetch_fast.aside import aside

__all__ = ["asked"]

MAX_LINE = 4096
"""Bytes of a line that is typed."""


async def asked(question: str) -> str:
    """The line that the person types, without its end. Raises EOFError where nobody can type."""
    click.echo(question, nl=False, err=True)
    line = await aside(partial(_read_line, sys.stdin.fileno()), "peerfetch-asking")
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
