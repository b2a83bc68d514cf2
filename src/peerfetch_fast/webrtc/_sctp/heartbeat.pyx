"""Heartbeats: a HEARTBEAT after silence, until the peer answers (RFC 9260 §8.3)."""

import hmac
import struct

from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t

from peerfetch_fast.webrtc._sctp.outbox cimport Outbox
from peerfetch_fast.webrtc._sctp.packet cimport (
    CHUNK_HEADER,
    HEARTBEAT,
    HEARTBEAT_INFO,
    chunk,
    parameter,
)
from peerfetch_fast.webrtc._sctp.sending.round_trips cimport RoundTrips

cdef double LEAST_WAIT = 0.5        # seconds for an answer, or the retransmission timeout


cdef class Heartbeat:
    """When to send a HEARTBEAT, and whether its answer is one.

    :param interval: seconds of silence before one; infinite: none are sent.
    :param key: secret, so that a peer cannot answer what it has not got.
    """

    def __cinit__(
        self, double interval, bytes key not None, Outbox outbox not None,
        RoundTrips round_trips not None
    ):
        self.interval = interval
        self.key = key
        self.outbox = outbox
        self.round_trips = round_trips
        self.deadline = INFINITY

    cdef void start(self, double now) noexcept:
        """The association is up, or an answer came."""
        self.deadline = now + self.interval

    cdef bint is_needed(self, double now) noexcept:
        """The deadline has passed: whether the peer was silent all the while."""
        if self.unanswered == 0 and now < self.heard_at + self.interval:
            self.deadline = self.heard_at + self.interval
            return False
        return True

    cdef int send(self, double now) except -1:
        """Send one."""
        self.unanswered += 1
        self.awaited = struct.pack(">d", now) + hmac.digest(
            self.key, struct.pack(">dQ", now, self.outbox.packets_sent), "sha256"
        )[:8]
        self.outbox.answer(chunk(HEARTBEAT, 0, parameter(HEARTBEAT_INFO, self.awaited)))
        self.deadline = now + max(self.round_trips.timeout, LEAST_WAIT)
        return 0

    cdef int on_ack(self, const uint8_t* chunk_, size_t length, double now) except -1:
        """A HEARTBEAT ACK; one that is not the answer to the last HEARTBEAT says nothing."""
        if self.awaited is not None and chunk_[CHUNK_HEADER:length] == parameter(
            HEARTBEAT_INFO, self.awaited
        ):
            self.round_trips.add(now - struct.unpack_from(">d", self.awaited)[0], now)
            self.awaited = None
            self.start(now)
        return 0
