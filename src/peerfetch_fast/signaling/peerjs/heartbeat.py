"""The heartbeat of a client: its signs of life, and the deadline for the server's."""

from __future__ import annotations

__all__ = ["Heartbeat"]


class Heartbeat:
    """The two clocks of one connection, as seen by the client.

    :param interval: seconds between two signs of life.
    :param dead_after: seconds of silence after which the server counts as gone.
    :param now: when the connection opened, in seconds.
    """

    def __init__(self, interval: float, dead_after: float, now: float) -> None:
        self._interval = interval
        self._dead_after = dead_after
        self._beat_at = now + interval
        self._dead_at = now + dead_after

    @property
    def deadline(self) -> float:
        """The time of the next check, in seconds."""
        return min(self._beat_at, self._dead_at)

    def heard(self, now: float) -> None:
        """Take note that something came from the server."""
        self._dead_at = now + self._dead_after

    def doubt(self, now: float, patience: float) -> None:
        """Expect a sign of life of the server within ``patience`` seconds."""
        self._beat_at = now
        self._dead_at = min(self._dead_at, now + patience)

    def is_dead(self, now: float) -> bool:
        """Whether the server was silent for too long."""
        return now >= self._dead_at

    def is_due(self, now: float) -> bool:
        """Whether it is time for a sign of life; asking makes the next one due an interval on."""
        if now < self._beat_at:
            return False
        self._beat_at = now + self._interval
        return True
