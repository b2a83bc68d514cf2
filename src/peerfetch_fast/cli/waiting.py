"""Waiting for a signaling server or a device that is not available yet."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from peerfetch_fast.cli import notify
from peerfetch_fast.cli.exit_codes import sentence
from peerfetch_fast.cli.logs import say
from peerfetch_fast.cli.options import F
from peerfetch_fast.errors import ConnectError, IdentityChanged, SignalingUnavailable
from peerfetch_fast.signaling.backoff import Backoff

__all__ = ["wait_option", "when_there"]

T = TypeVar("T")

LONGEST_PAUSE = 10.0
"""Seconds between two attempts, at most."""

TELL_AGAIN = 60.0
"""Seconds after which the wait is reported again; then after ten times as long, and so on."""

_LATER = (SignalingUnavailable, ConnectError)
"""Errors that another attempt may avoid, a device without a path to us included."""


def wait_option(command: F) -> F:
    """``--wait``, as the parameter ``wait``: seconds, None without an end."""
    return click.option(
        "--wait",
        type=click.FloatRange(min=0),
        metavar="SECONDS",
        help="How long to wait for what is not there yet, a signaling server or the device; 0 to "
        "fail at once. Default: as long as it takes.",
    )(command)


async def when_there(
    attempt: Callable[[], Awaitable[T]],
    wait: float | None,
    stop: asyncio.Event,
    explain: Callable[[Exception], str] = sentence,
) -> T | None:
    """The result of ``attempt``, which is repeated after errors that may pass. Each such error is
    reported on standard error. None once ``stop`` is set.

    :param wait: seconds after which the last error is raised; None for never.
    :param explain: returns the message of an error.
    """
    stopped = asyncio.ensure_future(stop.wait())
    try:
        trying = asyncio.ensure_future(_again(attempt, wait, explain))
        try:
            await asyncio.wait((trying, stopped), return_when=asyncio.FIRST_COMPLETED)
            return trying.result() if trying.done() else None
        finally:
            trying.cancel()
            await asyncio.wait((trying,))
    finally:
        stopped.cancel()


async def _again(
    attempt: Callable[[], Awaitable[T]], wait: float | None, explain: Callable[[Exception], str]
) -> T:
    loop = asyncio.get_running_loop()
    began = loop.time()
    backoff = Backoff(1.0, LONGEST_PAUSE, LONGEST_PAUSE, random.Random())  # noqa: S311 - jitter
    tell_at = 0.0
    while True:
        try:
            return await attempt()
        except IdentityChanged:
            raise
        except _LATER as error:
            waited = loop.time() - began
            pause = backoff.failed(loop.time())
            if wait is not None and waited + pause >= wait:
                raise
            if waited >= tell_at:
                so_far = f"after {_in_words(waited)}, still" if tell_at else "not there yet:"
                say(f"{so_far} waiting: {explain(error)}", logging.WARNING)
                notify.status(f"waiting: {explain(error)}")
                tell_at = 10 * tell_at or TELL_AGAIN
            await asyncio.sleep(pause)


def _in_words(seconds: float) -> str:
    """A time as people say it: "2 min", "3 h"."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
