"""Stream reset (RFC 6525): requests of ours, one at a time, and the peer's."""

import struct

from cpython.bytes cimport PyBytes_AS_STRING
from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from peerfetch_fast.webrtc._sctp.channels cimport ChannelTable
from peerfetch_fast.webrtc._sctp.handshake cimport STREAMS
from peerfetch_fast.webrtc._sctp.outbox cimport Outbox
from peerfetch_fast.webrtc._sctp.packet cimport (
    ADD_INCOMING_STREAMS,
    ADD_OUTGOING_STREAMS,
    CHUNK_HEADER,
    INCOMING_RESET,
    OUTGOING_RESET,
    RE_CONFIG,
    RECONFIG_RESPONSE,
    after,
    chunk,
    load16,
    load32,
    next_parameter,
    parameter,
)
from peerfetch_fast.webrtc._sctp.receive cimport Receiver
from peerfetch_fast.webrtc._sctp.send cimport Sender

cdef enum:
    MAX_IDS = 64                # in a request
    # Parameters of reconfiguration that are read of one packet: a chunk has at most two (RFC 6525
    # §3.1), and there is one with a request and one with a response.
    MAX_PARAMETERS = 4

# Results of a reconfiguration (RFC 6525 §4.4).
cdef enum:
    NOTHING_TO_DO = 0
    PERFORMED = 1
    DENIED = 2
    ANOTHER_IN_PROGRESS = 4
    BAD_NUMBER = 5
    IN_PROGRESS = 6

_RESET = struct.Struct(">III")


