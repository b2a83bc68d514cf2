"""Work in threads that nobody waits for when the program ends."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["aside"]

T = TypeVar("T")


async def aside(work: Callable[[], T], name: str) -> T:
    """The result of ``work``, and what it raises. It is for what may take for ever, as a person or
    a server that is asked does: neither the end of the program nor other work waits for it.

    :param name: of the thread.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Callable[[], T]] = loop.create_future()

    def settle(outcome: Callable[[], T]) -> None:
        if not done.done():
            done.set_result(outcome)

    def run() -> None:
        outcome = _outcome_of(work)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=run, name=name, daemon=True).start()
    return (await done)()


def _outcome_of(work: Callable[[], T]) -> Callable[[], T]:
    """A function that returns what ``work`` does now, or raises that."""
    try:
        result = work()
    except Exception as error:
        raised = error

        def fail() -> T:
            raise raised

        return fail
    return lambda: result
