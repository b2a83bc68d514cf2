cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.packet cimport Packet
from peerfetch_fast.webrtc._sctp.sending.round_trips cimport RoundTrips


cdef enum:
    MAX_OUTBOX = 16             # packets beyond which answers to the peer's requests are dropped


@cython.final
cdef class Outbox:
    cdef readonly uint64_t packets_sent
    cdef list waiting                   # (verification tag, chunks): packets that go before data
    cdef uint32_t remote_tag            # 0: the peer is not known
    cdef bint send_zero                 # packets have no checksum (RFC 9653)
    cdef uint32_t packet_size
    cdef size_t report_limit            # bytes of what the peer sent, in a report about it
    cdef uint16_t local_port
    cdef uint16_t remote_port

    cdef inline bint is_full(self) noexcept:
        """Whether answers that only the peer wants are dropped."""
        return len(self.waiting) >= MAX_OUTBOX

    cdef bint post(self, uint32_t tag, bytes chunks, bint droppable) except -1
    cdef bint answer(self, bytes chunks) except -1
    cdef Py_ssize_t write_next(self, Packet* packet) except -1
    cdef Py_ssize_t write_repeated(self, Packet* packet, Repeater repeater) except -1
    cdef Py_ssize_t seal(self, Packet* packet, uint32_t tag, bint zero) noexcept


@cython.final
cdef class Repeater:
    cdef bytes chunk                    # None: nothing is repeated
    cdef bint due                       # the chunk goes before all else
    cdef double deadline
    cdef uint32_t tries                 # after the first
    cdef double first_sent_at
    cdef RoundTrips round_trips

    cdef int begin(self, bytes chunk, double now) except -1
    cdef int repeat(self, bytes chunk, double now) except -1
    cdef void answered(self, double now) noexcept
    cdef int stop(self) except -1
