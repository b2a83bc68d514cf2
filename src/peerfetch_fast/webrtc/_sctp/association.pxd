cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.channels cimport ChannelTable
from peerfetch_fast.webrtc._sctp.handshake cimport PeerInit
from peerfetch_fast.webrtc._sctp.heartbeat cimport Heartbeat
from peerfetch_fast.webrtc._sctp.outbox cimport Outbox, Repeater
from peerfetch_fast.webrtc._sctp.packet cimport Packet
from peerfetch_fast.webrtc._sctp.receive cimport Receiver
from peerfetch_fast.webrtc._sctp.send cimport Sender
from peerfetch_fast.webrtc._sctp.stream_reset cimport StreamReset


# In this order, which comparisons use; association.pyx has the table.
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


@cython.final
cdef class Association:
    # The face for a driver written in Cython. Times are seconds of any clock that does not go
    # back. After every call, poll until it returns 0, then look whether there are events.
    cdef readonly object error
    cdef list events
    cdef State state

    cdef int receive(self, const uint8_t* packet, size_t length, double now) except -1
    cdef Py_ssize_t poll(self, uint8_t* buffer, size_t capacity, double now) except -1
    cdef double deadline(self) noexcept
    cpdef int handle_timeout(self, double now) except -1
    cpdef int path_changed(self, double now) except -1

    cdef inline bint has_events(self) noexcept:
        return len(self.events) != 0

    cdef inline bint owes_sack(self) noexcept:
        """Whether a SACK is due even if more packets wait."""
        return self.receiver.tracker.owes_sack()

    cdef object settings
    cdef readonly Sender sender
    cdef readonly Receiver receiver
    cdef ChannelTable table
    cdef Outbox outbox
    cdef Repeater repeater              # T1 or T2
    cdef Heartbeat heartbeat
    cdef StreamReset resets
    cdef bytes scratch                  # for next_packet
    cdef bint receiving                 # the receiver must not be cleared now
    cdef bint acknowledged              # by a SACK of the packet that is being received

    cdef uint32_t packet_size
    cdef size_t max_received            # bytes of a packet
    cdef uint32_t local_tag
    cdef uint32_t initial_tsn
    cdef uint32_t restart_tag           # of our INIT ACK to a peer that starts over
    cdef bytes cookie_key
    cdef bytes peer_init                # what its description had; None: there is a handshake
    cdef bint accept_zero
    cdef bint peer_resets
    cdef double guard_deadline          # RFC 9260 §9.2's T5

    cdef readonly uint64_t packets_received
    cdef readonly uint64_t packets_dropped

    cdef bint _is_sound(self, const uint8_t* packet, size_t length) noexcept
    cdef bint _is_tagged(self, const uint8_t* packet) noexcept
    cdef int _take_init(self, const uint8_t* packet, size_t length, double now) except -1
    cdef int _take_chunks(self, const uint8_t* packet, size_t length, double now) except -1
    cdef int _on_chunk(
        self, int kind, const uint8_t* chunk_, size_t length, double now
    ) except -1
    cdef int _on_init(self, const uint8_t* chunk_, size_t length, double now) except -1
    cdef int _on_init_ack(self, const uint8_t* chunk_, size_t length, double now) except -1
    cdef int _on_cookie_echo(self, const uint8_t* chunk_, size_t length, double now) except -1
    cdef int _on_abort(self, const uint8_t* chunk_, size_t length) except -1
    cdef int _on_error(self, const uint8_t* chunk_, size_t length, double now) except -1
    cdef int _on_shutdown(self, const uint8_t* chunk_, size_t length, double now) except -1
    cdef int _on_unknown(self, int kind, const uint8_t* chunk_, size_t length) except -1
    cdef int _adopt(self, PeerInit peer, double now) except -1
    cdef int _establish(self, double now) except -1
    cdef int _progress_shutdown(self, double now) except -1
    cdef int _acknowledge_shutdown(self, double now) except -1
    cdef bytes _shutdown_chunk(self)
    cdef bytes _init(self)
    cdef int _repeater_expired(self, double now) except -1
    cdef int _reset_expired(self, double now) except -1
    cdef int _heartbeat_due(self, double now) except -1
    cdef int _lost(self, str what) except -1
    cdef int _send_abort(self, int cause, str reason) except -1
    cdef int _violate(self, int cause, str what) except -1
    cdef int _end(self, object error) except -1
    cdef int _after_the_end(self, uint32_t tag, int kind) except -1
