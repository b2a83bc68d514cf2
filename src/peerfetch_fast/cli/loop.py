"""The event loop of a command, and the signals that end it."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from peerfetch_fast.cli import notify
from peerfetch_fast.descriptors import raise_descriptor_limit

__all__ = ["run", "stop_event", "until_stopped"]

T = TypeVar("T")

logger = logging.getLogger("peerfetch_fast")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` on uvloop if it is installed, with the limit on descriptors raised."""
    raise_descriptor_limit()
    try:
        import uvloop
    except ImportError:
        logger.info("uvloop is not installed: the event loop is slower than it could be")
        run_on_loop = asyncio.run
    else:
        run_on_loop = uvloop.run
    gc.freeze()  # imported modules never become garbage
    gc.enable()
    return run_on_loop(notify.watched(work))


def stop_event() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set, so that the program can end in order."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        notify.stopping()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, end)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(end))
    return stop


async def until_stopped(
    stop: asyncio.Event, work: Coroutine[Any, Any, None], timeout: float | None = None
) -> bool:
    """Do ``work`` until it is done, or ``stop`` is set, or the time is over, which end it; whether
    the time is over. Raises what ``work`` does.

    :param timeout: seconds; None for as long as it takes.
    """
    stopped, working = asyncio.ensure_future(stop.wait()), asyncio.ensure_future(work)
    both = (stopped, working)
    try:
        await asyncio.wait(both, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        return not (working.done() or stopped.done())
    finally:
        for one in both:
            one.cancel()
        await asyncio.wait(both)
