cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.receiving.fault cimport Fault
from peerfetch_fast.webrtc._sctp.receiving.ordering cimport MessageSink, Ordering
from peerfetch_fast.webrtc._sctp.receiving.tracker cimport Tracker


# A DATA chunk, in the packet.
cdef struct Fragment:
    const uint8_t* data
    uint32_t length
    uint32_t tsn
    uint32_t protocol
    uint16_t stream
    uint16_t sequence
    uint8_t flags           # BEGIN, END, UNORDERED, IMMEDIATE

# Fragments of one message with consecutive TSNs, joined in one buffer.
cdef struct Run:
    PyObject* head          # bytes object that the sink wants apart, owned; NULL: none
    PyObject* buffer        # bytes object, owned, larger than `length` while it grows
    Run* next
    Run* previous
    uint32_t first          # TSN
    uint32_t last           # TSN
    uint32_t length
    uint32_t capacity
    uint32_t protocol
    uint16_t stream
    uint16_t sequence
    uint8_t flags           # of DATA chunks: BEGIN, END, UNORDERED


@cython.final
cdef class Reassembly:
    cdef readonly uint64_t held             # bytes of memory of runs, overhead included
    cdef readonly uint64_t copied           # bytes of messages, out of packets
    cdef readonly uint64_t discarded
    cdef Tracker tracker
    cdef Ordering ordering
    cdef MessageSink sink
    cdef uint32_t max_message_size
    cdef bint cut_messages
    cdef bint forwards                      # the peer has given messages up
    cdef Run** slots
    cdef uint32_t slot_mask
    cdef Run* runs
    cdef uint32_t run_count
    cdef uint32_t length_hint

    cdef Fault place(self, const Fragment* fragment) except *
    cdef int forward(self, uint32_t tsn) except -1
    cdef void clear(self) noexcept

    cdef Fault _make_room(self, const Fragment* fragment, Run** before, Run** behind) noexcept
    cdef Fault _continue_run(self, Run* run, const Fragment* fragment) except *
    cdef Run* _begin_run(self, const Fragment* fragment) except NULL
    cdef Fault _absorb(self, Run* run) except *
    cdef Fault _append_run(self, Run* run, Run* following) except *
    cdef Fault _complete(self, Run* run) except *
    cdef uint32_t _cut(self, Run* run, uint32_t length) noexcept
    cdef int _reserve(self, Run* run, uint32_t capacity) except -1
    cdef int _append(self, Run* run, const uint8_t* data, uint32_t length) except -1
    cdef void _drop_run(self, Run* run) noexcept
    cdef Run* _ending_at(self, uint32_t tsn) noexcept
    cdef Run* _starting_at(self, uint32_t tsn) noexcept
    cdef int _index(self, uint32_t tsn, Run* run) except -1
    cdef int _grow_slots(self) except -1
    cdef void _unindex(self, uint32_t tsn, Run* run) noexcept
    cdef int _extend(self, Run* run, uint32_t last, uint8_t flags) except -1
