cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t

from peerfetch_fast.webrtc._sctp.outbox cimport Outbox
from peerfetch_fast.webrtc._sctp.sending.round_trips cimport RoundTrips


@cython.final
cdef class Heartbeat:
    cdef double deadline                # when silence has lasted long enough; infinite: never
    cdef double heard_at                # 0: nothing was heard yet
    cdef uint32_t unanswered
    cdef double interval
    cdef bytes key
    cdef bytes awaited                  # what the last one carried; None: it was answered
    cdef Outbox outbox
    cdef RoundTrips round_trips

    cdef inline void heard(self, double now) noexcept:
        """A packet of the peer's came."""
        self.heard_at = now
        self.unanswered = 0

    cdef void start(self, double now) noexcept
    cdef bint is_needed(self, double now) noexcept
    cdef int send(self, double now) except -1
    cdef int on_ack(self, const uint8_t* chunk_, size_t length, double now) except -1
