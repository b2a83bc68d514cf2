"""Whether what a proxy is to serve answers, looked at once when it starts."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from urllib.parse import urlsplit

import click

from peerfetch_fast.cli.exit_codes import sentence

__all__ = ["tell_of_silent"]

PATIENCE = 5.0
"""Seconds within which a connection is to be taken."""


async def tell_of_silent(targets: Sequence[str]) -> None:
    """Say on standard error which of the HTTP servers take no connection.

    Raw TCP ports are not tried: some serve one connection, and the first that comes.
    """
    failures = await asyncio.gather(*map(_connect, targets))
    for target, failure in zip(targets, failures, strict=True):
        if failure is not None:
            click.echo(
                f"peerfetch: {target} does not answer yet ({failure}): requests get 502 until it "
                "does",
                err=True,
            )


async def _connect(target: str) -> str | None:
    """Why no connection comes about; None where one does."""
    try:
        async with asyncio.timeout(PATIENCE):
            if target.startswith("unix:"):
                _, writer = await asyncio.open_unix_connection(target.removeprefix("unix:"))
            else:
                parts = urlsplit(target)
                port = parts.port or (443 if parts.scheme == "https" else 80)
                _, writer = await asyncio.open_connection(parts.hostname, port)
    except TimeoutError:
        return f"no connection in {PATIENCE:g} s"
    except OSError as error:
        return _reason(error)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return None


def _reason(error: OSError) -> str:
    # asyncio's own sentence names address and number.
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return sentence(error)
