"""Requests that wait until there is something to tell (long polling). Sans-I/O."""

from __future__ import annotations

from collections.abc import Callable

from peerfetch_fast.signaling.peernet.problems import Problem, Status

__all__ = ["Waiting"]


class Waiting:
    """Callbacks by what they wait for.

    :param most: callbacks that wait for one thing.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[str, dict[Callable[[], None], None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, key: str, wake: Callable[[], None]) -> None:
        """Have ``wake`` called once when something happens to ``key``. Raises Problem if too many
        wait for it.
        """
        waiting = self._waiting.setdefault(key, {})
        if len(waiting) >= self._most:
            raise Problem(
                Status.RESOURCE_EXHAUSTED,
                f"{self._most} requests wait for this already",
                retry_after=1.0,
            )
        waiting[wake] = None

    def remove(self, key: str, wake: Callable[[], None]) -> None:
        """Wait no longer. Idempotent."""
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.pop(wake, None)
            if not waiting:
                del self._waiting[key]

    def wake(self, key: str) -> None:
        """Something has happened to ``key``: wake those who wait for it, the first one first."""
        for wake in self._waiting.pop(key, ()):
            wake()

    def wake_all(self) -> None:
        """Wake everybody."""
        for key in list(self._waiting):
            self.wake(key)
