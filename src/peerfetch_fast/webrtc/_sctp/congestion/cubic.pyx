"""CUBIC (RFC 9438), with HyStart++ for slow start."""

from libc.math cimport INFINITY, cbrt
from libc.stdint cimport uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.congestion.control cimport (
    INITIAL_PACKETS,
    AckSample,
    CongestionControl,
)
from peerfetch_fast.webrtc._sctp.congestion.hystart cimport HyStart

cdef double C = 0.4             # RFC 9438 §5
cdef double BETA = 0.7          # §4.6
cdef double MIN_WINDOW = 2.0    # chunks, §4.6
# As in rfc9260.pyx: pacing is to spread packets, not to limit the rate.
cdef double SLOW_START_GAIN = 2.0
cdef double AVOIDANCE_GAIN = 1.25


cdef class Cubic(CongestionControl):
    """The window is a cubic function of the time since the last reduction: steep far from where
    that was, flat near it. It counts in chunks, as RFC 9438 does in segments.
    """

    def __cinit__(self, uint32_t chunk_size, uint32_t seed):
        self.hystart = HyStart()
        self.now.window = INITIAL_PACKETS
        self.now.threshold = INFINITY
        self.now.began = -1
        self.before = self.now

    cdef void on_acked(self, const AckSample* sample) noexcept:
        if sample.window_limited and not sample.recovering:
            if self.now.window < self.now.threshold:
                self.now.window += <double>self.hystart.growth(sample) / self.chunk_size
                if self.hystart.is_over():
                    self.now.threshold = self.now.window
            else:
                self._grow(sample, <double>sample.acked / self.chunk_size)
        elif self.now.began >= 0 and not sample.window_limited:
            # §4.2.1 and §5.8: time in which the application did not use the window does not count.
            self.now.began = -1
        self._publish()
        if sample.smoothed_rtt > 0:
            self.pacing_rate = self.window / sample.smoothed_rtt * (
                SLOW_START_GAIN if self.now.window < self.now.threshold else AVOIDANCE_GAIN
            )

    cdef void _grow(self, const AckSample* sample, double acked) noexcept:
        """Congestion avoidance (RFC 9438 §4.2 to §4.5)."""
        cdef CubicState* now = &self.now
        cdef double since, target, alpha
        if now.began < 0:
            now.began = sample.now
            now.reno = now.window
            if now.window < now.window_max:
                now.plateau = cbrt((now.window_max - now.window) / C)
                now.origin = now.window_max
            else:
                now.plateau = 0
                now.origin = now.window
        since = sample.now - now.began
        alpha = 1.0 if now.reno >= now.prior else 3 * (1 - BETA) / (1 + BETA)
        now.reno += alpha * acked / now.window
        target = now.origin + C * (since - now.plateau) ** 3
        if target < now.reno:
            # §4.3: where Reno would have more.
            now.window = max(now.window, now.reno)
            return
        target = now.origin + C * (since + sample.smoothed_rtt - now.plateau) ** 3
        target = min(max(target, now.window), 1.5 * now.window)
        now.window += (target - now.window) / now.window * acked

    cdef void on_lost(self, double now, uint64_t size, bint first) noexcept:
        if first:
            self._reduce()
            self.now.window = self.now.threshold
            self._publish()

    cdef void on_timeout(self, double now) noexcept:
        self._reduce()
        self.now.window = 1
        self.pacing_rate = 0
        self._publish()

    cdef void on_spurious(self) noexcept:
        if self.before.window > self.now.window:
            self.now = self.before
            self._publish()

    cdef void on_restart(self, double idle, double rto) noexcept:
        # As in rfc9260.pyx (RFC 9260 §7.2.1).
        while idle > rto and self.now.window > INITIAL_PACKETS:
            self.now.window = max(self.now.window / 2, <double>INITIAL_PACKETS)
            self.now.began = -1
            idle -= rto
        self._publish()

    cdef void _reduce(self) noexcept:
        cdef CubicState* now = &self.now
        self.before = self.now
        # Fast convergence (§4.7): a flow that had more leaves room for others.
        now.window_max = now.window * ((1 + BETA) / 2 if now.window < now.window_max else 1.0)
        now.prior = now.window
        now.threshold = max(now.window * BETA, MIN_WINDOW)
        now.began = -1

    cdef void _publish(self) noexcept:
        self.window = <uint64_t>(self.now.window * self.chunk_size)
