"""Events whose listeners may be late, or at fault."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from pyee.asyncio import AsyncIOEventEmitter

from peerfetch_fast.budget import Budget

__all__ = ["MAX_UNHEARD", "HeldChannel", "SafeEmitter"]

logger = logging.getLogger(__name__)

MAX_UNHEARD = 1024 * 1024
"""Bytes of the messages that a connection keeps for listeners that are still to come, each message
counted with what it costs to keep."""

MESSAGE_COST = 100
"""Bytes that it costs to keep a message, beside its own."""


class SafeEmitter(AsyncIOEventEmitter):
    """Exceptions of listeners are logged, unless a listener takes ``error``: pyee would raise them
    where the event was emitted, in the middle of a transport's work."""

    def _emit_handle_potential_error(self, event: str, error: Any) -> None:
        if event == "error":
            logger.error("a listener of %r failed: %r", self, error, exc_info=error)


class HeldChannel(SafeEmitter):
    """A data channel that keeps messages for its first listener, once it is told to.

    A handler of ``datachannel`` may be a coroutine, which begins after the first messages came.
    """

    _unheard: deque[bytes | str] | None = None
    _unheard_budget: Budget
    _delivery: asyncio.Handle | None = None

    def hold(self, budget: Budget) -> None:
        """Keep messages until somebody listens to them, within ``budget``."""
        if not self._listened():
            self._unheard = deque()
            self._unheard_budget = budget
            self._divert()

    def _listened(self) -> bool:
        return bool(self.listeners("message"))

    def _divert(self) -> None:
        """Have messages kept, or no longer."""
        if self._unheard is None:
            del self.__dict__["emit"]
        else:
            self.__dict__["emit"] = self._emit_held

    def _hand(self, message: bytes | str) -> None:
        super().emit("message", message)

    def _emit_held(self, event: str, *args: Any, **kwargs: Any) -> bool:
        if event != "message":
            return super().emit(event, *args, **kwargs)
        self._keep(args[0])
        return True

    def _keep(self, message: bytes | str) -> None:
        assert self._unheard is not None
        if self._unheard_budget.take(_cost(message)):
            self._unheard.append(message)
            return
        logger.warning(
            "messages on %r were dropped: %d bytes came, and nobody listened", self, MAX_UNHEARD
        )
        for kept in self._unheard:
            self._unheard_budget.give_back(_cost(kept))
        self._release()

    def _release(self) -> None:
        self._unheard = None
        self._divert()

    def _add_event_handler(self, event: str, k: Callable[..., Any], v: Callable[..., Any]) -> None:
        super()._add_event_handler(event, k, v)
        if event == "message":
            self._heard()

    def _heard(self) -> None:
        # Not at once: the program has more to do before the listener can be called.
        if self._unheard is not None and self._delivery is None:
            self._delivery = asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        self._delivery = None
        while self._unheard and self._listened():  # one that listens once takes only one
            message = self._unheard.popleft()
            self._unheard_budget.give_back(_cost(message))
            self._hand(message)
        if self._unheard is not None and self._listened():
            self._release()


def _cost(message: bytes | str) -> int:
    return len(message) + MESSAGE_COST
