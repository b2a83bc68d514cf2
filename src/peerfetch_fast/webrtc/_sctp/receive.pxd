from cpython.ref cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.packet cimport Packet


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


# Who takes the messages.
cdef class MessageSink:
    cdef size_t split(
        self, uint16_t stream, uint32_t protocol, const uint8_t* data, size_t length
    ) noexcept
    cdef int deliver(
        self, uint16_t stream, uint32_t protocol, bytes head, bytes message
    ) except -1
    cdef bint is_open(self, uint16_t stream) noexcept
    cdef int out_of_sequence(self, uint16_t stream) except -1


cdef class Receiver:
    cdef readonly uint32_t cumulative       # TSN up to which everything has come
    cdef readonly uint64_t held_bytes       # memory held, overhead included
    cdef bint sack_now
    cdef double sack_deadline
    cdef readonly str violation             # what the peer did wrong, where a call returns a cause
    cdef readonly uint64_t duplicates
    cdef readonly uint64_t copied           # bytes of messages, out of packets
    cdef readonly uint64_t discarded

    cdef MessageSink sink
    cdef uint64_t window
    cdef uint32_t max_message_size
    cdef bint cut_messages
    cdef double sack_delay
    cdef uint32_t stream_count              # streams below this were agreed on
    cdef uint32_t max_streams               # that may hold something at once
    cdef uint32_t live_streams
    cdef uint32_t highest                   # TSN
    cdef bint forwards
    cdef uint64_t* bitmap
    cdef Run** slots
    cdef uint32_t slot_mask
    cdef Run* runs
    cdef uint32_t run_count
    cdef InboundStream*** pages
    cdef InboundStream* waiting             # on which something is held
    cdef uint32_t length_hint
    cdef uint32_t duplicate_tsns[32]
    cdef uint32_t duplicate_count
    cdef uint32_t packets_unacknowledged
    cdef bint data_in_packet
    cdef bint urgent_in_packet

    cdef int start(self, uint32_t initial_tsn, uint32_t stream_count) except -1
    cdef int on_data(self, const uint8_t* chunk, size_t length) except -1
    cdef int on_forward_tsn(self, const uint8_t* chunk, size_t length) except -1
    cdef void end_packet(self, double now) noexcept
    cdef bint owes_sack(self) noexcept
    cdef void reset_stream(self, uint16_t stream) noexcept
    cdef void reset_streams(self) noexcept
    cdef bint write_sack(self, Packet* packet) noexcept
    cdef void _write_newest_gaps(self, uint8_t* blocks, uint32_t first, uint32_t count) noexcept
    cdef uint32_t _last_with(self, uint32_t tsn, bint received) noexcept
    cdef void clear(self) noexcept

    cdef int _place(
        self, const uint8_t* data, uint32_t length, uint32_t tsn, uint16_t stream,
        uint16_t sequence, uint32_t protocol, uint8_t flags
    ) except -1
    cdef int _complete(
        self, uint32_t tsn, uint16_t stream, uint16_t sequence, uint32_t protocol, bint unordered,
        bytes head, bytes message
    ) except -1
    cdef int _hold(
        self, InboundStream* state, uint32_t tsn, uint16_t sequence, uint32_t protocol,
        bytes message
    ) except -1
    cdef int _release(self, uint16_t stream, InboundStream* state) except -1
    cdef InboundStream* _find_stream(self, uint16_t stream) noexcept
    cdef InboundStream* _stream(self, uint16_t stream) except? NULL
    cdef bint _forget_streams(self) noexcept
    cdef Held _take_first(self, InboundStream* state) noexcept
    cdef int _pass_runs(self, uint32_t tsn) except -1
    cdef void _drop_held(self, InboundStream* state) noexcept
    cdef int _drop_waiting(self) except -1
    cdef void _link_waiting(self, InboundStream* state) noexcept
    cdef void _unlink_waiting(self, InboundStream* state) noexcept
    cdef Run* _ending_at(self, uint32_t tsn) noexcept
    cdef Run* _starting_at(self, uint32_t tsn) noexcept
    cdef int _index(self, uint32_t tsn, Run* run) except -1
    cdef void _unindex(self, uint32_t tsn, Run* run) noexcept
    cdef int _extend(self, Run* run, uint32_t last, uint8_t flags) except -1
    cdef uint32_t _cut(self, Run* run, uint32_t length) noexcept
    cdef int _reserve(self, Run* run, uint32_t capacity) except -1
    cdef int _append(self, Run* run, const uint8_t* data, uint32_t length) except -1
    cdef int _continue_run(
        self, Run* run, const uint8_t* data, uint32_t length, uint32_t tsn, uint16_t stream,
        uint16_t sequence, uint8_t flags
    ) except -1
    cdef Run* _begin_run(
        self, const uint8_t* data, uint32_t length, uint32_t tsn, uint16_t stream,
        uint16_t sequence, uint32_t protocol, uint8_t flags
    ) except NULL
    cdef int _absorb(self, Run* run) except -1
    cdef void _drop_run(self, Run* run) noexcept
    cdef void _advance(self) noexcept
    cdef void _duplicate(self, uint32_t tsn) noexcept
    cdef uint32_t _next_with(self, uint32_t tsn, bint received) noexcept
    cdef bint _received(self, uint32_t tsn) noexcept
    cdef int _violated(self, int cause, str what) noexcept
