cimport cython
from libc.stdint cimport uint32_t


@cython.final
cdef class RoundTrips:
    cdef readonly double smoothed           # seconds; 0: unknown
    cdef readonly double variation
    cdef readonly double shortest           # of the last few seconds; infinite: unknown
    cdef readonly double timeout            # RTO
    cdef double shortest_at
    cdef double least_timeout
    cdef double most_timeout

    cdef bint is_plausible(self, double rtt) noexcept
    cdef void add(self, double rtt, double now) noexcept
    cdef double backed_off(self, uint32_t failures) noexcept
