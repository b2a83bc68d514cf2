"""The receiving half: chunks taken, messages put together again and in order, SACKs.

Its parts are in `receiving/`: the tracker of TSNs, which writes SACKs, reassembly and the order of
streams.

Everything held for a later delivery counts against the receive window with its overhead. A chunk
beyond a hole is taken only if it fits into the window; the next one in order always is, but nothing
is held for it besides the one message that it may be a fragment of. Every chunk costs work of the
order of its own length, or of what was received and is let go of for it, which happens once.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.packet cimport (
    DATA_HEADER,
    FORWARD_TSN_HEADER,
    IMMEDIATE,
    INVALID_STREAM,
    NO_USER_DATA,
    OUT_OF_RESOURCE,
    PROTOCOL_VIOLATION,
    Packet,
    after,
    load16,
    load32,
)
from peerfetch_fast.webrtc._sctp.receiving.fault cimport (
    CHUNK_TOO_SHORT,
    FORWARD_TOO_FAR,
    FORWARD_TOO_SHORT,
    MISPLACED,
    NO_BEGINNING,
    NO_DATA,
    NO_END,
    SOUND,
    TOO_LONG,
    TOO_MANY_STREAMS,
    UNKNOWN_STREAM,
    Fault,
)
from peerfetch_fast.webrtc._sctp.receiving.ordering cimport OVERHEAD, MessageSink, Ordering
from peerfetch_fast.webrtc._sctp.receiving.reassembly cimport Fragment, Reassembly
from peerfetch_fast.webrtc._sctp.receiving.tracker cimport TRACKED, Tracker

# The error cause of each fault, and what the peer sent.
_FAULTS = {
    NO_DATA: (NO_USER_DATA, "a DATA chunk without data"),
    CHUNK_TOO_SHORT: (PROTOCOL_VIOLATION, "a DATA chunk without data"),
    FORWARD_TOO_SHORT: (PROTOCOL_VIOLATION, "a FORWARD TSN chunk that is too short"),
    FORWARD_TOO_FAR: (PROTOCOL_VIOLATION, "a FORWARD TSN far beyond the window"),
    UNKNOWN_STREAM: (INVALID_STREAM, "stream {} was not agreed on"),
    TOO_MANY_STREAMS: (OUT_OF_RESOURCE, "more streams than channels may be open"),
    NO_BEGINNING: (PROTOCOL_VIOLATION, "a message without its beginning"),
    NO_END: (PROTOCOL_VIOLATION, "a message without its end"),
    MISPLACED: (PROTOCOL_VIOLATION, "a fragment in another message's place"),
    TOO_LONG: (OUT_OF_RESOURCE, "a message longer than we take"),
}


cdef class Receiver:
    """The receiving half of an association.

    Calls that read the peer's chunks return 0, or the error cause with which the association must
    be aborted; :attr:`violation` then says why.

    :param window: bytes that may be held.
    """

    def __cinit__(
        self, MessageSink sink not None, uint64_t window, uint32_t max_message_size,
        bint cut_messages, double sack_delay, uint32_t max_streams
    ):
        self.window = window
        self.tracker = Tracker(sack_delay)
        self.ordering = Ordering(sink, self.tracker, max_streams)
        self.reassembly = Reassembly(
            self.tracker, self.ordering, sink, max_message_size, cut_messages
        )

    @property
    def cumulative(self):
        """The TSN up to which everything has come."""
        return self.tracker.cumulative

    @property
    def held_bytes(self):
        """Memory held for messages that are not whole or not in turn."""
        return self.held()

    @property
    def duplicates(self):
        """TSNs received more than once."""
        return self.tracker.duplicates

    @property
    def copied(self):
        """Bytes of messages copied out of packets, and between runs of fragments."""
        return self.reassembly.copied

    @property
    def discarded(self):
        """Bytes of messages beyond the size at which these are cut."""
        return self.reassembly.discarded

    cdef void start(self, uint32_t initial_tsn, uint32_t stream_count) noexcept:
        """The peer begins at *initial_tsn*, on streams below *stream_count*."""
        self.tracker.start(initial_tsn)
        self.stream_count = stream_count

    cdef void clear(self) noexcept:
        """Let go of everything held."""
        self.reassembly.clear()
        self.ordering.reset_streams()

    cdef int on_data(self, const uint8_t* chunk, size_t length) except -1:
        """A DATA chunk, *length* bytes with its header and without padding."""
        cdef Fault fault = self._take_data(chunk, length)
        return self._violated(fault) if fault else 0

    cdef inline Fault _take_data(self, const uint8_t* chunk, size_t length) except *:
        cdef Fragment fragment
        cdef Tracker tracker = self.tracker
        cdef Fault fault
        if length <= DATA_HEADER:
            return NO_DATA if length == DATA_HEADER else CHUNK_TOO_SHORT
        fragment.data = chunk + DATA_HEADER
        fragment.length = <uint32_t>length - DATA_HEADER
        fragment.flags = chunk[1]
        fragment.tsn = load32(chunk + 4)
        fragment.stream = load16(chunk + 8)
        fragment.sequence = load16(chunk + 10)
        fragment.protocol = load32(chunk + 12)
        tracker.data_in_packet = True
        if fragment.flags & IMMEDIATE:
            tracker.urgent_in_packet = True
        if not tracker.is_new(fragment.tsn):
            return SOUND
        if fragment.stream >= self.stream_count:
            self.unknown_stream = fragment.stream
            return UNKNOWN_STREAM
        # The next TSN is always taken, or a full window could never empty again.
        if fragment.tsn != tracker.cumulative + 1 and (
            self.held() + fragment.length + OVERHEAD > self.window
        ):
            tracker.urgent_in_packet = True
            return SOUND
        tracker.add(fragment.tsn)
        fault = self.reassembly.place(&fragment)
        self.ordering.end_chunk()
        return fault

    cdef int on_forward_tsn(self, const uint8_t* chunk, size_t length) except -1:
        """A FORWARD TSN chunk, *length* bytes with its header (RFC 3758 §3.6)."""
        cdef Fault fault = self._take_forward(chunk, length)
        return self._violated(fault) if fault else 0

    cdef Fault _take_forward(self, const uint8_t* chunk, size_t length) except *:
        cdef Tracker tracker = self.tracker
        cdef uint32_t tsn
        cdef uint16_t stream
        cdef size_t at
        cdef Fault fault
        if length < FORWARD_TSN_HEADER:
            return FORWARD_TOO_SHORT
        tsn = load32(chunk + 4)
        tracker.data_in_packet = True
        tracker.urgent_in_packet = True
        if not after(tsn, tracker.cumulative):
            return SOUND
        if tsn - tracker.cumulative >= TRACKED:
            return FORWARD_TOO_FAR
        self.reassembly.forward(tsn)
        at = FORWARD_TSN_HEADER
        while at + 4 <= length:
            stream = load16(chunk + at)
            if stream >= self.stream_count:
                self.unknown_stream = stream
                return UNKNOWN_STREAM
            fault = self.ordering.forward(stream, load16(chunk + at + 2))
            if fault:
                return fault
            at += 4
        self.ordering.end_chunk()
        return SOUND

    cdef bint write_sack(self, Packet* packet) noexcept:
        """A SACK chunk that says as much as the packet has room for; False: it has none."""
        cdef uint64_t held = self.held()
        return self.tracker.write_sack(packet, self.window - held if held < self.window else 0)

    cdef int _violated(self, Fault fault) except -1:
        cdef int cause
        cause, words = _FAULTS[fault]
        self.violation = words.format(self.unknown_stream)
        return cause
