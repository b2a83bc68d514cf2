from libc.stdint cimport uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.congestion.control cimport AckSample, CongestionControl


cdef enum State:
    STARTUP         # the rate doubles until more brings no more
    DRAIN           # the queue that this made is let go
    DOWN            # less than the path's rate: the queue of a probe is let go
    CRUISE          # the path's rate
    UP              # more than that: is there more by now?
    PROBE_RTT       # so little that the path's round trip shows

# The rates that the path has carried, bytes per second.
cdef struct Bandwidth:
    double newest               # the greatest rate since the last probe began
    double older                # and between that and the one before
    double bound                # what congestion leaves of it until the next probe

# The round trip of the path without a queue, seconds.
cdef struct PathDelay:
    double shortest
    double shortest_at          # when it was last seen, or others did not replace it
    double least                # of the shortest of each cycle between two probes since then
    double greatest
    double recent               # of the last few
    double recent_at
    double cycle                # since the last probe began
    double standing             # between that and the one before

# The deliveries and losses since a packet left whose acknowledgement has now come.
cdef struct Round:
    uint64_t end                # a value of AckSample.delivered
    uint64_t count
    uint64_t delivered          # bytes
    uint64_t lost               # bytes
    double shortest             # round trip, seconds
    double began                # seconds
    bint app_limited            # all the while
    bint understated            # at some time


cdef class Bbr(CongestionControl):
    cdef State state
    cdef Bandwidth bandwidth
    cdef Bandwidth bandwidth_before     # the last congestion
    cdef PathDelay delay
    cdef Round round
    cdef uint32_t random
    cdef bint queued                    # the last round showed a queue, which may be ours
    cdef double random_loss             # share of packets
    cdef double state_since             # seconds
    cdef uint64_t state_round           # the round in which the state began
    cdef double wait_time               # of CRUISE: seconds
    cdef uint64_t wait_rounds           # and rounds, whichever ends first
    cdef double full_rate               # STARTUP, UP: the rate that growth is measured from
    cdef uint32_t full_rounds           # without growth
    cdef uint64_t congested_round       # in which congestion was last answered
    cdef bint congested                 # since the last probe
    cdef double probed_until            # PROBE_RTT: when it has lasted long enough; 0: not low yet
    cdef bint timed_out                 # nothing has been acknowledged since
    cdef bint filled                    # STARTUP is over
    cdef uint64_t filled_round          # and since when

    cdef void _measure(self, const AckSample* sample) noexcept
    cdef void _end_round(self, const AckSample* sample) noexcept
    cdef void _answer_congestion(self, const AckSample* sample, bint heavy) noexcept
    cdef void _advance(self, const AckSample* sample) noexcept
    cdef void _enter(self, State state, double now) noexcept
    cdef void _publish(self, const AckSample* sample) noexcept
    cdef double _rate(self) noexcept
    cdef double _inflight(self, double gain) noexcept
    cdef double _queued_rtt(self, double gain) noexcept
    cdef uint32_t _draw(self, uint32_t limit) noexcept
