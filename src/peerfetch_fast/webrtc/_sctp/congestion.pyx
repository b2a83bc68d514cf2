"""The congestion-control seam, and the controller of RFC 9260 §7.2 behind it."""

from libc.stdint cimport UINT64_MAX, uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.packet cimport after

# RFC 6928's ten packets, as every browser starts with, in place of RFC 9260's four.
cdef enum:
    INITIAL_PACKETS = 10

# How much faster than window/RTT packets leave: twice in slow start, where the window doubles
# every round trip; a little faster later, so that pacing is never what limits the rate.
cdef double SLOW_START_GAIN = 2.0
cdef double AVOIDANCE_GAIN = 1.25


cdef class CongestionControl:
    """Decides how much may be in flight, and how fast it leaves.

    The sender asks for :attr:`window` and :attr:`pacing_rate` and tells what happened; it finds
    losses itself.

    :ivar window: bytes that may be in flight.
    :ivar pacing_rate: bytes per second; 0 if packets leave as fast as the window allows.
    """

    cdef void on_acked(self, const AckSample* sample) noexcept:
        """A SACK acknowledged data."""

    cdef void on_lost(
        self, double now, uint64_t size, uint32_t highest_lost, uint32_t next_tsn
    ) noexcept:
        """*size* bytes up to the TSN *highest_lost* were found lost; *next_tsn* was never sent."""

    cdef void on_timeout(self, double now, uint32_t next_tsn) noexcept:
        """The retransmission timer expired: all that was in flight counts as lost."""

    cdef void on_restart(self, double idle, double rto) noexcept:
        """Data is about to leave after nothing was in flight for *idle* seconds."""

    cdef bint in_recovery(self) noexcept:
        """Whether losses of an earlier window are still being repaired."""
        return False


cdef class Rfc9260(CongestionControl):
    """Slow start, congestion avoidance and fast recovery, as RFC 9260 §7.2 has them.

    The window grows by what a SACK acknowledges, however much that is: RFC 9260 §7.2.1 lets the
    limit per SACK be raised where packets are paced (RFC 3465, RFC 9406 §4.2), and a receiver
    that reads packets in batches sends one SACK for many of them.
    """

    cdef uint32_t packet_size
    cdef uint64_t threshold
    cdef uint64_t partial_bytes_acked
    cdef uint32_t recovery_end
    cdef bint recovering

    def __cinit__(self, uint32_t packet_size):
        self.packet_size = packet_size
        self.window = INITIAL_PACKETS * packet_size
        self.threshold = UINT64_MAX

    cdef void on_acked(self, const AckSample* sample) noexcept:
        if self.recovering:
            if not after(self.recovery_end, sample.cumulative):
                self.recovering = False
        # A window that is not used says nothing about the path.
        elif not sample.app_limited or sample.in_flight_before >= self.window:
            if self.window < self.threshold:
                self.window += sample.acked
            else:
                self.partial_bytes_acked += sample.acked
                if self.partial_bytes_acked >= self.window:
                    self.partial_bytes_acked -= self.window
                    self.window += self.packet_size
        self._pace(sample.smoothed_rtt)

    cdef void on_lost(
        self, double now, uint64_t size, uint32_t highest_lost, uint32_t next_tsn
    ) noexcept:
        # Once a window: what was sent before the window was halved says nothing of the new one.
        if self.recovering and not after(highest_lost, self.recovery_end):
            return
        self.recovering = True
        self.recovery_end = next_tsn - 1
        self._halve()
        self.window = self.threshold

    cdef void on_timeout(self, double now, uint32_t next_tsn) noexcept:
        self.recovering = False
        self._halve()
        self.window = self.packet_size
        self.pacing_rate = 0

    cdef void on_restart(self, double idle, double rto) noexcept:
        # RFC 9260 §7.2.1: halved for each RTO without data, as the path may have changed.
        while idle > rto and self.window > INITIAL_PACKETS * self.packet_size:
            self.window = max(self.window // 2, <uint64_t>INITIAL_PACKETS * self.packet_size)
            idle -= rto

    cdef bint in_recovery(self) noexcept:
        return self.recovering

    cdef void _halve(self) noexcept:
        self.threshold = max(self.window // 2, <uint64_t>4 * self.packet_size)
        self.partial_bytes_acked = 0

    cdef void _pace(self, double smoothed_rtt) noexcept:
        if smoothed_rtt > 0:
            self.pacing_rate = self.window / smoothed_rtt * (
                SLOW_START_GAIN if self.window < self.threshold else AVOIDANCE_GAIN
            )


cdef CongestionControl create(str name, uint32_t packet_size):
    """The controller of that name.

    :raises ValueError: there is none.
    """
    if name == "rfc9260":
        return Rfc9260(packet_size)
    raise ValueError(f"no congestion controller is called {name!r}")
