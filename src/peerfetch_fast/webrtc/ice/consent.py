"""The selected pair's life: consent (RFC 7675), doubt, and what takes its place."""

from __future__ import annotations

import math
import random

from peerfetch_fast.webrtc.ice.pairs import Pair
from peerfetch_fast.webrtc.ice.settings import AgentSettings

__all__ = ["Consent"]

MIN_CHALLENGE = 0.3
"""Seconds that a pair which has been silent has at least to answer before another takes its
place."""


class Consent:
    """When the selected pair is checked, and what its silence means.

    :ivar pair: the selected pair.
    :ivar expires: until when data may be sent.
    :ivar next_at: when it is checked next.
    :ivar unanswered: when the first check went out that nothing has answered; infinite: none did.
    :ivar probing: checks go out every ``probe_interval``.
    :ivar searching: they do on other valid pairs too.
    :ivar challenger: another pair, which works, and takes over if this one does not answer.
    """

    def __init__(self, settings: AgentSettings, rng: random.Random) -> None:
        self._settings = settings
        self._random = rng
        self.pair: Pair | None = None
        self.expires = math.inf
        self.next_at = math.inf
        self.unanswered = math.inf
        self.probing = False
        self.searching = False
        self.challenger: Pair | None = None

    def start(self, pair: Pair, now: float) -> None:
        """Another pair is selected."""
        self.pair = pair
        self.answered(now)

    def answered(self, now: float) -> None:
        """The selected pair has answered."""
        assert self.pair is not None
        self.expires = self.pair.answered + self._settings.consent_timeout
        self.unanswered = math.inf
        self.probing = self.searching = False
        self.challenger = None
        self.next_at = now + self._jittered()

    def lost(self) -> None:
        """The selected pair's socket is gone, and there is no other pair. Consent is left."""
        self.pair = self.challenger = None
        self.probing = self.searching = False
        self.next_at = self.unanswered = math.inf

    def end(self) -> None:
        """There is no consent any more, or none to wait for."""
        self.lost()
        self.expires = math.inf

    def asked(self, now: float) -> None:
        """A check of the selected pair has gone out."""
        self.unanswered = min(self.unanswered, now)
        if self.probing:
            self.next_at = now + self._settings.probe_interval
        else:
            self.next_at = now + self._jittered()

    def probe(self, now: float) -> None:
        """Check this pair and others quickly until something answers."""
        if self.pair is not None and not self.searching:
            self.probing = self.searching = True
            self.next_at = now

    def challenge(self, pair: Pair, now: float) -> None:
        """Another pair works, by which the peer may have come: the selected one has to show that it
        still does, too. No other is asked: the peer would take that for a challenge.
        """
        if self.pair is None:
            return
        self.challenger = pair
        if not self.probing:
            self.probing = True
            self.next_at = now

    def _jittered(self) -> float:
        return self._settings.consent_interval * (0.8 + 0.4 * self._random.random())

    # -- moments -----------------------------------------------------------------------------

    def doubt_at(self) -> float:
        """When the pair's silence asks for probes."""
        if self.pair is None or self.probing:
            return math.inf
        return max(self.unanswered, self.pair.heard) + self._settings.silence

    def move_at(self) -> float:
        """When the challenger takes over.

        Data that seems to come this way does not save a pair whose checks are not answered: who
        tells us of it may not know which way it came.
        """
        if self.challenger is None or self.pair is None:
            return math.inf
        silence = self._settings.silence
        patience = min(silence, max(MIN_CHALLENGE, 4 * self.pair.rtt))
        return max(self.unanswered + patience, min(self.pair.heard, self.unanswered) + silence)

    def disconnected_at(self) -> float:
        """When the pair counts as ``disconnected``."""
        if self.pair is None:
            return math.inf
        return max(self.unanswered, self.pair.heard) + self._settings.disconnected_after

    def deadline(self) -> float:
        """When any of this has to be looked at."""
        return min(self.next_at, self.expires, self.doubt_at(), self.move_at())
