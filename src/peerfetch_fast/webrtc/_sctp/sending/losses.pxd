cimport cython
from libc.stdint cimport uint32_t

from peerfetch_fast.webrtc._sctp.congestion.control cimport CongestionControl
from peerfetch_fast.webrtc._sctp.packet cimport after
from peerfetch_fast.webrtc._sctp.sending.outstanding cimport Outstanding, Sent
from peerfetch_fast.webrtc._sctp.sending.recovery cimport Recovery
from peerfetch_fast.webrtc._sctp.sending.report cimport Report
from peerfetch_fast.webrtc._sctp.sending.round_trips cimport RoundTrips


@cython.final
cdef class Losses:
    cdef double deadline                    # when more counts as lost; infinite: unknown
    cdef bint fast_retransmit_due           # the first loss of a recovery waits to be repaired
    cdef uint32_t order                     # number of the last packet sent
    cdef Outstanding outstanding
    cdef Recovery recovery
    cdef RoundTrips round_trips
    cdef CongestionControl congestion
    cdef uint32_t newest_order              # of the newest packet acknowledged
    cdef double newest_rtt
    cdef uint32_t highest_acked             # TSN
    cdef bint any_acked
    cdef bint reordering_seen
    cdef uint32_t reordering_steps          # quarters of a round trip, of the reordering window
    cdef uint32_t steps_end                 # TSN: one step a round trip

    cdef inline void on_acked(self, const Sent* sent, uint32_t tsn, double now) noexcept:
        """A chunk was acknowledged that was in flight or lost."""
        if after(tsn, self.highest_acked):
            self.highest_acked = tsn
        if sent.transmissions == 1:
            if after(self.highest_acked, tsn):
                # It was overtaken, not lost.
                self.reordering_seen = True
        elif now - sent.sent_at < self.round_trips.shortest:
            # So was this one: no acknowledgement of the second transmission could be here yet.
            self.reordering_seen = True

    cdef void on_newest(self, const Report* report, bint is_probe) noexcept
    cdef void on_duplicates(self, uint32_t cumulative) noexcept
    cdef bint detect(self, bint cut_short, uint32_t unreported, double now) except -1
    cdef double _reordering_window(self) noexcept
