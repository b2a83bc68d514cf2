"""Packets of control chunks: those that go once, and the one that T1 or T2 repeats."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t

from peerfetch_fast.webrtc._sctp.packet cimport (
    COMMON_HEADER,
    COOKIE_ECHO,
    INIT,
    INIT_ACK,
    Packet,
    set_checksum,
    store16,
    store32,
    write_bytes,
)
from peerfetch_fast.webrtc._sctp.sending.round_trips cimport RoundTrips

cdef enum:
    # Bytes of a chunk or parameter that we do not know, reported to the peer: at most so many, and
    # a fraction of a packet, which must hold an INIT ACK with its cookie too.
    MAX_UNKNOWN_REPORTED = 512
    UNKNOWN_FRACTION = 4


cdef class Outbox:
    """Packets that wait to leave, each with chunks of its own.

    :param packet_size: bytes of the largest packet.
    :ivar packets_sent: those with data included.
    """

    def __cinit__(self, int local_port, int remote_port, uint32_t packet_size):
        self.waiting = []
        self.local_port = local_port
        self.remote_port = remote_port
        self.packet_size = packet_size
        self.report_limit = min(
            <size_t>MAX_UNKNOWN_REPORTED, <size_t>packet_size // UNKNOWN_FRACTION
        )

    cdef bint post(self, uint32_t tag, bytes chunks, bint droppable) except -1:
        """Send chunks in a packet of their own; whether they will be. What is longer than a packet
        is not, and of the answers that only the peer wants no more than a few wait."""
        if COMMON_HEADER + PyBytes_GET_SIZE(chunks) > <Py_ssize_t>self.packet_size or (
            droppable and self.is_full()
        ):
            return False
        self.waiting.append((tag, chunks))
        return True

    cdef bint answer(self, bytes chunks) except -1:
        """Post an answer to the peer, which it may have to ask for again."""
        return self.post(self.remote_tag, chunks, True)

    cdef Py_ssize_t write_next(self, Packet* packet) except -1:
        """Write the packet that has waited longest; its length."""
        cdef uint32_t tag
        cdef bytes chunks
        cdef int kind
        tag, chunks = self.waiting.pop(0)
        write_bytes(packet, <const uint8_t*>PyBytes_AS_STRING(chunks), PyBytes_GET_SIZE(chunks))
        kind = chunks[0]
        return self.seal(packet, tag, self.send_zero and kind != INIT_ACK)

    cdef Py_ssize_t write_repeated(self, Packet* packet, Repeater repeater) except -1:
        """Write the chunk that T1 or T2 watches; the packet's length."""
        cdef bytes chunk = repeater.chunk
        cdef int kind = chunk[0]
        repeater.due = False
        write_bytes(packet, <const uint8_t*>PyBytes_AS_STRING(chunk), PyBytes_GET_SIZE(chunk))
        # An INIT carries no tag (RFC 9260 §8.5.1), and what agrees on it no zero checksum.
        return self.seal(
            packet, 0 if kind == INIT else self.remote_tag,
            self.send_zero and kind != INIT and kind != COOKIE_ECHO,
        )

    cdef Py_ssize_t seal(self, Packet* packet, uint32_t tag, bint zero) noexcept:
        """Write the common header, for which every packet begins with room; the packet's length."""
        cdef uint8_t* out = packet.start
        store16(out, self.local_port)
        store16(out + 2, self.remote_port)
        store32(out + 4, tag)
        if zero:
            store32(out + 8, 0)
        else:
            set_checksum(out, packet.length)
        self.packets_sent += 1
        return packet.length


cdef class Repeater:
    """T1 or T2, of which one runs at a time: a chunk sent again until it is answered.

    The chunk is shorter than any packet.
    """

    def __cinit__(self, RoundTrips round_trips not None):
        self.round_trips = round_trips
        self.deadline = INFINITY

    cdef int begin(self, bytes chunk, double now) except -1:
        """Send a chunk that was not sent before, in place of the last one."""
        self.tries = 0
        return self.repeat(chunk, now)

    cdef int repeat(self, bytes chunk, double now) except -1:
        """Send the chunk, or what has taken its place, and again when the timer expires."""
        self.chunk = chunk
        self.due = True
        if self.tries == 0:
            self.first_sent_at = now
        self.deadline = now + self.round_trips.backed_off(self.tries)
        return 0

    cdef void answered(self, double now) noexcept:
        """The answer came: a round trip, if the chunk was sent once (RFC 9260 §6.3.1 C5)."""
        if self.tries == 0:
            self.round_trips.add(now - self.first_sent_at, now)

    cdef int stop(self) except -1:
        """Repeat nothing any more."""
        self.chunk = None
        self.due = False
        self.deadline = INFINITY
        return 0
