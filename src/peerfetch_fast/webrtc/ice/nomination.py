"""Which pair is nominated and selected (RFC 8445 sections 8 and 12)."""

from __future__ import annotations

import math

from peerfetch_fast.webrtc.ice.pairs import Pair
from peerfetch_fast.webrtc.ice.settings import AgentSettings

__all__ = ["Nomination"]


class Nomination:
    """The decisions of one run.

    :ivar began: when the first pair became valid.
    """

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self.began = math.inf

    def settled(self, now: float) -> bool:
        """Whether the time of comparing is over."""
        return now >= self.began + self._settings.settling

    def patient_until(self) -> float:
        """Until when relays are not nominated."""
        return self.began + self._settings.relay_patience

    def to_nominate(self, valid: list[Pair], direct_left: bool, now: float) -> Pair | None:
        """The pair that the controlling side nominates now, if any.

        :param valid: the pairs that work.
        :param direct_left: whether a direct way may still be found.
        """
        best = max(valid, key=lambda pair: pair.rank)
        if best.check is not None and best.check.nominates:
            return None
        nominated = [pair for pair in valid if pair.nominated]
        if nominated:
            # RFC 8445 nominates once. A second nomination, of a pair that is better by every
            # measure, is what peers of RFC 5245 follow, and the others ignore.
            last = max(nominated, key=lambda pair: pair.rank)
            better = best.rank[0] > last.rank[0] and best.priority > last.priority
            return best if better and not self.settled(now) else None
        if best.relayed and direct_left and now < self.patient_until():
            return None
        return best

    def to_select(self, valid: list[Pair], selected: Pair | None, now: float) -> Pair | None:
        """The pair that data goes by; until the first nomination, any that works is right."""
        nominated = [pair for pair in valid if pair.nominated]
        if selected in valid and self.settled(now) and (selected.nominated or not nominated):
            return selected
        if nominated:
            return max(nominated, key=lambda pair: pair.priority)
        return max(valid, key=lambda pair: pair.rank, default=None)
