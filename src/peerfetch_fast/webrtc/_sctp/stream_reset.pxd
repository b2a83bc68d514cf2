cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t

from peerfetch_fast.webrtc._sctp.channels cimport ChannelTable
from peerfetch_fast.webrtc._sctp.outbox cimport Outbox
from peerfetch_fast.webrtc._sctp.receive cimport Receiver
from peerfetch_fast.webrtc._sctp.send cimport Sender


@cython.final
cdef class StreamReset:
    cdef ChannelTable table
    cdef Sender sender
    cdef Receiver receiver
    cdef Outbox outbox
    cdef uint32_t parameters_left       # that may be read of the packet that is being received

    # Our request, one at a time.
    cdef double deadline                # when it is sent again; infinite: there is none
    cdef uint32_t tries                 # after the first
    cdef bytes request                  # None: there is none
    cdef list ids
    cdef uint32_t number

    # The peer's.
    cdef uint32_t peer_number           # of its next one
    cdef uint32_t peer_result           # of its last one
    cdef bytes deferred_ids             # of a reset that waits for data; None: none does
    cdef uint32_t deferred_tsn
    cdef uint32_t deferred_number

    cdef inline bint is_due(self) noexcept:
        """Whether streams of ours are to be reset, and no request is under way."""
        return self.request is None and self.table.has_due()

    cdef inline int end_packet(self) except -1:
        """All chunks of a packet were given."""
        if self.deferred_ids is not None:
            self._do_deferred()
        return 0

    cdef void begin_packet(self) noexcept
    cdef bint ask(self, double now) except -1
    cdef int repeat(self, double now) except -1
    cdef void path_changed(self, double now) noexcept
    cdef void clear(self) noexcept
    cdef int on_re_config(self, const uint8_t* chunk_, size_t length, double now) except -1

    cdef bint _is_new(self, uint32_t number) except -1
    cdef int _respond(self, uint32_t number, uint32_t result) except -1
    cdef int _on_reset(self, const uint8_t* request, size_t length) except -1
    cdef int _do_deferred(self) except -1
    cdef int _on_other_request(self, int kind, bytes request) except -1
    cdef int _on_response(self, const uint8_t* response, size_t length, double now) except -1