cdef class StreamReset:
    """Streams reset at either side's request.

    :param initial_tsn: ours, with which the numbers of our requests begin.
    """

    def __cinit__(
        self, ChannelTable table not None, Sender sender not None, Receiver receiver not None,
        Outbox outbox not None, uint32_t initial_tsn
    ):
        self.table = table
        self.sender = sender
        self.receiver = receiver
        self.outbox = outbox
        self.number = initial_tsn
        self.deadline = INFINITY

    cdef void begin_packet(self) noexcept:
        """A packet is about to be given."""
        self.parameters_left = MAX_PARAMETERS

    cdef void clear(self) noexcept:
        """The association has ended."""
        self.request = self.deferred_ids = None
        self.deadline = INFINITY

    # Our requests

    cdef bint ask(self, double now) except -1:
        """Ask the peer to reset the streams that are through; whether there was one."""
        cdef list ids = self.table.due_resets(MAX_IDS)
        if not ids:
            return False
        body = parameter(
            OUTGOING_RESET,
            _RESET.pack(
                self.number, <uint32_t>(self.peer_number - 1),
                <uint32_t>(self.sender.outstanding.next_tsn - 1),
            ) + b"".join([id.to_bytes(2, "big") for id in ids]),
        )
        self.request = chunk(RE_CONFIG, 0, body)
        self.ids = ids
        self.tries = 0
        self.deadline = now + self.sender.round_trips.timeout
        self.outbox.post(self.outbox.remote_tag, self.request, False)
        return True

    cdef int repeat(self, double now) except -1:
        """The deadline has passed: send the request again."""
        self.outbox.answer(self.request)
        self.deadline = now + self.sender.round_trips.backed_off(self.tries)
        return 0

    cdef void path_changed(self, double now) noexcept:
        """The last request may be lost: it is sent again."""
        self.tries = 0
        if self.deadline != INFINITY:
            self.deadline = now

    # Chunks of the peer

    cdef int on_re_config(self, const uint8_t* chunk_, size_t length, double now) except -1:
        """A RE-CONFIG chunk: requests and responses."""
        cdef size_t at = CHUNK_HEADER
        cdef size_t begin, size
        cdef uint16_t kind
        while self.parameters_left:
            begin = at
            if next_parameter(chunk_, length, &at, &kind, &size) <= 0:
                break
            self.parameters_left -= 1
            if kind == RECONFIG_RESPONSE:
                self._on_response(chunk_ + begin, size, now)
            elif kind == OUTGOING_RESET:
                self._on_reset(chunk_ + begin, size)
            elif size >= CHUNK_HEADER + 4 and INCOMING_RESET <= kind <= ADD_INCOMING_STREAMS:
                self._on_other_request(kind, chunk_[begin:begin + size])
        return 0

    cdef bint _is_new(self, uint32_t number) except -1:
        """Whether a request is the next one; if it is not, it has been answered."""
        if number == self.peer_number:
            if self.deferred_ids is not None:
                # RFC 6525 §5.1.1: one at a time.
                self._respond(number, ANOTHER_IN_PROGRESS)
                return False
            self.peer_number += 1
            return True
        if number + 1 == self.peer_number:
            self._respond(number, self.peer_result)
        else:
            self._respond(number, BAD_NUMBER)
        return False

    cdef int _respond(self, uint32_t number, uint32_t result) except -1:
        self.outbox.answer(
            chunk(
                RE_CONFIG, 0,
                parameter(
                    RECONFIG_RESPONSE, number.to_bytes(4, "big") + result.to_bytes(4, "big")
                ),
            )
        )
        return 0

    cdef int _on_reset(self, const uint8_t* request, size_t length) except -1:
        cdef uint32_t number
        if length < CHUNK_HEADER + 12:
            return 0
        number = load32(request + CHUNK_HEADER)
        if not self._is_new(number):
            return 0
        self.deferred_number = number
        self.deferred_tsn = load32(request + CHUNK_HEADER + 8)
        self.deferred_ids = request[CHUNK_HEADER + 12:length & ~<size_t>1]
        self.peer_result = IN_PROGRESS
        self._do_deferred()
        if self.peer_result == IN_PROGRESS:
            self._respond(number, IN_PROGRESS)
        return 0

    cdef int _do_deferred(self) except -1:
        """Reset the peer's streams once all that it sent on them has come (RFC 6525 §5.2.2)."""
        cdef bytes ids = self.deferred_ids
        cdef Py_ssize_t at
        cdef const uint8_t* id
        if after(self.deferred_tsn, self.receiver.tracker.cumulative):
            return 0
        self.deferred_ids = None
        self.peer_result = PERFORMED
        if not ids:
            # None named: all are meant.
            self.receiver.ordering.reset_streams()
            self.table.incoming_resets()
        for at in range(0, len(ids), 2):
            id = <const uint8_t*>PyBytes_AS_STRING(ids) + at
            self.receiver.ordering.reset_stream(load16(id))
            self.table.incoming_reset(load16(id))
        self._respond(self.deferred_number, PERFORMED)
        return 0

    cdef int _on_other_request(self, int kind, bytes request) except -1:
        cdef uint32_t number = int.from_bytes(request[4:8], "big")
        cdef uint32_t added
        if not self._is_new(number):
            return 0
        self.peer_result = DENIED
        if kind == ADD_OUTGOING_STREAMS and len(request) >= 12:
            added = int.from_bytes(request[8:10], "big")
            if self.receiver.stream_count + added <= STREAMS:
                self.receiver.stream_count += added
                self.peer_result = PERFORMED
        return self._respond(number, self.peer_result)

    cdef int _on_response(self, const uint8_t* response, size_t length, double now) except -1:
        cdef uint32_t result
        cdef list ids
        if length < CHUNK_HEADER + 8 or self.request is None:
            return 0
        if load32(response + CHUNK_HEADER) != self.number:
            return 0
        result = load32(response + CHUNK_HEADER + 4)
        if result == IN_PROGRESS:
            # Ask again later; it does not count as a failure (RFC 6525 §5.2.7).
            self.tries = 0
            self.deadline = now + self.sender.round_trips.timeout
            return 0
        ids = self.ids
        self.request = self.ids = None
        self.deadline = INFINITY
        self.number += 1
        return self.table.outgoing_reset(ids, result == PERFORMED or result == NOTHING_TO_DO)
