"""Warnings that strangers can cause, at a bounded rate."""

from __future__ import annotations

import logging
import time

from peerfetch_fast.signaling.ratelimit import TokenBucket

__all__ = ["SeldomLog"]

BURST = 10.0
"""Warnings that may follow each other."""

INTERVAL = 10.0
"""Seconds until there may be one more."""


class SeldomLog:
    """Logs warnings while there are few of them; further ones are messages of level DEBUG.

    :param now: the time, in seconds; default: that of ``time.monotonic``.
    """

    def __init__(self, logger: logging.Logger, now: float | None = None) -> None:
        self._logger = logger
        self._bucket = TokenBucket(1 / INTERVAL, BURST, time.monotonic() if now is None else now)

    def warning(self, text: str, *arguments: object, now: float | None = None) -> None:
        """Log ``text % arguments``."""
        at = time.monotonic() if now is None else now
        is_seldom = self._bucket.take_if_there(at) == 0.0
        self._logger.log(logging.WARNING if is_seldom else logging.DEBUG, text, *arguments)
