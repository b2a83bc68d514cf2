cimport cython
from libc.stdint cimport uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.sending.outstanding cimport Outstanding, Sent
from peerfetch_fast.webrtc._sctp.sending.report cimport Report
from peerfetch_fast.webrtc._sctp.sending.round_trips cimport RoundTrips


@cython.final
cdef class TailProbe:
    cdef readonly uint64_t sent
    cdef double deadline
    cdef bint due                           # the next packet is a probe
    cdef bint waiting                       # for an answer
    cdef uint32_t order                     # number of the packet that was the last probe
    cdef uint32_t end                       # TSN: the newest when it left
    cdef Outstanding outstanding
    cdef RoundTrips round_trips
    cdef bint repeats                       # it carries a chunk sent before

    cdef inline bint is_carrier(self, const Sent* sent) noexcept:
        """Whether the chunk left last in a probe that has not been answered."""
        return self.waiting and sent.order == self.order

    cdef void arm(self, double retransmit_deadline, double now) noexcept
    cdef void expire(self, bint has_new) noexcept
    cdef bint answered(self, const Report* report) noexcept
    cdef void cancel(self) noexcept
