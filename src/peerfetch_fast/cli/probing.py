"""A check, when a proxy starts, of whether its HTTP servers accept connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Sequence
from urllib.parse import urlsplit

from peerfetch_fast.cli.exit_codes import sentence
from peerfetch_fast.cli.logs import say

__all__ = ["tell_of_silent"]

PATIENCE = 5.0
"""Seconds that a server may take to accept a connection."""


async def tell_of_silent(targets: Sequence[str]) -> None:
    """Print on standard error which of the HTTP servers accept no connection.

    Raw TCP ports are not tried: some services accept a single connection.
    """
    failures = await asyncio.gather(*map(_connect, targets))
    for target, failure in zip(targets, failures, strict=True):
        if failure is not None:
            say(
                f"peerfetch: {target} does not answer yet ({failure}): requests get 502 until it "
                "does",
                logging.WARNING,
            )


async def _connect(target: str) -> str | None:
    """The reason why a server accepts no connection; None if it accepts one."""
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
    # asyncio's message repeats the address and has the error's number.
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return sentence(error)
