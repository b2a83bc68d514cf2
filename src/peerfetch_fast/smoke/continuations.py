"""Answers that go on over a channel of their own: queries that are asked for each record, and media
streams. The answer names the channel in a header field, ``peerfetch-continues: KIND ID``; who asked
opens it at the same port.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.http.websocket import WebSocket

__all__ = ["CONTINUES", "PREFIX", "Continuations", "Waiting", "continuation"]

CONTINUES = "peerfetch-continues"
PREFIX = "/~peerfetch/"

MAX_WAITING, PATIENCE = 64, 30.0
"""Answers of one port to one node that wait for their channel at once, and seconds that one
waits."""

_CONTINUATION = re.compile(r"(query|media) ([0-9a-f]{32})")


def continuation(value: str, kind: str) -> str | None:
    """The target at which an answer of a kind goes on, by its header field; None if it does not."""
    found = _CONTINUATION.fullmatch(value)
    return PREFIX + found[2] if found is not None and found[1] == kind else None


class Waiting(NamedTuple):
    """An answer that goes on over a channel; ``abandon`` is called if none is opened in time."""

    go_on: Callable[[WebSocket], Awaitable[None]]
    abandon: Callable[[], None] = lambda: None


class Continuations:
    """Answers to one node, which has yet to open their channel: they end with its session."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[Waiting, asyncio.TimerHandle]] = {}

    def offer(self, waiting: Waiting) -> str:
        """Have an answer wait; returns its number. Raises PeerfetchError if too many do."""
        if len(self._waiting) >= MAX_WAITING:
            raise PeerfetchError("too many answers wait to be taken up")
        number = secrets.token_hex(16)
        late = asyncio.get_running_loop().call_later(PATIENCE, self._late, number)
        self._waiting[number] = waiting, late
        return number

    def _late(self, number: str) -> None:
        self._waiting.pop(number)[0].abandon()

    def take(self, target: str) -> Callable[[WebSocket], Awaitable[None]] | None:
        """What goes on at a target, once."""
        found = self._waiting.pop(target.removeprefix(PREFIX), None)
        if found is None:
            return None
        waiting, late = found
        late.cancel()
        return waiting.go_on

    def close(self) -> None:
        """Abandon all."""
        for number, (_, late) in tuple(self._waiting.items()):
            late.cancel()
            self._late(number)
