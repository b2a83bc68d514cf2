"""Round trips, and the retransmission timeout that follows from them (RFC 9260 §6.3)."""

from libc.math cimport INFINITY, fabs
from libc.stdint cimport uint32_t

# A WebRTC path is watched by ICE; backing off further than to two packets a second protects
# nothing, and delays the healing of a path that comes back.
cdef double MAX_BACKOFF = 0.5       # seconds
cdef double SHORTEST_WINDOW = 10.0
# No path takes so long and stays up; a computer that slept does.
cdef double MAX_RTT = 10.0


cdef class RoundTrips:
    """The round-trip times of a path. All values are seconds.

    :ivar smoothed: SRTT; 0: no round trip was measured yet.
    :ivar variation: RTTVAR.
    :ivar shortest: the shortest round trip of the last ten seconds or so; infinite: unknown.
    :ivar timeout: the retransmission timeout (RTO), not backed off.
    """

    def __cinit__(self, double rto_min, double rto_initial, double rto_max):
        self.least_timeout = rto_min
        self.most_timeout = rto_max
        self.timeout = rto_initial
        self.shortest = INFINITY

    cdef bint is_plausible(self, double rtt) noexcept:
        """Whether a path can take so long."""
        return rtt <= MAX_RTT

    cdef void add(self, double rtt, double now) noexcept:
        """A round trip took *rtt* seconds (RFC 9260 §6.3.1)."""
        if not 0 <= rtt <= MAX_RTT:
            return
        if self.smoothed == 0:
            self.smoothed = rtt
            self.variation = rtt / 2
        else:
            self.variation += (fabs(self.smoothed - rtt) - self.variation) / 4
            self.smoothed += (rtt - self.smoothed) / 8
        self.timeout = min(
            max(self.smoothed + 4 * self.variation, self.least_timeout), self.most_timeout
        )
        if rtt <= self.shortest or now - self.shortest_at > SHORTEST_WINDOW:
            self.shortest = rtt
            self.shortest_at = now

    cdef double backed_off(self, uint32_t failures) noexcept:
        """The timeout after *failures* in a row, doubled by each (RFC 9260 §6.3.3 E2)."""
        cdef double timeout = self.timeout
        while failures and timeout < MAX_BACKOFF:
            timeout *= 2
            failures -= 1
        return max(self.timeout, min(timeout, MAX_BACKOFF))
