from libc.stdint cimport uint32_t, uint64_t


# RFC 6928's ten packets, as every browser starts with, in place of RFC 9260's four.
cdef enum:
    INITIAL_PACKETS = 10


# The result of one SACK for the sender: everything a window- or rate-based controller needs, and
# nothing of how the sender keeps its books. Bytes are of DATA chunks, headers included.
cdef struct AckSample:
    double now                  # seconds
    uint64_t acked              # bytes newly acknowledged
    uint64_t in_flight          # bytes in flight after it, less what it showed to be lost
    uint64_t delivered          # bytes ever acknowledged, these included
    uint64_t prior_delivered    # the same count when the newest packet acknowledged here was sent
    double interval             # seconds of delivered - prior_delivered; 0: unknown
    double rtt                  # of the newest packet acknowledged, seconds; negative: unknown
    double smoothed_rtt         # seconds
    double min_rtt              # seconds
    bint recovering             # losses of an earlier window were still being repaired
    bint app_limited            # when that packet left, there was less to send than might have been
    # The path may carry more than this shows: the peer's window held the sender back, or the peer
    # could not report all that it has.
    bint understated
    bint window_limited         # the window was full then, or later


cdef class CongestionControl:
    cdef readonly uint64_t window       # bytes that may be in flight
    cdef readonly double pacing_rate    # bytes per second; 0: as fast as the window allows
    cdef uint32_t chunk_size

    cdef void on_acked(self, const AckSample* sample) noexcept
    cdef void on_lost(self, double now, uint64_t size, bint first) noexcept
    cdef void on_timeout(self, double now) noexcept
    cdef void on_spurious(self) noexcept
    cdef void on_restart(self, double idle, double rto) noexcept
