from libc.stdint cimport uint64_t

from peerfetch_fast.webrtc._sctp.congestion.control cimport AckSample, CongestionControl
from peerfetch_fast.webrtc._sctp.congestion.hystart cimport HyStart


# The state that a reduction changes, to be restored if the losses were spurious. In chunks and
# seconds.
cdef struct CubicState:
    double threshold
    double window
    double window_max
    double origin               # W_max of this epoch: what the curve passes at `plateau`
    double began                # of congestion avoidance; negative: it has not begun
    double plateau              # K
    double reno                 # W_est: the window that Reno would have
    double prior                # window just before the last reduction


cdef class Cubic(CongestionControl):
    cdef HyStart hystart
    cdef CubicState now
    cdef CubicState before      # the last reduction

    cdef void _grow(self, const AckSample* sample, double acked) noexcept
    cdef void _reduce(self) noexcept
    cdef void _publish(self) noexcept
