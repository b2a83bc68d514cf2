"""HyStart++: when to leave slow start before it loses a window (RFC 9406)."""

from libc.math cimport INFINITY
from libc.stdint cimport uint64_t

# RFC 9406 §4.3.
cdef double MIN_RTT_THRESH = 0.004      # seconds
cdef double MAX_RTT_THRESH = 0.016
cdef enum:
    MIN_RTT_DIVISOR = 8
    N_RTT_SAMPLE = 8
    CSS_GROWTH_DIVISOR = 4
    CSS_ROUNDS = 5


cdef class HyStart:
    """Watches the round trips of slow start. When they grow, it goes on for a few rounds at a
    quarter of the pace, and back if they were only noise. Packets are paced, so a SACK may count in
    full (L is infinite, RFC 9406 §4.3).
    """

    def __cinit__(self):
        self.last_round_rtt = self.round_rtt = INFINITY

    cdef uint64_t growth(self, const AckSample* sample) noexcept:
        """By how many bytes the window may grow."""
        if sample.prior_delivered >= self.round_end:
            self.round_end = sample.delivered
            self.last_round_rtt = self.round_rtt
            self.round_rtt = INFINITY
            self.samples = 0
            if self.rounds:
                self.rounds += 1
        if sample.rtt >= 0:
            self.samples += 1
            self.round_rtt = min(self.round_rtt, sample.rtt)
        if self.samples >= N_RTT_SAMPLE and self.round_rtt != INFINITY:
            if self.rounds:
                if self.round_rtt < self.baseline_rtt:
                    self.rounds = 0
            elif self.last_round_rtt != INFINITY and self.round_rtt >= self.last_round_rtt + max(
                MIN_RTT_THRESH, min(self.last_round_rtt / MIN_RTT_DIVISOR, MAX_RTT_THRESH)
            ):
                self.baseline_rtt = self.round_rtt
                self.rounds = 1
        return sample.acked // CSS_GROWTH_DIVISOR if self.rounds else sample.acked

    cdef bint is_over(self) noexcept:
        """Whether slow start is to end now."""
        return self.rounds > CSS_ROUNDS
