"""Opening sockets so that who is cancelled meanwhile leaves none behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["OPENING_TIMEOUT", "unbroken"]

T = TypeVar("T")

OPENING_TIMEOUT = 1.0
"""Seconds for which a socket, perhaps towards a TURN server, may be in the making when nobody wants
it any more; what takes longer is a name, or TCP."""


async def unbroken(work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which gets OPENING_TIMEOUT to end if this is cancelled.

    uvloop loses a socket whose ``create_datagram_endpoint`` is cancelled, and nobody closes it.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        try:
            await asyncio.wait([task], timeout=OPENING_TIMEOUT)
        finally:  # cancelled once more, perhaps
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
