from libc.stdint cimport uint64_t

from peerfetch_fast.webrtc._sctp.congestion.control cimport AckSample, CongestionControl


cdef class Rfc9260(CongestionControl):
    cdef uint64_t threshold
    cdef uint64_t partial_bytes_acked
    cdef uint64_t round_end             # a value of AckSample.delivered
    cdef double round_rtt               # the shortest round trip in this window, seconds
    cdef uint64_t window_before         # of the last reduction
    cdef uint64_t threshold_before

    cdef void _drain(self, const AckSample* sample) noexcept
    cdef void _halve(self) noexcept
    cdef void _pace(self, double smoothed_rtt) noexcept
