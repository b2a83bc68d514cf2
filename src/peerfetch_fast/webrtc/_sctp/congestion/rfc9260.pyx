"""The controller of RFC 9260 §7.2."""

from libc.math cimport INFINITY
from libc.stdint cimport UINT64_MAX, uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.congestion.control cimport (
    INITIAL_PACKETS,
    AckSample,
    CongestionControl,
)

# Packets leave faster than window/RTT by this factor: twice in slow start, where the window doubles
# every round trip; a little faster later, so that pacing is never what limits the rate.
cdef double SLOW_START_GAIN = 2.0
cdef double AVOIDANCE_GAIN = 1.25

# A window that fills the path and a queue before it buys delay and no more throughput. Where a
# queue has room for megabytes (the receiving socket's, on a fast local network) no loss ever says
# so; the round trip does. A round trip shows a queue when it takes longer than twice the shortest
# one and what the path may add by itself: ten times the shortest, within these bounds (a wireless
# link of 2 ms has pauses of 20). Above UNQUESTIONED bytes the window does not grow then, and
# shrinks by an eighth when even the shortest round trip of a whole window shows one: a queue that
# stands (the criterion of RFC 8289 §3.1) and is not a burst.
cdef enum:
    UNQUESTIONED = 262144
cdef double JITTER_MIN = 0.001
cdef double JITTER_MAX = 0.02


cdef class Rfc9260(CongestionControl):
    """Slow start, congestion avoidance and fast recovery, as RFC 9260 §7.2 has them, but for a
    window that does not keep a queue standing.

    The window grows by what a SACK acknowledges, however much that is: RFC 9260 §7.2.1 lets the
    limit per SACK be raised where packets are paced (RFC 3465, RFC 9406 §4.2), and a receiver
    that reads packets in batches sends one SACK for many of them.
    """

    def __cinit__(self, uint32_t chunk_size, uint32_t seed):
        self.threshold = UINT64_MAX
        self.round_rtt = INFINITY

    cdef void on_acked(self, const AckSample* sample) noexcept:
        # A window that is not used says nothing about the path.
        if sample.window_limited and not sample.recovering and not (
            self.window > UNQUESTIONED and sample.rtt > _unqueued_rtt(sample)
        ):
            if self.window < self.threshold:
                self.window += sample.acked
            else:
                self.partial_bytes_acked += sample.acked
                if self.partial_bytes_acked >= self.window:
                    self.partial_bytes_acked -= self.window
                    self.window += self.chunk_size
        self._drain(sample)
        self._pace(sample.smoothed_rtt)

    cdef void _drain(self, const AckSample* sample) noexcept:
        if sample.rtt >= 0 and sample.rtt < self.round_rtt:
            self.round_rtt = sample.rtt
        if sample.prior_delivered < self.round_end:
            return
        if self.window > UNQUESTIONED and self.round_rtt != INFINITY and (
            self.round_rtt > _unqueued_rtt(sample)
        ):
            self.window = max(self.window - self.window // 8, <uint64_t>UNQUESTIONED)
            self.threshold = self.window
            self.partial_bytes_acked = 0
        self.round_end = sample.delivered
        self.round_rtt = INFINITY

    cdef void on_lost(self, double now, uint64_t size, bint first) noexcept:
        # Once a window: what was sent before the window was halved says nothing of the new one.
        if first:
            self._halve()
            self.window = self.threshold

    cdef void on_timeout(self, double now) noexcept:
        self._halve()
        self.window = self.chunk_size
        self.pacing_rate = 0

    cdef void on_spurious(self) noexcept:
        self.window = max(self.window, self.window_before)
        self.threshold = max(self.threshold, self.threshold_before)

    cdef void on_restart(self, double idle, double rto) noexcept:
        # RFC 9260 §7.2.1: halved for each RTO without data, as the path may have changed.
        while idle > rto and self.window > INITIAL_PACKETS * self.chunk_size:
            self.window = max(self.window // 2, <uint64_t>INITIAL_PACKETS * self.chunk_size)
            idle -= rto

    cdef void _halve(self) noexcept:
        self.window_before = self.window
        self.threshold_before = self.threshold
        self.threshold = max(self.window // 2, <uint64_t>4 * self.chunk_size)
        self.partial_bytes_acked = 0

    cdef void _pace(self, double smoothed_rtt) noexcept:
        if smoothed_rtt > 0:
            self.pacing_rate = self.window / smoothed_rtt * (
                SLOW_START_GAIN if self.window < self.threshold else AVOIDANCE_GAIN
            )


cdef double _unqueued_rtt(const AckSample* sample) noexcept:
    """The longest round trip, in seconds, that does not speak of a queue."""
    return 2 * sample.min_rtt + min(max(10 * sample.min_rtt, JITTER_MIN), JITTER_MAX)
