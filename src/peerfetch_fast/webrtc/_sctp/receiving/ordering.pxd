cimport cython
from cpython.ref cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.receiving.fault cimport Fault
from peerfetch_fast.webrtc._sctp.receiving.tracker cimport Tracker


cdef enum:
    # The cost of a run of fragments or a held message besides its bytes: its struct, the header of
    # a bytes object, and the allocator's rounding of both.
    OVERHEAD = 192

# A whole message of an ordered stream that waits for those before it.
cdef struct Held:
    PyObject* message       # bytes object, owned
    uint32_t protocol
    uint32_t tsn            # of its last fragment
    uint16_t sequence

cdef struct InboundStream:
    Held* heap              # the earliest sequence number first
    uint32_t count
    uint32_t capacity
    InboundStream* next     # of those on which something waits
    InboundStream* previous
    uint32_t tsn            # of the last message that had its turn,
    uint16_t sequence       # and its stream sequence number,
    bint begun              # if there was one
    uint16_t expected       # stream sequence number
    uint16_t id


cdef class MessageSink:
    cdef size_t split(
        self, uint16_t stream, uint32_t protocol, const uint8_t* data, size_t length
    ) noexcept
    cdef int deliver(
        self, uint16_t stream, uint32_t protocol, bytes head, bytes message
    ) except -1
    cdef bint is_open(self, uint16_t stream) noexcept
    cdef int out_of_sequence(self, uint16_t stream) except -1


@cython.final
cdef class Ordering:
    cdef readonly uint64_t held             # bytes of memory of messages that wait, with overhead
    cdef MessageSink sink
    cdef Tracker tracker
    cdef uint32_t max_streams               # that may hold something at once
    cdef uint32_t live_streams
    cdef InboundStream*** pages
    cdef InboundStream* waiting             # streams on which something is held

    cdef inline int end_chunk(self) except -1:
        """A chunk has been taken."""
        if self.waiting != NULL and self.tracker.is_complete():
            self._drop_waiting()
        return 0

    cdef Fault take(
        self, uint32_t tsn, uint16_t stream, uint16_t sequence, uint32_t protocol, bint unordered,
        bytes head, bytes message
    ) except *
    cdef Fault forward(self, uint16_t stream, uint16_t sequence) except *
    cdef void reset_stream(self, uint16_t stream) noexcept
    cdef void reset_streams(self) noexcept

    cdef InboundStream* _find_stream(self, uint16_t stream) noexcept
    cdef InboundStream* _stream(self, uint16_t stream) except? NULL
    cdef bint _forget_streams(self) noexcept
    cdef int _release(self, uint16_t stream, InboundStream* state) except -1
    cdef int _hold(
        self, InboundStream* state, uint32_t tsn, uint16_t sequence, uint32_t protocol,
        bytes message
    ) except -1
    cdef Held _take_first(self, InboundStream* state) noexcept
    cdef void _drop_held(self, InboundStream* state) noexcept
    cdef int _drop_waiting(self) except -1
    cdef void _link_waiting(self, InboundStream* state) noexcept
    cdef void _unlink_waiting(self, InboundStream* state) noexcept
