cimport cython
from libc.stdint cimport uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.packet cimport after
from peerfetch_fast.webrtc._sctp.sending.outstanding cimport LOST, Outstanding, Sent


@cython.final
cdef class Recovery:
    cdef readonly uint64_t undone           # how often none was lost
    cdef bint recovering                    # losses are being repaired, up to `end`
    cdef uint32_t end                       # TSN: the newest that was sent when they showed
    cdef Outstanding outstanding
    cdef uint32_t doubted                   # chunks lost since it began; 0: nothing is open
    cdef uint32_t early                     # of them, acknowledged before their repetition could,
    cdef uint32_t twice                     # and come twice
    cdef uint32_t since                     # TSN: all of them are after it

    cdef inline void on_acked(
        self, const Sent* sent, uint32_t tsn, double shortest_rtt, double now
    ) noexcept:
        """A chunk was acknowledged that was in flight or lost."""
        if self.doubted and after(tsn, self.since) and (
            sent.state == LOST or (sent.transmissions > 1 and now - sent.sent_at < shortest_rtt)
        ):
            self.early += 1
            self.twice += sent.state == LOST

    cdef inline void end_at(self, uint32_t cumulative) noexcept:
        """Everything up to the TSN *cumulative* has arrived."""
        if self.recovering and not after(self.end, cumulative):
            self.recovering = False

    cdef bint begin(self, uint32_t highest, uint32_t count) noexcept
    cdef void begin_anew(self, uint32_t count) noexcept
    cdef void on_duplicate(self, uint32_t tsn) noexcept
    cdef bint was_spurious(self) noexcept
