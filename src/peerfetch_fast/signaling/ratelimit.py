"""Rate limiting by a token bucket."""

from __future__ import annotations

__all__ = ["TokenBucket"]


class TokenBucket:
    """Holds ``burst`` tokens, refilled at ``rate`` a second.

    An empty bucket lends the token and returns the seconds to wait for it. A reader of a socket
    that waits so long has TCP slow the sender down, and nothing is lost.

    :param rate: tokens per second.
    :param burst: tokens that the bucket holds.
    :param now: the time at which it is full, in seconds.
    """

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._as_of = now

    def take(self, now: float) -> float:
        """Take one token, and return how many seconds to wait for it: 0 if it was there."""
        self._tokens = min(self._burst, self._tokens + (now - self._as_of) * self._rate) - 1.0
        self._as_of = now
        return max(0.0, -self._tokens / self._rate)

    def take_if_there(self, now: float) -> float:
        """Take a token if there is one, and return 0; else the seconds until there is one."""
        self._tokens = min(self._burst, self._tokens + (now - self._as_of) * self._rate)
        self._as_of = now
        if self._tokens < 1.0:
            return (1.0 - self._tokens) / self._rate
        self._tokens -= 1.0
        return 0.0
