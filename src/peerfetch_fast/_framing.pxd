from libc.stdint cimport int64_t, uint8_t, uint64_t

from peerfetch_fast.streams._assembler cimport Assembler
from peerfetch_fast.streams._liveness cimport Liveness
from peerfetch_fast.streams._outgoing cimport Outgoing
from peerfetch_fast.streams._scheduler cimport Scheduled, Scheduler


cdef struct Window:
    int64_t size  # bytes that the other side may send before it needs more credit, at most
    double granted  # when credit was last granted
    int64_t highest  # how much had come by then


cdef class EngineStream(Scheduled):
    cdef public object owner
    cdef object lost
    cdef Engine engine

    # Sending.
    cdef Outgoing outgoing
    cdef int64_t sent, send_limit
    cdef bint fin_wanted, fin_sent, reset_sent
    cdef readonly int64_t reset_code, stopped_code

    # Receiving.
    cdef Assembler assembler
    cdef int64_t highest, consumed, receive_limit, final_size
    cdef Window window
    cdef bint reset_received, stop_sent

    cdef unsigned int flags
    cdef bint dirty, control, closed
    # Control frames that this stream still owes.
    cdef bint owes_reset, owes_stop, owes_fin, owes_credit
    cdef int64_t stop_code

    cpdef int write(self, object data) except -1
    cpdef int end(self) except -1
    cpdef int reset(self, int64_t code) except -1
    cpdef object read(self, Py_ssize_t most=*)
    cpdef int stop(self, int64_t code) except -1
    cpdef unsigned int take_flags(self)
    cdef int schedule(self) except -1
    cdef int owe(self) except -1
    cdef int mark(self, unsigned int flag) except -1
    cdef int settle(self) except -1
    cdef int grant(self) except -1
    cdef int drop_unsent(self) except -1
    cdef int drop_unread(self) except -1
    cdef int take_piece(self, bytes data, int64_t offset) except -1
    cdef int sent_bytes(self, Py_ssize_t length) except -1


cdef class Engine:
    cdef readonly object settings
    cdef readonly bint opener
    cdef dict streams
    cdef Scheduler scheduler
    cdef list dirty, control
    cdef uint8_t *scratch
    cdef Py_ssize_t chunk, chunk_most, used

    # Counts of streams: opened by us and by the other side, and the limits on both.
    cdef readonly int64_t opened, accepted
    cdef int64_t open_limit, accept_limit, accepted_closed
    # Session credit.
    cdef readonly int64_t sent  # bytes of stream data put into messages
    cdef int64_t unsent  # of all streams
    cdef readonly int64_t highest  # bytes of stream data that the other side has sent
    cdef int64_t send_limit, consumed, receive_limit
    cdef Window window
    cdef int64_t window_most, stream_window, stream_window_most, peer_stream_limit
    cdef int64_t fragment_total
    # Bytes of stream data copied into messages and out of them.
    cdef readonly int64_t copied_out, copied_in
    cdef int64_t fragment_max

    cdef bint settings_sent, settings_received, owes_data_credit, owes_stream_credit
    cdef bint owes_goaway, owes_access, access_received, owes_share, share_received
    cdef object access
    cdef readonly bint proved  # the other side has proved that it knows the token, or need not
    cdef readonly bint proof_wrong
    cdef Liveness liveness
    cdef readonly bint goaway_sent
    cdef readonly bint goaway_received
    cdef int64_t goaway_code, goaway_limit, peer_limit
    cdef bytes goaway_reason
    cdef list pongs
    cdef double settings_deadline, access_deadline
    cdef readonly object error
    cdef unsigned int flags

    cpdef int set_chunk_size(self, Py_ssize_t size) except -1
    cpdef int receive(self, bytes message, double now) except -1
    cpdef int receive_parts(self, bytes head, bytes body, double now) except -1
    cdef int receive_frames(self, bytes message, bytes body, double now) except -1
    cpdef object next_message(self, double now, bint in_parts=*)
    cpdef unsigned int take_flags(self)
    cdef int fail(self, int64_t code, str reason) except -1
    cdef EngineStream find(self, int64_t stream_id)
    cdef EngineStream make(self, int64_t stream_id)
    cdef int on_frame(
        self, uint64_t kind, const uint8_t *at, const uint8_t *end, double now
    ) except -1
    cdef int on_stream(self, const uint8_t *at, const uint8_t *end, bytes data, bint fin) except -1
    cdef int on_settings(self, const uint8_t *at, const uint8_t *end) except -1
    cdef int on_access(self, const uint8_t *at, const uint8_t *end) except -1
    cdef int on_share(self, const uint8_t *at, const uint8_t *end) except -1
    cdef int deny(self, str reason) except -1
    cdef int limit_goaway(self) except -1
    cdef int on_goaway(self, const uint8_t *at, const uint8_t *end) except -1
    cdef int on_reset(self, EngineStream stream, int64_t code, int64_t final_size) except -1
    cdef int raise_stream_limit(self, EngineStream stream, int64_t limit) except -1
    cdef int raise_session_limit(self, int64_t limit) except -1
    cdef int count_highest(self, EngineStream stream, int64_t end) except -1
    cdef int consume(self, int64_t length) except -1
    cdef int retire(self, EngineStream stream) except -1
    cdef int consider_stream_credit(self) except -1
    cpdef int heard(self, double now) except -1
    cdef bytes announced(self)
    cdef int grow(self, Window *window, int64_t highest, int64_t most, double now) except -1
    cdef int write_control(self, Py_ssize_t capacity, double now) except -1
    cdef int write_stream_control(self, EngineStream stream, double now) except -1
    cdef int put(self, uint64_t value) except -1
    cdef int put_frame(self, uint64_t kind, int count, uint64_t a, uint64_t b, uint64_t c) except -1
    cdef Py_ssize_t stream_header(
        self, uint8_t *target, EngineStream stream, Py_ssize_t length, bint fin
    ) noexcept
    cdef int put_bytes(self, uint64_t kind, bytes body) except -1
    cdef int sent_chunk(self, EngineStream stream, Py_ssize_t length, bint fin) except -1
    cdef bint ending(self) noexcept
