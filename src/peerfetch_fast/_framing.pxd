from libc.stdint cimport int64_t, uint8_t, uint64_t


cdef struct Fragment:
    int64_t offset
    void *data  # an owned reference to bytes


cdef struct Window:
    int64_t size  # bytes that the other side may send before it needs more credit, at most
    double granted  # when credit was last granted
    int64_t highest  # how much had come by then


cdef class Scheduler:
    cdef list sequential  # [urgency] -> heap of stream ids
    cdef list turns  # [urgency] -> deque of incremental streams; None stands for the sequential ones
    cdef unsigned int busy  # bit u: turns[u] is not empty

    cdef int add(self, EngineStream stream) except -1
    cdef int discard(self, EngineStream stream) except -1
    cdef EngineStream head(self)
    cdef int advance(self, EngineStream stream, bint more) except -1


cdef class EngineStream:
    cdef readonly int64_t id
    cdef public object owner
    cdef object lost
    cdef Engine engine

    # Sending.
    cdef list pieces
    cdef Py_ssize_t piece_index, piece_offset
    cdef int64_t sent, unsent, send_limit
    cdef readonly int urgency
    cdef readonly bint incremental
    cdef bint fin_wanted, fin_sent, reset_sent, scheduled
    cdef readonly int64_t reset_code, stopped_code

    # Receiving.
    cdef list ready
    cdef Py_ssize_t ready_index, ready_offset
    cdef int64_t received, highest, consumed, receive_limit, final_size
    cdef Window window
    cdef Fragment *fragments
    cdef Py_ssize_t fragment_first, fragment_count, fragment_room
    cdef bint reset_received, stop_sent, end_read

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
    cdef int take_piece(self, object data, int64_t offset) except -1
    cdef Fragment *fragment(self, Py_ssize_t index) noexcept
    cdef int open_gap(self, Py_ssize_t at) except -1
    cdef int insert_fragment(self, int64_t offset, object data) except -1
    cdef int splice_fragments(self) except -1
    cdef int append_ready(self, object data) except -1
    cdef Py_ssize_t next_length(self, Py_ssize_t room) except -1
    cdef Py_ssize_t head_piece_left(self) noexcept
    cdef int copy_out(self, uint8_t *target, Py_ssize_t length) except -1
    cdef int skip(self, Py_ssize_t length) except -1


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
    cdef int64_t send_limit, highest, consumed, receive_limit
    cdef Window window
    cdef int64_t window_most, stream_window, stream_window_most, peer_stream_limit
    cdef int64_t fragment_total
    # Bytes of stream data copied into messages and out of them.
    cdef readonly int64_t copied_out, copied_in
    cdef int64_t fragment_max

    cdef bint settings_sent, settings_received, owes_data_credit, owes_stream_credit
    cdef bint owes_goaway, owes_access, access_received
    cdef object access
    cdef readonly bint proved  # whether the other side has, or need not, prove that it knows the token
    cdef readonly bint proof_wrong
    # Whether the other side gives no sign of life, though it was asked for one.
    cdef readonly bint silent
    cdef bint resumes
    cdef double patience  # seconds for which both sides keep a silent session
    cdef readonly bint goaway_sent
    cdef readonly bint goaway_received
    cdef int64_t goaway_code, goaway_limit, peer_limit
    cdef bytes goaway_reason
    cdef list pongs
    cdef bytes ping_owed
    cdef uint64_t ping_number
    cdef double ping_sent, next_probe, last_heard, settings_deadline, access_deadline
    cdef readonly double rtt
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
    cdef int on_frame(self, uint64_t kind, const uint8_t *at, const uint8_t *end, double now) except -1
    cdef int on_stream(self, const uint8_t *at, const uint8_t *end, bytes data, bint fin) except -1
    cdef int on_settings(self, const uint8_t *at, const uint8_t *end) except -1
    cdef int on_access(self, const uint8_t *at, const uint8_t *end) except -1
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
    cdef bint unanswered(self) noexcept
    cdef double keep_alive(self) except -1
    cdef double lost_after(self) except -1
    cdef double unanswered_until(self, double silence) except? -1
    cdef int ping(self, double now) except -1
    cdef int grow(self, Window *window, int64_t highest, int64_t most, double now) except -1
    cdef int write_control(self, Py_ssize_t capacity, double now) except -1
    cdef int write_stream_control(self, EngineStream stream, double now) except -1
    cdef int put(self, uint64_t value) except -1
    cdef int put_frame(self, uint64_t kind, int count, uint64_t a, uint64_t b, uint64_t c) except -1
    cdef Py_ssize_t stream_header(self, uint8_t *target, EngineStream stream, Py_ssize_t length, bint fin) noexcept
    cdef int put_bytes(self, uint64_t kind, bytes body) except -1
    cdef int sent_chunk(self, EngineStream stream, Py_ssize_t length, bint fin) except -1
    cdef bint ending(self) noexcept
