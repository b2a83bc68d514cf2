cimport cython
from libc.stdint cimport uint32_t, uint64_t


@cython.final
cdef class Pacer:
    cdef double deadline                    # when the next packet may leave; infinite: now
    cdef double max_rate                    # bytes per second
    cdef uint32_t packet_size
    cdef double credit                      # bytes
    cdef double credited_at                 # seconds

    cdef void start(self, double now) noexcept
    cdef bint holds_back(
        self, double rate, uint64_t window, uint64_t in_flight, double smoothed_rtt, double now
    ) noexcept
    cdef inline void spend(self, uint64_t size) noexcept:
        """*size* bytes have left."""
        self.credit -= size
