cimport cython
from cpython.ref cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport uint16_t, uint32_t, uint64_t


cdef enum:
    DCEP = 50                   # its messages are not the application's (RFC 8832 §8.1)

cdef struct OutboundStream:
    Message* first              # not cut into chunks to the end yet
    Message* last
    OutboundStream* next        # in the turn list
    OutboundStream* following   # of all that there are
    OutboundStream* preceding
    PyObject* owner             # the channel, borrowed; NULL: it has gone
    uint64_t buffered           # bytes of its messages that have not left yet
    uint64_t low_threshold
    uint32_t chunks_unacked     # in the ring
    uint16_t id
    uint16_t next_sequence
    bint active                 # in the turn list
    bint draining               # nothing more will be sent: say when all of it has arrived

cdef struct Message:
    PyObject* head              # bytes object that goes before the data, owned; NULL: none
    PyObject* data              # bytes object, owned; NULL: given up
    Message* next
    OutboundStream* stream
    double expires              # seconds; infinite: never
    uint32_t head_length
    size_t start                # of the message's part of the data
    uint32_t length             # head included
    uint32_t offset             # cut into chunks up to here
    uint32_t protocol
    uint32_t first_tsn
    uint32_t chunks             # cut
    uint32_t chunks_kept        # of them, still in the ring
    uint32_t max_retransmits    # of any chunk; UINT32_MAX: any number
    uint16_t sequence
    bint unordered
    bint partial                # `max_retransmits` or `expires` limits it
    bint whole                  # nothing is left to cut


@cython.final
cdef class SendQueue:
    cdef readonly uint64_t held         # memory of messages not given up or acknowledged yet
    cdef list drained                   # owners of streams that were to drain, and have
    cdef OutboundStream* turn           # whose turn it is; NULL: there is nothing to cut
    cdef list events
    cdef uint64_t limit
    cdef OutboundStream* streams
    cdef OutboundStream* turn_last

    cdef OutboundStream* open_stream(self, uint16_t id, PyObject* owner) except NULL
    cdef void close_stream(self, OutboundStream* stream) noexcept
    cdef void discard_stream(self, OutboundStream* stream) noexcept
    cdef int drain_stream(self, OutboundStream* stream) except -1
    cdef int add(
        self, OutboundStream* stream, uint32_t protocol, bytes head, bytes data, size_t start,
        size_t length, bint unordered, uint32_t max_retransmits, double expires
    ) except -1
    cdef inline void leave(self, OutboundStream* stream, uint64_t size) noexcept:
        """*size* bytes of the application's have left the stream's buffer."""
        cdef uint64_t before = stream.buffered
        stream.buffered -= size
        if before > stream.low_threshold >= stream.buffered and stream.owner != NULL:
            self._tell_low(stream)

    cdef void finish_cut(self, OutboundStream* stream) noexcept
    cdef void chunk_done(self, Message* message) noexcept
    cdef bint drop_data(self, Message* message) noexcept
    cdef void clear(self) noexcept

    cdef void _tell_low(self, OutboundStream* stream) noexcept
    cdef void _free_message(self, Message* message) noexcept
    cdef void _stream_drained(self, OutboundStream* stream) noexcept
    cdef void _free_stream(self, OutboundStream* stream) noexcept
