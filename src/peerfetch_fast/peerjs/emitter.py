"""Events, as pyee has them, without exceptions that escape into the event loop."""

from __future__ import annotations

import logging
from typing import Any

from pyee.asyncio import AsyncIOEventEmitter

__all__ = ["Emitter"]

logger = logging.getLogger(__name__)


class Emitter(AsyncIOEventEmitter):
    """Listeners may be functions or coroutine functions."""

    def _emit_handle_potential_error(self, event: str, error: Any) -> None:
        # Without a listener, pyee raises an error event; and what a listener raises is one.
        if event == "error":
            logger.error("%r has no listener for its error: %s", self, error, exc_info=error)
