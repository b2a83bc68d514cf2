"""What Python 3.10 lacks. To be removed, with all that asks for it, when 3.10 is."""

from __future__ import annotations

import asyncio
import sys

__all__ = ["TIMEOUTS", "StrEnum", "Traversable", "timeout"]

TIMEOUTS = (TimeoutError, asyncio.TimeoutError)
"""What to catch where aiohttp or asyncio times out: in 3.10 theirs is not Python's own."""

if sys.version_info >= (3, 11):
    from asyncio import timeout
    from enum import StrEnum
    from importlib.resources.abc import Traversable
else:
    from enum import Enum
    from importlib.abc import Traversable
    from types import TracebackType

    class StrEnum(str, Enum):
        """As :class:`enum.StrEnum`, for members with values."""

        __str__ = str.__str__

    class Timeout:
        """As :class:`asyncio.Timeout`, but where others cancel the task in the very turn of the
        loop in which time is up, TimeoutError wins: tasks of 3.10 do not count who cancels.
        """

        def __init__(self, when: float | None) -> None:
            self._when = when
            self._task: asyncio.Task[object] | None = None
            self._handle: asyncio.Handle | None = None
            self._expired = False

        def expired(self) -> bool:
            return self._expired

        def reschedule(self, when: float | None) -> None:
            """Let time be up at ``when`` on the loop's clock; never, if that is None."""
            if self._handle is not None:
                self._handle.cancel()
                self._handle = None
            if when is None:
                return
            loop = asyncio.get_running_loop()
            # What is over by now is over in this turn of the loop, as in 3.11.
            if when <= loop.time():
                self._handle = loop.call_soon(self._expire)
            else:
                self._handle = loop.call_at(when, self._expire)

        def _expire(self) -> None:
            assert self._task is not None
            self._handle = None
            self._expired = True
            self._task.cancel()

        async def __aenter__(self) -> Timeout:
            self._task = asyncio.current_task()
            if self._task is None:
                raise RuntimeError("a timeout needs a task")
            self.reschedule(self._when)
            return self

        async def __aexit__(
            self,
            kind: type[BaseException] | None,
            error: BaseException | None,
            traceback: TracebackType | None,
        ) -> None:
            self.reschedule(None)
            if self._expired and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def timeout(delay: float | None) -> Timeout:
        """As :func:`asyncio.timeout`."""
        loop = asyncio.get_running_loop()
        return Timeout(None if delay is None else loop.time() + delay)
