from libc.stdint cimport uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.congestion.control cimport AckSample


cdef class HyStart:
    cdef uint64_t round_end         # a value of AckSample.delivered
    cdef double last_round_rtt      # the shortest round trip of the round before, seconds
    cdef double round_rtt           # and of this one
    cdef double baseline_rtt        # when conservative slow start began
    cdef uint32_t samples           # of this round
    cdef uint32_t rounds            # of conservative slow start; 0: it is not on

    cdef uint64_t growth(self, const AckSample* sample) noexcept
    cdef bint is_over(self) noexcept
