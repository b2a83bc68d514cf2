"""The congestion-control seam."""

from libc.stdint cimport uint32_t, uint64_t


cdef class CongestionControl:
    """Decides how much may be in flight, and how fast it leaves.

    The sender asks for :attr:`window` and :attr:`pacing_rate` and tells what happened; it finds
    losses itself.

    :param chunk_size: bytes of the largest DATA chunk that a packet holds (RFC 9260's PMDCS).
    :param seed: what choices by chance depend on.
    :ivar window: bytes that may be in flight.
    :ivar pacing_rate: bytes per second; 0 if packets leave as fast as the window allows.
    """

    def __cinit__(self, uint32_t chunk_size, uint32_t seed):
        self.chunk_size = chunk_size
        self.window = INITIAL_PACKETS * chunk_size

    cdef void on_acked(self, const AckSample* sample) noexcept:
        """A SACK acknowledged data."""

    cdef void on_lost(self, double now, uint64_t size, bint first) noexcept:
        """Chunks were found lost; *first*: they are the first losses of their flight.

        *size*: bytes of those that were sent within the last two round trips.
        """

    cdef void on_timeout(self, double now) noexcept:
        """The retransmission timer expired: all that was in flight counts as lost."""

    cdef void on_spurious(self) noexcept:
        """All losses since the last one with *first*, or the last timeout, were spurious."""

    cdef void on_restart(self, double idle, double rto) noexcept:
        """Data is about to leave after nothing was in flight for *idle* seconds."""
