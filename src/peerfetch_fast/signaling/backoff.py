"""When to try again: exponential back-off with full jitter."""

from __future__ import annotations

import random

__all__ = ["Backoff"]


class Backoff:
    """The delays between attempts to reach a server.

    Each is drawn evenly from nothing to a ceiling that doubles, so that the clients of a server
    that restarts do not all come back at once. The ceiling falls back to ``initial`` only after
    a connection that held: a server that accepts and hangs up at once is not hammered.

    :param initial: the first ceiling, in seconds.
    :param maximum: the highest ceiling, in seconds.
    :param stable_after: how long a connection must hold to count, in seconds.
    :param rng: the source of the jitter.
    """

    def __init__(
        self, initial: float, maximum: float, stable_after: float, rng: random.Random
    ) -> None:
        self._initial = initial
        self._maximum = maximum
        self._stable_after = stable_after
        self._rng = rng
        self._ceiling = initial
        self._opened_at: float | None = None

    def opened(self, now: float) -> None:
        """The connection is up."""
        self._opened_at = now

    def reset(self) -> None:
        """Forget the failures so far, as after a change of networks."""
        self._ceiling = self._initial

    def failed(self, now: float) -> float:
        """An attempt failed, or the connection was lost: how many seconds to wait."""
        if self._opened_at is not None and now - self._opened_at >= self._stable_after:
            self._ceiling = self._initial
        self._opened_at = None
        delay = self._rng.uniform(0.0, self._ceiling)
        self._ceiling = min(self._maximum, 2.0 * self._ceiling)
        return delay
