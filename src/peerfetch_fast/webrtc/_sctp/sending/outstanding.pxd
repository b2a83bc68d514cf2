cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.packet cimport DATA_HEADER, Packet, padded
from peerfetch_fast.webrtc._sctp.sending.queue cimport Message, SendQueue


cdef enum:
    MAX_OUTSTANDING = 65535     # chunks: a gap block cannot speak of more

# States of a chunk in the ring.
cdef enum:
    FLYING = 1      # sent, nothing heard of it
    LOST = 2        # to be sent again
    ACKED = 3       # by a gap block
    ABANDONED = 4   # given up (RFC 3758)

# One chunk in the ring, at the index of its TSN: 64 bytes.
cdef struct Sent:
    Message* message
    double sent_at
    # For the delivery rate (see DeliveryRate): what had been delivered when this packet left, when
    # the last of that was, and when the packets that measure this stretch began to leave.
    uint64_t delivered
    double delivered_at
    double stretch_began
    uint32_t order              # number of the packet that carried it last
    uint32_t offset
    uint32_t next               # TSN: in its list; of an acknowledged chunk: the run's end + 1
    uint32_t previous           # TSN
    uint16_t length
    uint16_t transmissions
    uint8_t state
    uint8_t flags
    uint8_t limits              # what held the sender back, see DeliveryRate

# Chunks in the ring, linked by TSN.
cdef struct Chain:
    uint32_t first
    uint32_t last
    uint32_t count


cdef inline uint32_t size_of(const Sent* sent) noexcept nogil:
    """Bytes of the chunk with its header and padding."""
    return DATA_HEADER + <uint32_t>padded(sent.length)


@cython.final
cdef class Outstanding:
    cdef readonly uint64_t in_flight        # bytes of chunks, headers included
    cdef readonly uint32_t next_tsn
    cdef readonly uint32_t cumulative       # TSN acknowledged
    cdef bint peer_forwards                 # the peer understands FORWARD TSN
    cdef bint forward_due                   # a FORWARD TSN may have something to say
    cdef Chain flying                       # in the order in which they left
    cdef Chain lost                         # to be sent again
    cdef uint32_t gap_acked                 # chunks in the ring
    cdef SendQueue queue
    cdef Sent* ring
    cdef uint32_t mask
    cdef uint32_t lost_last_put             # TSN: the last that was not put at the end of `lost`

    cdef inline Sent* entry(self, uint32_t tsn) noexcept:
        return self.ring + (tsn & self.mask)

    cdef inline bint is_full(self) noexcept:
        """Whether a SACK could not speak of one more chunk."""
        return self.next_tsn - self.cumulative > MAX_OUTSTANDING

    cdef inline bint can_forward(self) noexcept:
        """Whether the peer waits for a chunk that was given up."""
        return self.cumulative + 1 != self.next_tsn and (
            self.entry(self.cumulative + 1).state == ABANDONED
        )

    cdef inline bint has_expired(self, const Message* message, double now) noexcept:
        """Whether the message is to be given up before any more of it is sent."""
        return message.partial and message.expires <= now and self.peer_forwards

    cdef inline bint is_exhausted(self, const Sent* sent, double now) noexcept:
        """Whether the message of a lost chunk is to be given up (RFC 3758 §3.5)."""
        cdef const Message* message = sent.message
        return message.partial and self.peer_forwards and (
            sent.transmissions > message.max_retransmits or message.expires <= now
        )

    cdef inline void _link(self, Chain* chain, uint32_t tsn) noexcept:
        if chain.count == 0:
            chain.first = tsn
        else:
            self.entry(chain.last).next = tsn
            self.entry(tsn).previous = chain.last
        chain.last = tsn
        chain.count += 1

    cdef inline void _unlink(self, Chain* chain, uint32_t tsn) noexcept:
        cdef Sent* sent = self.entry(tsn)
        if tsn == chain.first:
            chain.first = sent.next
        else:
            self.entry(sent.previous).next = sent.next
        if tsn == chain.last:
            chain.last = sent.previous
        else:
            self.entry(sent.next).previous = sent.previous
        chain.count -= 1

    cdef inline void fly(self, Sent* sent, uint32_t tsn) noexcept:
        """The chunk, which is in neither list, leaves in a packet."""
        sent.state = FLYING
        if sent.transmissions < 0xFFFF:
            sent.transmissions += 1
        self.in_flight += size_of(sent)
        self._link(&self.flying, tsn)

    cdef inline void settle(self, Sent* sent, uint32_t tsn) noexcept:
        """The chunk is no longer in flight, and not to be sent again."""
        if sent.state == FLYING:
            self._unlink(&self.flying, tsn)
            self.in_flight -= size_of(sent)
        elif sent.state == LOST:
            self._unlink(&self.lost, tsn)

    cdef inline void release(self, Sent* sent) noexcept:
        """The chunk leaves the ring."""
        if sent.state == ACKED:
            self.gap_acked -= 1
        sent.state = 0
        self.queue.chunk_done(sent.message)

    cdef Sent* cut(self, Message* message, uint32_t size) except NULL
    cdef int lose(self, Sent* sent, uint32_t tsn, double now) except -1
    cdef void repeat(self, uint32_t tsn) noexcept
    cdef int lose_all(self, bint reneged, double now) except -1
    cdef int give_up(self, Message* message) except -1
    cdef bint write_forward(self, Packet* packet) noexcept
    cdef void clear(self) noexcept

    cdef Sent* _new_entry(self) except NULL
    cdef void _link_lost(self, uint32_t tsn) noexcept
