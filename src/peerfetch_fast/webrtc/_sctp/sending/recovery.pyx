"""Recovery: losses of one flight count once, and not at all if everything turns out to be late.

A chunk was late and not lost if its acknowledgement comes too early for its retransmission (the
Eifel algorithm, RFC 3522; F-RTO, RFC 5682), or if the peer reports that it came twice.
"""

from libc.stdint cimport uint32_t

from peerfetch_fast.webrtc._sctp.packet cimport after
from peerfetch_fast.webrtc._sctp.sending.outstanding cimport Outstanding


cdef class Recovery:
    """The recovery of losses, and the detection of spurious ones.

    :ivar undone: how often all losses since a recovery or a timeout began were spurious.
    """

    def __cinit__(self, Outstanding outstanding not None):
        self.outstanding = outstanding

    cdef bint begin(self, uint32_t highest, uint32_t count) noexcept:
        """*count* more chunks up to the TSN *highest* are lost; whether these are the first losses
        of what was in flight together."""
        if self.recovering and not after(highest, self.end):
            self.doubted += count if self.doubted else 0
            return False
        self.recovering = True
        self.begin_anew(count)
        return True

    cdef void begin_anew(self, uint32_t count) noexcept:
        """The *count* chunks that are lost now are the first of all that is outstanding."""
        self.end = self.outstanding.next_tsn - 1
        self.doubted = count
        self.early = self.twice = 0
        self.since = self.outstanding.cumulative

    cdef void on_duplicate(self, uint32_t tsn) noexcept:
        """The peer reports that the chunk came twice."""
        if self.doubted and after(tsn, self.since) and not after(tsn, self.end):
            self.twice += 1

    cdef bint was_spurious(self) noexcept:
        """Whether none of the losses was one. The recovery is over then."""
        if not self.doubted or max(self.early, self.twice) < self.doubted:
            return False
        self.doubted = 0
        self.recovering = False
        self.undone += 1
        return True
