"""How much the network of a viewer carries, where that is less than the camera gives."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Pressure", "Second"]

MAX_LOSS = 0.1
"""Part of the packets that may be lost: more is not repeated in time."""

LITTLE_LOSS = 0.02
"""Part of them with which more is tried."""

MIN_SHARE = 0.5
"""Part of what the camera gives that the viewer must take its network for."""

BAD_SECONDS = 3
"""Seconds of that kind in a row after which pictures are left out."""

EASED = 0.85
"""Part of what has arrived that is sent then, for what waits in the network to leave it."""

AFTERMATH = 2
"""Seconds whose losses are then still of what was sent before."""

GROWTH = 1.03
"""By how much more is sent in the next second, where little is lost."""

ENOUGH = 1.25
"""Times what the camera gives, with which all of it is sent again."""

MIN_PACE = 100_000.0
"""Bits a second that are always sent."""


@dataclass(frozen=True, slots=True)
class Second:
    """What is known of one second.

    :ivar rate: bits a second that the camera gives.
    :ivar carried: bits a second that have arrived.
    :ivar loss: part of the packets that were lost, those that were repeated included, from 0 to 1.
    :ivar estimate: bits a second that the viewer takes its network for; None: it does not say.
    """

    rate: float
    carried: float
    loss: float
    estimate: int | None = None


class Pressure:
    """Decides second by second, by what a viewer reports.

    :ivar pace: bits a second that may be sent, which are not all that the camera gives; None: all.
    """

    def __init__(self) -> None:
        self.pace: float | None = None
        self._bad = 0
        self._aftermath = 0

    def take(self, second: Second) -> None:
        """Take what is known of the last second."""
        if self._aftermath:
            self._aftermath -= 1
        elif self.pace is None:
            self._watch(second)
        elif second.loss > MAX_LOSS:
            # What has arrived is no measure here: while pictures are left out, little is sent.
            self._send(self.pace * (1 - second.loss))
        elif second.loss <= LITTLE_LOSS:
            self.pace *= GROWTH
            if self.pace > ENOUGH * second.rate:
                self.pace = None

    def _watch(self, second: Second) -> None:
        narrow = second.estimate is not None and second.estimate < MIN_SHARE * second.rate
        self._bad = self._bad + 1 if narrow or second.loss > MAX_LOSS else 0
        if self._bad >= BAD_SECONDS:
            self._bad = 0
            self._send(second.carried)

    def _send(self, carried: float) -> None:
        self.pace = max(EASED * carried, MIN_PACE)
        self._aftermath = AFTERMATH
