"""The pacer: packets leave at the rate of the congestion control, in small bursts."""

from libc.math cimport INFINITY
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    BURST_PACKETS = 4
    FIRST_BURST = 10            # RFC 6928's ten packets
    # Credit that the pacer waits for, if it comes within BURST_TIME: fewer timers. More bytes than
    # these would be hard on a short queue, unless a tick of the timers is worth more.
    MAX_REFILL = 65_536

# Timers of event loops tick in milliseconds: a pacer must catch up that much at once.
cdef double BURST_TIME = 0.002      # seconds
# Sums of the same times in another order differ in their last bits.
cdef double ROUNDING = 1e-7


cdef class Pacer:
    """A credit of bytes, which grows at the rate and which packets use up.

    :param packet_size: bytes of the largest packet.
    :param max_rate: bytes per second that leave at most, whatever the congestion control says.
    """

    def __cinit__(self, uint32_t packet_size, double max_rate):
        self.packet_size = packet_size
        self.max_rate = max_rate
        self.deadline = INFINITY

    cdef void start(self, double now) noexcept:
        """The association is up."""
        self.credited_at = now
        self.credit = FIRST_BURST * self.packet_size

    cdef bint holds_back(
        self, double rate, uint64_t window, uint64_t in_flight, double smoothed_rtt, double now
    ) noexcept:
        """Whether the next packet must wait until `deadline`.

        *rate* (bytes per second; 0: any) and *window* (bytes) are those of the congestion control.
        """
        cdef double burst, late, most, refill
        if rate <= 0 or rate > self.max_rate:
            rate = self.max_rate
        elif window <= rate * BURST_TIME:
            # A whole window is one burst: a short path, on which timers would only be in the way.
            self.credit = rate * BURST_TIME
            self.credited_at = now
            self.deadline = INFINITY
            return False
        burst = max(rate * BURST_TIME, <double>BURST_PACKETS * self.packet_size)
        if now > self.credited_at:
            # A timer that is late, on a busy machine, must not cost the rate.
            late = 0 if self.deadline == INFINITY else max(now - self.deadline, 0.0)
            most = burst + rate * min(late, smoothed_rtt / 2)
            if in_flight == 0:
                # After a pause as many packets may leave at once as at the start.
                most = max(most, <double>FIRST_BURST * self.packet_size)
            self.credit = min(self.credit + rate * (now - self.credited_at), most)
            self.credited_at = now
        if self.deadline != INFINITY and now + ROUNDING < self.deadline:
            return True
        self.deadline = INFINITY
        if self.credit > 0:
            return False
        refill = max(min(rate * BURST_TIME, <double>MAX_REFILL), burst / 2)
        self.deadline = now + (refill - self.credit) / rate
        return True
