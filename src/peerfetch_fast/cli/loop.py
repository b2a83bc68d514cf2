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

__all__ = ["run", "stop_event"]

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
