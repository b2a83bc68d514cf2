"""Outstanding data: the chunks that were sent and not yet acknowledged by the cumulative TSN.

They are the entries of a ring that is indexed by TSN: the message, an offset and a length. Messages
are given up here (RFC 3758), as that is a state of their chunks.
"""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from peerfetch_fast.webrtc._sctp.packet cimport (
    BEGIN,
    END,
    FORWARD_TSN,
    FORWARD_TSN_HEADER,
    UNORDERED,
    Packet,
    after,
    claim,
    room,
    store16,
    store32,
)
from peerfetch_fast.webrtc._sctp.sending.queue cimport DCEP, Message, OutboundStream, SendQueue

cdef enum:
    FIRST_RING = 64
    MAX_FORWARDED_STREAMS = 256


# Its chunks belong to messages of the queue, which must not be cleared first.
@cython.no_gc_clear
cdef class Outstanding:
    """The ring of chunks, and the two lists that go through it: in flight, and lost.

    :param queue: has the messages.
    :param initial_tsn: of the first chunk.
    :ivar in_flight: bytes of chunks in flight, headers included.
    :ivar next_tsn: the TSN of the next new chunk.
    :ivar cumulative: the TSN up to which the peer has acknowledged everything.
    """

    def __cinit__(self, SendQueue queue not None, uint32_t initial_tsn):
        self.queue = queue
        self.next_tsn = initial_tsn
        self.cumulative = initial_tsn - 1
        self.ring = <Sent*>calloc(FIRST_RING, sizeof(Sent))
        self.mask = FIRST_RING - 1
        if self.ring == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.ring != NULL:
            # No owner of a stream is to hear that it has drained.
            self.queue.clear()
            self.clear()
            free(self.ring)

    cdef void clear(self) noexcept:
        """Forget every chunk; :meth:`SendQueue.clear` comes first."""
        cdef uint32_t tsn
        for tsn in range(<uint32_t>(self.next_tsn - 1 - self.cumulative)):
            self.release(self.entry(self.cumulative + 1 + tsn))
        self.cumulative = self.next_tsn - 1
        memset(&self.flying, 0, sizeof(Chain))
        memset(&self.lost, 0, sizeof(Chain))
        self.in_flight = 0
        self.forward_due = False

    # The ring

    cdef Sent* cut(self, Message* message, uint32_t size) except NULL:
        """Cut the next *size* bytes of the message whose turn it is, as the chunk `next_tsn`."""
        cdef OutboundStream* stream = message.stream
        cdef uint32_t tsn = self.next_tsn
        cdef Sent* sent = self._new_entry()
        sent.message = message
        sent.offset = message.offset
        sent.length = <uint16_t>size
        sent.flags = UNORDERED if message.unordered else 0
        if message.chunks == 0:
            sent.flags |= BEGIN
            message.first_tsn = tsn
            if not message.unordered:
                message.sequence = stream.next_sequence
                stream.next_sequence += 1
        message.chunks += 1
        message.chunks_kept += 1
        stream.chunks_unacked += 1
        message.offset += size
        if message.offset == message.length:
            sent.flags |= END
            self.queue.finish_cut(stream)
        return sent

    cdef Sent* _new_entry(self) except NULL:
        """The entry of `next_tsn`, which is then counted up."""
        cdef Sent* ring
        cdef Sent* sent
        cdef uint32_t mask, tsn
        if self.next_tsn - self.cumulative - 1 > self.mask:
            mask = 2 * self.mask + 1
            ring = <Sent*>calloc(<size_t>mask + 1, sizeof(Sent))
            if ring == NULL:
                raise MemoryError
            tsn = self.cumulative + 1
            while tsn != self.next_tsn:
                ring[tsn & mask] = self.ring[tsn & self.mask]
                tsn += 1
            free(self.ring)
            self.ring = ring
            self.mask = mask
        sent = self.entry(self.next_tsn)
        sent.transmissions = 0
        self.next_tsn += 1
        return sent

    # The lists

    cdef int lose(self, Sent* sent, uint32_t tsn, double now) except -1:
        """The chunk is lost: it is sent again, or its message given up."""
        if self.is_exhausted(sent, now):
            return self.give_up(sent.message)
        self.settle(sent, tsn)
        sent.state = LOST
        self._link_lost(tsn)
        return 0

    cdef void repeat(self, uint32_t tsn) noexcept:
        """Send the chunk, which is in flight, a second time; none is lost."""
        cdef Sent* sent = self.entry(tsn)
        self.settle(sent, tsn)
        sent.state = LOST
        self._link(&self.lost, tsn)

    cdef void _link_lost(self, uint32_t tsn) noexcept:
        """Put a chunk into `lost`, which is in the order of TSNs.

        What was sent first is needed first, though its second transmission was lost after the first
        one of what follows.
        """
        cdef Sent* sent = self.entry(tsn)
        cdef uint32_t following
        if self.lost.count == 0 or after(tsn, self.lost.last):
            self._link(&self.lost, tsn)
            return
        following = self.lost.first
        if (
            after(tsn, self.lost_last_put) and after(self.lost_last_put, self.cumulative)
            and self.entry(self.lost_last_put).state == LOST
        ):
            # Losses mostly show in the order of their TSNs: the place is behind the last one's.
            following = self.entry(self.lost_last_put).next
        self.lost_last_put = tsn
        while after(tsn, following):
            following = self.entry(following).next
        sent.next = following
        if following == self.lost.first:
            self.lost.first = tsn
        else:
            sent.previous = self.entry(following).previous
            self.entry(sent.previous).next = tsn
        self.entry(following).previous = tsn
        self.lost.count += 1

    cdef int lose_all(self, bint reneged, double now) except -1:
        """Every chunk in flight is lost; if the peer *reneged*, so is what it reported."""
        cdef uint32_t tsn
        cdef Sent* sent
        memset(&self.lost, 0, sizeof(Chain))
        tsn = self.cumulative + 1
        while tsn != self.next_tsn:
            sent = self.entry(tsn)
            if sent.state == FLYING:
                self.settle(sent, tsn)
                sent.state = LOST
            elif sent.state == ACKED and reneged and sent.message.data != NULL:
                sent.state = LOST
                self.gap_acked -= 1
            elif sent.state == ACKED:
                sent.next = tsn + 1
            if sent.state == LOST:
                self._link(&self.lost, tsn)
            tsn += 1
        # Only now may messages be given up: that takes chunks out of `lost`.
        tsn = self.cumulative + 1
        while tsn != self.next_tsn:
            sent = self.entry(tsn)
            if sent.state == LOST and self.is_exhausted(sent, now):
                self.give_up(sent.message)
            tsn += 1
        return 0

    # Giving up (RFC 3758)

    cdef int give_up(self, Message* message) except -1:
        """Send nothing more of a message. The ring may move."""
        cdef OutboundStream* stream = message.stream
        cdef uint32_t tsn, index
        cdef uint32_t rest = message.length - message.offset
        cdef Sent* sent
        if not message.whole:
            if message.protocol != DCEP:
                self.queue.leave(stream, rest)
            if message.chunks:
                # The peer holds the beginning and waits for the end. That gets a TSN, which is
                # never sent, so that a FORWARD TSN can pass it.
                sent = self._new_entry()
                sent.message = message
                sent.offset = message.length
                sent.length = 0
                sent.flags = END
                sent.state = ABANDONED
                message.chunks += 1
                message.chunks_kept += 1
                stream.chunks_unacked += 1
            # The message is the first of the stream whose turn it is: no other can be half cut.
            self.queue.finish_cut(stream)
        if self.queue.drop_data(message):
            return 0
        for index in range(message.chunks):
            tsn = message.first_tsn + index
            if after(tsn, self.cumulative):
                sent = self.entry(tsn)
                if sent.state != ACKED:
                    self.settle(sent, tsn)
                    sent.state = ABANDONED
        self.forward_due = True
        return 0

    cdef bint write_forward(self, Packet* packet) noexcept:
        """Write a FORWARD TSN chunk, if it has something to say; whether there is one.

        `forward_due` stays set where the packet has no room.
        """
        cdef uint32_t tsn, index, count = 0
        cdef uint32_t advanced = self.cumulative    # Advanced.Peer.Ack.Point
        cdef uint16_t streams[MAX_FORWARDED_STREAMS]
        cdef uint16_t sequences[MAX_FORWARDED_STREAMS]
        cdef uint32_t most = MAX_FORWARDED_STREAMS
        cdef Sent* sent
        cdef uint8_t* out
        self.forward_due = room(packet) < FORWARD_TSN_HEADER + 4
        if self.forward_due:
            return False
        most = min(most, <uint32_t>((room(packet) - FORWARD_TSN_HEADER) // 4))
        tsn = self.cumulative
        while tsn + 1 != self.next_tsn:
            tsn += 1
            sent = self.entry(tsn)
            if sent.state == ABANDONED:
                if not sent.message.unordered:
                    for index in range(count):
                        if streams[index] == sent.message.stream.id:
                            break
                    else:
                        index = count
                    if index == most:
                        break
                    if index == count:
                        count += 1
                    streams[index] = sent.message.stream.id
                    sequences[index] = sent.message.sequence
                advanced = tsn
            elif sent.state != ACKED:
                break
        if advanced == self.cumulative:
            return False
        out = claim(packet, FORWARD_TSN_HEADER + 4 * count)
        if out == NULL:
            return False
        out[0] = FORWARD_TSN
        out[1] = 0
        store16(out + 2, <uint16_t>(FORWARD_TSN_HEADER + 4 * count))
        store32(out + 4, advanced)
        for index in range(count):
            store16(out + FORWARD_TSN_HEADER + 4 * index, streams[index])
            store16(out + FORWARD_TSN_HEADER + 4 * index + 2, sequences[index])
        return True
