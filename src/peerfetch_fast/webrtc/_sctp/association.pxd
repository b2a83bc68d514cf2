from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.channels cimport Channel, ChannelTable
from peerfetch_fast.webrtc._sctp.packet cimport Packet
from peerfetch_fast.webrtc._sctp.receive cimport Receiver
from peerfetch_fast.webrtc._sctp.send cimport Sender


cdef enum State:
    IDLE                # RFC 9260's CLOSED, before
    COOKIE_WAIT
    COOKIE_ECHOED
    ESTABLISHED
    SHUTDOWN_PENDING
    SHUTDOWN_SENT
    SHUTDOWN_RECEIVED
    SHUTDOWN_ACK_SENT
    ENDED               # RFC 9260's CLOSED, after


cdef class Association:
    # The face for a driver written in Cython. Times are seconds of any clock that does not go
    # back. After every call, poll until it returns 0, then look whether there are events.
    cdef readonly object error
    cdef list events
    cdef State state

    cdef int receive(self, const uint8_t* packet, size_t length, double now) except -1
    cdef bint _is_sound(self, const uint8_t* packet, size_t length) noexcept
    cdef int _take_chunks(self, const uint8_t* packet, size_t length, double now) except -1
    cdef Py_ssize_t poll(self, uint8_t* buffer, size_t capacity, double now) except -1
    cdef double deadline(self) noexcept
    cpdef int handle_timeout(self, double now) except -1
    cpdef int path_changed(self, double now) except -1
    cdef bint has_events(self) noexcept

    cdef object settings
    cdef readonly Sender sender
    cdef readonly Receiver receiver
    cdef ChannelTable table
    cdef bytes scratch                  # for next_packet
    cdef bint receiving                 # the receiver must not be cleared now
    cdef bint acknowledged              # by a SACK of the packet that is being received
    cdef uint32_t parameters_left       # of reconfiguration, that may be read of it

    cdef uint16_t local_port
    cdef uint16_t remote_port
    cdef uint32_t packet_size
    cdef size_t max_received            # bytes of a packet
    cdef size_t report_limit            # bytes of what the peer sent, in a report about it
    cdef uint32_t local_tag
    cdef uint32_t remote_tag
    cdef uint32_t initial_tsn
    cdef uint32_t peer_initial_tsn
    cdef uint32_t restart_tag           # of our INIT ACK to a peer that starts over
    cdef bytes cookie_key
    cdef bytes peer_init                # what its description had; None: there is a handshake
    cdef bint accept_zero
    cdef bint send_zero
    cdef bint peer_resets

    cdef list outbox                    # (verification tag, chunks): packets that go first

    # T1 or T2, whichever runs: one chunk sent again until it is answered.
    cdef bytes control
    cdef bint control_due               # it goes before all else
    cdef double control_deadline
    cdef uint32_t control_tries
    cdef double control_sent_at
    cdef double guard_deadline

    cdef double heard_at
    cdef double heartbeat_interval
    cdef double heartbeat_deadline
    cdef bytes heartbeat
    cdef uint32_t heartbeats_unanswered

    # RFC 6525: one request at a time.
    cdef uint32_t request_number
    cdef bytes request
    cdef list request_ids
    cdef double request_deadline
    cdef uint32_t request_tries
    cdef uint32_t peer_request_number   # the next
    cdef uint32_t peer_request_result
    cdef bytes deferred_ids             # of a reset that waits for data; None: none does
    cdef uint32_t deferred_tsn
    cdef uint32_t deferred_number

    cdef readonly uint64_t packets_sent
    cdef readonly uint64_t packets_received
    cdef readonly uint64_t packets_dropped

    cdef int _on_chunk(
        self, int kind, const uint8_t* chunk, size_t length, double now
    ) except -1
    cdef int _on_init(self, const uint8_t* chunk, size_t length, double now) except -1
    cdef int _on_init_ack(self, const uint8_t* chunk, size_t length, double now) except -1
    cdef int _on_cookie_echo(self, const uint8_t* chunk, size_t length, double now) except -1
    cdef int _on_abort(self, const uint8_t* chunk, size_t length, double now) except -1
    cdef int _on_error(self, const uint8_t* chunk, size_t length, double now) except -1
    cdef int _on_heartbeat_ack(self, const uint8_t* chunk, size_t length, double now) except -1
    cdef int _on_shutdown(self, const uint8_t* chunk, size_t length, double now) except -1
    cdef int _on_unknown(self, int kind, const uint8_t* chunk, size_t length) except -1
    cdef int _on_re_config(self, const uint8_t* chunk, size_t length, double now) except -1
    cdef int _on_reset(self, const uint8_t* request, size_t length) except -1
    cdef int _on_response(self, const uint8_t* response, size_t length, double now) except -1
    cdef int _do_deferred(self) except -1
    cdef int _request_resets(self, double now) except -1
    cdef int _establish(self, double now) except -1
    cdef int _progress_shutdown(self, double now) except -1
    cdef bytes _init(self)
    cdef bint _is_new(self, uint32_t number) except -1
    cdef Py_ssize_t _write_outbox(self, Packet* packet) except -1
    cdef Py_ssize_t _write_control(self, Packet* packet) except -1
    cdef bint _post(self, uint32_t tag, bytes chunks, bint droppable) except -1
    cdef int _repeat(self, bytes control, double now) except -1
    cdef int _stop_repeating(self) except -1
    cdef int _violate(self, int cause, str what, double now) except -1
    cdef int _end(self, object error) except -1
    cdef Py_ssize_t _seal(self, Packet* packet, uint32_t tag, bint zero) noexcept
