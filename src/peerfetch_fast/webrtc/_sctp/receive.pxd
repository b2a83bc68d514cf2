cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.packet cimport Packet
from peerfetch_fast.webrtc._sctp.receiving.fault cimport Fault
from peerfetch_fast.webrtc._sctp.receiving.ordering cimport Ordering
from peerfetch_fast.webrtc._sctp.receiving.reassembly cimport Reassembly
from peerfetch_fast.webrtc._sctp.receiving.tracker cimport Tracker


@cython.final
cdef class Receiver:
    cdef readonly str violation             # what the peer did wrong, where a call returns a cause
    cdef Tracker tracker
    cdef Ordering ordering
    cdef Reassembly reassembly
    cdef uint64_t window
    cdef uint32_t stream_count              # streams below this were agreed on
    cdef uint16_t unknown_stream            # of an UNKNOWN_STREAM

    cdef inline uint64_t held(self) noexcept:
        """Bytes of memory held, overhead included."""
        return self.reassembly.held + self.ordering.held

    cdef void start(self, uint32_t initial_tsn, uint32_t stream_count) noexcept
    cdef int on_data(self, const uint8_t* chunk, size_t length) except -1
    cdef int on_forward_tsn(self, const uint8_t* chunk, size_t length) except -1
    cdef bint write_sack(self, Packet* packet) noexcept
    cdef void clear(self) noexcept

    cdef Fault _take_data(self, const uint8_t* chunk, size_t length) except *
    cdef Fault _take_forward(self, const uint8_t* chunk, size_t length) except *
    cdef int _violated(self, Fault fault) except -1
