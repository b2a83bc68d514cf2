"""Whether the network of a viewer carries all pictures, or key frames alone."""

from __future__ import annotations

__all__ = ["Pressure"]

MAX_LOSS = 0.1
"""Part of the packets that may be lost: more is not repeated in time."""

MIN_SHARE = 0.5
"""Part of what is sent that the viewer must take its network for."""

BAD_REPORTS = 3
"""Reports of that kind in a row after which key frames are sent alone."""

FIRST_HOLD, LONGEST_HOLD = 10.0, 80.0
"""Seconds until all pictures are tried again: at first, and at most."""


class Pressure:
    """Decides by what a viewer reports.

    :ivar keys_only: whether only key frames are to be sent.
    """

    def __init__(self) -> None:
        self.keys_only = False
        self._bad = 0
        self._hold = FIRST_HOLD
        self._until = 0.0

    def report(self, now: float, loss: float | None, estimate: int | None, rate: float) -> None:
        """Take a report.

        :param loss: part of the packets that were lost, from 0 to 1; None: it does not say.
        :param estimate: bits a second that the viewer takes its network for; None: it does not say.
        :param rate: bits a second that are sent when all pictures are.
        """
        if loss is None and estimate is None:
            return
        lossy = loss is not None and loss > MAX_LOSS
        narrow = estimate is not None and estimate < MIN_SHARE * rate
        if not (lossy or narrow):
            # A minute without trouble, and the next trouble is a first one again.
            if self._bad == 0 and now - self._until > LONGEST_HOLD:
                self._hold = FIRST_HOLD
            self._bad = 0
            return
        self._bad += 1
        if self._bad >= BAD_REPORTS and not self.keys_only:
            self.keys_only, self._until = True, now + self._hold
            self._hold = min(2 * self._hold, LONGEST_HOLD)

    def retry(self, now: float) -> None:
        """Try all pictures again if it is time."""
        if self.keys_only and now >= self._until:
            self.keys_only, self._bad = False, 0
